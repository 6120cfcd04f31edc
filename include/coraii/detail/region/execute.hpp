// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_REGION_EXECUTE_HPP
#define CORAII_DETAIL_REGION_EXECUTE_HPP

#include "coraii/detail/context/code_origin.hpp"
#include "coraii/detail/context/registry.hpp"
#include "coraii/detail/coroutine/waiter.hpp"
#include "coraii/detail/region/region_executor.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/execution.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/require.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>

#include <concepts>
#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>

namespace coraii::detail {

/// Room for one queued function, kept from setup until cleanup: then neither the end of a use nor that of a cleanup needs
/// memory.
struct reserved_memory {
#if defined(BOOST_ASIO_HAS_IOCP)
    alignas(void*) std::byte bytes[112];  // Windows: each queued function has an OVERLAPPED
#else
    alignas(void*) std::byte bytes[80];
#endif
};

template <class V>
struct reserved_allocator {
    using value_type = V;

    explicit reserved_allocator(reserved_memory& memory) noexcept : memory_{&memory} {}
    template <class U>
    reserved_allocator(const reserved_allocator<U>& other) noexcept : memory_{other.memory_} {}

    V* allocate(std::size_t n) const {
        if (n * sizeof(V) > sizeof(reserved_memory::bytes)) {
            throw std::bad_alloc{};
        }
        return static_cast<V*>(static_cast<void*>(memory_->bytes));
    }
    void deallocate(V*, std::size_t) const noexcept {}

    friend bool operator==(const reserved_allocator& a, const reserved_allocator& b) noexcept {
        return a.memory_ == b.memory_;
    }

    reserved_memory* memory_;
};

/// True for an executor that can post. An `asio::any_completion_executor` cannot.
template <class Executor>
inline constexpr bool can_post = asio::can_require<Executor, asio::execution::blocking_t::never_t>::value;

using io_executor = asio::io_context::executor_type;

/// The io_context's executor that this is, or null. By far the most frequent, so it is asked for first.
template <class Executor>
const io_executor* as_io_executor(const Executor& executor) noexcept {
    if constexpr (std::same_as<Executor, io_executor>) {
        return &executor;
    } else if constexpr (requires { executor.template target<io_executor>(); }) {
        return executor.template target<io_executor>();
    } else {
        return nullptr;
    }
}

/// True only if `its_executor` surely runs the calling thread's current function.
template <class Executor>
bool runs_here(const Executor& its_executor) noexcept {
    if constexpr (requires {
                      { its_executor.running_in_this_thread() } -> std::convertible_to<bool>;
                  }) {
        return its_executor.running_in_this_thread();
    } else if constexpr (requires { its_executor.template target<int>(); }) {
        const Executor& executor = without_region(its_executor);
        const auto target_runs_here = [&executor]<class Target>(std::type_identity<Target>) {
            const Target* target = executor.template target<Target>();
            return target != nullptr && target->running_in_this_thread();
        };
        using pool = asio::thread_pool::executor_type;
        return target_runs_here(std::type_identity<io_executor>{}) || target_runs_here(std::type_identity<pool>{}) ||
               target_runs_here(std::type_identity<asio::strand<io_executor>>{}) ||
               target_runs_here(std::type_identity<asio::strand<pool>>{}) ||
               target_runs_here(std::type_identity<asio::strand<asio::any_io_executor>>{});
    } else {
        return false;
    }
}

/// Queues `f` on an io_context or a thread_pool.
template <class Target, class F>
void queue_reserved(const Target& target, reserved_memory& memory, F f) {
    asio::require(asio::require(target, asio::execution::blocking.never),
                  asio::execution::allocator(reserved_allocator<void>{memory}))
        .execute(std::move(f));
}

template <class Executor, class F>
void execute_on_base(const Executor& executor, deliver how, reserved_memory& memory, F f) {
    using pool = asio::thread_pool::executor_type;
    if (const auto* io = as_io_executor(executor)) {
        return queue_reserved(*io, memory, std::move(f));
    }
    if constexpr (std::same_as<Executor, pool>) {
        return queue_reserved(executor, memory, std::move(f));
    } else {
        if constexpr (requires { executor.template target<pool>(); }) {
            if (const auto* target = executor.template target<pool>()) {
                return queue_reserved(*target, memory, std::move(f));
            }
        }
        if constexpr (can_post<Executor>) {
            if (how == deliver::posted) {
                return asio::post(executor, std::move(f));
            }
        }
        asio::dispatch(executor, std::move(f));
    }
}

/// Queues `f` on `executor`. On an io_context or a thread_pool in reserved memory; elsewhere (a strand, an executor of
/// the user's own) in memory of Asio's.
template <class Executor, class F>
void execute_reserved(const Executor& executor, deliver how, reserved_memory& memory, F f) {
    if (const auto* io = as_io_executor(executor)) {
        return queue_reserved(*io, memory, std::move(f));
    }
    if constexpr (std::same_as<Executor, asio::any_io_executor>) {
        if (const auto* inside = executor.template target<region_executor>()) {
            return execute_on_base(inside->base(), how, memory, inside->inside(std::move(f)));
        }
    }
    execute_on_base(executor, how, memory, std::move(f));
}

/// Code that one scope runs in place of another's: a setup begun by a setup, a cleanup begun by a cleanup. While one
/// lives, the calling thread is one level deeper in it. What would go too deep is queued: the native stack is finite.
class nesting_level {
public:
    nesting_level() noexcept { ++depth_; }
    nesting_level(const nesting_level&) = delete;
    nesting_level& operator=(const nesting_level&) = delete;
    ~nesting_level() { --depth_; }

    static bool too_deep() noexcept { return depth_ >= deepest; }

private:
    static constexpr unsigned deepest = 32;
    inline static thread_local constinit unsigned depth_ = 0;
};

/// Calls `f` on `executor`, as code of the region that it may be of: at once if we are surely there.
template <class Executor, class F>
void dispatch_on(registry& scopes, const Executor& executor, F f) {
    const current_origin there{scopes, origin_of(executor)};
    if (!runs_here(executor)) {
        asio::dispatch(executor, std::move(f));
    } else if (!nesting_level::too_deep()) {
        const nesting_level level;
        std::move(f)();
    } else if constexpr (can_post<Executor>) {
        asio::post(executor, std::move(f));
    } else {
        asio::dispatch(executor, std::move(f));
    }
}

/// Posts `f` past any strand, to the context itself where that is known.
template <class Executor, class F>
void post_to_context(const Executor& its_executor, F f) {
    const Executor& executor = without_region(its_executor);
    if constexpr (requires { executor.get_inner_executor(); }) {
        post_to_context(executor.get_inner_executor(), std::move(f));
    } else if constexpr (requires { executor.template target<int>(); }) {
        const auto post_inside = [&]<class Inner>(std::type_identity<Inner>) {
            const auto* strand = executor.template target<asio::strand<Inner>>();
            if (strand != nullptr) {
                post_to_context(strand->get_inner_executor(), std::move(f));
            }
            return strand != nullptr;
        };
        if (!post_inside(std::type_identity<asio::io_context::executor_type>{}) &&
            !post_inside(std::type_identity<asio::thread_pool::executor_type>{}) &&
            !post_inside(std::type_identity<asio::any_io_executor>{})) {
            asio::post(executor, std::move(f));
        }
    } else {
        asio::post(executor, std::move(f));
    }
}

}  // namespace coraii::detail

#endif
