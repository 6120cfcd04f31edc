// SPDX-License-Identifier: BSL-1.0
#include "everything.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include <cstdio>
#include <exception>
#include <string>

namespace asio = boost::asio;

namespace {

asio::awaitable<void> write_and_read(std::string& read) {
    co_await coraii::with(coraii::temp_file(), [&](coraii::file& f) -> asio::awaitable<void> {
        co_await f.write("written in one source, read in the other\n");
        read = co_await read_it(f.path().string());
    });
#ifdef CORAII_TEST_SQLITE
    co_await coraii::with(coraii::sqlite::connect(":memory:"),
                          [&](coraii::sqlite::connection& c) -> asio::awaitable<void> {
                              const coraii::sql_rows rows = co_await c.execute("select $1 || '!'", read);
                              read = rows[0][0].as<std::string>();
                          });
#else
    read += '!';
#endif
}

}  // namespace

int main() {
    asio::io_context context;
    std::string read;
    std::exception_ptr error;
    asio::co_spawn(context, write_and_read(read), [&](std::exception_ptr e) { error = e; });
    context.run();
    if (error) {
        std::rethrow_exception(error);
    }
    std::puts(read.c_str());
    const bool closed = coraii::stats(context).open == 0;
    return closed && read == "written in one source, read in the other!" ? 0 : 1;
}
