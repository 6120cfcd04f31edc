// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_SCOPE_SCOPE_FRAME_HPP
#define CORAII_DETAIL_SCOPE_SCOPE_FRAME_HPP

#include "coraii/detail/coroutine/coroutine_thread.hpp"
#include "coraii/detail/coroutine/frame.hpp"
#include "coraii/detail/coroutine/recycler.hpp"
#include "coraii/detail/scope/scope_core.hpp"

#include <coroutine>
#include <cstddef>
#include <exception>
#include <new>

namespace coraii::detail {

/// The promise of a coroutine that awaits those of scopes, and is told on the spot when one pauses or ends: then it need
/// not be resumed. It may destroy that scope's coroutine.
template <class Executor>
class task_keeper : public frame_promise<void, Executor> {
public:
    void returned() noexcept { returned_(*this); }

protected:
    explicit task_keeper(void (*on_return)(task_keeper&) noexcept) noexcept : returned_{on_return} {}

private:
    void (*returned_)(task_keeper&) noexcept;
};

/// The promise of a scope's coroutine: one of Asio's that can be the lowest of a coroutine thread, and that can pause.
/// Pausing gives control back to whoever awaits the coroutine, as if it had ended; so it can be awaited once more.
template <class Executor>
class scope_frame : public frame_promise<thread_entry, Executor> {
    using core_type = scope_core<Executor>;

public:
    using typename frame_promise<thread_entry, Executor>::asio_base;

    static void* operator new(std::size_t size) {
        const std::size_t block_size = core_type::frame_offset() + size;
        void* const block = recycler::allocate(block_size);
        ::new (block) core_type{block_size};
        return static_cast<std::byte*>(block) + core_type::frame_offset();
    }
    static void operator delete(void* frame, std::size_t) noexcept { core_type::of_frame(frame).frame_destroyed(); }

    void unhandled_exception() noexcept {
        if (!core().error_) {
            core().error_ = std::current_exception();
        }
    }

    auto final_suspend() noexcept {
        struct end {
            scope_frame& frame;

            bool await_ready() const noexcept { return false; }
            void await_suspend(std::coroutine_handle<>) const noexcept {
                frame.template give_control_back<&scope_coroutine<Executor>::ended>();
            }
            void await_resume() const noexcept {}
        };
        return end{*this};
    }

protected:
    core_type& core() noexcept {
        return core_type::of_frame(std::coroutine_handle<asio_base>::from_promise(*this).address());
    }

    void pause() noexcept {
        if (core().is_inline()) {
            core().paused_inline();
        }
        give_control_back<&scope_coroutine<Executor>::paused>();
    }

    /// On a thread of its own, `Tell` is called when the coroutine is suspended.
    template <void (scope_coroutine<Executor>::*Tell)(bool)>
    void give_control_back() noexcept {
        core_type& scope = core();
        if (scope.is_inline()) {
            any_frame<Executor>* const caller = this->caller_;
            const bool tells_caller = scope.tells_caller_;
            this->pop_frame();
            return tells_caller ? static_cast<task_keeper<Executor>*>(caller)->returned() : void();
        }
        const bool stayed = !has_suspended(*this);
        scope.thread_.emplace(*this);
        this->after_suspend(stayed ? tell<Tell, true> : tell<Tell, false>, &scope);
    }

    /// For the next time. (Taking the thread over has counted as a suspension.)
    void resumed() noexcept {
        if (!core().is_inline()) {
            has_suspended(*this) = false;
        }
    }

    /// As `get_return_object` of Asio's, which would give somebody else the coroutine to own.
    void set_handle() noexcept { this->coro_ = std::coroutine_handle<asio_base>::from_promise(*this); }

private:
    template <void (scope_coroutine<Executor>::*Tell)(bool), bool Stayed>
    static void tell(void* scope) {
        (static_cast<core_type*>(scope)->*Tell)(Stayed);
    }
};

#if defined(CORAII_SEPARATE_COMPILATION)
extern template class scope_frame<asio::any_io_executor>;
#endif

}  // namespace coraii::detail

#endif
