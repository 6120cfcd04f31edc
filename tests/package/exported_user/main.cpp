// SPDX-License-Identifier: BSL-1.0
#include <coraii/coraii.hpp>

#include <boost/asio.hpp>

#include <iostream>
#include <ledger.hpp>

namespace asio = boost::asio;

coraii::task<> work() {
    std::cout << "wrote in the " << co_await coraii::enter(open_ledger()) << '\n';
}

int main() {
    asio::io_context context;
    asio::co_spawn(context, work(), asio::detached);
    context.run();
}
