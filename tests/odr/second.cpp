// SPDX-License-Identifier: BSL-1.0
#include "everything.hpp"

#include <optional>
#include <string>
#include <utility>

namespace asio = boost::asio;

asio::awaitable<std::string> read_it(std::string path) {
    auto read = [](coraii::file& f) -> asio::awaitable<std::string> {
        const std::optional<std::string> line = co_await f.read_line();
        co_return line.value();
    };
    co_return co_await coraii::with(coraii::open_file(std::move(path)), read);
}

#ifdef CORAII_TEST_POSTGRES
// Never called; it must link.
coraii::async_scope<coraii::postgres::connection> connect_somewhere() {
    return coraii::postgres::connect("host=127.0.0.1");
}
#endif
