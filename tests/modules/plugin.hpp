// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_TESTS_MODULES_PLUGIN_HPP
#define CORAII_TESTS_MODULES_PLUGIN_HPP

// What the program and its plug-in know of each other. Functions are called through pointers only: so a test does not
// depend on which of two definitions the dynamic linker picks.

#include "coraii/coraii.hpp"
#include "coraii/pool.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <atomic>
#include <exception>
#include <functional>
#include <memory>
#include <string>

namespace modules {

namespace asio = boost::asio;
using asio::awaitable;

struct counters {
    std::atomic<int> opened{0};
    std::atomic<int> begun{0};    // cleanups
    std::atomic<int> cut_off{0};  // cleanups that were told that they cannot await
    std::atomic<int> cleaned{0};
};

inline awaitable<void> turn() {
    co_await asio::post(co_await asio::this_coro::executor, asio::use_awaitable);
}

/// Its cleanup suspends, so that somebody has to wait for it.
inline coraii::async_scope<int> resource(counters& c) {
    co_await turn();
    int n = ++c.opened;
    const coraii::exit_status why = co_yield n;
    ++c.begun;
    if (!why.can_await()) {
        ++c.cut_off;
    }
    co_await turn();
    co_await turn();
    ++c.cleaned;
}

using function = std::function<awaitable<void>()>;
using done = std::function<void(std::exception_ptr)>;

/// The same things done in the plug-in. The program has a table of its own.
struct table {
    awaitable<void> (*drop)(counters&);            // opens a resource, and drops its guard
    awaitable<void> (*drop_on_strand)(counters&);  // the same on a strand of this executor
    awaitable<void> (*close)(counters&);
    awaitable<void> (*with)(counters&);
    awaitable<coraii::guard<int>> (*open)(counters&);
    void (*drop_guard)(coraii::guard<int>);
    coraii::async_scope<int> (*scope)(counters&);
    awaitable<void> (*use)(coraii::async_scope<int>);  // opens somebody's scope, and drops the guard
    awaitable<void> (*join)(function body);
    awaitable<void> (*fail)();  // a guard is dropped whose cleanup throws
    awaitable<void> (*await_twice)(counters&);
    awaitable<void> (*drain)(asio::io_context&);
    coraii::scope_stats (*stats)(asio::io_context&);
    int (*listed)(asio::io_context&);  // what for_each_scope sees
    awaitable<void> (*offload)(asio::thread_pool&, counters&);
    awaitable<void> (*lease)(coraii::pool<int>&);
    std::unique_ptr<coraii::pool<int>> (*make_pool)(asio::any_io_executor, counters&);
    std::unique_ptr<asio::io_context> (*make_context)();
    void (*read)(asio::io_context&, std::string path, asio::cancellation_slot, done);
};

}  // namespace modules

/// The only name that the plug-in exports.
extern "C" __attribute__((visibility("default"))) const modules::table* coraii_test_plugin();

#endif
