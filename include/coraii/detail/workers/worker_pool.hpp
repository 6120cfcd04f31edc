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
        unbounded_call() : here_{here_now_} {
            if (here_.pool != nullptr) {
                const std::lock_guard lock{here_.pool->mutex_};
                if (here_.pool->stopping_ || here_.pool->unbounded_ == most_unbounded) {
                    throw boost::system::system_error(boost::system::error_code{
                        here_.pool->stopping_ ? asio::error::operation_aborted : asio::error::try_again});
                }
                here_.self->unbounded = true;
                ++here_.pool->unbounded_;
                here_.pool->add_thread_if_short();
            }
        }
        unbounded_call(const unbounded_call&) = delete;
        unbounded_call& operator=(const unbounded_call&) = delete;
        ~unbounded_call() {
            if (here_.pool != nullptr) {
                const std::lock_guard lock{here_.pool->mutex_};
                here_.self->unbounded = false;
                --here_.pool->unbounded_;
            }
        }

    private:
        current here_;
    };

    template <class F>
    void submit(F&& f) {
        add(told_task<std::decay_t<F>>{std::forward<F>(f)});
    }

    void add(task queued) {
        {
            const std::lock_guard lock{mutex_};
            if (!stopping_) {
                queue_.push_back(std::move(queued));
                try {
                    add_thread_if_short();
                } catch (const std::system_error&) {
                    if (threads_ == 0) {
                        queued = std::move(queue_.back());
                        queue_.pop_back();
                        throw;
                    }
                }
            }
        }
        wake_.notify_one();
    }

    /// What has not begun is dropped. Waits for what has, unless it is unbounded.
    void stop() noexcept {
        std::deque<task> dropped;
        std::vector<std::thread> ending;
        {
            const std::lock_guard lock{mutex_};
            if (std::exchange(stopping_, true)) {
                return;  // Asio shuts a context down twice
            }
            dropped.swap(queue_);
            for (worker& w : workers_) {
                if (w.unbounded) {
                    w.thread.detach();
                } else {
                    ending.push_back(std::move(w.thread));
                }
            }
        }
        wake_.notify_all();
        for (std::thread& thread : ending) {
            thread.join();
        }
    }

private:
    void add_thread_if_short() {
        if (queue_.size() <= idle_ || threads_ - unbounded_ >= most_working || stopping_) {
            return;
        }
        workers_.emplace_back();
        // Signals are for the program's own threads.
        sigset_t all;
        sigset_t before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        try {
            workers_.back().thread = std::thread{&worker_pool::work, shared_from_this(), std::ref(workers_.back())};
        } catch (...) {
            pthread_sigmask(SIG_SETMASK, &before, nullptr);
            workers_.pop_back();
            throw;
        }
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
        ++threads_;
    }

    static void work(const std::shared_ptr<worker_pool>& pool, worker& self) {
        std::unique_lock lock{pool->mutex_};
        // Back from an unbounded call there may be one more of us than there should be.
        while (pool->threads_ - pool->unbounded_ <= most_working) {
            ++pool->idle_;
            pool->wake_.wait(lock, [&pool] { return pool->stopping_ || !pool->queue_.empty(); });
            --pool->idle_;
            if (pool->stopping_) {
                break;
            }
            task next = std::move(pool->queue_.front());
            pool->queue_.pop_front();
            lock.unlock();
            std::move(next)(current{pool.get(), &self});
            lock.lock();
        }
        --pool->threads_;
        if (!pool->stopping_) {
            self.thread.detach();
            pool->workers_.remove_if([&self](const worker& w) { return &w == &self; });
        }
    }

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

    static worker_executor workers(asio::execution_context& context) {
        return worker_executor{asio::use_service<worker_service>(context).pool_};
    }

private:
    void shutdown() override { pool_->stop(); }

    std::shared_ptr<worker_pool> pool_ = std::make_shared<worker_pool>();
};

inline worker_executor workers_of(const asio::any_io_executor& executor) {
    return worker_service::workers(asio::query(executor, asio::execution::context));
}

}  // namespace detail
}  // namespace coraii

#endif
