// SPDX-License-Identifier: BSL-1.0
// Imports a CSV file of orders into an SQLite database, four workers at a time:
//
//     import_ledger [orders.csv [ledger.db]]
//
// SQLite blocks, so it is called on a thread pool; the books are kept on the one thread of the io_context.
// What has to be given back is a scope: file, temporary directory, connections, prepared statements, the
// lease on a batch of lines, and the transaction that imports it. A malformed line rolls its whole batch
// back. To show that a cancel does no harm, the first worker to get to the middle of a batch is cancelled
// there: its transaction is rolled back, its connection closed, another worker takes over, and the batch is
// done again.
//
// Exit status: 0 if file, books and database agree, 2 if the file cannot be read, else 1.
#include <coraii/coraii.hpp>

#include <boost/asio.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>

#include <sqlite3.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <iomanip>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <stdlib.h>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <unistd.h>
#include <unordered_map>
#include <utility>
#include <vector>

#ifndef CORAII_SAMPLE_CSV
#define CORAII_SAMPLE_CSV "examples/data/orders.csv"
#endif

namespace asio = boost::asio;
namespace fs = std::filesystem;

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
    std::size_t same_id;              // the number of an earlier line with this id, or 0
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

class order_file {
public:
    explicit order_file(std::string path)
        : path_{std::move(path)}, file_{std::fopen(path_.c_str(), "rb"), std::fclose} {
        if (!file_) {
            fail();
        }
    }

    void close() { file_.reset(); }

    /// The next hundred lines, without the header and blank lines; none at the end.
    batch next() {
        batch lines;
        for (std::string text; lines.size() < 100 && read_line(text);) {
            ++number_;
            if (number_ == 1 && text.starts_with("\xEF\xBB\xBF")) {  // a byte order mark
                text.erase(0, 3);
            }
            if (text.ends_with('\r')) {
                text.pop_back();
            }
            if (!text.empty() && !(number_ == 1 && text.starts_with("id,"))) {
                line l{number_, split(text), 0};
                if (!l.fields.empty()) {
                    const auto [first, is_new] = line_of_id_.try_emplace(l.fields[0], number_);
                    l.same_id = is_new ? 0 : first->second;
                }
                lines.push_back(std::move(l));
            }
        }
        return lines;
    }

private:
    bool read_line(std::string& text) {
        text.clear();
        int c = 0;
        while ((c = std::getc(file_.get())) != EOF && c != '\n') {
            text += static_cast<char>(c);
        }
        if (std::ferror(file_.get()) != 0) {
            fail();
        }
        return c != EOF || !text.empty();
    }

    [[noreturn]] void fail() const { throw input_error{path_ + ": " + std::generic_category().message(errno)}; }

    std::string path_;
    std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
    std::size_t number_ = 0;
    std::unordered_map<std::string, std::size_t> line_of_id_;
};

coraii::async_scope<order_file> open_file(asio::any_io_executor pool, std::string path) {
    auto open = [path = std::move(path)] { return order_file{path}; };
    return coraii::offload(pool, std::move(open), [](order_file& file) { file.close(); });
}

coraii::async_scope<fs::path> temp_directory(asio::any_io_executor pool) {
    const auto make = [] {
        std::string name = fs::temp_directory_path() / "ledger-XXXXXX";
        if (mkdtemp(name.data()) == nullptr) {
            throw std::system_error{errno, std::generic_category(), name};
        }
        return fs::path{name};
    };
    return coraii::offload(pool, make, [](fs::path& path) { fs::remove_all(path); });
}

// ---- the database

constexpr const char* schema = R"(
    PRAGMA journal_mode = WAL;
    CREATE TABLE IF NOT EXISTS orders (
        id TEXT PRIMARY KEY, date TEXT, customer TEXT, amount INTEGER,
        CONSTRAINT date_exists CHECK (date GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]'
                                      AND date IS date(date, '+0 days'))))";

void check(int result, sqlite3* db) {
    if (result != SQLITE_OK) {
        throw std::runtime_error{"SQLite: " + std::string{db ? sqlite3_errmsg(db) : sqlite3_errstr(result)}};
    }
}

void execute(sqlite3* db, const char* sql) {
    check(sqlite3_exec(db, sql, nullptr, nullptr, nullptr), db);
}

