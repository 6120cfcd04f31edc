// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_TESTING_THREADS_HPP
#define CORAII_TESTING_THREADS_HPP

#include <atomic>

namespace coraii::testing {

namespace detail {

/// What the replaced function goes by.
struct thread_refusal {
    inline static std::atomic<bool> replaced{false};
    inline static std::atomic<bool> now{false};
    inline static std::atomic<long> refused{0};
};

}  // namespace detail

/// Lets the making of threads fail, as where a program has reached its limit. Works in programs one of whose source files
/// includes `coraii/testing/replace_threads.hpp`; in others nothing fails.
namespace threads {

/// True where threads can be refused.
[[nodiscard]] inline bool can_be_refused() noexcept {
    return detail::thread_refusal::replaced.load();
}

/// While it exists, no thread of the program can start another: EAGAIN. One at a time.
class failing {
public:
    failing() noexcept : before_{detail::thread_refusal::refused} { detail::thread_refusal::now = true; }
    failing(const failing&) = delete;
    failing& operator=(const failing&) = delete;
    ~failing() { detail::thread_refusal::now = false; }

    /// How many have failed so far.
    [[nodiscard]] long failed() const noexcept { return detail::thread_refusal::refused - before_; }

private:
    const long before_;
};

}  // namespace threads
}  // namespace coraii::testing

#endif
