// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_KEPT_SCOPE_HPP
#define CORAII_DETAIL_KEPT_SCOPE_HPP

#include "coraii/detail/coroutine_thread.hpp"
#include "coraii/detail/frame.hpp"

#include <boost/smart_ptr/intrusive_ptr.hpp>

#include <utility>

namespace coraii::detail {

template <class Executor>
class scope_state;

template <class Executor>
using scope_ptr = boost::intrusive_ptr<scope_state<Executor>>;

/// Where the caller of a function that is to run something on an executor is.
enum class where_we_are : bool { on_it, anywhere };

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

}  // namespace coraii::detail

#endif
