// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_POSTGRES_IMPL_COPY_IPP
#define CORAII_POSTGRES_IMPL_COPY_IPP

#include "coraii/async_scope.hpp"
#include "coraii/detail/coroutine/frame.hpp"
#include "coraii/exit_status.hpp"
#include "coraii/guard.hpp"
#include "coraii/postgres/copy.hpp"
#include "coraii/postgres/detail/pg_access.hpp"
#include "coraii/postgres/detail/pg_error.hpp"
#include "coraii/postgres/detail/pg_exchange.hpp"
#include "coraii/postgres/detail/pg_link.hpp"
#include "coraii/session/error.hpp"
#include "coraii/session/value.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/this_coro.hpp>

#include <libpq-fe.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <source_location>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

namespace coraii::detail {

void add_copy_value(std::string& line, const sql_value& value) {
    if (const auto* integer = std::get_if<std::int64_t>(&value)) {
        line += std::to_string(*integer);
    } else if (const auto* number = std::get_if<double>(&value)) {
        line += number_text(*number);
    } else if (const auto* bytes = std::get_if<sql_bytes>(&value)) {
        constexpr std::string_view digits = "0123456789abcdef";
        line += "\\\\x";
        for (const std::byte b : *bytes) {
            line += digits[std::to_integer<std::size_t>(b >> 4)];
            line += digits[std::to_integer<std::size_t>(b & std::byte{0xf})];
        }
    } else if (const auto* text = std::get_if<std::string>(&value)) {
        for (const char c : *text) {
            switch (c) {
                case '\\': line += "\\\\"; break;
                case '\t': line += "\\t"; break;
                case '\n': line += "\\n"; break;
                case '\r': line += "\\r"; break;
                default: line += c;
            }
        }
    } else {
        line += "\\N";
    }
}

/// A COPY that is under way.
class pg_copy {
public:
    pg_copy(pg_ptr link, std::string statement) : link_{std::move(link)}, statement_{std::move(statement)} {}

    /// In an exchange.
    asio::awaitable<void> begin(own_frame, ExecStatusType wanted) {
        if (statement_.find('\0') != statement_.npos) {
            throw sql_error{sql_errc::bad_statement, {.message = {}, .statement = statement_}};
        }
        link_->limit_statements(1);
        // The extended protocol takes no more than one statement.
        link_->check_sent(
            PQsendQueryParams(link_->handle(), statement_.c_str(), 0, nullptr, nullptr, nullptr, nullptr, 0));
        if (!link_->has_result()) {
            co_await wait_for_pg_result(own_frame{}, *link_);
        }
        const pg_result first = link_->take_result();
        if (PQresultStatus(first.get()) == wanted) {
            link_->limit_statements(0);
            open_ = true;
            co_return;
        }
        std::exception_ptr other;
        try {
            if (is_copy(first.get())) {
                co_await leave_copy_pg(own_frame{}, *link_, first.get());
            }
            co_await end(own_frame{}, PQresultStatus(first.get()) == PGRES_FATAL_ERROR ? first.get() : nullptr);
        } catch (const sql_error&) { other = std::current_exception(); }
        if (other && (link_->killed() || !is_copy(first.get()))) {
            std::rethrow_exception(other);
        }
        throw sql_error{sql_errc::statement_failed, {.message = "no COPY of this direction", .statement = statement_}};
    }

    asio::awaitable<void> write(own_frame, std::string data) {
        check_open();
        for (std::string_view rest = data; !rest.empty();) {
            const std::string_view piece = rest.substr(0, most_unsent);
            if (PQputCopyData(link_->handle(), piece.data(), static_cast<int>(piece.size())) != 1) {
                link_->throw_lost();
            }
            rest.remove_prefix(piece.size());
            unsent_ += piece.size();
            if (unsent_ >= most_unsent) {
                co_await flush_pg(own_frame{}, *link_);
                unsent_ = 0;
            }
        }
    }

    asio::awaitable<std::uint64_t> finish(own_frame) {
        check_open();
        open_ = false;
        link_->limit_statements(1);
        if (PQputCopyEnd(link_->handle(), nullptr) != 1) {
            link_->throw_lost();
        }
        co_return co_await end(own_frame{}, nullptr);
    }

    asio::awaitable<std::optional<std::string>> read(own_frame) {
        while (open_) {
            char* data = nullptr;
            const int size = PQgetCopyData(link_->handle(), &data, 1);
            const std::unique_ptr<char, void (*)(void*)> row{data, PQfreemem};
            if (size > 0) {
                co_return std::string(data, static_cast<std::size_t>(size));
            }
            if (size == 0) {
                co_await link_->wait(own_frame{}, asio::posix::stream_descriptor::wait_read);
                if (!link_->consume()) {
                    link_->throw_lost();
                }
            } else {
                open_ = false;
                co_await end(own_frame{}, nullptr);
            }
        }
        co_return std::nullopt;
    }

