// SPDX-License-Identifier: BSL-1.0
// Which host is connected to, how long that takes, and what is said if it fails.
#include "coraii/postgres.hpp"
#include "support/files.hpp"
#include "support/postgres.hpp"
#include "support/proxy.hpp"
#include "support/sql.hpp"

#include <catch2/matchers/catch_matchers_string.hpp>

#include <cstdlib>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

using namespace test;
using Catch::Matchers::ContainsSubstring;
using coraii::postgres::connection;
using pool_type = coraii::pool<connection>;

namespace {

struct refusal {
    boost::system::error_code code;
    std::string state, text;
};

awaitable<refusal> refused(std::string conninfo, coraii::postgres::options options = {}) {
    refusal r;
    auto scope = coraii::postgres::connect(std::move(conninfo), std::move(options));
    try {
        co_await coraii::with(std::move(scope), [](connection&) -> awaitable<void> { co_return; });
    } catch (const sql_error& e) {
        r.code = e.code();
        r.state = e.sqlstate();
        r.text = e.what();
    }
    co_return r;
}

awaitable<std::string> asked(std::string conninfo, std::string sql) {
    std::string answer;
    auto scope = coraii::postgres::connect(std::move(conninfo));
    const auto ask = [&](connection& c) -> awaitable<void> {
        const auto rows = co_await c.execute(coraii::sql_query{std::move(sql)});
        answer = rows[0][0].as<std::string>();
    };
    co_await coraii::with(std::move(scope), ask);
    co_return answer;
}

/// Listens, and never accepts.
class silent_host {
public:
    silent_host() : socket_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)} {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof address;
        auto* const as_any = static_cast<sockaddr*>(static_cast<void*>(&address));
        REQUIRE(::bind(socket_, as_any, size) == 0);
        REQUIRE(::listen(socket_, 50) == 0);
        REQUIRE(::getsockname(socket_, as_any, &size) == 0);
        port_ = std::to_string(ntohs(address.sin_port));
    }
    silent_host(const silent_host&) = delete;
    silent_host& operator=(const silent_host&) = delete;
    ~silent_host() { ::close(socket_); }

    const std::string& port() const { return port_; }

private:
    int socket_;
    std::string port_;
};

/// Of this process, for a test.
class environment {
public:
    environment(const char* name, const std::string& value) : name_{name} { ::setenv(name, value.c_str(), 1); }
    environment(const environment&) = delete;
    environment& operator=(const environment&) = delete;
    ~environment() { ::unsetenv(name_); }

private:
    const char* name_;
};

std::string port_of(const proxy& p) {
    const std::string& text = p.conninfo();
    const auto begin = text.find("port=") + 5;
    return text.substr(begin, text.find(' ', begin) - begin);
}

constexpr auto failed = sql_errc::connection_failed;

}  // namespace

TEST_CASE("Connecting: the service file comes after the string, and before the environment", "[postgres][connect]") {
    const scratch directory;
    const std::string file = directory / "services";
    std::ofstream{file} << "[ours]\nhost=" << postgres().directory().native()
                        << "\nuser=postgres\ndbname=template1\napplication_name=of the service\n";
    const environment services{"PGSERVICEFILE", file};
    const environment application{"PGAPPNAME", "of the environment"};
    const environment wrong_host{"PGHOST", "/nowhere"};
    test::run([]() -> awaitable<void> {
        const std::string database = co_await asked("service=ours", "select current_database()::text");
        CHECK(database == "template1");
        const std::string service = co_await asked("service=ours", "select current_setting('application_name')");
        CHECK(service == "of the service");
        const std::string string = co_await asked("service=ours dbname=postgres", "select current_database()::text");
        CHECK(string == "postgres");
        const std::string plain = co_await asked(postgres().conninfo(), "select current_setting('application_name')");
        CHECK(plain == "of the environment");
        const auto none = co_await refused("service=nobodys");
        CHECK(none.code == failed);
        CHECK_THAT(none.text, ContainsSubstring("nobodys"));
    }());
}

TEST_CASE("Connecting: a silent host is given up, and the next one is tried", "[postgres][connect]") {
    const silent_host silent;
    const proxy good{postgres().directory(), true};
    const std::string hosts = "host=127.0.0.1,127.0.0.1 port=" + silent.port() + ',' + port_of(good) +
                              " user=postgres dbname=postgres sslmode=disable gssencmode=disable";
    test::run([](std::string conninfo, std::string silent_port) -> awaitable<void> {
        const std::string with_limit = co_await asked(conninfo + " connect_timeout=2", "select 'here'");
        CHECK(with_limit == "here");
        coraii::postgres::options options{.connect_timeout = 4s};
        auto scope = coraii::postgres::connect(conninfo, options);  // each has its share
        const auto ask = [](connection& c) -> awaitable<void> {
            const int one = co_await number(c, "select 1");
            CHECK(one == 1);
        };
        co_await coraii::with(std::move(scope), ask);
        options.connect_timeout = 100ms;
        const auto all_silent =
            co_await refused("host=127.0.0.1,127.0.0.1 user=x sslmode=disable port=" + silent_port, options);
        CHECK(all_silent.code == sql_errc::timeout);
    }(hosts, silent.port()));
}

