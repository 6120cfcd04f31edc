// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_WORKERS_WORKER_POOL_HPP
#define CORAII_DETAIL_WORKERS_WORKER_POOL_HPP

#include "coraii/detail/context/own_process.hpp"
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
#include <list>
#include <memory>
#include <mutex>
#include <pthread.h>
#include <type_traits>
#include <utility>

namespace coraii {

namespace asio = boost::asio;

namespace detail {

/// The threads of a context that make its blocking calls, from the first call on.
///
/// Not an asio::thread_pool: that one waits for its threads when it goes, and a thread may be in a call that never
/// returns, such as the open of a FIFO that nobody else opens. What may be one of those says so (`unbounded_call`): it
/// takes no place from the others while it lasts, and is not waited for at the end.
///
/// A fork that the context is told of finds no call under way but unbounded ones, and the mutex ours. In the child these
/// calls are lost with their threads. One that the context is not told of may find anything: in the child nothing here is
/// touched any more.
class worker_pool : public std::enable_shared_from_this<worker_pool> {
    struct worker {
        std::shared_ptr<worker_pool> pool;  // until it runs
        pthread_t thread{};  // not a std::thread: in a child of the process it can be neither joined nor forgotten
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

    /// While one lives, the calling worker may block for any time, and touches nothing but what it owns: no mutex.
    class unbounded_call {
    public:
        /// Errors: `operation_aborted` if the context is going already; EAGAIN if there are too many, or if others wait for a
        ///   worker, and there is none but this.
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

    /// Errors: EAGAIN if there is no thread for it.
    CORAII_DECL void add(task queued);

    /// What has not begun is dropped. Waits for what has, unless it is unbounded.
    CORAII_DECL void stop() noexcept;

    /// Before a fork: waits until the workers have gone, but for those in unbounded calls. Until it has been told how the
    /// fork went, nothing begins here.
    CORAII_DECL void before_fork() noexcept;
    CORAII_DECL void after_fork(bool in_child) noexcept;

private:
    CORAII_DECL void add_thread_if_short();
    CORAII_DECL void start_thread();
    bool has_thread() const noexcept { return threads_ != unbounded_; }

    static CORAII_DECL void* run(void* started) noexcept;
    CORAII_DECL void work(worker& self);

    inline static thread_local constinit current here_now_{nullptr, nullptr};  // while a task of this module runs

    std::mutex mutex_;
    std::condition_variable wake_;
    std::condition_variable gone_;
    std::deque<task> queue_;
    std::list<worker> workers_;
    std::size_t threads_ = 0;
    std::size_t idle_ = 0;
    std::size_t unbounded_ = 0;
    bool stopping_ = false;
    bool forking_ = false;
    own_process process_;
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
    CORAII_DECL void notify_fork(asio::execution_context::fork_event event) override;

    std::shared_ptr<worker_pool> pool_ = std::make_shared<worker_pool>();
};

CORAII_DECL worker_executor workers_of(const asio::any_io_executor& executor);

}  // namespace detail
}  // namespace coraii

#if defined(CORAII_HEADER_ONLY)
#include "coraii/detail/workers/impl/worker_pool.ipp"
#endif

#endif
