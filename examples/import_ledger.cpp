// SPDX-License-Identifier: BSL-1.0
// Imports a CSV file of orders into a database, four workers at a time:
//
//     import_ledger [--db CONNINFO] [orders.csv [ledger.db]]
//
// Into SQLite, or with `--db` into PostgreSQL (if it was compiled with libpq).
// What has to be given back is a scope: file, temporary directory, pool, sessions, the lease on a batch of lines, and the
// transaction that imports it. A malformed line rolls its whole batch back. To show that a cancel does no harm, the first
// worker to get to the middle of a batch is cancelled there: its transaction is rolled back, its connection is clean
// again, another worker takes over, and the batch is done again.
//
// Exit status: 0 if file, books and database agree, 2 if the file cannot be read, else 1.
#include <coraii/coraii.hpp>
#include <coraii/file.hpp>
#include <coraii/session.hpp>
#include <coraii/sqlite.hpp>
#if __has_include(<libpq-fe.h>)
#include <coraii/postgres.hpp>
#endif

#include <boost/asio.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <iomanip>
#include <iostream>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unistd.h>
#include <unordered_map>
#include <utility>
#include <vector>

#ifndef CORAII_SAMPLE_CSV
#define CORAII_SAMPLE_CSV "examples/data/orders.csv"
#endif

namespace asio = boost::asio;

// ---- the file: id,date,customer,amount

struct input_error : std::runtime_error {
    using runtime_error::runtime_error;
};

struct bad_line : std::runtime_error {
    bad_line(std::size_t n, const std::string& reason) : runtime_error{reason}, number{n} {}
    std::size_t number;
};

struct line {
    std::size_t number;
    std::vector<std::string> fields;  // none if a quote is not closed
    std::size_t same_id;  // the number of an earlier line with this id, or 0
};

using batch = std::vector<line>;

std::vector<std::string> split(std::string_view text) {
    std::vector<std::string> fields(1);
    bool quoted = false;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (quoted && text.substr(i, 2) == "\"\"") {
            fields.back() += text[++i];
        } else if (text[i] == '"') {
            quoted = !quoted;
        } else if (text[i] == ',' && !quoted) {
            fields.emplace_back();
        } else {
            fields.back() += text[i];
        }
    }
    if (quoted) {
        fields.clear();
    }
    return fields;
}

/// 1250 for "12.50", 1200 for "12"; nothing for what is not an amount.
std::optional<std::int64_t> to_cents(const std::string& text) {
    const std::size_t point = std::min(text.find('.'), text.size());
    const std::string fraction = point == text.size() ? "00" : text.substr(point + 1);
    const std::string digits = text.substr(0, point) + fraction;
    std::int64_t cents = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), cents);
    if (point == 0 || text[point - 1] == '-' || fraction.size() != 2 || digits.size() > 12 ||
        end != digits.data() + digits.size()) {
        return std::nullopt;
    }
    return cents;
}

/// The amount of a line, which is checked as far as the database does not do that.
std::int64_t cents_of(const line& l) {
    const auto need = [&l](bool good, const std::string& reason) {
        if (!good) {
            throw bad_line{l.number, reason};
        }
    };
    need(!l.fields.empty(), "a quote is not closed");
    need(l.fields.size() == 4, "there must be 4 fields: id, date, customer, amount");
    need(!l.fields[0].empty(), "the id is missing");
    need(l.same_id == 0, "line " + std::to_string(l.same_id) + " has the same id");
    const std::optional<std::int64_t> cents = to_cents(l.fields[3]);
    need(cents.has_value(), "'" + l.fields[3] + "' is not an amount");
    return *cents;
}

struct totals {
    std::int64_t orders = 0, cents = 0;
    bool operator==(const totals&) const = default;
};

struct job {
    std::string csv, database;
    std::vector<batch> to_do{};  // the last one first
    bool interrupted = false;
    std::exception_ptr failure{};

    // the books
    std::int64_t read = 0, rolled_back = 0, done_again = 0;
    totals committed{}, in_database{};
    std::map<std::size_t, std::string> rejected{};  // by line number
};

