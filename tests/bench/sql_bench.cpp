// SPDX-License-Identifier: BSL-1.0
// Single-row selects by primary key through pool and session, beside the same by hand:
//
//     sql_bench [CONNINFO]
//
// SQLite: the C API, called on a thread of its own. PostgreSQL (with CONNINFO): a loop of PQsendQueryPrepared, poll(2) and
// PQgetResult over as many connections; and `pgbench`, where it is installed, in two shapes: `-M prepared` beside sessions of
// 100 selects, resets included; and select and reset script in turn beside sessions of one select. Where they are installed,
// also what one would use instead: libpqxx, a thread a connection; and `pg` of Node.js (NODE_PATH says where that is).
// Prints throughputs and their ratio, the best of several rounds that take turns. Targets: 0.95 for SQLite; beside pgbench 0.75
// with one connection, 0.9 with eight.
#include "coraii/postgres.hpp"
#include "coraii/postgres/detail/pg_statements.hpp"
#include "coraii/session.hpp"
#include "coraii/sqlite.hpp"

#include <boost/asio/bind_executor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <libpq-fe.h>
#if defined(CORAII_BENCH_PQXX)
#include <pqxx/pqxx>
#endif
#include <sqlite3.h>

#include <algorithm>
#include <barrier>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <functional>
#include <poll.h>
#include <string>
#include <thread>
#include <tuple>
#include <unistd.h>
#include <utility>
#include <vector>

namespace asio = boost::asio;
using asio::awaitable;

