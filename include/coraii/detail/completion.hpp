// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_COMPLETION_HPP
#define CORAII_DETAIL_COMPLETION_HPP

#include "coraii/detail/place.hpp"

#include <boost/asio/associated_executor.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>

#include <exception>
#include <utility>

namespace coraii {

namespace asio = boost::asio;

namespace detail {

/// Where a completion handler may be called.
enum class deliver : bool {
    dispatched,  // at once, if we are on its executor
    posted,      // never from here: we may still be inside the initiating function
};

/// The handler of an operation that waits for the end of something, and its executor's outstanding work.
template <class Handler>
class completion {
public:
    explicit completion(Handler handler)
        : work_{asio::get_associated_executor(handler)}, handler_{std::move(handler)} {}

    auto get_executor() const noexcept { return work_.get_executor(); }

    /// On its executor already.
    void here(std::exception_ptr error) && {
        const auto work = std::move(work_);
        std::move(handler_)(std::move(error));
    }

    void operator()(deliver how, std::exception_ptr error = nullptr) && {
        const auto executor = work_.get_executor();
        auto call = [handler = std::move(handler_), error = std::move(error), work = std::move(work_)]() mutable {
            std::move(handler)(std::move(error));
        };
        if (how == deliver::posted) {
            asio::post(executor, std::move(call));
        } else {
            const running_at there{place_of(executor)};
            asio::dispatch(executor, std::move(call));
        }
    }

private:
    asio::executor_work_guard<asio::associated_executor_t<Handler>> work_;
    Handler handler_;
};

}  // namespace detail
}  // namespace coraii

#endif