/// In batches of a hundred lines, without the header and blank lines.
asio::awaitable<void> read_orders(coraii::file& file, job& j) {
    std::unordered_map<std::string, std::size_t> line_of_id;
    for (std::size_t number = 1;; ++number) {
        std::optional<std::string> text = co_await file.read_line();
        if (!text) {
            break;
        }
        if (number == 1 && text->starts_with("\xEF\xBB\xBF")) {  // a byte order mark
            text->erase(0, 3);
        }
        if (text->ends_with('\r')) {
            text->pop_back();
        }
        if (text->empty() || (number == 1 && text->starts_with("id,"))) {
            continue;
        }
        line l{number, split(*text), 0};
        if (!l.fields.empty()) {
            const auto [first, is_new] = line_of_id.try_emplace(l.fields[0], number);
            l.same_id = is_new ? 0 : first->second;
        }
        if (j.to_do.empty() || j.to_do.back().size() == 100) {
            j.to_do.emplace_back();
        }
        j.to_do.back().push_back(std::move(l));
        ++j.read;
    }
    std::ranges::reverse(j.to_do);
}

// ---- the database

/// What SQLite and PostgreSQL do not have in common here: how a date is checked.
constexpr const char* sqlite_schema = R"(
    create table if not exists orders (
        id text primary key, date text, customer text, amount integer,
        constraint date_exists check (date glob '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]'
                                      and date is date(date, '+0 days'))))";
[[maybe_unused]] constexpr const char* postgres_schema =
    "create table if not exists orders (id text primary key, date date, customer text, amount bigint)";

template <class Session>
asio::awaitable<totals> read_totals(Session& session) {
    const coraii::sql_rows rows = co_await session.execute("select count(*), coalesce(sum(amount), 0) from orders");
    co_return totals{rows[0][0].template as<std::int64_t>(), rows[0][1].template as<std::int64_t>()};
}

template <class Transaction>
asio::awaitable<void> insert(Transaction& tx, const line& l, std::int64_t cents) {
    try {
        co_await tx.execute("insert into orders values ($1, $2, $3, $4)", l.fields[0], l.fields[1], l.fields[2], cents);
    } catch (const coraii::sql_error& e) {
        if (e.code() == coraii::sql_errc::constraint_violated || e.sqlstate().starts_with("22")) {
            throw bad_line{l.number, e.message()};
        }
        throw;
    }
}

// ---- the import

/// The next lines to import; none when all is done. Whoever is cancelled gives them back.
coraii::async_scope<batch> lease_batch(job& j) {
    batch lines;
    if (!j.to_do.empty()) {
        lines = std::move(j.to_do.back());
        j.to_do.pop_back();
    }
    const coraii::exit_status why = co_yield lines;
    if (why.reason() == coraii::exit_reason::cancelled) {
        j.to_do.push_back(std::move(lines));
        ++j.done_again;
    }
}

template <class Session>
asio::awaitable<void> import_batch(job& j, Session& session, const batch& lines, asio::cancellation_signal& stop) {
    std::int64_t cents = 0;
    try {
        co_await coraii::with(coraii::begin_transaction(session), [&](auto& tx) -> asio::awaitable<void> {
            for (const line& l : lines) {
                const std::int64_t amount = cents_of(l);
                if (&l == &lines[lines.size() / 2] && !std::exchange(j.interrupted, true)) {
                    stop.emit(asio::cancellation_type::terminal);  // this worker is the one to be cancelled
                }
                co_await insert(tx, l, amount);
                cents += amount;
            }
        });
        j.committed.orders += std::ssize(lines);
        j.committed.cents += cents;
    } catch (const bad_line& e) {
        j.rolled_back += std::ssize(lines);
        j.rejected[e.number] = e.what() + ("; lines " + std::to_string(lines.front().number)) + " to " +
                               std::to_string(lines.back().number) + " rolled back";
    }
    if (isatty(STDERR_FILENO) != 0) {
        std::cerr << '\r' << j.committed.orders + j.rolled_back << " lines" << std::flush;
    }
}

template <class Pool>
asio::awaitable<void> work(job& j, Pool& pool, asio::cancellation_signal& stop) {
    co_await coraii::with(coraii::open_session(pool), [&](auto& session) -> asio::awaitable<void> {
        for (bool more = true; more && !j.failure;) {
            co_await coraii::with(lease_batch(j), [&](const batch& lines) -> asio::awaitable<void> {
                more = !lines.empty();
                if (more) {
                    co_await import_batch(j, session, lines, stop);
                }
            });
        }
    });
}

/// A worker, and if it is cancelled another one. If one fails, the others stop after the batch they are at.
template <class Pool>
asio::awaitable<void> keep_working(job& j, Pool& pool) {
    const auto executor = co_await asio::this_coro::executor;
    asio::cancellation_signal stop;
    while (!j.failure) {
        try {
            auto stoppable = asio::bind_cancellation_slot(stop.slot(), asio::use_awaitable);
            co_return co_await asio::co_spawn(executor, work(j, pool, stop), stoppable);
        } catch (const boost::system::system_error& e) {
            if (e.code() != asio::error::operation_aborted) {
                j.failure = std::current_exception();
            }
        } catch (...) { j.failure = std::current_exception(); }
    }
}

