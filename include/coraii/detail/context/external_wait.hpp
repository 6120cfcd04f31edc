// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_CONTEXT_EXTERNAL_WAIT_HPP
#define CORAII_DETAIL_CONTEXT_EXTERNAL_WAIT_HPP

#include "coraii/detail/context/own_process.hpp"
#include "coraii/detail/coroutine/platform.hpp"

#include <memory>
#include <mutex>

namespace coraii::detail {

/// A wait of this context's for something outside it, which may come when the context is no more.
struct external_wait : std::enable_shared_from_this<external_wait> {
    virtual void forget() noexcept = 0;  // the context is being destroyed
    virtual void cancel() noexcept = 0;
    /// We are in a child of the process: what is under way on other threads never ends.
    virtual void thread_is_lost() noexcept {}

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
    CORAII_DECL void add(external_wait& wait);

    CORAII_DECL void remove(external_wait& wait) noexcept;

    CORAII_DECL void forget_all() noexcept;

    CORAII_DECL void threads_are_lost() noexcept;

private:
    CORAII_DECL void unlink(external_wait& wait) noexcept;

    std::mutex mutex_;
    own_process process_;
    external_wait* first_ = nullptr;
};

}  // namespace coraii::detail

#if defined(CORAII_HEADER_ONLY)
#include "coraii/detail/context/impl/external_wait.ipp"
#endif

#endif
