// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_WORKERS_IMPL_WORKER_POOL_IPP
#define CORAII_DETAIL_WORKERS_IMPL_WORKER_POOL_IPP

#include "coraii/detail/workers/worker_pool.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/execution.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/query.hpp>
#include <boost/system/system_error.hpp>

#include <csignal>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <pthread.h>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace coraii::detail {

void worker_pool::add(task queued) {
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

void worker_pool::stop() noexcept {
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

void worker_pool::add_thread_if_short() {
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

void worker_pool::work(const std::shared_ptr<worker_pool>& pool, worker& self) {
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

worker_pool::unbounded_call::unbounded_call() : here_{here_now_} {
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

worker_pool::unbounded_call::~unbounded_call() {
    if (here_.pool != nullptr) {
        const std::lock_guard lock{here_.pool->mutex_};
        here_.self->unbounded = false;
        --here_.pool->unbounded_;
    }
}

worker_executor worker_service::workers(asio::execution_context& context) {
    return worker_executor{asio::use_service<worker_service>(context).pool_};
}

worker_executor workers_of(const asio::any_io_executor& executor) {
    return worker_service::workers(asio::query(executor, asio::execution::context));
}

}  // namespace coraii::detail

#endif
