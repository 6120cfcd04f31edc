// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_WORKERS_WORKER_POOL_HPP
#define CORAII_DETAIL_WORKERS_WORKER_POOL_HPP

#include "coraii/detail/coroutine/platform.hpp"
#include "coraii/detail/coroutine/unique_function.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/execution.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/query.hpp>
#include <boost/system/system_error.hpp>

#include <condition_variable>
#include <csignal>
#include <cstddef>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <pthread.h>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace coraii {

namespace asio = boost::asio;

namespace detail {

/// The threads of a context that make its blocking calls, from the first call on.
///
/// Not an asio::thread_pool: that one waits for its threads when it goes, and a thread may be in a call that never
/// returns, such as the open of a FIFO that nobody else opens. What may be one of those says so (`unbounded_call`): it
/// takes no place from the others while it lasts, and is not waited for at the end.
class worker_pool : public std::enable_shared_from_this<worker_pool> {
    struct worker {
        std::thread thread;
        bool unbounded = false;
    };

    struct current {
        worker_pool* pool;
        worker* self;
    };

    // The worker tells the task who it is, and not a variable of its own: the task may be another module's.
    using task = unique_function<current>;

    template <class F>
    struct told_task {
        F f;

        void operator()(current worker) {
            const current before = std::exchange(here_now_, worker);
            std::move(f)();
            here_now_ = before;
        }
    };

public:
    static constexpr std::size_t most_working = 4;  // threads
    static constexpr std::size_t most_unbounded = 60;  // threads that are in such a call

    /// While one lives, the calling worker may block for any time, and touches nothing but what it owns.
    class unbounded_call {
    public:
        /// Errors: `operation_aborted` if the context is going already; EAGAIN if there are too many.
        CORAII_DECL unbounded_call();
        unbounded_call(const unbounded_call&) = delete;
        unbounded_call& operator=(const unbounded_call&) = delete;
        CORAII_DECL ~unbounded_call();

    private:
        current here_;
    };

    template <class F>
    void submit(F&& f) {
        add(told_task<std::decay_t<F>>{std::forward<F>(f)});
    }

    CORAII_DECL void add(task queued);

    /// What has not begun is dropped. Waits for what has, unless it is unbounded.
    CORAII_DECL void stop() noexcept;

private:
    CORAII_DECL void add_thread_if_short();

    static CORAII_DECL void work(const std::shared_ptr<worker_pool>& pool, worker& self);

    inline static thread_local constinit current here_now_{nullptr, nullptr};  // while a task of this module runs

    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<task> queue_;
    std::list<worker> workers_;
    std::size_t threads_ = 0;
    std::size_t idle_ = 0;
    std::size_t unbounded_ = 0;
    bool stopping_ = false;
};

/// An executor of the pool's. It keeps the pool's memory, but not its threads: these end with the context.
class worker_executor {
public:
    explicit worker_executor(std::shared_ptr<worker_pool> pool) noexcept : pool_{std::move(pool)} {}

    static constexpr asio::execution::blocking_t query(asio::execution::blocking_t) noexcept {
        return asio::execution::blocking.never;
    }

    template <class F>
    void execute(F&& f) const {
        pool_->submit(std::forward<F>(f));
    }

    friend bool operator==(const worker_executor&, const worker_executor&) noexcept = default;

private:
    std::shared_ptr<worker_pool> pool_;
};

/// The pool of a context, which ends with it.
class CORAII_VISIBLE worker_service final : public asio::execution_context::service {
public:
    using key_type = worker_service;
    CORAII_VISIBLE inline static asio::execution_context::id id;

    explicit worker_service(asio::execution_context& context) : service(context) {}

    static CORAII_DECL worker_executor workers(asio::execution_context& context);

private:
    void shutdown() override { pool_->stop(); }

    std::shared_ptr<worker_pool> pool_ = std::make_shared<worker_pool>();
};

CORAII_DECL worker_executor workers_of(const asio::any_io_executor& executor);

}  // namespace detail
}  // namespace coraii

#if defined(CORAII_HEADER_ONLY)
#include "coraii/detail/workers/impl/worker_pool.ipp"
#endif

#endif
