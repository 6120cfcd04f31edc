// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_CONTEXT_IMPL_EXTERNAL_WAIT_IPP
#define CORAII_DETAIL_CONTEXT_IMPL_EXTERNAL_WAIT_IPP

#include "coraii/detail/context/external_wait.hpp"

#include <memory>
#include <mutex>

namespace coraii::detail {

void external_waits::add(external_wait& wait) {
    const std::lock_guard lock{mutex_};
    wait.next_ = first_;
    if (first_ != nullptr) {
        first_->previous_ = &wait;
    }
    first_ = &wait;
}

void external_waits::remove(external_wait& wait) noexcept {
    const std::lock_guard lock{mutex_};
    unlink(wait);
}

void external_waits::threads_are_lost() noexcept {
    process_ = {};
    for (external_wait* wait = first_; wait != nullptr;) {  // there is no other thread
        const std::shared_ptr<external_wait> lost = wait->shared_from_this();
        wait = wait->next_;
        lost->thread_is_lost();
    }
}

void external_waits::forget_all() noexcept {
    for (;;) {
        std::shared_ptr<external_wait> wait;
        {
            const std::unique_lock lock = process_.lock(mutex_);
            if (first_ == nullptr) {
                return;
            }
            wait = first_->shared_from_this();
            unlink(*wait);
        }
        wait->forget();
    }
}

void external_waits::unlink(external_wait& wait) noexcept {
    if (wait.previous_ != nullptr || first_ == &wait) {
        (wait.previous_ != nullptr ? wait.previous_->next_ : first_) = wait.next_;
        if (wait.next_ != nullptr) {
            wait.next_->previous_ = wait.previous_;
        }
        wait.previous_ = wait.next_ = nullptr;
    }
}

}  // namespace coraii::detail

#endif
