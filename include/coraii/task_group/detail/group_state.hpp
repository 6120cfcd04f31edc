// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_TASK_GROUP_DETAIL_GROUP_STATE_HPP
#define CORAII_TASK_GROUP_DETAIL_GROUP_STATE_HPP

#include "coraii/detail/context/registry.hpp"
#include "coraii/detail/context/registry_entry.hpp"
#include "coraii/detail/coroutine/awaited.hpp"
#include "coraii/detail/coroutine/coroutine_thread.hpp"
#include "coraii/detail/coroutine/frame.hpp"
#include "coraii/detail/coroutine/recycler.hpp"
#include "coraii/detail/coroutine/waiter.hpp"
#include "coraii/detail/region/listed_wait.hpp"
#include "coraii/detail/region/spawned_thread.hpp"
#include "coraii/detail/scope/scope_deadline.hpp"
#include "coraii/error.hpp"

#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/execution.hpp>
#include <boost/asio/query.hpp>
#include <boost/smart_ptr/intrusive_ptr.hpp>
#include <boost/smart_ptr/intrusive_ref_counter.hpp>

#include <cstddef>
#include <exception>
#include <mutex>
#include <optional>
#include <utility>

namespace coraii::detail {

/// A child of a group. The group's mutex guards all but its thread.
template <class Executor>
struct group_child : spawned_thread<Executor>, recycled, boost::intrusive_ref_counter<group_child<Executor>> {
    using spawned_thread<Executor>::spawned_thread;

    group_child* previous = nullptr;
    group_child* next = nullptr;
    boost::intrusive_ptr<group_child> next_to_cancel{};
    asio::cancellation_type_t to_come = asio::cancellation_type::none;  // not `none`: it is in that list
    bool cancelled = false;
    bool spawned = false;
};

/// What a group, its scope and its children share.
template <class Executor>
class group_state : public recycled, public boost::intrusive_ref_counter<group_state<Executor>> {
    using child_type = group_child<Executor>;
    using child_ptr = boost::intrusive_ptr<child_type>;
    using group_ptr = boost::intrusive_ptr<group_state>;

public:
    group_state(const Executor& executor, registry_entry& scope, std::size_t max_running)
        : executor_{executor},
          registry_{&registry::of(asio::query(executor, asio::execution::context))},
          scope_{&scope},
          max_running_{max_running} {}

    const Executor& executor() const noexcept { return executor_; }
    registry& scopes() const noexcept { return *registry_; }
    std::size_t size() noexcept {
        const std::lock_guard lock{mutex_};
        return size_;
    }

    // ---- children

    /// A new child; null if `limited`, and as many are running as may. Errors: `errc::scope_closed`.
    child_ptr add(bool limited) {
        const std::lock_guard lock{mutex_};
        if (closed_) {
            throw_error(errc::scope_closed);
        }
        if (limited && size_ >= max_running_) {
            return nullptr;
        }
        child_ptr child{new child_type{executor_}};
        child->next = std::exchange(first_, child.get());
        if (child->next != nullptr) {
            child->next->previous = child.get();
        }
        ++size_;
        return child;
    }

    /// Its coroutine is over, with that error. Lets out what a coroutine throws that goes on then.
    void ended(child_type& child, std::exception_ptr error, deliver how = deliver::dispatched) {
        const group_ptr alive{this};
        std::exception_ptr first;
        bool last = false;
        {
            const std::lock_guard lock{mutex_};
            remove(child);
            if (error && !(child.cancelled && is_only_of_the_cancel(error))) {
                closed_ = true;
                queue_cancel(asio::cancellation_type::terminal);
                first = error_;
                if (!error_) {
                    error_ = error;
                }
            }
            last = size_ == 0 && leaving_;
            closed_ = closed_ || last;
            if (size_ == 0) {
                joining_.wake_all();
            }
            if (closed_ || size_ < max_running_) {
                for_room_.wake_all();
            }
        }
        call_on_executor();
        if (first) {
            report(error, first);
        }
        if (last) {
            registry_->dying() ? none_left_.cancel() : none_left_.set(how);
        }
    }

    /// Its coroutine was destroyed.
    void lost(child_type& child) noexcept {
        std::unique_lock lock{mutex_};
        const bool failed = child.spawned && !registry_->dying();
        lock.unlock();
        try {
            ended(child, failed ? make_error(errc::child_destroyed) : nullptr, deliver::posted);
        } catch (...) {  // no memory to tell the scope's coroutine: it is destroyed
        }
    }

    /// What is lost from now on is lost to who spawned it.
    void spawned(child_type& child) noexcept {
        const std::lock_guard lock{mutex_};
        child.spawned = true;
    }

    // ---- those who wait

    bool is_empty() const noexcept { return size_ == 0; }
    bool has_room() const noexcept { return closed_ || size_ < max_running_; }

