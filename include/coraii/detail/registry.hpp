// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_REGISTRY_HPP
#define CORAII_DETAIL_REGISTRY_HPP

#include "coraii/detail/clock.hpp"
#include "coraii/detail/completion.hpp"
#include "coraii/detail/erased.hpp"
#include "coraii/detail/scope_counts.hpp"
#include "coraii/detail/scope_record.hpp"
#include "coraii/scope_info.hpp"

#include <boost/asio/execution_context.hpp>
#include <boost/smart_ptr/intrusive_ptr.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace coraii::detail {

/// A wait of this context's for something outside it, which may come when the context is no more.
struct outside_wait : std::enable_shared_from_this<outside_wait> {
    virtual void forget() noexcept = 0;  // the context is being destroyed
    virtual void cancel() noexcept = 0;

protected:
    ~outside_wait() = default;

private:
    friend class registry;
    outside_wait* previous_ = nullptr;
    outside_wait* next_ = nullptr;
};

/// The scopes of one execution context. A service, so that it is told before the context's queue is destroyed.
class registry : public asio::execution_context::service {
public:
    using key_type = registry;
    inline static asio::execution_context::id id;

    explicit registry(asio::execution_context& context) : service(context) {}

    // Looking a service up takes the context's mutex, so each thread remembers the last one it found, until any
    // registry is destroyed: a new context may have the old one's address.
    static registry& of(asio::execution_context& context) {
        struct memory {
            asio::execution_context* context;
            registry* found;
            std::uint64_t generation;
        };
        static thread_local constinit memory last{nullptr, nullptr, 0};
        const std::uint64_t now = generation_.load(std::memory_order_acquire);
        if (last.context != &context || last.generation != now) {
            last = {&context, &asio::use_service<registry>(context), now};
        }
        return *last.found;
    }

    ~registry() override { generation_.fetch_add(1, std::memory_order_release); }

    /// Gives it a number to be listed by. Those that may be listed later only, when their coroutine is destroyed, do not
    /// share a counter between threads: they come between the two that were listed around them, and of several there the
    /// first to be destroyed, which is the inner one, is the newest.
    void count_opened(scope_record& record, bool listed_now) noexcept {
        counts.opened();
        const std::uint64_t last = listed_now ? numbers_.fetch_add(1, std::memory_order_relaxed) + 1
                                              : numbers_.load(std::memory_order_relaxed);
        record.opened_as_.store(2 * last + (listed_now ? 0 : 1), std::memory_order_relaxed);
    }

    scope_counts counts;

    bool dying() const noexcept { return dying_.load(std::memory_order_acquire); }
    bool tracking() const noexcept { return tracking_.load(std::memory_order_relaxed); }
    void track(bool on) noexcept { tracking_.store(on, std::memory_order_relaxed); }

    /// Lists a scope, in the order of opening; what has not opened yet is the newest. Again when it opens.
    void add(scope_record& record) {
        const std::lock_guard lock{mutex_};
        if (tracking() && record.since_ == clock::time_point{}) {
            record.since_ = clock::now();
        }
        unlink(record);
        if (!record.listed_.exchange(true)) {
            ++changes_;
            scope_record* newer = nullptr;
            scope_record* older = newest_;
            while (older != nullptr && is_newer(*older, record)) {
                newer = std::exchange(older, older->older_);
            }
            record.older_ = older;
            record.newer_ = newer;
            (older != nullptr ? older->newer_ : oldest_) = &record;
            (newer != nullptr ? newer->older_ : newest_) = &record;
        }
    }

    /// Lists a scope if it is not.
    void list(scope_record& record) {
        if (!record.listed_.load()) {
            add(record);
        }
    }

    void remove(scope_record& record) noexcept {
        if (record.listed_.load()) {
            const std::lock_guard lock{mutex_};
            unlink(record);
        }
    }

    template <class F>
    void for_each(F& visit) {
        const auto now = clock::now();
        const std::lock_guard lock{mutex_};
        for (scope_record* record = oldest_; record != nullptr; record = record->newer_) {
            const auto since = record->since_ == clock::time_point{} ? now : record->since_;
            visit(scope_info{record->name_, record->where_, now - since, record->phase_.load()});
        }
    }

    void on_cleanup_error(std::function<void(const cleanup_failure&)> handler) {
        auto shared = std::make_shared<const std::function<void(const cleanup_failure&)>>(std::move(handler));
        const std::lock_guard lock{mutex_};
        error_handler_ = std::move(shared);
    }

    void report(const cleanup_failure& failure) noexcept {
        try {
            std::shared_ptr<const std::function<void(const cleanup_failure&)>> handler;
            {
                const std::lock_guard lock{mutex_};
                handler = error_handler_;
            }
            if (handler && *handler) {
                (*handler)(failure);
                return;
            }
        } catch (...) {  // there is nobody left to tell but stderr
        }
        print(failure);
    }