/// `connect()` gives the connections.
template <class Connect>
asio::awaitable<void> import_into(job& j, Connect connect, const char* schema) {
    const auto executor = co_await asio::this_coro::executor;
    co_await coraii::with(
        coraii::open_pool(executor, connect, {.max_size = 4}), [&](auto& pool) -> asio::awaitable<void> {
            totals before;
            co_await coraii::with(coraii::open_session(pool), [&](auto& session) -> asio::awaitable<void> {
                co_await session.execute_script(schema);
                before = co_await read_totals(session);
            });

            using namespace asio::experimental::awaitable_operators;
            co_await (keep_working(j, pool) && keep_working(j, pool) && keep_working(j, pool) && keep_working(j, pool));
            if (j.failure) {
                std::rethrow_exception(j.failure);
            }
            co_await coraii::with(coraii::open_session(pool), [&](auto& session) -> asio::awaitable<void> {
                const totals after = co_await read_totals(session);
                j.in_database = {after.orders - before.orders, after.cents - before.cents};
            });
        });
}

asio::awaitable<void> import(job& j, const std::string& conninfo) {
    try {
        co_await coraii::with(coraii::open_file(j.csv), [&j](coraii::file& file) { return read_orders(file, j); });
    } catch (const boost::system::system_error& e) { throw input_error{e.what()}; }
    if (!conninfo.empty()) {
#if __has_include(<libpq-fe.h>)
        co_await import_into(j, [&conninfo] { return coraii::postgres::connect(conninfo); }, postgres_schema);
#else
        throw std::runtime_error{"compiled without libpq"};
#endif
    } else if (!j.database.empty()) {
        co_await import_into(j, [&j] { return coraii::sqlite::connect(j.database); }, sqlite_schema);
    } else {
        co_await coraii::with(coraii::temp_directory(), [&j](const std::filesystem::path& directory) {
            j.database = directory / "ledger.db";
            return import_into(j, [&j] { return coraii::sqlite::connect(j.database); }, sqlite_schema);
        });
    }
}

/// Prints the table. True if all is as it should be.
bool report(const job& j, const coraii::scope_stats& scopes) {
    const auto row = [](const char* name, auto count) {
        std::cout << std::left << std::setw(32) << name << std::right << std::setw(12) << count << '\n';
    };
    if (isatty(STDERR_FILENO) != 0) {
        std::cerr << "\r\033[K";
    }
    for (const auto& [number, reason] : j.rejected) {
        std::cerr << j.csv << ':' << number << ": " << reason << '\n';
    }
    row("lines read", j.read);
    row("lines committed", j.committed.orders);
    row("lines rolled back", j.rolled_back);
    row("batches cancelled and done again", j.done_again);
    row("scopes opened", scopes.opened);
    row("scopes cleaned", scopes.cleaned);
    row("scopes abandoned", scopes.abandoned);
    row("scopes still open", scopes.open + scopes.closing);
    row("orders in the database", j.in_database.orders);
    row("their sum, in cents", j.in_database.cents);

    const bool agree = j.in_database == j.committed && j.read == j.committed.orders + j.rolled_back;
    const bool clean = scopes.open + scopes.closing == 0 && scopes.cleaned == scopes.opened;
    std::cerr << (agree ? "" : "import_ledger: the database does not hold what was committed\n")
              << (clean ? "" : "import_ledger: not every scope was cleaned\n");
    return agree && clean;
}

int main(int argc, char** argv) {
    std::vector<std::string> arguments(argv + 1, argv + argc);
    std::string conninfo;
    if (arguments.size() >= 2 && arguments[0] == "--db") {
        conninfo = arguments[1];
        arguments.erase(arguments.begin(), arguments.begin() + 2);
    }
    if (arguments.size() > 2) {
        std::cerr << "usage: import_ledger [--db CONNINFO] [orders.csv [ledger.db]]\n";
        return 2;
    }
    arguments.resize(2);
    try {
        asio::io_context context{1};
        job j{arguments[0].empty() ? CORAII_SAMPLE_CSV : arguments[0], arguments[1]};
        auto done = asio::co_spawn(context, import(j, conninfo), asio::use_future);
        context.run();
        done.get();
        return report(j, coraii::stats(context)) ? 0 : 1;
    } catch (const input_error& e) {
        std::cerr << "import_ledger: " << e.what() << '\n';
        return 2;
    } catch (const std::exception& e) { std::cerr << "import_ledger: " << e.what() << '\n'; }
    return 1;
}
