// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_REGION_IMPL_REGION_IPP
#define CORAII_DETAIL_REGION_IMPL_REGION_IPP

#include "coraii/detail/context/code_origin.hpp"
#include "coraii/detail/context/registry.hpp"
#include "coraii/detail/context/registry_entry.hpp"
#include "coraii/detail/coroutine/waiter.hpp"
#include "coraii/detail/region/region.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/execution.hpp>
#include <boost/asio/prefer.hpp>
#include <boost/smart_ptr/intrusive_ptr.hpp>

#include <atomic>
#include <exception>
#include <mutex>
#include <utility>

namespace coraii::detail {

region* region::drop_here(registry_entry& entry, registry& scopes) noexcept {
    const code_origin now = current_origin::get(scopes);
    if (now.inside == nullptr) {
        return nullptr;
    }
    for (registry_entry* by = now.scope; by != nullptr; by = by->parent_scope_.get()) {
        if (by->phase() > scope_phase::open && by->region_ && by->region_->add(entry, by)) {
            return by->region_.get();
        }
    }
    region* here = open_around(now.inside);
    while (here != nullptr && !here->add(entry, nullptr)) {
        here = open_around(here->outer_.get());
    }
    return here;
}

bool region::is_turn_of(registry_entry& entry) noexcept {
    const std::lock_guard lock{mutex_};
    if (entry.clean_) {
        return false;
    }
    registry_entry*& cleaning = siblings_of(entry).cleaning;
    if (cleaning == nullptr || abandoned_) {
        cleaning = &entry;
        entry.has_turn_ = true;
    }
    return entry.has_turn_;
}

void region::cleanup_failed(registry_entry& entry, std::exception_ptr error) noexcept {
    std::exception_ptr first;
    {
        const std::lock_guard lock{mutex_};
        if (!error_ && !abandoned_) {
            failed_.reset(&entry);
            error_ = std::move(error);
            return;
        }
        first = error_;
    }
    registry_->reports.report({std::move(error), std::move(first), entry.name(), entry.where_});
}

void region::cleaned(registry_entry& entry, deliver how) {
    const boost::intrusive_ptr<region> alive{this};
    std::unique_lock lock{mutex_};
    entry.clean_ = true;
    const boost::intrusive_ptr<registry_entry> gone{&entry, false};  // counted by `add`
    leave_place_to_dropped(entry);
    remove(entry);
    advance(std::move(lock), how);
}

void region::body_ended() {
    std::unique_lock lock{mutex_};
    body_ended_ = true;
    advance(std::move(lock), deliver::dispatched);
}

void region::body_destroyed() noexcept {
    std::unique_lock lock{mutex_};
    abandoned_ = true;
    open_.store(false);
    region* const around = open_around(outer_.get());
    if ((dropped_.first != nullptr || abandoned_inside_ != 0) && around != nullptr && around->wait_for_abandoned()) {
        outer_waits_.reset(around);
    }
    advance(std::move(lock), deliver::posted);
    report(nullptr);
    when_over_.cancel();
}

std::exception_ptr region::take_error() noexcept {
    const std::lock_guard lock{mutex_};
    failed_.reset();  // it may refer to us
    return std::exchange(error_, nullptr);
}

void region::report(const std::exception_ptr& earlier) noexcept {
    std::unique_lock lock{mutex_};
    const boost::intrusive_ptr<registry_entry> failed = failed_;
    lock.unlock();
    if (failed) {
        registry_->reports.report({take_error(), earlier, failed->name(), failed->where_});
    }
}

void region::executor_copied() noexcept {
    if (executors_.fetch_add(1) == 0) {
        intrusive_ptr_add_ref(this);
    }
}

void region::executor_destroyed() noexcept {
    if (executors_.fetch_sub(1) == 1) {
        const boost::intrusive_ptr<region> last{this, false};
        executor_ = {};
    }
}

void region::work_began() noexcept {
    for (unsigned now = work_count_.load(); now > 0;) {
        if (work_count_.compare_exchange_weak(now, now + 1)) {
            return;
        }
    }
    const std::lock_guard lock{work_mutex_};
    if (work_count_.load() == 0) {
        work_ = asio::prefer(executor_, asio::execution::outstanding_work.tracked);
    }
    work_count_.fetch_add(1);
}

void region::work_ended() noexcept {
    for (unsigned now = work_count_.load(); now > 1;) {
        if (work_count_.compare_exchange_weak(now, now - 1)) {
            return;
        }
    }
    asio::any_io_executor unused;
    const std::lock_guard lock{work_mutex_};
    if (work_count_.fetch_sub(1) == 1) {
        unused.swap(work_);
    }
}

region* region::open_around(region* r) noexcept {
    while (r != nullptr && !r->open_.load()) {
        r = r->outer_.get();
    }
    return r;
}

bool region::add(registry_entry& entry, registry_entry* by) noexcept {
    const std::lock_guard lock{mutex_};
    if (by != nullptr ? by->clean_ : !open_.load()) {
        return false;
    }
    intrusive_ptr_add_ref(&entry);
    entry.dropped_by_ = by;
    dropped_scopes& scopes = siblings_of(entry);
    entry.dropped_before_ = scopes.last;
    (scopes.last != nullptr ? scopes.last->dropped_next_ : scopes.first) = &entry;
    scopes.last = &entry;
    return true;
}

void region::remove(registry_entry& entry) noexcept {
    dropped_scopes& scopes = siblings_of(entry);
    registry_entry* const before = std::exchange(entry.dropped_before_, nullptr);
    registry_entry* const next = std::exchange(entry.dropped_next_, nullptr);
    (before != nullptr ? before->dropped_next_ : scopes.first) = next;
    (next != nullptr ? next->dropped_before_ : scopes.last) = before;
    if (scopes.cleaning == &entry) {
        scopes.cleaning = nullptr;
    }
}

void region::leave_place_to_dropped(registry_entry& entry) noexcept {
    const dropped_scopes inner = std::exchange(entry.dropped_, {});
    if (inner.first == nullptr) {
        return;
    }
    for (registry_entry* r = inner.first; r != nullptr; r = r->dropped_next_) {
        r->dropped_by_ = entry.dropped_by_;
    }
    dropped_scopes& scopes = siblings_of(entry);
    registry_entry* const next = entry.dropped_next_;
    inner.last->dropped_next_ = next;
    (next != nullptr ? next->dropped_before_ : scopes.last) = inner.last;
    entry.dropped_next_ = inner.first;
    inner.first->dropped_before_ = &entry;
    if (scopes.cleaning == &entry) {
        scopes.cleaning = inner.cleaning;
    }
}

registry_entry* region::begin_turn() noexcept {
    dropped_scopes* scopes = &dropped_;
    while (scopes->cleaning != nullptr && !abandoned_) {
        scopes = &scopes->cleaning->dropped_;
    }
    registry_entry* r = scopes->first;
    while (r != nullptr && (r->has_turn_ || r->holds_.load() != 0 || r->phase() != scope_phase::open)) {
        r = r->dropped_next_;
    }
    if (r != nullptr) {
        r->has_turn_ = true;
    }
    return scopes->cleaning = r;
}

void region::advance(std::unique_lock<std::mutex> lock, deliver how) {
    if (std::exchange(advancing_, true)) {
        return;
    }
    while (const boost::intrusive_ptr<registry_entry> next{begin_turn()}) {
        lock.unlock();
        next->begin_cleanup(how);
        lock.lock();
    }
    advancing_ = false;
    const bool clean = dropped_.first == nullptr && abandoned_inside_ == 0;
    const bool over = clean && body_ended_ && open_.exchange(false);
    const boost::intrusive_ptr<region> around = clean ? std::move(outer_waits_) : nullptr;
    lock.unlock();
    if (around) {
        around->abandoned_is_over();
    }
    if (over && registry_->dying()) {
        when_over_.cancel();  // who waits is destroyed, and not resumed
    } else if (over) {
        when_over_.set(how);
    }
}

bool region::wait_for_abandoned() noexcept {
    const std::lock_guard lock{mutex_};
    abandoned_inside_ += open_.load() ? 1U : 0U;
    return open_.load();
}

void region::abandoned_is_over() {
    std::unique_lock lock{mutex_};
    --abandoned_inside_;
    advance(std::move(lock), deliver::posted);
}

}  // namespace coraii::detail

#endif
