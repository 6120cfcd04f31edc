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

    /// Gives it a number to be listed by. Those that may be listed later only, when their coroutine is destroyed, do not
    /// share a counter between threads: they come between the two that were listed around them, and of several there the
    /// first to be destroyed, which is the inner one, is the newest.
    void count_opened(registry_entry& entry, bool listed_now) noexcept {
        count(&thread_slot::opened);
        const std::uint64_t last = listed_now ? numbers_.fetch_add(1, std::memory_order_relaxed) + 1
                                              : numbers_.load(std::memory_order_relaxed);
        entry.opened_as_.store(2 * last + (listed_now ? 0 : 1), std::memory_order_relaxed);
    }

    bool dying() const noexcept { return dying_.load(std::memory_order_acquire); }
    bool tracking() const noexcept { return tracking_.load(std::memory_order_relaxed); }
    void track(bool on) noexcept { tracking_.store(on, std::memory_order_relaxed); }

    /// Lists a scope, in the order of opening; what has not opened yet is the newest. Again when it opens.
    void add(registry_entry& entry) noexcept {
        const std::lock_guard lock{mutex_};
        if (tracking() && entry.since_ == clock::time_point{}) {
            entry.since_ = clock::now();
        }
        unlink(entry);
        if (!entry.listed_.exchange(true)) {
            ++changes_;
            registry_entry* newer = nullptr;
            registry_entry* older = newest_;
            while (older != nullptr && is_newer(*older, entry)) {
                newer = std::exchange(older, older->older_);
            }
            entry.older_ = older;
            entry.newer_ = newer;
            (older != nullptr ? older->newer_ : oldest_) = &entry;
            (newer != nullptr ? newer->older_ : newest_) = &entry;
        }
    }

    void add_if_unlisted(registry_entry& entry) noexcept {
        if (!entry.listed_.load()) {
            add(entry);
        }
    }

    void remove(registry_entry& entry) noexcept {
        if (entry.listed_.load()) {
            const std::lock_guard lock{mutex_};
            unlink(entry);
        }
    }

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
    void background_ended() {
        if (background_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
            std::vector<unique_function<>> waiters;
            {
                const std::lock_guard lock{mutex_};
                if (background_.load(std::memory_order_acquire) != 0) {
                    return;  // another began meanwhile
                }
                waiters.swap(drain_waiters_);
            }
            for (unique_function<>& tell : waiters) {
                std::move(tell)();
            }
        }
    }

    /// `tell` posts a completion.
    void wait_for_background(unique_function<> tell) {
        {
            const std::lock_guard lock{mutex_};
            if (background_.load(std::memory_order_acquire) != 0) {
                drain_waiters_.push_back(std::move(tell));
                return;
            }
        }
        std::move(tell)();
    }

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

    BOOST_NOINLINE thread_slot& remember() noexcept {
        thread_slot& slot = slots_.of_this_thread();
        remembered::last() = {&context(), this, &slot, cached_in_.remember()};
        return slot;
    }

    // Now the context destroys the handlers it has, and with them coroutines, which leave their scopes, innermost first.
    // What nobody has left by then is cleaned afterwards. (Asio calls this twice for its own contexts: what the first
    // round has queued behind a scheduler that is gone comes in the second.)
    void shutdown() override {
        dying_.store(true, std::memory_order_release);
        wait_for_users(0, 0);
        waits.forget_all();
        std::vector<unique_function<>> waiters;
        waiters.swap(drain_waiters_);
    }

    /// A place in the queue of a context that runs nothing any more: it comes when what is before it is destroyed.
    class place_in_queue {
    public:
        place_in_queue(registry& r, std::uint64_t changes, int quiet) noexcept
            : registry_{&r}, changes_{changes}, quiet_{quiet} {}
        place_in_queue(place_in_queue&& other) noexcept
            : registry_{std::exchange(other.registry_, nullptr)}, changes_{other.changes_}, quiet_{other.quiet_} {}
        place_in_queue& operator=(place_in_queue&&) = delete;
        ~place_in_queue() {
            if (registry_ != nullptr) {
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
    void wait_for_users(std::uint64_t seen, int quiet) noexcept {
        constexpr int long_enough = 1000;  // rounds: coroutines that await one another end one a round
        boost::intrusive_ptr<registry_entry> newest;
        std::uint64_t changes = 0;
        {
            const std::lock_guard lock{mutex_};
            newest.reset(newest_);
            changes = changes_;
        }
        quiet = changes == seen ? quiet + 1 : 0;
        if (newest == nullptr) {
            return;
        }
        if (quiet > long_enough) {
            return clean_the_rest();
        }
        try {
            newest->queue_last(place_in_queue{*this, changes, quiet});
        } catch (...) {  // no memory to queue it: then it was destroyed, and that was its turn
        }
    }

    // Newest first: what depends on another scope was opened after it.
    void clean_the_rest() noexcept {
        for (;;) {
            boost::intrusive_ptr<registry_entry> entry;
            {
                const std::lock_guard lock{mutex_};
                if (newest_ == nullptr) {
                    return;
                }
                entry.reset(newest_);
                unlink(*entry);
            }
            entry->context_dies();
        }
    }

    static bool is_newer(const registry_entry& a, const registry_entry& b) noexcept {
        const std::uint64_t n = a.opened_as_.load(), m = b.opened_as_.load();
        return n > m || (n == m && n != registry_entry::not_opened);
    }

    void unlink(registry_entry& entry) noexcept {
        if (entry.listed_.exchange(false)) {
            ++changes_;
            (entry.older_ != nullptr ? entry.older_->newer_ : oldest_) = entry.newer_;
            (entry.newer_ != nullptr ? entry.newer_->older_ : newest_) = entry.older_;
            entry.older_ = entry.newer_ = nullptr;
        }
    }

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
};

}  // namespace detail
}  // namespace coraii

#endif
