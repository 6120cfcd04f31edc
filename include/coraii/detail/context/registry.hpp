// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_CONTEXT_REGISTRY_HPP
#define CORAII_DETAIL_CONTEXT_REGISTRY_HPP

// What one execution context knows of its scopes: which are there, how many there were, who is told of their errors; and
// how they are cleaned when the context is destroyed.

#include "coraii/detail/context/cleanup_reports.hpp"
#include "coraii/detail/context/external_wait.hpp"
#include "coraii/detail/context/module_cache.hpp"
#include "coraii/detail/context/registry_entry.hpp"
#include "coraii/detail/context/thread_slots.hpp"
#include "coraii/detail/coroutine/clock.hpp"
#include "coraii/detail/coroutine/platform.hpp"
#include "coraii/detail/coroutine/unique_function.hpp"
#include "coraii/scope_info.hpp"

#include <boost/asio/execution_context.hpp>
#include <boost/config.hpp>
#include <boost/smart_ptr/intrusive_ptr.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

namespace coraii {

namespace asio = boost::asio;

namespace detail {

/// The scopes of one execution context. A service, so that it is told before the context's queue is destroyed; and so
/// there is one for all modules of the program: Asio finds it by its type.
class CORAII_VISIBLE registry final : public asio::execution_context::service {
public:
    using key_type = registry;
    CORAII_VISIBLE inline static asio::execution_context::id id;

    explicit registry(asio::execution_context& context) : service(context) {}
    ~registry() override { cached_in_.invalidate(); }

    static registry& of(asio::execution_context& context) {
        const remembered& last = remembered::last();
        if (last.context == &context && last.epoch.is_now()) [[likely]] {
            return *last.found;
        }
        registry& found = asio::use_service<registry>(context);
        found.remember();
        return found;
    }

    /// What this context keeps for the calling thread.
    thread_slot& here() noexcept {
        const remembered& last = remembered::last();
        if (last.found == this && last.epoch.is_now()) [[likely]] {
            return *last.slot;
        }
        return remember();
    }

    void count(thread_slot::number thread_slot::* which) noexcept { here().count(which); }
    scope_stats stats() const noexcept { return slots_.stats(); }

    /// Gives it a number to be listed by, and lists it if it is to be `listed` now. Those that may be listed later only,
    /// when their coroutine is destroyed, take no lock: they come between the two that were listed around them, and of
    /// several there the first to be destroyed, which is the inner one, is the newest.
    CORAII_DECL void count_opened(registry_entry& entry, bool listed) noexcept;

    bool dying() const noexcept { return dying_.load(std::memory_order_acquire); }
    bool tracking() const noexcept { return tracking_.load(std::memory_order_relaxed); }
    void track(bool on) noexcept { tracking_.store(on, std::memory_order_relaxed); }

    /// Lists a scope, in the order of opening; what has not opened yet is the newest. Again when it opens.
    CORAII_DECL void add(registry_entry& entry) noexcept;

    void add_if_unlisted(registry_entry& entry) noexcept {
        if (!entry.listed_.load()) {
            add(entry);
        }
    }

    CORAII_DECL void remove(registry_entry& entry) noexcept;

    template <class F>
    void for_each(F& visit) {
        const auto now = clock::now();
        const std::lock_guard lock{mutex_};
        for (registry_entry* entry = oldest_; entry != nullptr; entry = entry->newer_) {
            const auto since = entry->since_ == clock::time_point{} ? now : entry->since_;
            visit(scope_info{entry->name(), entry->where_, now - since, entry->phase()});
        }
    }

    // ---- cleanups that nobody waits for

    void background_began() noexcept { background_.fetch_add(1, std::memory_order_relaxed); }
    CORAII_DECL void background_ended();

    /// `tell` posts a completion.
    CORAII_DECL void wait_for_background(unique_function<> tell);

    cleanup_reports reports;
    external_waits waits;

private:
    /// What the calling thread asked for last. Asio looks a service up under a mutex.
    struct remembered {
        asio::execution_context* context = nullptr;
        registry* found = nullptr;
        thread_slot* slot = nullptr;
        module_cache::epoch epoch;

        static remembered& last() noexcept {
            static thread_local constinit remembered memory{};
            return memory;
        }
    };

    BOOST_NOINLINE CORAII_DECL thread_slot& remember() noexcept;

    // Now the context destroys the handlers it has, and with them coroutines, which leave their scopes, innermost first.
    // What nobody has left by then is cleaned afterwards. (Asio calls this twice for its own contexts: what the first
    // round has queued behind a scheduler that is gone comes in the second.)
    CORAII_DECL void shutdown() override;

    /// A place in the queue of a context that runs nothing any more: it comes when what is before it is destroyed.
    class place_in_queue {
    public:
        place_in_queue(registry& r, std::uint64_t changes, int quiet) noexcept
            : registry_{&r}, changes_{changes}, quiet_{quiet} {}
        place_in_queue(place_in_queue&& other) noexcept
            : registry_{std::exchange(other.registry_, nullptr)}, changes_{other.changes_}, quiet_{other.quiet_} {}
        place_in_queue& operator=(place_in_queue&&) = delete;
        ~place_in_queue() {
            if (registry_ != nullptr && registry_->queueing_) {  // a strand that has been shut down keeps nothing
                registry_->came_at_once_ = true;
            } else if (registry_ != nullptr) {
                registry_->wait_for_users(changes_, quiet_);
            }
        }
        void operator()() const noexcept {}

    private:
        registry* registry_;
        std::uint64_t changes_;
        int quiet_;
    };

    // A coroutine's destruction queues others', so this goes round until nothing has happened to any scope for some time.
    CORAII_DECL void wait_for_users(std::uint64_t seen, int quiet) noexcept;

    // Newest first: what depends on another scope was opened after it.
    CORAII_DECL void clean_the_rest() noexcept;

    static CORAII_DECL bool is_newer(const registry_entry& a, const registry_entry& b) noexcept;

    // Under the mutex.
    CORAII_DECL void list(registry_entry& entry) noexcept;
    CORAII_DECL void unlink(registry_entry& entry) noexcept;

    /// All who wait, if nothing runs in the background.
    CORAII_DECL void tell_drained();

    thread_slots slots_;
    module_cache cached_in_;
    std::atomic<std::uint64_t> numbers_{0};

    std::atomic<bool> dying_{false};
    std::atomic<bool> tracking_{false};
    std::atomic<std::size_t> background_{0};

    std::mutex mutex_;
    registry_entry* oldest_ = nullptr;
    registry_entry* newest_ = nullptr;
    std::uint64_t changes_ = 0;  // of the list
    std::vector<unique_function<>> drain_waiters_;
    std::atomic<bool> somebody_drains_{false};

    // Of wait_for_users, which must not recurse: a thousand rounds overflow the native stack where that is small.
    bool queueing_ = false;
    bool came_at_once_ = false;
};

}  // namespace detail
}  // namespace coraii

#if defined(CORAII_HEADER_ONLY)
#include "coraii/detail/context/impl/registry.ipp"
#endif

#endif
