// SPDX-License-Identifier: BSL-1.0
// TLS and its goodbye: without it a peer cannot tell the end from a cut. It has a deadline. The certificate is made by
//   openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -out certificate.pem -keyout key.pem
// Prints:
//   server: got "all of it" and a goodbye
//   client: No space left on device
//   server: stream truncated
//   client: the cleanup did not end within its cleanup_timeout and was cancelled
#include <coraii/coraii.hpp>

#include <boost/asio.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/ssl.hpp>

#include <chrono>
#include <iostream>
#include <string>

namespace asio = boost::asio;
namespace ssl = asio::ssl;
using asio::ip::tcp;
using namespace asio::experimental::awaitable_operators;
using namespace std::chrono_literals;
using tls_stream = ssl::stream<tcp::socket>;

coraii::async_scope<tls_stream> handshake(tls_stream connected, tls_stream::handshake_type side) {
    tls_stream stream{std::move(connected)};
    co_await stream.async_handshake(side, asio::use_awaitable);
    const coraii::exit_status why = co_yield stream;
    if (why.ok()) {
        co_await stream.async_shutdown(asio::use_awaitable);  // sends our goodbye, and waits for the peer's
    }
}

coraii::task<> serve(tcp::acceptor& acceptor, ssl::context& settings, bool hangs) {
    tls_stream peer{co_await acceptor.async_accept(asio::use_awaitable), settings};
    tls_stream& stream = co_await coraii::enter(handshake(std::move(peer), tls_stream::server).cleanup_timeout(5s));
    if (hangs) {
        co_await acceptor.async_accept(asio::use_awaitable);  // nobody comes
    }
    std::string text;
    auto buffer = asio::dynamic_buffer(text);
    const auto [error, size] = co_await asio::async_read(stream, buffer, asio::as_tuple(asio::use_awaitable));
    if (error != asio::error::eof) {  // eof is the goodbye; after anything else the text may be incomplete
        throw boost::system::system_error(ssl::error::stream_truncated);
    }
    std::cout << "server: got \"" << text << "\" and a goodbye\n";
}

coraii::task<> send(const tcp::acceptor& server, ssl::context& settings, std::string text) {
    tls_stream fresh{co_await asio::this_coro::executor, settings};
    co_await fresh.lowest_layer().async_connect(server.local_endpoint(), asio::use_awaitable);
    tls_stream& stream = co_await coraii::enter(handshake(std::move(fresh), tls_stream::client).cleanup_timeout(2s));
    co_await asio::async_write(stream, asio::buffer(text), asio::use_awaitable);
    if (text == "half of it") {  // the use fails, and is cut off
        throw boost::system::system_error(make_error_code(boost::system::errc::no_space_on_device));
    }
}

asio::awaitable<void> report(std::string who, coraii::task<> work) {
    try {
        co_await std::move(work);
    } catch (const boost::system::system_error& e) { std::cout << who << ": " << e.code().message() << '\n'; }
}

asio::awaitable<void> run(ssl::context& own, ssl::context& clients) {
    tcp::acceptor acceptor{co_await asio::this_coro::executor, {asio::ip::address_v4::loopback(), 0}};
    for (std::string text : {"all of it", "half of it"}) {
        co_await (report("server", serve(acceptor, own, false)) && report("client", send(acceptor, clients, text)));
    }
    co_await (serve(acceptor, own, true) || report("client", send(acceptor, clients, "all of it")));
}

int main() {
    try {
        ssl::context own{ssl::context::tls_server}, clients{ssl::context::tls_client};
        own.use_certificate_chain_file("certificate.pem");
        own.use_private_key_file("key.pem", ssl::context::pem);
        clients.load_verify_file("certificate.pem");
        clients.set_verify_mode(ssl::verify_peer);
        clients.set_verify_callback(ssl::host_name_verification("localhost"));
        asio::io_context context;
        auto done = asio::co_spawn(context, run(own, clients), asio::use_future);
        context.run();
        done.get();
    } catch (const std::exception& e) {
        std::cerr << "error: " << e.what() << '\n';
        return 1;
    }
}
