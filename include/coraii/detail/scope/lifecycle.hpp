// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_SCOPE_LIFECYCLE_HPP
#define CORAII_DETAIL_SCOPE_LIFECYCLE_HPP

#include "coraii/detail/context/registry.hpp"
#include "coraii/detail/context/registry_entry.hpp"
#include "coraii/detail/coroutine/clock.hpp"
#include "coraii/detail/coroutine/recycler.hpp"
#include "coraii/detail/coroutine/waiter.hpp"
#include "coraii/detail/region/region.hpp"
#include "coraii/error.hpp"
#include "coraii/exit_status.hpp"

#include <boost/smart_ptr/intrusive_ptr.hpp>

#include <atomic>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace coraii::detail {

/// What a scope goes through. There is no other flag for any of this.
///
///             begin                co_yield              end of use             claim               resume
///      made ────────▶ setting_up ────────────▶ open ────────────▶ ended ────────▶ queued ────────▶ cleaning ──────┐
///                      │      │                                    ▲                ▲  (open ─▶ cleaning where     │
///                      │      │ end of use               co_yield  │                │   nothing has to wait)       │
///                      │      └────────────▶ unwanted ─────────────┘                │                              │
///                      │                        │                                   │ the executor has no memory:  │
///                      │ setup ends without a   │                                   └─ back to ended               │
///                      │ co_yield, is destroyed │                                                                  │
///                      ▼                        ▼                        the coroutine ends or is destroyed        ▼
///                    closed ◀──────────────────────────────────────────────────────────────────────────────────────┘
///
/// | state      | the coroutine              | who moves it on                    | told then                           |
/// |------------|----------------------------|------------------------------------|-------------------------------------|
/// | made       | has not begun              | who awaits the scope               |                                     |
/// | setting_up | runs setup                 | the coroutine; the user who goes   | the waiter: open, or setup's error  |
/// | unwanted   | runs setup, for nobody     | the coroutine                      | who drains the context              |
/// | open       | paused at its co_yield     | the user (guard, with, exit_stack) |                                     |
/// | ended      | paused; held, or not its   | who drops the last hold; the       |                                     |
/// |            | turn in its region         | region                             |                                     |
/// | queued     | paused; its executor will  | its executor                       |                                     |
/// |            | resume it                  |                                    |                                     |
/// | cleaning   | runs the cleanup           | the coroutine                      | the waiter, or the region and who   |
/// |            |                            |                                    | drains the context: its error       |
/// | closed     | is no more                 |                                    |                                     |
///
/// A context that is destroyed takes a scope from open, ended or queued to cleaning (`context_dies`). A scope that is never
/// awaited goes from made to closed. A resource that comes after its `setup_timeout` goes from setting_up to ended; the
/// waiter is told when that is closed.
enum class scope_state : unsigned char { made, setting_up, unwanted, open, ended, queued, cleaning, closed };

/// What a scope is told of itself before it begins. Most are told nothing.
struct scope_settings : recycled {
    std::string name;
    clock::duration setup_timeout{};  // zero: none
    clock::duration cleanup_timeout{};

    bool has_deadline() const noexcept { return setup_timeout.count() != 0 || cleanup_timeout.count() != 0; }
};

inline void require_positive(clock::duration limit, const char* otherwise) {
    if (limit <= limit.zero()) {
        throw std::invalid_argument(otherwise);
    }
}

/// The state of a scope, whatever its executor, and what is told to whom.
class scope_lifecycle : public registry_entry {
public:
    scope_phase phase() const noexcept override {
        switch (state()) {
            case scope_state::made: return scope_phase::made;
            case scope_state::setting_up:
            case scope_state::unwanted: return scope_phase::setting_up;
            case scope_state::open:
            case scope_state::ended:
            case scope_state::queued: return scope_phase::open;
            case scope_state::cleaning: return scope_phase::closing;
            case scope_state::closed: break;
        }
        return scope_phase::closed;
    }
    std::string_view name() const noexcept override {
        return settings_ && !settings_->name.empty() ? std::string_view{settings_->name} : std::string_view{default_name_};
    }

    scope_state state() const noexcept { return state_.load(); }

    /// Between its `co_yield` and the cleanup.
    bool is_paused() const noexcept { return state() >= scope_state::open && state() < scope_state::cleaning; }

    scope_settings& settings() {
        if (!settings_) {
            settings_ = std::make_unique<scope_settings>();
        }
        return *settings_;
    }

    /// For who runs the cleanup in its own coroutine: true if nobody else holds the scope, so that it may begin.
    bool claim_cleanup_inline(exit_status status) noexcept {
        status_ = std::move(status);
        waited_ = true;
        if (!drop_only_hold()) {
            return false;
        }
        state_.store(scope_state::cleaning, std::memory_order_release);
        registry_->count(&thread_slot::ended);
        return true;
    }

    /// Throws what there is for the waiter, once.
    void rethrow_error() {
        if (error_) {
            std::rethrow_exception(std::exchange(error_, nullptr));
        }
    }