TEST_CASE("Connecting: a host that has another role is passed by, and prefer-standby takes it in the end",
          "[postgres][connect]") {
    const std::string base = postgres().conninfo();
    test::run([](std::string conninfo) -> awaitable<void> {
        const auto standby = co_await refused(conninfo + " target_session_attrs=standby");
        CHECK(standby.code == failed);
        const std::string prefer = co_await asked(conninfo + " target_session_attrs=prefer-standby", "select 'here'");
        CHECK(prefer == "here");
        const std::string writable = co_await asked(conninfo + " target_session_attrs=read-write", "select 'here'");
        CHECK(writable == "here");
    }(base));
}

TEST_CASE("Connecting: lists that do not match, ports that are none", "[postgres][connect]") {
    (void)postgres();
    test::run([]() -> awaitable<void> {
        const auto lists = co_await refused("host=a,b port=1,2,3");
        CHECK(lists.code == failed);
        const auto addresses = co_await refused("host=a,b hostaddr=127.0.0.1");
        CHECK(addresses.code == failed);
        for (const char* port : {"99999", "0", "abc"}) {
            const auto wrong = co_await refused(std::string{"host=localhost user=x port="} + port);
            CHECK(wrong.code == failed);
            CHECK_THAT(wrong.text, ContainsSubstring("port") && !ContainsSubstring("could not find the host"));
        }
        const auto nul = co_await refused(std::string{"host=a\0b", 8});
        CHECK(nul.code == failed);
        const auto mode = co_await refused("host=localhost sslmode=perhaps");
        CHECK(mode.code == failed);
        CHECK_THAT(mode.text, ContainsSubstring("sslmode"));
    }());
}

TEST_CASE("Connecting: the SQLSTATE of a refusal is in the error", "[postgres][connect]") {
    test::run([]() -> awaitable<void> {
        const auto database = co_await refused(postgres().conninfo("dbname=nobodys"));
        CHECK(database.state == "3D000");
        CHECK_THAT(database.text, ContainsSubstring("nobodys") && !ContainsSubstring("LOCATION"));
        const auto user =
            co_await refused("host=" + postgres().directory().native() + " dbname=postgres user=nobody_at_all");
        CHECK(user.state == "28000");
        postgres().ask("drop role if exists limited");
        postgres().ask("create role limited login connection limit 0");
        const auto full = co_await refused("host=" + postgres().directory().native() + " dbname=postgres user=limited");
        CHECK(full.state == "53300");
        CHECK(full.code == failed);
        // The first host has refused: the second is not asked.
        const std::string dir = postgres().directory().native();
        const auto two = co_await refused("host=" + dir + ',' + dir + " user=postgres dbname=nobodys");
        CHECK(two.state == "3D000");
        CHECK(two.text.find("nobodys") == two.text.rfind("nobodys"));
    }());
}

TEST_CASE("Connecting: a pool does not try again what is of no use", "[postgres][connect][pool]") {
    const std::string dir = postgres().directory().native();
    postgres().ask("drop role if exists limited");
    postgres().ask("create role limited login connection limit 0");
    struct expected {
        std::string conninfo;
        bool retried;
    };
    const std::vector<expected> all{
        {"host=" + dir + " dbname=postgres user=nobody_at_all", false},
        {"host=" + dir + " dbname=nobodys user=postgres", false},
        {"host=a,b port=1,2,3", false},
        {"hosst=x", false},
        {"host=127.0.0.1 port=abc", false},
        {"host=" + dir + " dbname=postgres user=limited", true},
        {"host=127.0.0.1 port=1 user=x", true},
        {"host=/nowhere user=x", true},
    };
    for (const expected& e : all) {
        CAPTURE(e.conninfo);
        asio::io_context context;
        int tries = 0;
        pool_type pool{context.get_executor(),
                       [&] {
                           ++tries;
                           return coraii::postgres::connect(e.conninfo);
                       },
                       {.max_size = 1, .acquire_timeout = 1s, .open_backoff = 1ms, .open_backoff_max = 5ms}};
        boost::system::error_code code;
        test::run(
            [](pool_type& p, boost::system::error_code& c) -> awaitable<void> {
                c = co_await error_of([&p] {
                    return coraii::with(coraii::open_session(p), [](auto&) -> awaitable<void> { co_return; });
                });
                co_await p.close();
            }(pool, code),
            context);
        if (e.retried) {
            CHECK(code == coraii::errc::pool_timeout);
            CHECK(tries > 1);
        } else {
            CHECK(code == failed);
            CHECK(tries == 1);
        }
    }
}

TEST_CASE("Connecting: a hook of the user's own decides instead", "[postgres][connect][pool]") {
    const std::string conninfo = postgres().conninfo("dbname=nobodys");
    asio::io_context context;
    int asked_hook = 0;
    coraii::pool_hooks<connection> hooks;
    hooks.retry_opening = [&](std::exception_ptr) { return ++asked_hook < 3; };
    pool_type pool{context.get_executor(),
                   [&] { return coraii::postgres::connect(conninfo); },
                   {.max_size = 1, .open_backoff = 1ms},
                   hooks};
    test::run(
        [](pool_type& p) -> awaitable<void> {
            const auto code = co_await error_of(
                [&p] { return coraii::with(p.acquire(), [](auto&) -> awaitable<void> { co_return; }); });
            CHECK(code == failed);
            co_await p.close();
        }(pool),
        context);
    CHECK(asked_hook == 3);
}
