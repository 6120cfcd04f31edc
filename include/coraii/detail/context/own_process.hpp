// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_CONTEXT_OWN_PROCESS_HPP
#define CORAII_DETAIL_CONTEXT_OWN_PROCESS_HPP

#include <mutex>
#if !defined(_WIN32)
#include <sys/types.h>
#include <unistd.h>
#endif

namespace coraii::detail {

/// The process in which an object was made. After a fork(2) there are two of all that is in memory, and still one of what
/// is outside: files, locks, connections. They are the parent's: a child only closes its descriptors. Nor are there its
/// threads in a child; a mutex that one had stays locked.
class own_process {
public:
    /// Not locked in a child: there, nobody else is left to be kept out.
    std::unique_lock<std::mutex> lock(std::mutex& mutex) const {
        return is_this() ? std::unique_lock{mutex} : std::unique_lock{mutex, std::defer_lock};
    }

#if defined(_WIN32)
    bool is_this() const noexcept { return true; }
#else
    bool is_this() const noexcept { return ::getpid() == id_; }

private:
    ::pid_t id_ = ::getpid();
#endif
};

}  // namespace coraii::detail

#endif