namespace {

constexpr int rounds = 7;
constexpr const char* schema =
    "create table item(id integer primary key, name text);"
    "insert into item with recursive n(i) as (select 1 union all select i + 1 from n where i < 1000) "
    "select i, 'name ' || i from n";
constexpr const char* statement = "select id, name from item where id = $1";

[[noreturn]] void fail(const char* what) {
    std::fprintf(stderr, "sql_bench: %s\n", what);
    std::exit(1);
}

void check(bool ok) {
    if (!ok) {
        fail("wrong row");
    }
}

template <class Client>
awaitable<void> select(Client& client, int id) {
    const coraii::sql_rows rows = co_await client.execute(statement, id);
    check(rows[0][0].template as<std::int64_t>() == id && !rows[0][1].is_null());
}

template <class Pool>
awaitable<void> one_session(Pool& pool, int count) {
    co_await coraii::with(coraii::open_session(pool), [count](auto& session) -> awaitable<void> {
        for (int i = 0; i < count; ++i) {
            co_await select(session, i % 1000 + 1);
        }
    });
}
/// `count` selects, `each` in a session.
template <class Pool>
awaitable<void> sessions_of(int each, Pool& pool, int count) {
    for (int i = 0; i < count; i += each) {
        co_await one_session(pool, std::min(each, count - i));
    }
}

double per_second(int count, const std::function<void()>& work) {
    const auto start = std::chrono::steady_clock::now();
    work();
    return count / std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Runs until all of `work` is done; connections stay open.
void run(asio::io_context& context, std::vector<awaitable<void>> work) {
    std::size_t left = work.size();
    for (awaitable<void>& one : work) {
        asio::co_spawn(context, std::move(one), [&](std::exception_ptr e) {
            if (e) {
                std::rethrow_exception(e);
            }
            if (--left == 0) {
                context.stop();
            }
        });
    }
    context.restart();
    context.run();
}
void run(asio::io_context& context, awaitable<void> work) {
    std::vector<awaitable<void>> all;
    all.push_back(std::move(work));
    run(context, std::move(all));
}

/// `users` coroutines, which make `count` selects together.
template <class Work>
void share(asio::io_context& context, int users, int count, Work work) {
    std::vector<awaitable<void>> all;
    for (int i = 0; i < users; ++i) {
        all.push_back(work(count / users));
    }
    run(context, std::move(all));
}

/// Selects a second in several shapes: `first` is what the others are compared with.
struct shape {
    std::string name;
    std::function<double()> measure;
    std::string beside{};  // the name of what it is compared with
    double best = 0;
};

void compare(const std::string& title, std::vector<shape> shapes) {
    for (int i = 0; i < rounds; ++i) {
        for (shape& s : shapes) {
            s.best = std::max(s.best, s.measure());
        }
    }
    std::printf("%s\n", title.c_str());
    for (const shape& s : shapes) {
        std::printf("  %-28s %9.0f/s", s.name.c_str(), s.best);
        const auto other = std::ranges::find_if(shapes, [&](const shape& o) { return s.beside == o.name; });
        if (other != shapes.end() && other->best > 0) {
            std::printf("  %.2f of %s", s.best / other->best, s.beside.c_str());
        }
        std::printf("\n");
    }
}

template <class Pool>
std::function<double()> measured(asio::io_context& context, Pool& pool, int users, int count, int each) {
    return [&context, &pool, users, count, each] {
        return per_second(count,
                          [&] { share(context, users, count, [&](int n) { return sessions_of(each, pool, n); }); });
    };
}

// ---- SQLite by hand

awaitable<void> sqlite_by_hand(asio::io_context& context, asio::thread_pool& worker, sqlite3_stmt* select, int count) {
    for (int i = 0; i < count; ++i) {
        co_await asio::post(asio::bind_executor(worker.get_executor(), asio::use_awaitable));
        sqlite3_bind_int(select, 1, i % 1000 + 1);
        check(sqlite3_step(select) == SQLITE_ROW);
        const std::int64_t id = sqlite3_column_int64(select, 0);
        const std::string text{static_cast<const char*>(static_cast<const void*>(sqlite3_column_text(select, 1)))};
        sqlite3_reset(select);
        co_await asio::post(asio::bind_executor(context.get_executor(), asio::use_awaitable));
        check(id == i % 1000 + 1 && !text.empty());
    }
}

/// `count` inserts, 100 in a transaction, which is one call on the worker.
awaitable<void> sqlite_inserts_by_hand(asio::io_context& context, asio::thread_pool& worker, sqlite3* db,
                                       sqlite3_stmt* insert, int count) {
    for (int i = 0; i < count; i += 100) {
        co_await asio::post(asio::bind_executor(worker.get_executor(), asio::use_awaitable));
        check(sqlite3_exec(db, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr) == SQLITE_OK);
        for (int k = 0; k < 100; ++k) {
            const std::string text = "name " + std::to_string(k);
            sqlite3_bind_int64(insert, 1, k);
            sqlite3_bind_text(insert, 2, text.data(), static_cast<int>(text.size()), SQLITE_TRANSIENT);
            check(sqlite3_step(insert) == SQLITE_DONE);
            sqlite3_reset(insert);
        }
        check(sqlite3_exec(db, "COMMIT", nullptr, nullptr, nullptr) == SQLITE_OK);
        co_await asio::post(asio::bind_executor(context.get_executor(), asio::use_awaitable));
    }
}

/// The same by `insert_hundred(session, rows)`.
template <class Pool, class Insert>
awaitable<void> sqlite_inserts(Pool& pool, int count, Insert insert_hundred) {
    for (int i = 0; i < count; i += 100) {
        std::vector<std::tuple<int, std::string>> rows;
        for (int k = 0; k < 100; ++k) {
            rows.emplace_back(k, "name " + std::to_string(k));
        }
        co_await coraii::with(coraii::open_session(pool), [&](auto& session) { return insert_hundred(session, rows); });
    }
}

void compare_sqlite_inserts(asio::io_context& context, asio::thread_pool& worker, sqlite3* db,
                            coraii::pool<coraii::sqlite::connection>& pool) {
    constexpr const char* text = "insert into log(id, name) values ($1, $2)";
    check(sqlite3_exec(db, "create table log(id integer, name text)", nullptr, nullptr, nullptr) == SQLITE_OK);
    sqlite3_stmt* insert = nullptr;
    check(sqlite3_prepare_v2(db, text, -1, &insert, nullptr) == SQLITE_OK);
    constexpr int count = 20'000;
    const auto by_hand = [&] { run(context, sqlite_inserts_by_hand(context, worker, db, insert, count)); };
    const auto many = [&](auto& session, auto& rows) -> awaitable<void> { co_await session.execute_many(text, rows); };
    const auto one_by_one = [&](auto& session, auto& rows) {
        return coraii::with(coraii::begin_transaction(session), [&](auto& tx) -> awaitable<void> {
            for (const auto& [id, name] : rows) {
                co_await tx.execute(text, id, name);
            }
        });
    };
    compare(
        "SQLite, inserts, 100 in a transaction",
        {{"by hand, one call", [&] { return per_second(count, by_hand); }},
         {"execute_many", [&] { return per_second(count, [&] { run(context, sqlite_inserts(pool, count, many)); }); },
          "by hand, one call"},
         {"execute, each",
          [&] { return per_second(count, [&] { run(context, sqlite_inserts(pool, count, one_by_one)); }); },
          "by hand, one call"}});
    sqlite3_finalize(insert);
}

void bench_sqlite() {
    std::string directory = (std::filesystem::temp_directory_path() / "coraii-bench-XXXXXX").native();
    if (mkdtemp(directory.data()) == nullptr) {
        fail("mkdtemp");
    }
    const std::string path = directory + "/bench.db";
    {
        asio::io_context context;
        coraii::pool<coraii::sqlite::connection> pool{context.get_executor(),
                                                      [&path] { return coraii::sqlite::connect(path); }};
        run(context, coraii::with(coraii::open_session(pool),
                                  [](auto& session) -> awaitable<void> { co_await session.execute_script(schema); }));
        asio::thread_pool worker{1};
        sqlite3* db = nullptr;
        sqlite3_stmt* select = nullptr;
        sqlite3_open_v2(path.c_str(), &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
        check(sqlite3_prepare_v2(db, statement, -1, &select, nullptr) == SQLITE_OK);
        constexpr int count = 20'000;
        const auto by_hand = [&] { run(context, sqlite_by_hand(context, worker, select, count)); };
        compare("SQLite", {{"by hand", [&] { return per_second(count, by_hand); }},
                           {"one session", measured(context, pool, 1, count, count), "by hand"},
                           {"sessions of 100", measured(context, pool, 1, count, 100), "by hand"},
                           {"sessions of one", measured(context, pool, 1, count, 1), "by hand"}});
        compare_sqlite_inserts(context, worker, db, pool);
        sqlite3_finalize(select);
        sqlite3_close(db);
        run(context, pool.close());
    }
    std::filesystem::remove_all(directory);
}

// ---- PostgreSQL by hand

void send(PGconn* pg, int i) {
    const std::string id = std::to_string(i % 1000 + 1);
    const char* const values[] = {id.c_str()};
    check(PQsendQueryPrepared(pg, "item", 1, values, nullptr, nullptr, 0) == 1);
}

/// One statement under way on each connection, all the time.
void postgres_by_hand(const std::vector<PGconn*>& connections, int count) {
    std::vector<pollfd> sockets;
    int sent = 0;
    for (PGconn* pg : connections) {
        sockets.push_back({PQsocket(pg), POLLIN, 0});
        send(pg, sent++);
    }
    for (int answered = 0; answered < count;) {
        ::poll(sockets.data(), sockets.size(), -1);
        for (std::size_t i = 0; i < sockets.size(); ++i) {
            PGconn* const pg = connections[i];
            if ((sockets[i].revents & POLLIN) == 0 || PQconsumeInput(pg) == 0 || PQisBusy(pg) != 0) {
                continue;
            }
            PGresult* const row = PQgetResult(pg);
            check(PQntuples(row) == 1 && PQgetlength(row, 0, 1) > 0);
            PQclear(row);
            check(PQgetResult(pg) == nullptr);
            ++answered;
            if (sent < count) {
                send(pg, sent++);
            }
        }
    }
}

/// The number after `label` in what a shell command prints; 0 if there is none.
double number_printed_by(const std::string& command, const char* label) {
    std::FILE* const out = ::popen(command.c_str(), "r");
    double number = 0;
    char line[200];
    while (out != nullptr && std::fgets(line, sizeof line, out) != nullptr) {
        const std::string text = line;
        if (const std::size_t at = text.find(label); at != text.npos) {
            number = std::strtod(text.c_str() + at + std::strlen(label), nullptr);
        }
    }
    if (out != nullptr) {
        ::pclose(out);
    }
    return number;
}

#if defined(CORAII_BENCH_PQXX)
/// A thread a connection, as it blocks.
double by_libpqxx(const std::string& conninfo, int users, int count) {
    std::vector<std::thread> threads;
    std::barrier<> together{users + 1};
    for (int i = 0; i < users; ++i) {
        threads.emplace_back([&] {
            pqxx::connection connection{conninfo};
            connection.prepare("item", statement);
            pqxx::nontransaction session{connection};
            together.arrive_and_wait();
            for (int n = 0; n < count / users; ++n) {
                const pqxx::result rows = session.exec_prepared("item", n % 1000 + 1);
                check(rows[0][0].as<int>() == n % 1000 + 1 && !rows[0][1].is_null());
            }
        });
    }
    together.arrive_and_wait();
    return per_second(count, [&] {
        for (std::thread& thread : threads) {
            thread.join();
        }
    });
}
#else
double by_libpqxx(const std::string&, int, int) {
    return 0;
}
#endif

/// pgbench, running a script of its language; 0 if there is none.
class pgbench {
public:
    pgbench(std::string conninfo, int users, const char* protocol, const std::string& script) : script_{::tmpfile()} {
        std::fputs(script.c_str(), script_);
        std::fflush(script_);
        command_ = "PATH=$PATH:$(echo /usr/lib/postgresql/*/bin | tr ' ' ':') pgbench -n -c " + std::to_string(users) +
                   " -M " + protocol + " -T 1 -f /proc/" + std::to_string(::getpid()) + "/fd/" +
                   std::to_string(::fileno(script_)) + " '" + std::move(conninfo) + "' 2>/dev/null";
    }
    pgbench(const pgbench&) = delete;
    pgbench& operator=(const pgbench&) = delete;
    ~pgbench() { std::fclose(script_); }

    double operator()() const { return number_printed_by(command_, "tps = "); }

private:
    std::FILE* script_;
    std::string command_;
};

/// The reset's statements in one message, as a session sends them.
std::string in_one_message(std::string script) {
    for (std::size_t i = 0; (i = script.find(';', i)) != script.npos && i + 1 < script.size(); i += 2) {
        script.replace(i, 1, "\\;");
    }
    return script;
}

void bench_postgres(const std::string& conninfo, int users) {
    std::vector<PGconn*> connections;
    for (int i = 0; i < users; ++i) {
        connections.push_back(PQconnectdb(conninfo.c_str()));
        if (PQstatus(connections.back()) != CONNECTION_OK) {
            fail(PQerrorMessage(connections.back()));
        }
        if (i == 0) {
            PQclear(PQexec(connections[0], "set client_min_messages = warning; drop table if exists item"));
            PQclear(PQexec(connections[0], schema));
            PQclear(PQexec(connections[0], "analyze item"));
        }
        PQclear(PQprepare(connections.back(), "item", statement, 0, nullptr));
        PQsetnonblocking(connections.back(), 1);
    }
    constexpr int count = 16'000;
    asio::io_context context{1};
    coraii::pool<coraii::postgres::connection> pool{context.get_executor(),
                                                    [&conninfo] { return coraii::postgres::connect(conninfo); },
                                                    {.max_size = static_cast<std::size_t>(users)}};
    const std::string select = "\\set id random(1, 1000)\nselect id, name from item where id = :id;\n";
    const pgbench prepared{conninfo, users, "prepared", select};
    const pgbench with_reset{conninfo, users, "simple",
                             select + in_one_message(std::string{coraii::detail::pg_statements::reset_all}) + "\n"};
    const std::string node = "node " + std::filesystem::path{__FILE__}.parent_path().native() + "/node_pg.cjs '" +
                             conninfo + "' " + std::to_string(users) + " " + std::to_string(count) + " 2>/dev/null";
    share(context, users, 100 * users, [&](int n) { return one_session(pool, n); });
    compare(
        "PostgreSQL, connections: " + std::to_string(users),
        {{"pgbench", [&] { return prepared(); }},
         {"pgbench, with resets", [&] { return with_reset(); }},
         {"libpq by hand", [&] { return per_second(count, [&] { postgres_by_hand(connections, count); }); }, "pgbench"},
         {"libpqxx", [&] { return by_libpqxx(conninfo, users, count); }, "pgbench"},
         {"pg of Node.js", [&] { return number_printed_by(node, "tps = "); }, "pgbench"},
         {"one session", measured(context, pool, users, count, count), "pgbench"},
         {"sessions of 100", measured(context, pool, users, count, 100), "pgbench"},
         {"sessions of one", measured(context, pool, users, count, 1), "pgbench, with resets"}});
    for (PGconn* pg : connections) {
        PQfinish(pg);
    }
    run(context, pool.close());
}

}  // namespace

int main(int argc, char** argv) {
    try {
        bench_sqlite();
        if (argc > 1) {
            bench_postgres(argv[1], 1);
            bench_postgres(argv[1], 8);
        } else {
            std::puts("PostgreSQL: not measured; give its connection string");
        }
    } catch (const std::exception& e) { fail(e.what()); }
}