    void add(outside_wait& wait) {
        const std::lock_guard lock{mutex_};
        wait.next_ = waits_;
        if (waits_ != nullptr) {
            waits_->previous_ = &wait;
        }
        waits_ = &wait;
    }
    void remove(outside_wait& wait) noexcept {
        const std::lock_guard lock{mutex_};
        unlink(wait);
    }

    // Cleanups that nobody waits for.
    void background_began() noexcept { background_.fetch_add(1, std::memory_order_relaxed); }
    void background_ended() {
        if (background_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
            std::vector<drain_waiter> waiters;
            {
                const std::lock_guard lock{mutex_};
                if (background_.load(std::memory_order_acquire) != 0) {
                    return;  // another began meanwhile
                }
                waiters.swap(drain_waiters_);
            }
            for (drain_waiter& waiter : waiters) {
                std::move(waiter)(deliver::posted);
            }
        }
    }

    template <class Handler>
    void wait_for_background(Handler handler) {
        completion<Handler> done{std::move(handler)};
        {
            const std::lock_guard lock{mutex_};
            if (background_.load(std::memory_order_acquire) != 0) {
                drain_waiters_.emplace_back(std::move(done));
                return;
            }
        }
        std::move(done)(deliver::posted);
    }

private:
    using drain_waiter = erased<deliver>;

    // Now the context destroys the handlers it has, and with them coroutines, which leave their scopes, innermost first.
    // What nobody has left by then is cleaned afterwards. (Asio calls this twice for its own contexts: what the first
    // round has queued behind a scheduler that is gone comes in the second.)
    void shutdown() override {
        dying_.store(true, std::memory_order_release);
        wait_for_users(0, 0);
        for (;;) {
            std::shared_ptr<outside_wait> wait;
            {
                const std::lock_guard lock{mutex_};
                if (waits_ == nullptr) {
                    break;
                }
                wait = waits_->shared_from_this();
                unlink(*wait);
            }
            wait->forget();
        }
        std::vector<drain_waiter> waiters;
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
        boost::intrusive_ptr<scope_record> newest;
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
            boost::intrusive_ptr<scope_record> record;
            {
                const std::lock_guard lock{mutex_};
                if (newest_ == nullptr) {
                    return;
                }
                record.reset(newest_);
                unlink(*record);
            }
            record->context_dies();
        }
    }

    static bool is_newer(const scope_record& a, const scope_record& b) noexcept {
        const std::uint64_t n = a.opened_as_.load(), m = b.opened_as_.load();
        return n > m || (n == m && n != scope_record::not_opened);
    }

    void unlink(outside_wait& wait) noexcept {
        if (wait.previous_ != nullptr || waits_ == &wait) {
            (wait.previous_ != nullptr ? wait.previous_->next_ : waits_) = wait.next_;
            if (wait.next_ != nullptr) {
                wait.next_->previous_ = wait.previous_;
            }
            wait.previous_ = wait.next_ = nullptr;
        }
    }

    void unlink(scope_record& record) noexcept {
        if (record.listed_.exchange(false)) {
            ++changes_;
            (record.older_ != nullptr ? record.older_->newer_ : oldest_) = record.newer_;
            (record.newer_ != nullptr ? record.newer_->older_ : newest_) = record.older_;
            record.older_ = record.newer_ = nullptr;
        }
    }

    static void print(const cleanup_failure& failure) noexcept {
        const char* what = "an exception that is no std::exception";
        std::string text;
        try {
            std::rethrow_exception(failure.error);
        } catch (const std::exception& e) {
            try {
                text = e.what();
                what = text.c_str();
            } catch (...) { what = "an error (no memory left to say which)"; }
        } catch (...) {}
        std::fprintf(stderr, "coraii: the cleanup of %.*s%s%s:%u failed: %s\n", static_cast<int>(failure.name.size()),
                     failure.name.data(), failure.name.empty() ? "the scope at " : " at ", failure.where.file_name(),
                     static_cast<unsigned>(failure.where.line()), what);
    }

    inline static std::atomic<std::uint64_t> generation_{1};

    std::atomic<std::uint64_t> numbers_{0};

    std::atomic<bool> dying_{false};
    std::atomic<bool> tracking_{false};
    std::atomic<std::size_t> background_{0};

    std::mutex mutex_;
    scope_record* oldest_ = nullptr;
    scope_record* newest_ = nullptr;
    std::uint64_t changes_ = 0;  // of the list
    outside_wait* waits_ = nullptr;
    std::shared_ptr<const std::function<void(const cleanup_failure&)>> error_handler_;
    std::vector<drain_waiter> drain_waiters_;
};

}  // namespace coraii::detail

#endif
