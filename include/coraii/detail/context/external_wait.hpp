// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_CONTEXT_EXTERNAL_WAIT_HPP
#define CORAII_DETAIL_CONTEXT_EXTERNAL_WAIT_HPP

#include <memory>
#include <mutex>

namespace coraii::detail {

/// A wait of this context's for something outside it, which may come when the context is no more.
struct external_wait : std::enable_shared_from_this<external_wait> {
    virtual void forget() noexcept = 0;  // the context is being destroyed
    virtual void cancel() noexcept = 0;

protected:
    virtual ~external_wait() = default;

private:
    friend class external_waits;
    external_wait* previous_ = nullptr;
    external_wait* next_ = nullptr;
};

/// Those of a context.
class external_waits {
public:
    void add(external_wait& wait) {
        const std::lock_guard lock{mutex_};
        wait.next_ = first_;
        if (first_ != nullptr) {
            first_->previous_ = &wait;
        }
        first_ = &wait;
    }

    void remove(external_wait& wait) noexcept {
        const std::lock_guard lock{mutex_};
        unlink(wait);
    }

    void forget_all() noexcept {
        for (;;) {
            std::shared_ptr<external_wait> wait;
            {
                const std::lock_guard lock{mutex_};
                if (first_ == nullptr) {
                    return;
                }
                wait = first_->shared_from_this();
                unlink(*wait);
            }
            wait->forget();
        }
    }

private:
    void unlink(external_wait& wait) noexcept {
        if (wait.previous_ != nullptr || first_ == &wait) {
            (wait.previous_ != nullptr ? wait.previous_->next_ : first_) = wait.next_;
            if (wait.next_ != nullptr) {
                wait.next_->previous_ = wait.previous_;
            }
            wait.previous_ = wait.next_ = nullptr;
        }
    }

    std::mutex mutex_;
    external_wait* first_ = nullptr;
};

}  // namespace coraii::detail

#endif