    std::exception_ptr take_error() noexcept {
        const std::lock_guard lock{mutex_};
        return std::exchange(error_, nullptr);
    }

    // ---- the end

    void cancel(asio::cancellation_type_t type) noexcept {
        {
            const std::lock_guard lock{mutex_};
            queue_cancel(type);
        }
        call_on_executor();
    }

    /// Nobody is spawned any more, and those who run are cancelled.
    void stop() noexcept {
        {
            const std::lock_guard lock{mutex_};
            closed_ = true;
            for_room_.wake_all();
        }
        cancel(asio::cancellation_type::terminal);
    }

    /// The scope is left. True if no child is left; else the last of them sets `none_left_`.
    bool leave(bool completed) noexcept {
        if (!completed) {
            stop();
        }
        const std::lock_guard lock{mutex_};
        leaving_ = true;
        closed_ = closed_ || size_ == 0;
        return size_ == 0;
    }

    std::mutex mutex_;
    wait_list joining_;  // until it is empty
    wait_list for_room_;
    waiter none_left_;

private:
    void remove(child_type& child) noexcept {
        (child.previous != nullptr ? child.previous->next : first_) = child.next;
        if (child.next != nullptr) {
            child.next->previous = child.previous;
        }
        --size_;
    }

    // A cancel may run any code, which may end children or cancel them once more: so it is queued under the mutex, and
    // done without it.
    void queue_cancel(asio::cancellation_type_t type) noexcept {
        if (type == asio::cancellation_type::none) {
            return;
        }
        for (child_type* child = first_; child != nullptr; child = child->next) {
            child->cancelled = true;
            if (std::exchange(child->to_come, child->to_come | type) == asio::cancellation_type::none) {
                child->next_to_cancel = std::exchange(to_cancel_, child);
            }
        }
    }

    void call_on_executor() noexcept {
        std::unique_lock lock{mutex_};
        if (to_cancel_) {
            lock.unlock();
            call_on(executor_, [self = group_ptr{this}] { self->cancel_queued(); });
        }
    }

    void cancel_queued() noexcept {
        for (;;) {
            std::unique_lock lock{mutex_};
            const child_ptr child = std::move(to_cancel_);
            if (!child) {
                return;
            }
            to_cancel_ = std::move(child->next_to_cancel);
            const auto type = std::exchange(child->to_come, asio::cancellation_type::none);
            lock.unlock();
            try {
                child->cancel(type);
            } catch (...) {  // an operation that the child begins then: it is destroyed
                report(std::current_exception(), nullptr);
            }
        }
    }

    void report(const std::exception_ptr& error, const std::exception_ptr& instead) noexcept {
        registry_->reports.report({error, instead, scope_->name(), scope_->where_});
    }

    const Executor executor_;
    registry* const registry_;
    const boost::intrusive_ptr<registry_entry> scope_;  // for reports
    const std::size_t max_running_;

    child_type* first_ = nullptr;
    std::size_t size_ = 0;
    child_ptr to_cancel_;
    std::exception_ptr error_;  // the first, until it is thrown
    bool closed_ = false;
    bool leaving_ = false;
};

template <class Executor>
using group_ptr = boost::intrusive_ptr<group_state<Executor>>;

/// A child's part in its group. A parameter of its coroutine, so that it also tells of one that is destroyed.
template <class Executor>
class child_part {
public:
    child_part(group_ptr<Executor> group, boost::intrusive_ptr<group_child<Executor>> child) noexcept
        : group_{std::move(group)}, child_{std::move(child)} {}
    child_part(child_part&&) noexcept = default;
    child_part& operator=(child_part&&) = delete;
    ~child_part() {
        if (group_) {
            group_->lost(*child_);
        }
        if (child_) {
            child_->end();
        }
    }

    void ended(std::exception_ptr error) {
        group_ptr<Executor> {
            std::move(group_)
        } -> ended(*child_, std::move(error));
    }

private:
    group_ptr<Executor> group_;
    boost::intrusive_ptr<group_child<Executor>> child_;
};

template <class Executor, class F>
thread_main<Executor> run_child(own_frame, child_part<Executor> part, std::optional<F> child) {
    std::exception_ptr error;
    try {
        co_await start_setup(*child);
    } catch (...) { error = std::current_exception(); }
    child.reset();
    part.ended(std::move(error));
}

/// False, and `child` is untouched, if it is `limited` and there is no room.
template <class Executor, class F>
bool spawn_child(const group_ptr<Executor>& group, F& child, bool limited) {
    const boost::intrusive_ptr<group_child<Executor>> added = group->add(limited);
    if (!added) {
        return false;
    }
    child_part<Executor> part{group, added};
    auto main = run_child<Executor, F>(own_frame{}, std::move(part), std::optional<F>{std::move(child)});
    added->start(std::move(main));
    group->spawned(*added);
    return true;
}

}  // namespace coraii::detail

#endif
