// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_TESTING_DETAIL_WAIT_HPP
#define CORAII_TESTING_DETAIL_WAIT_HPP

#include "coraii/testing/detail/record.hpp"
#include "coraii/testing/detail/stage.hpp"

#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/system/system_error.hpp>

#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <source_location>
#include <stdexcept>
#include <string>
#include <utility>

namespace coraii::testing::detail {

struct probe_step {
    std::size_t id;
    step what;
    std::source_location where;  // of a setup
};

/// What one wait of the kit is, and what it tells the record.
struct wait_plan {
    std::shared_ptr<record> log;
    std::string where;
    std::optional<probe_step> of_probe{};
    bool stalls = false;
    std::exception_ptr fails{};

    void begins() const {
        if (of_probe) {
            log->began(of_probe->id, of_probe->what, of_probe->where);
        }
    }
    void ends(record::outcome how) const {
        if (of_probe) {
            log->ended(of_probe->id, of_probe->what, how);
        }
    }
};

/// A wait of one turn, or for ever. Any cancel ends it.
template <class Handler>
class wait : public std::enable_shared_from_this<wait<Handler>> {
public:
    wait(wait_plan plan, Handler handler) : plan_{std::move(plan)}, handler_{std::move(handler)} {
        listed_ = plan_.log->now_waiting(plan_.where);
    }
    wait(const wait&) = delete;
    wait& operator=(const wait&) = delete;
    ~wait() { plan_.log->no_longer(listed_); }

    void start() {
        const auto executor = asio::get_associated_executor(handler_);
        auto slot = asio::get_associated_cancellation_slot(handler_);
        if (slot.is_connected()) {
            slot.assign([weak = this->weak_from_this()](asio::cancellation_type) {
                if (const auto self = weak.lock()) {
                    self->cancel();
                }
            });
        }
        if (plan_.stalls) {
            never_.emplace(executor, (clock::time_point::max)());
            never_->async_wait(
                [self = this->shared_from_this()](const boost::system::error_code&) { self->complete(); });
        } else {
            asio::post(executor, [self = this->shared_from_this()] { self->complete(); });
        }
    }

private:
    void cancel() {
        cancelled_ = true;
        if (never_) {
            never_->cancel();
        }
    }

    void complete() {
        asio::get_associated_cancellation_slot(handler_).clear();
        std::exception_ptr error = plan_.fails;
        auto outcome = error ? record::outcome::failed : record::outcome::done;
        if (cancelled_ && !error) {
            error = std::make_exception_ptr(boost::system::system_error{asio::error::operation_aborted});
            outcome = record::outcome::cancelled;
        }
        plan_.ends(outcome);
        std::move(handler_)(std::move(error));
    }

    wait_plan plan_;
    Handler handler_;
    record::wait listed_;
    std::optional<asio::basic_waitable_timer<clock>> never_;
    bool cancelled_ = false;
};

inline stage& current_stage() {
    if (stage* const found = stage::current()) {
        return *found;
    }
    throw std::logic_error("coraii::testing: this works only inside coraii::testing::run or sweep, on its thread");
}

/// An async operation with the signature `void(std::exception_ptr)`.
inline auto wait_as(wait_plan plan) {
    current_stage().before_point();
    return asio::async_initiate<const asio::deferred_t, void(std::exception_ptr)>(
        []<class Handler>(Handler&& handler, wait_plan p) {
            p.begins();
            if (std::exception_ptr injected = current_stage().reach_point(p.where)) {
                p.fails = std::move(injected);
                p.stalls = false;
            }
            std::make_shared<wait<std::decay_t<Handler>>>(std::move(p), std::forward<Handler>(handler))->start();
        },
        asio::deferred, std::move(plan));
}

}  // namespace coraii::testing::detail

#endif
