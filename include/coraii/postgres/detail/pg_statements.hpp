// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_POSTGRES_DETAIL_PG_STATEMENTS_HPP
#define CORAII_POSTGRES_DETAIL_PG_STATEMENTS_HPP

#include "coraii/detail/coroutine/frame.hpp"
#include "coraii/postgres/detail/pg_exchange.hpp"
#include "coraii/postgres/detail/pg_link.hpp"
#include "coraii/postgres/detail/pg_values.hpp"
#include "coraii/session/connection.hpp"
#include "coraii/session/detail/statement_cache.hpp"
#include "coraii/with.hpp"

#include <boost/asio/awaitable.hpp>

#include <libpq-fe.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace coraii::detail {

struct pg_statement {
    std::string name;
    bool described = false;
    std::size_t parameters = 0;
    int result_format = 0;  // 1: binary
};

/// What is prepared on a connection, and whether somebody has left something there that a session must not inherit.
class pg_statements {
public:
    explicit pg_statements(pg_ptr link) : link_{std::move(link)}, prepared_{link_->options().statement_cache} {}

    bool touched() const noexcept { return touched_ || link_->interrupted(); }
    void set_untouched() noexcept {
        touched_ = false;
        link_->set_interrupted(false);
    }

    /// In an exchange. Any number of statements, without parameters; the last one's command tag.
    asio::awaitable<std::string> run_script(own_frame, std::string text) {
        PGconn* const pg = link_->handle();
        see_text(text);
        link_->check_sent(PQsendQuery(pg, text.c_str()));
        pg_answer answer{*link_, text};
        std::string tag;
        for (;;) {
            if (!link_->has_result()) {
                co_await wait_for_pg_result(own_frame{}, *link_);
            }
            const pg_result result = link_->take_result();
            if (!result) {
                break;
            }
            if (answer.good(result)) {
                tag = PQcmdStatus(result.get());
                see_tag(tag);
            }
        }
        answer.end();
        co_return tag;
    }

    /// In an exchange. With a sink, it gets the rows, `most` at a time; without, they are returned.
    asio::awaitable<sql_rows> run(own_frame, const sql_query& query, const sql_row_sink* sink, std::size_t most) {
        try {
            co_return co_await run_once(own_frame{}, query, sink, most);
        } catch (const sql_error& e) {
            // What was prepared is of no use any more: a table has changed, or somebody has deallocated it.
            const bool outdated = e.sqlstate() == "0A000" || e.sqlstate() == "26000";
            if (!outdated || !prepared_.drop(query.statement) || PQtransactionStatus(link_->handle()) != PQTRANS_IDLE) {
                throw;
            }
        }
        co_return co_await run_once(own_frame{}, query, sink, most);
    }

private:
    asio::awaitable<sql_rows> run_once(own_frame, const sql_query& query, const sql_row_sink* sink, std::size_t most) {
        pg_statement* statement = prepared_.find(query.statement);
        if (statement == nullptr || !statement->described) {
            statement = co_await prepare(own_frame{}, query.statement);
        }
        send(query, *statement, sink != nullptr);
        pg_answer answer{*link_, query.statement};
        sql_rows rows;
        for (bool first = true;; first = false) {
            if (!link_->has_result()) {
                co_await wait_for_pg_result(own_frame{}, *link_);
            }
            const pg_result result = link_->take_result();
            if (!result) {
                break;
            }
            if (!answer.good(result)) {
                continue;
            }
            if (first) {
                rows = pg_columns(result.get());
            }
            pg_add_rows(result.get(), rows);
            if (PQresultStatus(result.get()) != PGRES_SINGLE_TUPLE) {
                rows.set_affected(affected_by(result.get()));
                see_tag(PQcmdStatus(result.get()));
            }
            if (sink != nullptr && rows.size() >= most) {
                co_await (*sink)(rows);
                rows.clear();
            }
        }
        answer.end();
        if (sink != nullptr && !rows.empty()) {
            co_await (*sink)(rows);
        }
        co_return rows;
    }

    void send(const sql_query& query, const pg_statement& statement, bool row_by_row) {
        if (query.parameters.size() != statement.parameters) {
            throw wrong_parameter_count(query.parameters.size(), statement.parameters, query.statement);
        }
        const pg_parameters values{query.parameters};
        link_->check_sent(PQsendQueryPrepared(link_->handle(), statement.name.c_str(), values.count(), values.values(),
                                              values.lengths(), values.formats(), statement.result_format));
        if (row_by_row) {
            PQsetSingleRowMode(link_->handle());
        }
    }

    asio::awaitable<pg_statement*> prepare(own_frame, const std::string& text) {
        PGconn* const pg = link_->handle();
        pg_statement* statement = prepared_.find(text);
        if (statement == nullptr) {
            if (prepared_.full()) {
                std::string drop = "DEALLOCATE " + prepared_.oldest().name;
                co_await run_script(own_frame{}, std::move(drop));
                prepared_.drop_oldest();
            }
            see_text(text);
            std::string name = "coraii_" + std::to_string(++names_);
            link_->check_sent(PQsendPrepare(pg, name.c_str(), text.c_str(), 0, nullptr));
            co_await only_result(own_frame{}, text);
            statement = &prepared_.add(text, pg_statement{std::move(name)});
        }
        link_->check_sent(PQsendDescribePrepared(pg, statement->name.c_str()));
        const pg_result described = co_await only_result(own_frame{}, text);
        statement->parameters = static_cast<std::size_t>(PQnparams(described.get()));
        bool binary = true;
        for (int i = 0; i < PQnfields(described.get()); ++i) {
            binary = binary && pg_reads_binary(PQftype(described.get(), i));
        }
        statement->result_format = binary ? 1 : 0;
        statement->described = true;
        co_return statement;
    }

    asio::awaitable<pg_result> only_result(own_frame, const std::string& text) {
        pg_answer answer{*link_, text};
        pg_result last;
        for (;;) {
            if (!link_->has_result()) {
                co_await wait_for_pg_result(own_frame{}, *link_);
            }
            pg_result result = link_->take_result();
            if (!result) {
                break;
            }
            if (answer.good(result)) {
                last = std::move(result);
            }
        }
        answer.end();
        co_return last;
    }

    static std::uint64_t affected_by(const PGresult* result) {
        // Also told of a SELECT, which affects nothing.
        const std::string_view tag = PQcmdStatus(const_cast<PGresult*>(result));
        if (tag.starts_with("SELECT") || tag.starts_with("FETCH")) {
            return 0;
        }
        return parsed<std::uint64_t>(PQcmdTuples(const_cast<PGresult*>(result))).value_or(0);
    }

    void see_tag(std::string_view tag) {
        const auto is = [tag](std::string_view t) { return tag == t; };
        touched_ = touched_ || is("SET") || is("LISTEN") || is("DECLARE CURSOR") || is("LOAD") ||
                   tag.starts_with("CREATE") || tag.starts_with("SELECT INTO");
        if (is("DISCARD ALL") || is("DEALLOCATE ALL")) {
            prepared_.clear();
        }
    }

    // Functions leave no tag.
    void see_text(std::string_view text) {
        touched_ = touched_ || text.find("set_config") != text.npos || text.find("advisory_lock") != text.npos;
    }

    pg_ptr link_;
    statement_cache<pg_statement> prepared_;
    std::uint64_t names_ = 0;
    bool touched_ = false;
};

}  // namespace coraii::detail

#endif