    bool open() const noexcept { return open_; }

private:
    void check_open() const {
        link_->throw_if_stopped();
        if (!open_) {
            throw sql_error{sql_errc::statement_failed, {.message = "the COPY is over", .statement = statement_}};
        }
    }

    /// The rest of the answer. How many rows there were.
    asio::awaitable<std::uint64_t> end(own_frame, const PGresult* error) {
        std::uint64_t rows = 0;
        std::exception_ptr failed = error != nullptr ? failure(error) : nullptr;
        for (;;) {
            if (!link_->has_result()) {
                co_await wait_for_pg_result(own_frame{}, *link_);
            }
            pg_result result = link_->take_result();
            if (!result) {
                break;
            }
            if (PQresultStatus(result.get()) == PGRES_FATAL_ERROR) {
                failed = failed ? failed : failure(result.get());
            }
            rows = parsed<std::uint64_t>(PQcmdTuples(result.get())).value_or(rows);
        }
        if (PQstatus(link_->handle()) != CONNECTION_OK) {
            link_->throw_lost();
        }
        if (failed) {
            std::rethrow_exception(failed);
        }
        co_return rows;
    }

    std::exception_ptr failure(const PGresult* error) const {
        return std::make_exception_ptr(
            sql_error{pg_errc(error, link_->has_statement_timeout()), pg_diagnosis(error, statement_)});
    }

    static constexpr std::size_t most_unsent = 65'536;

    pg_ptr link_;
    std::string statement_;
    std::size_t unsent_ = 0;
    bool open_ = false;
};

// What has lambdas is inline: their types are then the same everywhere.
struct pg_copies {
    /// The resource may use the connection until the exchange is closed; that gives up what is still under way.
    template <class Resource>
    static async_scope<Resource> open(pg_parent parent, std::string statement) {
        const scope_hold hold = parent.scope->hold();
        sql_access::check_depth(*parent.connection, parent.depth);
        pg_access::statements(*parent.connection).mark_used();
        const pg_ptr link = pg_access::link(*parent.connection);
        pg_copy copy{link, std::move(statement)};
        guard<void> exchange = co_await pg_exchange(link);
        std::exception_ptr error;
        try {
            co_await pg_access::statements(*parent.connection).begin_now(own_frame{});
            co_await copy.begin(own_frame{},
                                std::is_same_v<Resource, postgres::copy_writer> ? PGRES_COPY_IN : PGRES_COPY_OUT);
        } catch (...) { error = std::current_exception(); }
        if (!error) {
            Resource resource{copy};
            const exit_status why = co_yield resource;
            if (!why.can_await()) {
                link->kill();
                co_return;
            }
            if constexpr (std::is_same_v<Resource, postgres::copy_writer>) {
                try {
                    if (why.ok() && copy.open()) {
                        co_await copy.finish(own_frame{});
                    }
                } catch (...) { error = std::current_exception(); }
            }
        }
        const bool throws = co_await asio::this_coro::throw_if_cancelled();
        co_await asio::this_coro::throw_if_cancelled(false);  // a cancel of the setup is no reason not to wait
        co_await exchange.close();
        co_await asio::this_coro::throw_if_cancelled(throws);
        if (error) {
            std::rethrow_exception(error);
        }
    }

    template <class Resource>
    static async_scope<Resource> open_at(pg_parent parent, std::string statement, std::source_location where) {
        auto scope = open<Resource>(parent, std::move(statement));
        scope_access::made_at(scope, where);
        return scope;
    }
};

}  // namespace coraii::detail

namespace coraii::postgres {

asio::awaitable<void> copy_writer::write(std::string data) {
    return copy_->write(detail::own_frame{}, std::move(data));
}

asio::awaitable<std::uint64_t> copy_writer::finish() {
    return copy_->finish(detail::own_frame{});
}

asio::awaitable<std::optional<std::string>> copy_reader::read() {
    return copy_->read(detail::own_frame{});
}

async_scope<copy_writer> copy_in(sql_client<connection>& parent, std::string statement, std::source_location where) {
    return detail::pg_copies::open_at<copy_writer>(detail::pg_parent{parent}, std::move(statement), where);
}
async_scope<copy_writer> copy_in(connection& parent, std::string statement, std::source_location where) {
    return detail::pg_copies::open_at<copy_writer>(detail::pg_parent{parent}, std::move(statement), where);
}

async_scope<copy_reader> copy_out(sql_client<connection>& parent, std::string statement, std::source_location where) {
    return detail::pg_copies::open_at<copy_reader>(detail::pg_parent{parent}, std::move(statement), where);
}
async_scope<copy_reader> copy_out(connection& parent, std::string statement, std::source_location where) {
    return detail::pg_copies::open_at<copy_reader>(detail::pg_parent{parent}, std::move(statement), where);
}

}  // namespace coraii::postgres

#endif
