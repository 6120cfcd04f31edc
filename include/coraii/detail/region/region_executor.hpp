// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_REGION_REGION_EXECUTOR_HPP
#define CORAII_DETAIL_REGION_REGION_EXECUTOR_HPP

#include "coraii/detail/context/code_origin.hpp"
#include "coraii/detail/context/registry_entry.hpp"
#include "coraii/detail/region/region.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/execution.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/query.hpp>
#include <boost/asio/require.hpp>
#include <boost/asio/strand.hpp>
#include <boost/smart_ptr/intrusive_ptr.hpp>

#include <concepts>
#include <type_traits>
#include <utility>

namespace coraii::detail {

/// Runs code on the executor that a region was entered on, as code of the region, or of a scope in it.
class CORAII_VISIBLE region_executor {
    template <class F>
    class code {
    public:
        code(boost::intrusive_ptr<region> where, boost::intrusive_ptr<registry_entry> scope, F f)
            : where_{std::move(where)}, scope_{std::move(scope)}, f_{std::move(f)} {}

        void operator()() {
            const current_origin here{where_->scopes(), {where_.get(), scope_.get()}};
            F f = std::move(f_);
            std::move(f)();
        }

    private:
        boost::intrusive_ptr<region> where_;
        boost::intrusive_ptr<registry_entry> scope_;
        F f_;
    };

public:
    explicit region_executor(region& r, boost::intrusive_ptr<registry_entry> scope = nullptr) noexcept
        : region_{&r}, scope_{std::move(scope)} {
        region_->executor_copied();
    }
    region_executor(const region_executor& other) noexcept
        : region_executor{other.with(other.never_, other.tracked_)} {}
    region_executor(region_executor&& other) noexcept
        : region_{std::exchange(other.region_, nullptr)},
          scope_{std::move(other.scope_)},
          never_{other.never_},
          tracked_{other.tracked_} {}
    region_executor& operator=(region_executor other) noexcept {
        std::swap(region_, other.region_);
        scope_.swap(other.scope_);
        std::swap(never_, other.never_);
        std::swap(tracked_, other.tracked_);
        return *this;
    }
    ~region_executor() {
        if (region_ != nullptr) {
            if (tracked_) {
                region_->work_ended();
            }
            region_->executor_destroyed();
        }
    }

    code_origin origin() const noexcept { return {region_, scope_.get()}; }

    /// The executor that the region was entered on.
    const asio::any_io_executor& base() const noexcept { return region_->executor(); }

    /// The same, for the code of `scope`, which is being set up here.
    region_executor for_scope(registry_entry& scope) const noexcept {
        // What is open has no cleanup of which another could be a part, and a chain of such would never end.
        if (scope_ && scope_->phase() != scope_phase::open && scope_->phase() != scope_phase::closed) {
            scope.parent_scope_ = scope_;
        }
        return region_executor{*region_, &scope};
    }

    /// `f`, as a function that runs inside.
    template <class F>
    code<std::decay_t<F>> inside(F&& f) const {
        return {boost::intrusive_ptr<region>{region_}, scope_, std::forward<F>(f)};
    }

    asio::execution_context& query(asio::execution::context_t) const {
        return asio::query(base(), asio::execution::context);
    }
    asio::execution::blocking_t query(asio::execution::blocking_t) const noexcept {
        if (never_) {
            return asio::execution::blocking.never;
        }
        return asio::execution::blocking.possibly;
    }
    asio::execution::outstanding_work_t query(asio::execution::outstanding_work_t) const noexcept {
        if (tracked_) {
            return asio::execution::outstanding_work.tracked;
        }
        return asio::execution::outstanding_work.untracked;
    }
    region_executor require(asio::execution::blocking_t::never_t) const noexcept { return with(true, tracked_); }
    region_executor require(asio::execution::blocking_t::possibly_t) const noexcept { return with(false, tracked_); }
    region_executor require(asio::execution::outstanding_work_t::tracked_t) const noexcept {
        return with(never_, true);
    }
    region_executor require(asio::execution::outstanding_work_t::untracked_t) const noexcept {
        return with(never_, false);
    }

    template <class F>
    void execute(F&& f) const {
        if (never_) {
            asio::require(base(), asio::execution::blocking.never).execute(inside(std::forward<F>(f)));
        } else {
            base().execute(inside(std::forward<F>(f)));
        }
    }

    friend bool operator==(const region_executor& a, const region_executor& b) noexcept {
        return a.region_ == b.region_ && a.scope_ == b.scope_ && a.never_ == b.never_;
    }

private:
    region_executor with(bool never, bool tracked) const noexcept {
        region_executor other{*region_, scope_};
        other.never_ = never;
        other.track(tracked);
        return other;
    }
    void track(bool on) noexcept {
        if (on) {
            region_->work_began();
            tracked_ = true;
        }
    }

    region* region_;  // counted as an executor
    boost::intrusive_ptr<registry_entry> scope_;
    bool never_ = false;  // never blocks the caller
    bool tracked_ = false;
};

/// The executor itself, or the one that its region was entered on.
template <class Executor>
const Executor& without_region(const Executor& executor) noexcept {
    if constexpr (std::same_as<Executor, asio::any_io_executor>) {
        if (const auto* inside = executor.template target<region_executor>()) {
            return inside->base();
        }
    }
    return executor;
}

/// The executor for the code of `scope`, which is being set up on `executor`.
template <class Executor>
Executor for_scope(const Executor& executor, registry_entry& scope) {
    if constexpr (std::same_as<Executor, asio::any_io_executor>) {
        if (const auto* inside = executor.template target<region_executor>()) {
            return inside->for_scope(scope);
        }
    }
    return executor;
}

template <class Executor>
code_origin origin_of(const Executor& executor) noexcept {
    if constexpr (std::same_as<Executor, asio::any_io_executor>) {
        if (const auto* inside = executor.template target<region_executor>()) {
            return inside->origin();
        }
        // A strand that we are on runs things at once, and does not ask its inner executor.
        if (const auto* strand = executor.template target<asio::strand<asio::any_io_executor>>()) {
            return origin_of(strand->get_inner_executor());
        }
    }
    return {};
}

}  // namespace coraii::detail

#endif
