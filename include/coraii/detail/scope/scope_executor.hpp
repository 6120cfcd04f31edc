// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_SCOPE_SCOPE_EXECUTOR_HPP
#define CORAII_DETAIL_SCOPE_SCOPE_EXECUTOR_HPP

#include "coraii/detail/coroutine/awaited.hpp"
#include "coraii/detail/coroutine/waiter.hpp"
#include "coraii/detail/region/execute.hpp"

#include <boost/asio/execution.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/prefer.hpp>
#include <boost/asio/query.hpp>
#include <boost/asio/require.hpp>

#include <concepts>
#include <optional>
#include <type_traits>
#include <utility>

namespace coraii::detail {

/// The executor of a scope, from when its setup begins until it is closed, and what is kept there for it: outstanding
/// work, and room in the queue.
template <class Executor>
class scope_executor {
    template <class E>
    using tracked = std::decay_t<typename asio::prefer_result<E, asio::execution::outstanding_work_t::tracked_t>::type>;
    static constexpr bool tracks_in_place = std::same_as<tracked<Executor>, Executor>;

public:
    void begin(const Executor& executor) {
        executor_.emplace(executor);
        io_ = as_io_executor(*executor_);
    }

    const Executor& get() const noexcept { return *executor_; }
    asio::execution_context& context() const {
        return io_ != nullptr ? io_->context() : asio::query(*executor_, asio::execution::context);
    }
    bool may_be_in_a_region() const noexcept { return io_ == nullptr; }

    /// True only if the calling function surely runs there: any code may have gone to another executor meanwhile.
    bool runs_here() const noexcept {
        return io_ != nullptr ? io_->running_in_this_thread() : detail::runs_here(*executor_);
    }

    /// Errors: a large executor may take memory.
    void track_work() {
        constexpr auto work = asio::execution::outstanding_work.tracked;
        if (tracks_work_ || !executor_) {
            return;
        }
        if (io_ != nullptr) {
            io_work_.emplace(asio::require(*io_, work));
        } else if constexpr (tracks_in_place) {
            executor_ = asio::prefer(*executor_, work);
        } else {
            work_.emplace(asio::prefer(*executor_, work));
        }
        tracks_work_ = true;
    }

    /// Queues `f` there: in memory of ours, if the executor takes any.
    template <class F>
    void queue(deliver how, F f) {
        if (io_ != nullptr) {
            queue_reserved(*io_, memory_, std::move(f));
        } else {
            const Executor executor = *executor_;  // a copy: the scope may be closed before execute returns
            execute_reserved(executor, how, memory_, std::move(f));
        }
    }

    /// Posts `f`, which keeps the use of the scope from ending, to where the user is: so nothing else is queued in our
    /// memory.
    template <class UsersExecutor, class F>
    void post_to_user(const UsersExecutor& executor, F f) {
        if constexpr (sizeof(F) <= 4 * sizeof(void*)) {
            execute_reserved(executor, deliver::posted, memory_, std::move(f));
        } else {
            asio::post(executor, std::move(f));
        }
    }

    /// A guard or a hold may outlive the context, but an executor must not.
    void end() noexcept {
        io_ = nullptr;
        io_work_.reset();
        if constexpr (!tracks_in_place) {
            work_.reset();
        }
        executor_.reset();
    }

private:
    std::optional<Executor> executor_;
    const io_executor* io_ = nullptr;  // the same, if it is one: asking takes time
    std::optional<tracked<io_executor>> io_work_;
    [[no_unique_address]] std::conditional_t<tracks_in_place, nothing, std::optional<tracked<Executor>>> work_;
    bool tracks_work_ = false;
    reserved_memory memory_;
};

}  // namespace coraii::detail

#endif