coraii::async_scope<sqlite3*> open_connection(asio::any_io_executor pool, std::string path) {
    auto open = [path = std::move(path)] {
        sqlite3* db = nullptr;  // to be closed even if it could not be opened
        constexpr int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
        const int result = sqlite3_open_v2(path.c_str(), &db, flags, nullptr);
        std::unique_ptr<sqlite3, int (*)(sqlite3*)> opened{db, sqlite3_close_v2};
        check(result, db);
        check(sqlite3_busy_timeout(db, 5'000), db);
        return opened.release();
    };
    return coraii::offload(pool, std::move(open), [](sqlite3* db) { sqlite3_close_v2(db); });
}

coraii::async_scope<sqlite3_stmt*> prepare(asio::any_io_executor pool, sqlite3* db, const char* sql) {
    const auto make = [db, sql] {
        sqlite3_stmt* statement = nullptr;
        check(sqlite3_prepare_v2(db, sql, -1, &statement, nullptr), db);
        return statement;
    };
    return coraii::offload(pool, make, [](sqlite3_stmt* statement) { sqlite3_finalize(statement); });
}

/// Calls a blocking function on the pool. A cancel does not interrupt it: the next co_await throws.
template <class F>
asio::awaitable<std::invoke_result_t<F&>> on_pool(asio::any_io_executor pool, F blocking) {
    auto call = [&blocking]() -> asio::awaitable<std::invoke_result_t<F&>> { co_return blocking(); };
    auto uncancelled = asio::bind_cancellation_slot(asio::cancellation_slot{}, asio::use_awaitable);
    co_return co_await asio::co_spawn(pool, call, uncancelled);
}

/// Committed if its use ends well, else rolled back.
coraii::async_scope<void> transaction(asio::any_io_executor pool, sqlite3* db) {
    co_await on_pool(pool, [db] { execute(db, "BEGIN IMMEDIATE"); });
    const coraii::exit_status why = co_yield coraii::entered;
    co_await on_pool(pool, [db, commit = why.ok()] {
        if (!commit && sqlite3_get_autocommit(db) != 0) {
            return;  // SQLite has rolled back by itself, as it does when the disk is full
        }
        try {
            execute(db, commit ? "COMMIT" : "ROLLBACK");
        } catch (...) {
            sqlite3_exec(db, "ROLLBACK", nullptr, nullptr, nullptr);
            throw;
        }
    });
}

void insert(sqlite3_stmt* statement, const line& l, std::int64_t cents) {
    sqlite3* db = sqlite3_db_handle(statement);
    int column = 0;
    for (const std::string* text : {&l.fields[0], &l.fields[1], &l.fields[2]}) {
        check(sqlite3_bind_text64(statement, ++column, text->data(), text->size(), SQLITE_TRANSIENT, SQLITE_UTF8), db);
    }
    check(sqlite3_bind_int64(statement, ++column, cents), db);
    sqlite3_step(statement);
    const int result = sqlite3_reset(statement);  // how the step ended
    if (result == SQLITE_CONSTRAINT) {
        throw bad_line{l.number, sqlite3_errmsg(db)};
    }
    check(result, db);
}

struct totals {
    std::int64_t orders = 0, cents = 0;
    bool operator==(const totals&) const = default;
};

totals read_totals(sqlite3_stmt* statement) {
    sqlite3_step(statement);
    const totals found{sqlite3_column_int64(statement, 0), sqlite3_column_int64(statement, 1)};
    check(sqlite3_reset(statement), sqlite3_db_handle(statement));
    return found;
}

// ---- the import

struct job {
    std::string csv, database;
    asio::any_io_executor pool;
    asio::any_io_executor file_strand;  // on the pool: one reads the file at a time
    order_file* file = nullptr;
    std::vector<batch> given_back{};
    bool interrupted = false;
    std::exception_ptr failure{};

    // the books
    std::int64_t read = 0, rolled_back = 0, done_again = 0;
    totals committed{}, in_database{};
    std::map<std::size_t, std::string> rejected{};  // by line number
};

/// The next lines to import; none at the end of the file. Whoever is cancelled gives them back.
coraii::async_scope<batch> lease_batch(job& j) {
    batch lines;
    if (!j.given_back.empty()) {
        lines = std::move(j.given_back.back());
        j.given_back.pop_back();
    } else {
        lines = co_await on_pool(j.file_strand, [&] { return j.file->next(); });
        j.read += std::ssize(lines);
    }
    const coraii::exit_status why = co_yield lines;
    if (why.reason() == coraii::exit_reason::cancelled) {
        j.given_back.push_back(std::move(lines));
        ++j.done_again;
    }
}

asio::awaitable<void> import_batch(job& j, sqlite3* db, sqlite3_stmt* statement, const batch& lines,
                                   asio::cancellation_signal& stop) {
    std::int64_t cents = 0;
    try {
        co_await coraii::with(transaction(j.pool, db), [&]() -> asio::awaitable<void> {
            for (const line& l : lines) {
                const std::int64_t amount = cents_of(l);
                if (&l == &lines[lines.size() / 2] && !std::exchange(j.interrupted, true)) {
                    stop.emit(asio::cancellation_type::terminal);  // this worker is the one to be cancelled
                }
                co_await on_pool(j.pool, [&] { insert(statement, l, amount); });
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

asio::awaitable<void> work(job& j, asio::cancellation_signal& stop) {
    co_await coraii::with(coraii::make_exit_stack(), [&](coraii::exit_stack& stack) -> asio::awaitable<void> {
        sqlite3* db = *co_await stack.enter(open_connection(j.pool, j.database));
        sqlite3_stmt* statement = *co_await stack.enter(prepare(j.pool, db, "INSERT INTO orders VALUES (?, ?, ?, ?)"));
        for (bool more = true; more && !j.failure;) {
            co_await coraii::with(lease_batch(j), [&](const batch& lines) -> asio::awaitable<void> {
                more = !lines.empty();
                if (more) {
                    co_await import_batch(j, db, statement, lines, stop);
                }
            });
        }
    });
}

/// A worker, and if it is cancelled another one. If one fails, the others stop after the batch they are at.
asio::awaitable<void> keep_working(job& j) {
    const auto executor = co_await asio::this_coro::executor;
    asio::cancellation_signal stop;
    while (!j.failure) {
        try {
            auto stoppable = asio::bind_cancellation_slot(stop.slot(), asio::use_awaitable);
            co_return co_await asio::co_spawn(executor, work(j, stop), stoppable);
        } catch (const boost::system::system_error& e) {
            if (e.code() != asio::error::operation_aborted) {
                j.failure = std::current_exception();
            }
        } catch (...) { j.failure = std::current_exception(); }
    }
}

asio::awaitable<void> import(job& j) {
    co_await coraii::with(coraii::make_exit_stack(), [&](coraii::exit_stack& stack) -> asio::awaitable<void> {
        j.file = co_await stack.enter(open_file(j.pool, j.csv));
        if (j.database.empty()) {
            j.database = *co_await stack.enter(temp_directory(j.pool)) / "ledger.db";
        }
        sqlite3* db = *co_await stack.enter(open_connection(j.pool, j.database));
        co_await on_pool(j.pool, [db] { execute(db, schema); });
        sqlite3_stmt* sum =
            *co_await stack.enter(prepare(j.pool, db, "SELECT count(*), coalesce(sum(amount), 0) FROM orders"));
        const totals before = co_await on_pool(j.pool, [sum] { return read_totals(sum); });

        using namespace asio::experimental::awaitable_operators;
        co_await (keep_working(j) && keep_working(j) && keep_working(j) && keep_working(j));
        if (j.failure) {
            std::rethrow_exception(j.failure);
        }
        const totals after = co_await on_pool(j.pool, [sum] { return read_totals(sum); });
        j.in_database = {after.orders - before.orders, after.cents - before.cents};
    });
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
    if (argc > 3) {
        std::cerr << "usage: import_ledger [orders.csv [ledger.db]]\n";
        return 2;
    }
    try {
        asio::io_context context{1};
        asio::thread_pool pool{4};  // each worker has one call at a time
        job j{argc > 1 ? argv[1] : CORAII_SAMPLE_CSV, argc > 2 ? argv[2] : "", pool.get_executor(),
              asio::make_strand(pool)};
        auto done = asio::co_spawn(context, import(j), asio::use_future);
        context.run();
        done.get();
        return report(j, coraii::stats(context)) ? 0 : 1;
    } catch (const input_error& e) {
        std::cerr << "import_ledger: " << e.what() << '\n';
        return 2;
    } catch (const std::exception& e) { std::cerr << "import_ledger: " << e.what() << '\n'; }
    return 1;
}
