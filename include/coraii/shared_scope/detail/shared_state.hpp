// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_SHARED_SCOPE_DETAIL_SHARED_STATE_HPP
#define CORAII_SHARED_SCOPE_DETAIL_SHARED_STATE_HPP

#include "coraii/async_scope.hpp"
#include "coraii/detail/context/external_wait.hpp"
#include "coraii/detail/context/registry.hpp"
#include "coraii/detail/coroutine/clock.hpp"
#include "coraii/detail/coroutine/coroutine_thread.hpp"
#include "coraii/detail/coroutine/frame.hpp"
#include "coraii/detail/coroutine/recycler.hpp"
#include "coraii/detail/region/listed_wait.hpp"
#include "coraii/detail/region/spawned_thread.hpp"
#include "coraii/detail/scope/enter.hpp"
#include "coraii/detail/scope/scope_use.hpp"
#include "coraii/error.hpp"
#include "coraii/exit_status.hpp"

#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/execution.hpp>
#include <boost/asio/query.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/smart_ptr/intrusive_ptr.hpp>
#include <boost/smart_ptr/intrusive_ref_counter.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

namespace coraii::detail {

/// One resource of a shared scope, from the beginning of its setup to the end of its cleanup: its keeper, a coroutine, sees to
/// both. The shared scope's mutex guards all but the keeper's own, its thread and the use.
template <class Executor>
struct shared_generation : spawned_thread<Executor>,
                           recycled,
                           boost::intrusive_ref_counter<shared_generation<Executor>> {
    enum class phase : unsigned char { setting_up, open, over };

    shared_generation(const Executor& executor, std::uint64_t n) : spawned_thread<Executor>{executor}, number{n} {}

    const std::uint64_t number;  // in the order in which they are begun
    phase now = phase::setting_up;
    scope_use<Executor> use{};  // of the resource: if the keeper is lost, it ends when the last user has left
    std::size_t users = 0;  // who use it, or wait for it
    std::exception_ptr error{};  // of the setup
    bool setup_cancelled = false;  // all had gone. Who waits has come later
    bool replaced = false;
};

/// What a shared scope, its users and its keepers share.
template <class T, class Executor>
class shared_state final : public external_wait {
    using generation = shared_generation<Executor>;

public:
    using generation_ptr = boost::intrusive_ptr<generation>;
    using factory_type = std::function<async_scope<T, Executor>()>;
    using phase = typename generation::phase;

    shared_state(const Executor& executor, factory_type factory, clock::duration linger)
        : linger_{linger},
          factory_{std::move(factory)},
          registry_{&registry::of(asio::query(executor, asio::execution::context))},
          executor_{executor} {}
    ~shared_state() override {
        if (executor_) {
            registry_->waits.remove(*this);
        }
    }
    shared_state(const shared_state&) = delete;
    shared_state& operator=(const shared_state&) = delete;

    /// So that it is told when its context dies.
    void enlist() { registry_->waits.add(*this); }

    // ---- users

    /// Adds a user. Errors: `errc::scope_closed`; what prevents a keeper.
    generation_ptr join() {
        std::unique_lock lock{mutex_};
        if (closed_) {
            throw_error(errc::scope_closed);
        }
        const generation_ptr joined = current_ ? current_ : next_;
        ++users_;
        if (joined) {
            ++joined->users;
            changes_.wake_all();  // it may be about to be cleaned
            return joined;
        }
        return begin_next(std::move(lock), true);
    }

    /// For a reload: a setup that has begun after that of `number`, with one more who waits for it; or an earlier one that is
    /// under way; null if there is nothing to reload.
    generation_ptr join_setup_after(std::uint64_t number) {
        std::unique_lock lock{mutex_};
        if (next_) {
            next_->users += next_->number > number ? 1 : 0;
            return next_;
        }
        return current_ && !closed_ ? begin_next(std::move(lock), false) : nullptr;
    }
    std::uint64_t last_begun() const noexcept {
        const std::lock_guard lock{mutex_};
        return begun_;
    }

    /// The last to go cancels the setup.
    void leave(generation& left, bool is_user) noexcept {
        std::optional<Executor> executor;
        const generation_ptr alive{&left};
        {
            const std::lock_guard lock{mutex_};
            users_ -= is_user ? 1 : 0;
            if (--left.users == 0 && left.now == phase::setting_up && !left.setup_cancelled) {
                left.setup_cancelled = true;
                executor = executor_;
            }
            if (current_ && linger_ == linger_.zero() && is_unused(*current_)) {
                current_.reset();
            }
            if (left.users == 0 || users_ == 0) {
                changes_.wake_all();
            }
        }
        if (executor) {
            try {
                asio::dispatch(*executor, [alive] { alive->cancel(asio::cancellation_type::terminal); });
            } catch (...) {  // no memory, or an operation that setup begins then: it goes on, or fails
            }
        }
    }

    // ---- keepers

    async_scope<T, Executor> make() const { return factory_(); }
    clock::time_point linger_end() const noexcept {
        const auto now = clock::now();
        return linger_ < (clock::time_point::max)() - now ? now + linger_ : (clock::time_point::max)();
    }
    bool is_unused(const generation& kept) const noexcept {
        return kept.users == 0 && (kept.replaced || closed_ || users_ == 0);
    }
    bool may_linger(const generation& kept) const noexcept {
        return linger_ > linger_.zero() && !kept.replaced && !closed_ && is_unused(kept);
    }

