// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_WORKERS_IMPL_WORKER_POOL_IPP
#define CORAII_DETAIL_WORKERS_IMPL_WORKER_POOL_IPP

#include "coraii/detail/context/registry.hpp"
#include "coraii/detail/workers/worker_pool.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/execution.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/query.hpp>
#include <boost/system/error_code.hpp>
#include <boost/system/system_error.hpp>

#include <csignal>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <pthread.h>
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
            } catch (...) {
                if (!has_thread()) {
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
    if (!process_.is_this()) {
        return;
    }
    std::deque<task> dropped;
    std::vector<pthread_t> ending;
    {
        const std::lock_guard lock{mutex_};
        if (std::exchange(stopping_, true)) {
            return;  // Asio shuts a context down twice
        }
        dropped.swap(queue_);
        for (const worker& w : workers_) {
            if (w.unbounded) {
                pthread_detach(w.thread);
            } else {
                ending.push_back(w.thread);
            }
        }
    }
    wake_.notify_all();
    for (const pthread_t thread : ending) {
        pthread_join(thread, nullptr);
    }
}

void worker_pool::before_fork() noexcept {
    std::unique_lock lock{mutex_};
    forking_ = true;
    wake_.notify_all();
    gone_.wait(lock, [this] { return !has_thread(); });
    lock.release();
}

void worker_pool::after_fork(bool in_child) noexcept {
    std::unique_lock lock{mutex_, std::adopt_lock};
    if (in_child) {
        process_ = {};
        workers_.clear();
        threads_ = unbounded_ = 0;
    }
    forking_ = false;
    std::deque<task> dropped;
    try {
        for (std::size_t i = 0; i < queue_.size(); ++i) {
            add_thread_if_short();
        }
    } catch (...) {
        if (!has_thread()) {
            dropped.swap(queue_);
        }
    }
    lock.unlock();
}

void worker_pool::add_thread_if_short() {
    if (queue_.size() > idle_ && threads_ - unbounded_ < most_working && !stopping_ && !forking_) {
        start_thread();
    }
}

void worker_pool::start_thread() {
    workers_.push_back({shared_from_this()});
    worker& started = workers_.back();
    // Signals are for the program's own threads.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int error = pthread_create(&started.thread, nullptr, run, &started);
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (error != 0) {
        workers_.pop_back();
        throw boost::system::system_error(boost::system::error_code{error, boost::system::system_category()},
                                          "start a thread");
    }
    ++threads_;
}

void* worker_pool::run(void* started) noexcept {
    worker& self = *static_cast<worker*>(started);
    const std::shared_ptr<worker_pool> pool = std::move(self.pool);
    pool->work(self);
    return nullptr;
}

void worker_pool::work(worker& self) {
    std::unique_lock lock{mutex_};
    // Back from an unbounded call there may be one more of us than there should be.
    while (threads_ - unbounded_ <= most_working && !forking_) {
        ++idle_;
        wake_.wait(lock, [this] { return stopping_ || forking_ || !queue_.empty(); });
        --idle_;
        if (stopping_ || forking_) {
            break;
        }
        task next = std::move(queue_.front());
        queue_.pop_front();
        lock.unlock();
        std::move(next)(current{this, &self});
        lock.lock();
    }
    --threads_;
    if (!stopping_) {
        pthread_detach(self.thread);
        workers_.remove_if([&self](const worker& w) { return &w == &self; });
    }
    gone_.notify_all();
}

worker_pool::unbounded_call::unbounded_call() : here_{here_now_} {
    if (here_.pool != nullptr) {
        worker_pool& pool = *here_.pool;
        const std::lock_guard lock{pool.mutex_};
        if (pool.stopping_ || pool.unbounded_ == most_unbounded) {
            throw boost::system::system_error(
                boost::system::error_code{pool.stopping_ ? asio::error::operation_aborted : asio::error::try_again});
        }
        ++pool.unbounded_;
        try {
            pool.add_thread_if_short();
        } catch (...) {
            if (!pool.has_thread()) {
                --pool.unbounded_;
                throw;
            }
        }
        here_.self->unbounded = true;
        pool.gone_.notify_all();
    }
}

worker_pool::unbounded_call::~unbounded_call() {
    if (here_.pool != nullptr) {
        const std::lock_guard lock{here_.pool->mutex_};
        here_.self->unbounded = false;
        --here_.pool->unbounded_;
    }
}

void worker_service::notify_fork(asio::execution_context::fork_event event) {
    if (event == asio::execution_context::fork_prepare) {
        return pool_->before_fork();
    }
    const bool in_child = event == asio::execution_context::fork_child;
    if (in_child) {  // first: there is no other thread yet
        registry::of(context()).waits.threads_are_lost();
    }
    pool_->after_fork(in_child);
}

worker_executor worker_service::workers(asio::execution_context& context) {
    return worker_executor{asio::use_service<worker_service>(context).pool_};
}

worker_executor workers_of(const asio::any_io_executor& executor) {
    return worker_service::workers(asio::query(executor, asio::execution::context));
}

}  // namespace coraii::detail

#endif
