// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_SCOPE_COUNTS_HPP
#define CORAII_DETAIL_SCOPE_COUNTS_HPP

#include "coraii/scope_info.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>

namespace coraii::detail {

/// The statistics of a context. What happens often is counted by each thread for itself: threads that share a counter
/// spend more time on it than on the scope.
class scope_counts {
    using number = std::atomic<std::uint64_t>;

    struct alignas(64) of_thread {  // a cache line
        explicit of_thread(const void* t) noexcept : thread{t} {}

        number opened{0}, left{0}, abandoned{0}, cleaned{0}, failed{0}, released{0};
        const void* thread;  // it, or another that has its memory now
        of_thread* next = nullptr;
    };

public:
    scope_counts() = default;
    scope_counts(const scope_counts&) = delete;
    scope_counts& operator=(const scope_counts&) = delete;
    ~scope_counts() {
        while (of_thread* const gone = threads_) {
            threads_ = gone->next;
            delete gone;
        }
    }

    void opened() noexcept { add(&of_thread::opened); }
    void left(bool abandoned) noexcept {
        add(&of_thread::left);
        if (abandoned) {
            add(&of_thread::abandoned);
        }
    }
    void cleaned() noexcept { add(&of_thread::cleaned); }
    void failed() noexcept { add(&of_thread::failed); }
    void released() noexcept { add(&of_thread::released); }

    /// Each number is right by itself, and together they are once nothing runs.
    scope_stats stats() const noexcept {
        const std::lock_guard lock{mutex_};
        scope_stats s;
        // In this order, what has ended is never more than what had begun.
        s.cleaned = sum(&of_thread::cleaned);
        s.failed = sum(&of_thread::failed);
        const std::uint64_t ended = s.cleaned + s.failed + sum(&of_thread::released);
        s.abandoned = sum(&of_thread::abandoned);
        const std::uint64_t left = sum(&of_thread::left);
        s.opened = sum(&of_thread::opened);
        s.closing = static_cast<std::size_t>(left - ended);
        s.open = static_cast<std::size_t>(s.opened - left);
        return s;
    }

private:
    void add(number of_thread::* which) noexcept {
        struct found {
            std::uint64_t id;
            of_thread* mine;
        };
        static thread_local constinit found last{0, nullptr};
        if (last.id != id_) {
            last = {id_, find(&last)};
        }
        if (last.mine != nullptr) {
            number& n = last.mine->*which;  // nobody else writes it
            n.store(n.load(std::memory_order_relaxed) + 1, std::memory_order_release);
        } else {
            (without_memory_.*which).fetch_add(1);
        }
    }

    of_thread* find(const void* thread) noexcept {
        const std::lock_guard lock{mutex_};
        for (of_thread* t = threads_; t != nullptr; t = t->next) {
            if (t->thread == thread) {
                return t;
            }
        }
        auto* made = new (std::nothrow) of_thread{thread};
        if (made != nullptr) {
            made->next = threads_;
            threads_ = made;
        }
        return made;
    }

    std::uint64_t sum(number of_thread::* which) const noexcept {
        std::uint64_t all = (without_memory_.*which).load();
        for (const of_thread* t = threads_; t != nullptr; t = t->next) {
            all += (t->*which).load(std::memory_order_acquire);
        }
        return all;
    }

    inline static number ids_{0};

    const std::uint64_t id_ = ++ids_;
    mutable std::mutex mutex_;
    of_thread* threads_ = nullptr;
    of_thread without_memory_{nullptr};
};

}  // namespace coraii::detail

#endif
