// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_TESTS_SUPPORT_EXECUTORS_HPP
#define CORAII_TESTS_SUPPORT_EXECUTORS_HPP

// Where code runs: "home" is the executor under test, "pool" a thread_pool that code may have hopped to.

#include "support/scenario.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <atomic>
#include <exception>
#include <functional>
#include <mutex>
#include <ostream>
#include <string>
#include <thread>
#include <utility>

namespace test {

/// Executors of an io_context.
enum class on { context, strand, strand_of_any };

inline std::ostream& operator<<(std::ostream& out, on e) {
    return out << (e == on::context ? "io_context" : e == on::strand ? "strand" : "strand<any_io_executor>");
}

/// An io_context with an executor, and a pool beside it. Keeps a log of what has run where; any thread may write.
class places {
public:
    explicit places(on e = on::context) {
        switch (e) {
            case on::context:
                executor = context.get_executor();
                at_home_ = [inside = context.get_executor()] { return inside.running_in_this_thread(); };
                break;
            case on::strand: use(asio::make_strand(context)); break;
            case on::strand_of_any: use(asio::make_strand(asio::any_io_executor{context.get_executor()})); break;
        }
    }
    places(const places&) = delete;
    places& operator=(const places&) = delete;

    /// Ends on the pool, and stays there until the next suspension.
    awaitable<void> hop() {
        co_await asio::post(asio::bind_executor(pool, asio::use_awaitable));
        if (!pool.get_executor().running_in_this_thread()) {
            note("hop");  // spoils the log
        }
    }

    [[nodiscard]] std::string here() const {
        return std::this_thread::get_id() == loop_ && at_home_()       ? "home"
               : pool.get_executor().running_in_this_thread() ? "pool"
                                                              : "elsewhere";
    }
    void note(std::string what) { note_as(std::move(what), here()); }
    void note_as(std::string what, const std::string& where) {
        const std::lock_guard lock{mutex_};
        log_.push_back(std::move(what) + ": " + where);
    }
    [[nodiscard]] events log() const {
        const std::lock_guard lock{mutex_};
        return log_;
    }

    /// Runs a coroutine on the executor to its end, with nothing left behind.
    void run(awaitable<void> work, slot s = slot::none) {
        std::atomic<bool> finished{false};
        std::exception_ptr error;
        asio::cancellation_signal never;
        auto done = [&](std::exception_ptr e) {
            error = std::move(e);
            finished = true;
        };
        if (s == slot::none) {
            asio::co_spawn(executor, std::move(work), done);
        } else {
            asio::co_spawn(executor, std::move(work), asio::bind_cancellation_slot(never.slot(), done));
        }
        finish(context);
        REQUIRE(finished);
        if (error) {
            std::rethrow_exception(error);
        }
        const auto left = coraii::stats(context);
        CHECK(left.open == 0);
        CHECK(left.closing == 0);
    }

    asio::io_context context;
    asio::any_io_executor executor;
    mutable asio::thread_pool pool{1};

private:
    template <class Strand>
    void use(const Strand& strand) {
        executor = strand;
        at_home_ = [strand] { return strand.running_in_this_thread(); };
    }

    std::function<bool()> at_home_;
    std::thread::id loop_ = std::this_thread::get_id();
    mutable std::mutex mutex_;
    events log_;
};

}  // namespace test

#endif
