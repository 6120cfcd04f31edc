// SPDX-License-Identifier: BSL-1.0
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>

#include <coraii.hpp>
#include <iostream>
#include <string>

coraii::async_scope<std::string> open_in_second();

static_assert(CORAII_VERSION >= 1000);

coraii::task<> work() {
    const std::string& opened = co_await coraii::enter(open_in_second());
    std::cout << opened << '\n';
}

int main() {
    boost::asio::io_context context;
    boost::asio::co_spawn(context, work(), boost::asio::detached);
    context.run();
    return coraii::stats(context).open == 0 ? 0 : 1;
}
