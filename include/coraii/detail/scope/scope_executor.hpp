// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_SCOPE_SCOPE_EXECUTOR_HPP
#define CORAII_DETAIL_SCOPE_SCOPE_EXECUTOR_HPP

#include "coraii/detail/coroutine/awaited.hpp"
#include "coraii/detail/coroutine/recycler.hpp"
#include "coraii/detail/coroutine/waiter.hpp"
#include "coraii/detail/region/execute.hpp"

#include <boost/asio/execution.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/prefer.hpp>
#include <boost/asio/query.hpp>
#include <boost/asio/require.hpp>

#include <concepts>
#include <new>
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
    using tracked_io = tracked<io_executor>;
    static constexpr bool tracks_in_place = std::same_as<tracked<Executor>, Executor>;

public:
    scope_executor() noexcept {}
    scope_executor(const scope_executor&) = delete;
    scope_executor& operator=(const scope_executor&) = delete;
    ~scope_executor() { end(); }

    void begin(const Executor& executor) {
        end();
        if (const io_executor* const io = as_io_executor(executor)) {
            ::new (static_cast<void*>(&io_)) io_executor{*io};
            kind_ = kind::io;
        } else {
            other_ = new other{executor};
            kind_ = kind::other;
        }
    }

    /// By another that is no io_context's either.
    void replace(const Executor& executor) { other_->executor = executor; }

    /// It tracks work only if it is an executor that is of one type whether it does or not.
    Executor get() const {
        if constexpr (std::constructible_from<Executor, io_executor>) {
            if (const std::optional<io_executor> io = as_io()) {
                return Executor{*io};
            }
        }
        return other_->executor;
    }

    asio::execution_context& context() const {
        if (const std::optional<io_executor> io = as_io()) {
            return asio::query(*io, asio::execution::context);
        }
        return asio::query(other_->executor, asio::execution::context);
    }
    bool may_be_in_a_region() const noexcept { return kind_ == kind::other; }

    /// True only if the calling function surely runs there: any code may have gone to another executor meanwhile.
    bool runs_here() const noexcept {
        switch (kind_) {
            case kind::io: return io_.running_in_this_thread();
            case kind::tracked_io: return tracked_io_.running_in_this_thread();
            case kind::other: return detail::runs_here(other_->executor);
            case kind::none: break;
        }
        return false;
    }

    /// Errors: a large executor may take memory.
    void track_work() {
        constexpr auto work = asio::execution::outstanding_work.tracked;
        if (kind_ == kind::io) {
            const io_executor io = io_;
            ::new (static_cast<void*>(&tracked_io_)) tracked_io{asio::require(io, work)};
            kind_ = kind::tracked_io;
        } else if (kind_ == kind::other && !other_->tracks_work) {
            if constexpr (tracks_in_place) {
                other_->executor = asio::prefer(other_->executor, work);
            } else {
                other_->work.emplace(asio::prefer(other_->executor, work));
            }
            other_->tracks_work = true;
        }
    }

    /// Queues `f` there: in memory of ours, if the executor takes any.
    template <class F>
    void queue(deliver how, F f) {
        if (const std::optional<io_executor> io = as_io()) {
            queue_reserved(*io, memory_, std::move(f));
        } else if (kind_ == kind::other) {
            const Executor executor = other_->executor;  // a copy: the scope may be closed before execute returns
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
        switch (std::exchange(kind_, kind::none)) {
            case kind::tracked_io: return tracked_io_.~tracked_io();
            case kind::other: delete other_; return;
            case kind::io:
            case kind::none: break;
        }
    }

private:
    // An io_context's own is by far the most frequent, and is kept as it is: the others' type takes time to ask and copy.
    enum class kind : unsigned char { none, io, tracked_io, other };

    std::optional<io_executor> as_io() const noexcept {
        if (kind_ == kind::io) {
            return io_;
        }
        if (kind_ == kind::tracked_io) {
            return asio::require(tracked_io_, asio::execution::outstanding_work.untracked);
        }
        return std::nullopt;
    }

    /// Any other, in recycled memory.
    struct other : recycled {
        explicit other(const Executor& e) : executor{e} {}

        Executor executor;
        [[no_unique_address]] std::conditional_t<tracks_in_place, nothing, std::optional<tracked<Executor>>> work;
        bool tracks_work = false;
    };

    union {
        io_executor io_;
        tracked_io tracked_io_;
        other* other_;
    };
    kind kind_ = kind::none;
    reserved_memory memory_;
};

#if defined(CORAII_SEPARATE_COMPILATION)
extern template class scope_executor<asio::any_io_executor>;
#endif

}  // namespace coraii::detail

#endif
