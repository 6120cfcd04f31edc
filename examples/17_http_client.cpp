// SPDX-License-Identifier: BSL-1.0
// An HTTP client whose keep-alive connections are a pool's. One whose use failed, or whose answer says so, is not kept. One
// that the server has closed meanwhile gives no answer: then the request is sent once more, on the next.
// Prints:
//   /: connection 1
//   /last: connection 1
//   /dropped: connection 2
//   /: connection 3
#include <coraii/coraii.hpp>

#include <boost/asio.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/beast.hpp>

#include <iostream>
#include <optional>
#include <string>
#include <utility>

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;
using namespace asio::experimental::awaitable_operators;
constexpr auto as_result = asio::as_tuple(asio::use_awaitable);
using answer = http::response<http::string_body>;

struct connection {
    tcp::socket socket;
    boost::beast::flat_buffer buffer{};
    bool keep_alive = false;

    static asio::awaitable<bool> reset(connection& c, coraii::exit_status why) { co_return why.ok() && c.keep_alive; }
};

coraii::async_scope<connection> connect(tcp::endpoint server) {
    connection c{tcp::socket{co_await asio::this_coro::executor}};
    co_await c.socket.async_connect(server, asio::use_awaitable);
    co_yield c;
}

coraii::task<std::optional<answer>> try_get(coraii::pool<connection>& pool, std::string target) {
    connection& c = co_await coraii::enter(pool.acquire());
    http::request<http::empty_body> request{http::verb::get, target, 11};
    request.set(http::field::host, "localhost");
    co_await http::async_write(c.socket, request, as_result);  // if it fails the read does, too
    answer received;
    const auto [error, size] = co_await http::async_read(c.socket, c.buffer, received, as_result);
    const bool reused = std::exchange(c.keep_alive, !error && received.keep_alive());
    co_return !error ? std::optional{received} : reused ? std::nullopt : throw boost::system::system_error(error);
}

coraii::task<> client(tcp::endpoint server) {
    auto opened = coraii::open_pool([server] { return connect(server); }, {}, {.reset = connection::reset});
    coraii::pool<connection>& pool = co_await coraii::enter(std::move(opened));
    for (std::string target : {"/", "/last", "/dropped", "/"}) {
        std::optional<answer> received;
        while (!received) {
            received = co_await try_get(pool, target);  // a GET can be repeated, a POST cannot
        }
        std::cout << target << ": " << received->body() << '\n';
    }
}

asio::awaitable<void> serve(tcp::acceptor& acceptor) {
    for (int number = 1;; ++number) {
        tcp::socket peer = co_await acceptor.async_accept(asio::use_awaitable);
        boost::beast::flat_buffer buffer;
        http::request<http::string_body> request;
        do {
            co_await http::async_read(peer, buffer, request, asio::use_awaitable);
            answer a{http::status::ok, 11, "connection " + std::to_string(number)};
            a.keep_alive(request.target() != "/last");
            a.prepare_payload();
            co_await http::async_write(peer, a, asio::use_awaitable);
        } while (request.target() == "/");
    }
}

int main() {
    try {
        asio::io_context context;
        tcp::acceptor acceptor{context, {asio::ip::address_v4::loopback(), 0}};
        auto done = asio::co_spawn(context, serve(acceptor) || client(acceptor.local_endpoint()), asio::use_future);
        context.run();
        done.get();
    } catch (const std::exception& e) {
        std::cerr << "error: " << e.what() << '\n';
        return 1;
    }
}
