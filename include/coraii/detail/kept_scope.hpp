// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_KEPT_SCOPE_HPP
#define CORAII_DETAIL_KEPT_SCOPE_HPP

#include "coraii/detail/coroutine_thread.hpp"
#include "coraii/detail/execute.hpp"
#include "coraii/detail/frame.hpp"
#include "coraii/detail/registry.hpp"
#include "coraii/detail/signal.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/execution.hpp>
#include <boost/asio/prefer.hpp>
#include <boost/smart_ptr/intrusive_ptr.hpp>

#include <exception>
#include <type_traits>
#include <utility>

namespace coraii::detail {

template <class Executor>
class scope_state;

template <class Executor>
using scope_ptr = boost::intrusive_ptr<scope_state<Executor>>;

/// Where the caller of a function that is to run something on an executor is.
enum class where_we_are : bool { on_it, anywhere };

/// An executor that keeps its context running.
template <class Executor>
using tracked_t = std::decay_t<typename asio::prefer_result<Executor, asio::execution::outstanding_work_t::tracked_t>::type>;

/// What a coroutine thread answers for: a scope whose setup or cleanup it runs. It tells of one that is destroyed on the
/// way; as a parameter of its coroutine, also before that has begun.
template <class Executor>
struct kept_scope {
    explicit kept_scope(scope_ptr<Executor> scope) noexcept : state{std::move(scope)} {}
    kept_scope(kept_scope&& other) noexcept : state{std::move(other.state)} {}
    kept_scope& operator=(kept_scope&&) = delete;
    ~kept_scope() {
        if (state) {
            state->thread_dropped();
        }
    }

    scope_ptr<Executor> state;
};

template <class Executor>
thread_main<Executor> set_up(own_frame, kept_scope<Executor> kept);
template <class Executor>
thread_main<Executor> clean_up(own_frame, scope_state<Executor>& scope);

/// What a keeper is spawned with: its cancellation slot, and the owner of the signal, which Asio uses to the very end.
/// It is called where the keeper ends, which takes no memory: the end of a cleanup must not need any.
template <class Owner>
struct keeper_end {
    using executor_type = inline_executor;
    using cancellation_slot_type = signal::slot;

    keeper_end(signal::slot s, boost::intrusive_ptr<Owner> o) noexcept : slot{s}, owner{std::move(o)} {}
    keeper_end(keeper_end&&) noexcept = default;
    keeper_end& operator=(keeper_end&&) = delete;
    ~keeper_end() {
        if (owner) {
            slot.clear();  // what Asio has in there has an executor, which must not outlive its context
        }
    }

    inline_executor get_executor() const noexcept { return {}; }

    signal::slot get_cancellation_slot() const noexcept { return slot; }
    void operator()(std::exception_ptr thrown_by_a_handler) const {
        if (thrown_by_a_handler) {
            std::rethrow_exception(thrown_by_a_handler);  // out of the event loop, as from any handler
        }
    }

    signal::slot slot;
    boost::intrusive_ptr<Owner> owner;
};

}  // namespace coraii::detail

#endif
