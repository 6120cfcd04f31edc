// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_SCOPE_LIFE_HPP
#define CORAII_DETAIL_SCOPE_LIFE_HPP

#include "coraii/detail/completion.hpp"
#include "coraii/detail/region.hpp"
#include "coraii/detail/registry.hpp"
#include "coraii/detail/scope_record.hpp"
#include "coraii/detail/waiter.hpp"
#include "coraii/error.hpp"
#include "coraii/exit_status.hpp"

#include <boost/smart_ptr/intrusive_ptr.hpp>

#include <atomic>
#include <exception>
#include <utility>

namespace coraii::detail {

/// What a scope goes through, whatever its executor: open, left, cleaned, and who is told.
struct scope_life : scope_record {
    // ---- where nobody can cancel the user: in the user's own coroutine

    void opened_inline() noexcept {
        count_opened();
        phase_.store(scope_phase::open, std::memory_order_release);
    }

    /// True if nobody else holds the scope, and the caller may run the cleanup itself.
    bool leave_inline(exit_status status) noexcept {
        status_ = std::move(status);
        waited_ = true;
        if (!is_only_reference() && !nobody_else_holds()) {
            return false;
        }
        left_ = true;
        phase_.store(scope_phase::closing, std::memory_order_release);
        registry_->counts.left(false);
        return true;
    }

    void finish_inline(std::exception_ptr error) {
        end();
        ended(std::move(error));
    }

    // ---- the end

    /// The cleanup is over, in whatever way, and the coroutine with it.
    void finish(std::exception_ptr error, deliver how = deliver::dispatched) {
        if (timed_out_) {
            error = make_error(errc::cleanup_timeout);
        }
        end();
        ended(std::move(error));
        drop_below();
        if (waited_) {
            when_cleaned_.happen(how);
        } else {
            background_ended(how);
        }
    }

    void setup_failed(std::exception_ptr error) {
        if (!error_) {
            error_ = error ? std::move(error) : make_error(errc::no_value);
        }
        end();
        if (left_) {
            background_ended(deliver::dispatched);
        }
        when_opened_.happen();
    }

    /// Throws what there is for the waiter, once.
    void rethrow_error() {
        if (error_) {
            std::rethrow_exception(std::exchange(error_, nullptr));
        }
    }

    bool released_ = false;  // the user took the resource; there is nothing to clean
    bool guarded_ = false;  // not in a `with`: the context is kept running, and knows it
    void* value_ = nullptr;
    exit_status status_;
    std::exception_ptr error_;  // for the waiter: what setup threw, or cleanup
    waiter when_opened_;  // or setup has failed
    waiter when_cleaned_;
    boost::intrusive_ptr<scope_record> below_;  // held until this one is clean (exit_stack)

protected:
    /// Nothing is left of it but what was asked for.
    virtual void end() noexcept = 0;

    void count_opened() noexcept {
        const bool listed = guarded_ || registry_->tracking();
        registry_->count_opened(*this, listed);
        if (listed) {
            registry_->add(*this);
        }
    }

    bool nobody_else_holds() noexcept {
        unsigned only_mine = 1;
        return holds_.compare_exchange_strong(only_mine, 0);
    }

    /// True for the one who is to run the cleanup.
    bool claim_cleanup() noexcept {
        scope_phase expected = scope_phase::open;
        if (!phase_.compare_exchange_strong(expected, scope_phase::closing)) {
            return false;
        }
        owner_ = nullptr;
        registry_->counts.left(status_.reason() == exit_reason::abandoned && !released_);
        return true;
    }

    /// Its coroutine was destroyed in that phase.
    void destroyed_in(scope_phase phase) noexcept {
        if (phase == scope_phase::closing && !registry_->dying()) {
            try {
                finish(make_error(errc::cleanup_destroyed), deliver::posted);
            } catch (...) {  // no memory to tell the waiter: it goes the way of a waiter whose operation is destroyed
            }
            return;
        }
        end();
        if (phase == scope_phase::closing) {
            registry_->counts.failed();
        }
        when_opened_.forget();
        when_cleaned_.forget();
        drop_below();
        if (left_ && !waited_) {
            background_ended(deliver::posted);
        }
    }

    registry* registry_ = nullptr;
    boost::intrusive_ptr<scope_record> owner_;  // itself, between the user's leaving and the cleanup
    bool left_ = false, waited_ = false;
    bool timed_out_ = false;

private:
    void ended(std::exception_ptr error) {
        if (released_) {
            registry_->counts.released();
        } else if (error) {
            registry_->counts.failed();
        } else {
            registry_->counts.cleaned();
        }
        if (error && waited_ && !status_.error()) {
            error_ = std::move(error);
        } else if (error && region_) {
            region_->cleanup_failed(*this, std::move(error));
        } else if (error) {
            registry_->report({error, status_.error(), name_, where_});
        }
    }

    void drop_below() noexcept {
        if (const auto below = std::exchange(below_, nullptr)) {
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