    void* resource_ = nullptr;  // null once the scope is closed
    exit_status status_;  // how the use ended
    std::exception_ptr error_;  // what the coroutine threw; then what the waiter is to be given
    waiter waiter_;  // for the end of setup, then for that of the cleanup: nobody waits for both at once
    boost::intrusive_ptr<registry_entry> held_below_;  // held until this one is closed (exit_stack)
    const char* default_name_ = "";  // for reports, where the user gives none
    bool released_ = false;  // the user took the resource: nothing is to be cleaned
    bool setup_is_awaited_ = true;  // by the waiter; not where an exit_stack has put it on itself
    bool keeps_context_running_ = false;  // while it is open: it is a guard's, not a `with`'s

protected:
    ~scope_lifecycle() override = default;

    /// Nothing is left of it but what was asked for.
    virtual void end() noexcept = 0;

    bool move_state(scope_state from, scope_state to) noexcept { return state_.compare_exchange_strong(from, to); }

    /// The state before. Nobody else moves a scope on that is cleaning.
    scope_state close_state() noexcept {
        if (state() != scope_state::cleaning) {
            return state_.exchange(scope_state::closed);
        }
        state_.store(scope_state::closed, std::memory_order_release);
        return scope_state::cleaning;
    }

    void count_opened() noexcept {
        registry_->count_opened(*this, keeps_context_running_ || registry_->tracking());
    }

    void count_ended() noexcept {
        thread_slot& here = registry_->here();
        here.count(&thread_slot::ended);
        if (status_.reason() == exit_reason::abandoned && !released_) {
            here.count(&thread_slot::abandoned);
        }
    }

    // ---- the end. The coroutine is no more, and the state is `closed`.

    /// `error` is the cleanup's.
    void cleanup_ended(std::exception_ptr error, deliver how = deliver::dispatched) {
        end();
        count_closed(error != nullptr);
        keep_or_report(std::move(error));
        if (setup_timed_out_) {
            error_ = status_.error();  // who waits, waits for the setup still
        }
        drop_below();
        if (waited_) {
            waiter_.set(how);
        } else {
            background_ended(how);
        }
    }

    /// The same where the user's own coroutine has run the cleanup: it goes on by itself.
    void inline_cleanup_ended(std::exception_ptr error) noexcept {
        end();
        count_closed(error != nullptr);
        keep_or_report(std::move(error));
    }

    void setup_failed(bool unwanted) {
        if (!error_) {
            error_ = make_error(errc::no_value);
        }
        end();
        if (unwanted && !waited_) {
            background_ended(deliver::dispatched);
        }
        if (unwanted && waited_) {
            waiter_.set();  // who has ended the use meanwhile
        } else {
            tell_of_setup(deliver::dispatched);
        }
    }

    /// Setup is over. In a dying context nobody can be told: who waits is destroyed.
    void tell_of_setup(deliver how) {
        if (!setup_is_awaited_) {
            return;  // the waiter may be another's already, who waits for the cleanup
        }
        if (registry_->dying()) {
            waiter_.cancel();
        } else {
            waiter_.set(how);
        }
    }

    /// Its coroutine was destroyed on the way, in the state `in`.
    void destroyed(scope_state in) noexcept {
        const bool cleaning = in == scope_state::cleaning;
        if (cleaning && !registry_->dying()) {
            try {
                cleanup_ended(make_error(errc::cleanup_destroyed), deliver::posted);
            } catch (...) {  // no memory to tell the waiter: it goes the way of a waiter whose operation is destroyed
            }
            return;
        }
        end();
        if (cleaning) {
            registry_->count(&thread_slot::failed);
        }
        waiter_.cancel();
        drop_below();
        if ((cleaning || in == scope_state::unwanted) && !waited_) {
            try {
                background_ended(deliver::posted);
            } catch (...) {  // no memory to tell who drains
            }
        }
    }

    void report(const std::exception_ptr& error) noexcept {
        registry_->reports.report({error, status_.error(), name(), where_});
    }

    std::atomic<scope_state> state_{scope_state::made};
    bool waited_ = false;  // somebody waits for the cleanup
    bool setup_timed_out_ = false;  // and has produced the resource nevertheless
    registry* registry_ = nullptr;
    std::unique_ptr<scope_settings> settings_;

private:
    void count_closed(bool failed) noexcept {
        registry_->count(released_ ? &thread_slot::released : failed ? &thread_slot::failed : &thread_slot::cleaned);
    }

    void keep_or_report(std::exception_ptr error) noexcept {
        if (!error) {
            return;
        }
        if (waited_ && !status_.error()) {
            error_ = std::move(error);
        } else if (region_) {
            region_->cleanup_failed(*this, std::move(error));
        } else {
            report(error);
        }
    }

    void drop_below() noexcept {
        if (const auto below = std::exchange(held_below_, nullptr)) {
            below->drop_hold(deliver::posted);
        }
    }

    void background_ended(deliver how) {
        try {
            if (region_) {
                region_->cleaned(*this, how);
            }
        } catch (...) {  // no memory to tell who waits
            registry_->background_ended();
            throw;
        }
        registry_->background_ended();
    }
};

}  // namespace coraii::detail

#endif