    void opened(generation& kept) noexcept {
        const std::lock_guard lock{mutex_};
        kept.now = phase::open;
        ++opened_;
        next_.reset();
        if (current_) {
            current_->replaced = true;
        }
        current_.reset(&kept);
        changes_.wake_all();
    }

    /// From here on nobody gets it. False if somebody has come meanwhile.
    bool retire(generation& kept) noexcept {
        const std::lock_guard lock{mutex_};
        if (!is_unused(kept)) {
            return false;
        }
        forget(kept);
        return true;
    }

    /// Its keeper is over; the error is that of the setup.
    void ended(generation& kept, std::exception_ptr error) noexcept {
        const std::lock_guard lock{mutex_};
        if (kept.now == phase::setting_up) {
            kept.error = error ? std::move(error) : make_error(errc::scope_closed);  // its coroutine was destroyed
        }
        kept.now = phase::over;
        forget(kept);
        --alive_;
        changes_.wake_all();
    }

    void report(const cleanup_failure& failure) const noexcept { registry_->reports.report(failure); }

    // ---- the shared scope's own

    void close() noexcept {
        const std::lock_guard lock{mutex_};
        closed_ = true;
        changes_.wake_all();
    }
    bool is_over() const noexcept { return alive_ == 0; }

    template <class Stats>
    Stats stats() const noexcept {
        const std::lock_guard lock{mutex_};
        return {users_, opened_, current_ != nullptr};
    }

    void forget() noexcept override {
        const std::lock_guard lock{mutex_};
        executor_.reset();
        closed_ = true;
        changes_.wake_all();
    }
    void cancel() noexcept override {}

    mutable std::mutex mutex_;
    wait_list changes_;

private:
    generation_ptr begin_next(std::unique_lock<std::mutex> lock, bool for_user);

    void forget(generation& kept) noexcept {
        if (current_.get() == &kept) {
            current_.reset();
        }
        if (next_.get() == &kept) {
            next_.reset();
        }
    }

    const clock::duration linger_;
    const factory_type factory_;
    registry* const registry_;

    std::optional<Executor> executor_;  // until its context dies
    generation_ptr current_;  // who comes uses it
    generation_ptr next_;  // is being set up
    std::size_t users_ = 0;
    std::size_t alive_ = 0;  // keepers
    std::uint64_t begun_ = 0;
    std::uint64_t opened_ = 0;
    bool closed_ = false;
};

template <class T, class Executor>
using shared_ptr_to = std::shared_ptr<shared_state<T, Executor>>;

/// A keeper's part in its generation. A parameter of its coroutine, so that it also tells of one that is destroyed.
template <class T, class Executor>
class keeper_part {
public:
    keeper_part(shared_ptr_to<T, Executor> s, boost::intrusive_ptr<shared_generation<Executor>> k) noexcept
        : state{std::move(s)}, kept{std::move(k)} {}
    keeper_part(keeper_part&&) noexcept = default;
    keeper_part& operator=(keeper_part&&) = delete;
    ~keeper_part() {
        if (state) {
            state->ended(*kept, std::move(error));
            kept->end();
        }
    }

    shared_ptr_to<T, Executor> state;
    boost::intrusive_ptr<shared_generation<Executor>> kept;
    std::exception_ptr error{};
};

template <class T, class Executor>
thread_main<Executor> keep_shared(own_frame, keeper_part<T, Executor> part) {
    shared_state<T, Executor>& state = *part.state;
    shared_generation<Executor>& kept = *part.kept;
    try {
        const asio::cancellation_state caller = co_await asio::this_coro::cancellation_state;
        const Executor executor = co_await asio::this_coro::executor;
        async_scope<T, Executor> made = state.make();
        kept.use = scope_use<Executor>{scope_access::claim(made)};
        co_await set_up(*kept.use.get(), executor, caller);
        kept.use->rethrow_error();
    } catch (...) { part.error = std::current_exception(); }
    if (part.error) {
        co_return;
    }
    co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());  // it was for the setup
    state.opened(kept);
    do {
        auto unused =
            wait_until<Executor>(own_frame{}, state.mutex_, state.changes_, [&] { return state.is_unused(kept); });
        co_await std::move(unused);
        auto lingers = wait_until<Executor>(
            own_frame{}, state.mutex_, state.changes_, [&] { return !state.may_linger(kept); }, state.linger_end());
        co_await std::move(lingers);
    } while (!state.retire(kept));
    const scope_ptr<Executor> scope = kept.use.take();
    co_await end_use_and_wait(*scope, exit_status{exit_reason::completed});
    if (const std::exception_ptr error = std::exchange(scope->error_, nullptr)) {
        state.report({error, nullptr, scope->name(), scope->where_});
    }
}

template <class T, class Executor>
auto shared_state<T, Executor>::begin_next(std::unique_lock<std::mutex> lock, bool for_user) -> generation_ptr {
    generation_ptr begun;
    try {
        if (!executor_) {
            throw_error(errc::scope_closed);
        }
        begun.reset(new generation{*executor_, begun_ + 1});
    } catch (...) {
        users_ -= for_user ? 1 : 0;
        throw;
    }
    next_ = begun;
    begun->users = 1;
    ++begun_;
    ++alive_;
    lock.unlock();
    try {
        keeper_part<T, Executor> part{std::static_pointer_cast<shared_state>(this->shared_from_this()), begun};
        begun->start(keep_shared<T, Executor>(own_frame{}, std::move(part)));
    } catch (...) {
        leave(*begun, for_user);
        throw;
    }
    return begun;
}

}  // namespace coraii::detail

#endif
