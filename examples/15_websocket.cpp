// SPDX-License-Identifier: BSL-1.0
// A WebSocket that is closed with its handshake on every way out, within a deadline. The code tells the peer how the use ended.
// Prints:
//   server: hello
//   server: closed with 1000
//   server: hm
//   client: out of ideas
//   server: closed with 1011
#include <coraii/coraii.hpp>

#include <boost/asio.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/beast.hpp>

#include <chrono>
#include <iostream>
#include <stdexcept>
#include <string>

namespace asio = boost::asio;
namespace beast = boost::beast;
using asio::ip::tcp;
using namespace asio::experimental::awaitable_operators;
using namespace std::chrono_literals;
using web_stream = beast::websocket::stream<tcp::socket>;

asio::awaitable<web_stream> accept(tcp::acceptor& acceptor) {
    web_stream stream{co_await acceptor.async_accept(asio::use_awaitable)};
    co_await stream.async_accept(asio::use_awaitable);
    co_return stream;
}

asio::awaitable<web_stream> connect(tcp::endpoint server) {
    web_stream stream{co_await asio::this_coro::executor};
    co_await stream.next_layer().async_connect(server, asio::use_awaitable);
    co_await stream.async_handshake("localhost", "/", asio::use_awaitable);
    co_return stream;
}

asio::awaitable<void> say_goodbye(web_stream& stream, coraii::exit_status why) {
    if (stream
            .is_open()) {  // not if the peer has closed it, or a read was cancelled: Beast can send nothing after that
        const auto code = why.ok() ? beast::websocket::normal : beast::websocket::internal_error;
        co_await stream.async_close(code, asio::use_awaitable);  // sends our close, and reads on until the peer's
    }
}

coraii::task<> serve(tcp::acceptor& acceptor) {
    web_stream& stream = co_await coraii::enter(coraii::async_scope{accept(acceptor), say_goodbye}.cleanup_timeout(5s));
    boost::system::error_code closed;  // by the peer: then the read has answered it
    for (beast::flat_buffer message; !closed; message.clear()) {
        co_await stream.async_read(message, asio::redirect_error(asio::use_awaitable, closed));
        const std::string text = beast::buffers_to_string(message.data());
        std::cout << "server: " << (closed ? "closed with " + std::to_string(stream.reason().code) : text) << '\n';
    }
}

coraii::task<> talk(tcp::endpoint server, std::string text) {
    web_stream& stream = co_await coraii::enter(coraii::async_scope{connect(server), say_goodbye}.cleanup_timeout(5s));
    co_await stream.async_write(asio::buffer(text), asio::use_awaitable);
    if (text == "hm") {
        throw std::runtime_error("out of ideas");
    }
}

asio::awaitable<void> client(tcp::endpoint server, std::string text) {
    try {
        co_await talk(server, text);
    } catch (const std::exception& e) { std::cout << "client: " << e.what() << '\n'; }
}

asio::awaitable<void> run() {
    tcp::acceptor acceptor{co_await asio::this_coro::executor, {asio::ip::address_v4::loopback(), 0}};
    co_await (serve(acceptor) && client(acceptor.local_endpoint(), "hello"));
    co_await (serve(acceptor) && client(acceptor.local_endpoint(), "hm"));
}

int main() {
    try {
        asio::io_context context;
        auto done = asio::co_spawn(context, run(), asio::use_future);
        context.run();
        done.get();
    } catch (const std::exception& e) {
        std::cerr << "error: " << e.what() << '\n';
        return 1;
    }
}
