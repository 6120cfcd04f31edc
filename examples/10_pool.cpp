// SPDX-License-Identifier: BSL-1.0
// A pool of two connections for five workers. Each waits for its turn, and whatever happens to it, its connection goes
// back: one worker fails, and the pool replaces what it says is broken.
// Prints:
//   worker 1 uses connection 1
//   worker 2 uses connection 2
//   worker 3 uses connection 1
//   worker 4 finds connection 2 broken
//   worker 5 uses connection 1
//   opened 3, discarded 1, in use 0
#include <coraii/coraii.hpp>

#include <boost/asio.hpp>

#include <chrono>
#include <exception>
#include <iostream>
#include <stdexcept>

namespace asio = boost::asio;
using namespace std::chrono_literals;

struct connection {
    int id;
};

coraii::async_scope<connection> connect(int id) {
    connection c{id};  // co_await what it takes
    co_yield c;
}

asio::awaitable<void> work(coraii::pool<connection>& pool, int worker) {
    co_await coraii::with(pool.acquire(1s), [&](connection& c) -> asio::awaitable<void> {
        if (worker == 4) {
            std::cout << "worker 4 finds connection " << c.id << " broken\n";
            pool.discard(c);
            throw std::runtime_error("connection lost");
        }
        std::cout << "worker " << worker << " uses connection " << c.id << '\n';
        co_await asio::post(asio::deferred);  // the others come, and wait
    });
}

int main() {
    try {
        asio::io_context context;
        int last_id = 0;
        coraii::pool<connection> pool{context.get_executor(), [&] { return connect(++last_id); }, {.max_size = 2}};
        int ended = 0;
        for (int worker = 1; worker <= 5; ++worker) {
            asio::co_spawn(context, work(pool, worker), [&](std::exception_ptr) { ++ended; });
        }
        while (ended < 5) {  // run() would not return: the pool is open
            context.run_one();
        }
        const coraii::pool_stats stats = pool.stats();
        std::cout << "opened " << stats.opened << ", discarded " << stats.discarded << ", in use " << stats.in_use
                  << '\n';
        asio::co_spawn(context, pool.close(), asio::detached);
        context.run();
    } catch (const std::exception& e) {
        std::cerr << "error: " << e.what() << '\n';
        return 1;
    }
}
