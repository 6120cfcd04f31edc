// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_POSTGRES_DETAIL_PG_STATEMENTS_HPP
#define CORAII_POSTGRES_DETAIL_PG_STATEMENTS_HPP

#include "coraii/detail/coroutine/frame.hpp"
#include "coraii/postgres/detail/pg_error.hpp"
#include "coraii/postgres/detail/pg_exchange.hpp"
#include "coraii/postgres/detail/pg_link.hpp"
#include "coraii/postgres/detail/pg_values.hpp"
#include "coraii/session/connection.hpp"
#include "coraii/session/detail/statement_cache.hpp"
#include "coraii/session/error.hpp"
#include "coraii/session/rows.hpp"
#include "coraii/session/value.hpp"

#include <boost/asio/awaitable.hpp>

#include <libpq-fe.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace coraii::detail {

/// Of a script: its first result with rows, and its last.
struct pg_outcome {
    pg_result rows, last;
};

/// Runs statements. One that is used again is prepared, and then known by its text.
///
/// What the server has prepared is what we know, unless an interruption or somebody else has come between (`missing_`,
/// `extra_`): then the server is asked before it matters. All is called in an exchange.
class pg_statements {
public:
    // RESET ALL leaves the role. Names are looked up in pg_catalog, whatever else there is. Prepared by name, with PREPARE:
    // from_sql.
    static constexpr std::string_view reset_all =
        "SET SESSION AUTHORIZATION DEFAULT;RESET ROLE;RESET ALL;CLOSE ALL;UNLISTEN *;DISCARD TEMP;DISCARD SEQUENCES;"
        "SELECT pg_catalog.pg_advisory_unlock_all(),pg_catalog.count(*)FILTER(WHERE NOT from_sql),"
        "pg_catalog.count(*)FILTER(WHERE from_sql)FROM pg_catalog.pg_prepared_statement();";

    explicit pg_statements(pg_ptr link)
        : link_{std::move(link)},
          prepared_{link_->options().statement_cache},
          seen_(link_->options().statement_cache),
          reset_script_{std::string{reset_all} + link_->options().on_open.value_or("")} {}

    /// Something is sent that does not go through here.
    void mark_used() noexcept { used_ = true; }

    /// Any number of statements, without parameters. `out` lives longer than the exchange if it is to be looked at after an
    /// interruption.
    asio::awaitable<void> run_script(own_frame, std::string text, pg_outcome* out = nullptr) {
        check_text(text);
        co_await begin_now(own_frame{});
        used_ = true;
        // At most; all of the answer may come at once.
        link_->limit_statements(static_cast<std::size_t>(std::count(text.begin(), text.end(), ';')) + 1);
        link_->check_sent(PQsendQuery(link_->handle(), text.c_str()));
        pg_answer answer{*link_, text};
        co_await read_all(own_frame{}, answer, out);
        answer.end();
    }

    using values = std::vector<sql_value>;

    /// Once for each of `each`, in one message. With a sink, that gets the rows, `most` at a time; without, they are returned.
    /// Of more than one execution, there are no rows, and the affected ones are counted together.
    asio::awaitable<sql_rows> run(own_frame, const std::string& text, std::span<const values> each,
                                  const sql_row_sink* sink, std::size_t most) {
        check_text(text);
        for (const values& one : each) {
            pg_parameters::check(one, text);
        }
        used_ = true;
        PGconn* const pg = link_->handle();
        const bool many = each.size() > 1;
        pg_outdated suspect = pg_outdated::no;
        for (;;) {
            const bool again = suspect != pg_outdated::no;  // as if it had never been prepared
            const bool idle = PQtransactionStatus(pg) == PQTRANS_IDLE && !link_->begins_with_next();
            std::string name;
            if (!again && may_prepare()) {
                if (is_missing()) {
                    co_await ask(own_frame{});
                }
                name = name_of(text);
            }
            const bool cached = !name.empty();
            const bool prepares = !cached && !again && (note(text) || many) && may_prepare();
            if (prepares) {
                co_await make_room(own_frame{});
                name = "coraii_" + std::to_string(++names_);
            }
            pg_answer begin_answer{*link_, begin_};
            pg_answer answer{*link_, text};
            sql_rows rows;
            std::uint64_t affected = 0;
            std::size_t row = 1;
            bool any = false;  // rows were seen
            bool first = true;
            for (auto part = send(text, name, each, prepares);;) {
                // For the statement whose answer comes next.
                if (sink != nullptr && part == message_part::statement && first) {
                    PQsetSingleRowMode(pg);
                }

                if (!link_->has_result()) {
                    co_await wait_for_pg_result(own_frame{}, *link_);
                }
                pg_result result = link_->take_result();
                if (!result) {
                    if (!link_->answer_due()) {
                        break;
                    }
                    row += part == message_part::statement ? 1U : 0U;
                    part = next_part(part, prepares);
                    continue;
                }
                if (!(part == message_part::begin ? begin_answer : answer).good(result, many ? row : 0)) {
                    continue;
                }
                if (part != message_part::statement) {
                    if (part == message_part::prepare) {
                        prepared_.add(text, name);
                    }
                    continue;
                }
                if (many) {
                    affected += affected_by(result.get());
                    rows.set_affected(affected);
                    see_tag(result.get());
                    continue;
                }
                if (std::exchange(first, false)) {
                    rows = pg_columns(result.get());
                }
                pg_add_rows(result.get(), rows);
                any = any || !rows.empty();
                if (PQresultStatus(result.get()) != PGRES_SINGLE_TUPLE) {
                    rows.set_affected(affected_by(result.get()));
                    see_tag(result.get());
                }
                if (sink != nullptr && rows.size() >= most) {
                    link_->limit_statements(0);
                    co_await (*sink)(rows);
                    link_->limit_statements(1);
                    rows.clear();
                }
            }
            extra_ = extra_ && !prepares;
            if (begin_answer.error() != nullptr) {
                begin_answer.end();
            }
            if (again && (suspect == pg_outdated::surely || answer.error() == nullptr)) {
                forget(text, suspect);
            }
            suspect = cached && answer.error() != nullptr ? pg_outdated_by(answer.error(), name) : pg_outdated::no;
            if (suspect != pg_outdated::no) {
                if (idle && !any && PQtransactionStatus(pg) == PQTRANS_IDLE) {
                    continue;
                }
                forget(text, suspect);
            }
            answer.end(suspect == pg_outdated::surely);
            if (sink != nullptr && !rows.empty()) {
                link_->limit_statements(0);
                co_await (*sink)(rows);
            }
            co_return rows;
        }
    }

    /// As if the connection was new, but for what we have prepared. One round trip, unless somebody else has prepared
    /// something, or dropped what we have.
    asio::awaitable<void> reset(own_frame) {
        if (!used_) {
            co_return;
        }
        pg_outcome found;
        std::string text = reset_script_;
        co_await run_script(own_frame{}, std::move(text), &found);
        const auto count = [&found](int column) {
            return parsed<std::size_t>(PQgetvalue(found.rows.get(), 0, column)).value_or(0);
        };
        if (extra_ || count(1) != prepared_.size() || count(2) != 0) {
            co_await ask(own_frame{}, true);
        }
        settle();
        used_ = false;
    }

    /// For a new connection.
    asio::awaitable<void> open(own_frame) {
        if (link_->options().on_open) {
            co_await run_script(own_frame{}, *link_->options().on_open);
        }
        used_ = false;
    }

    /// BEGIN is sent now, if it was to go with the next statement.
    asio::awaitable<void> begin_now(own_frame) {
        if (link_->begins_with_next()) {
            std::string begin = link_->take_begin();
            co_await run_script(own_frame{}, std::move(begin));
        }
    }

private:
    /// What one message to the server may consist of.
    enum class message_part : unsigned char { begin, prepare, statement };

    static message_part next_part(message_part part, bool prepares) noexcept {
        return part == message_part::begin && prepares ? message_part::prepare : message_part::statement;
    }

    static void check_text(const std::string& text) {
        if (text.find('\0') != text.npos) {
            throw sql_error{sql_errc::bad_statement, {.message = {}, .statement = text}};
        }
    }

    asio::awaitable<void> read_all(own_frame, pg_answer& answer, pg_outcome* out) {
        for (;;) {
            if (!link_->has_result()) {
                co_await wait_for_pg_result(own_frame{}, *link_);
            }
            pg_result result = link_->take_result();
            if (!result) {
                co_return;
            }
            if (answer.good(result)) {
                see_tag(result.get());
                if (out != nullptr) {
                    const bool first_rows = !out->rows && PQresultStatus(result.get()) == PGRES_TUPLES_OK;
                    (first_rows ? out->rows : out->last) = std::move(result);
                }
            }
        }
    }

    /// In a failed transaction, nothing can be.
    bool may_prepare() const noexcept {
        return !seen_.empty() && PQtransactionStatus(link_->handle()) != PQTRANS_INERROR;
    }
    bool is_missing() const noexcept { return missing_ || link_->interrupted(); }

    /// Empty if it is not prepared.
    std::string name_of(const std::string& text) {
        const std::string* const found = prepared_.find(text);
        return found != nullptr ? *found : std::string{};
    }

    /// Remembers it. True if it was seen before.
    bool note(const std::string& text) noexcept {
        const std::size_t hash = std::hash<std::string_view>{}(text);
        const bool before = std::find(seen_.begin(), seen_.end(), hash) != seen_.end();
        if (!before && !seen_.empty()) {
            seen_[next_seen_++ % seen_.size()] = hash;
        }
        return before;
    }

    /// So that it is prepared anew at its next use.
    void forget(const std::string& text, pg_outdated why) noexcept {
        extra_ = prepared_.drop(text) || extra_;
        missing_ = missing_ || why == pg_outdated::surely;
        (void)note(text);
    }

    /// The server has told.
    void settle() noexcept {
        missing_ = extra_ = false;
        link_->set_interrupted(false);
    }

    /// What is there that we do not know, or the other way round? `all`: what PREPARE has prepared is dropped, too.
    asio::awaitable<void> ask(own_frame, bool all = false) {
        extra_ = missing_ = true;
        pg_outcome found;
        std::string text =
            "SELECT name,pg_catalog.format('DEALLOCATE %I;',name)FROM pg_catalog.pg_prepared_statement()";
        text += all ? "" : " WHERE NOT from_sql";
        co_await run_script(own_frame{}, std::move(text), &found);
        std::map<std::string, std::string, std::less<>> there;
        for (int row = 0; row < PQntuples(found.rows.get()); ++row) {
            there.emplace(PQgetvalue(found.rows.get(), row, 0), PQgetvalue(found.rows.get(), row, 1));
        }
        prepared_.drop_if([&there](const std::string& name) { return there.erase(name) == 0; });
        std::string drop;
        for (const auto& [name, deallocate] : there) {
            drop += deallocate;
        }
        if (!drop.empty()) {
            co_await run_script(own_frame{}, std::move(drop));
        }
        settle();
    }

    asio::awaitable<void> make_room(own_frame) {
        std::string drop;
        if (prepared_.full()) {
            drop = "DEALLOCATE " + prepared_.oldest();
            prepared_.drop_oldest();
        }
        if (extra_ || (!drop.empty() && PQtransactionStatus(link_->handle()) != PQTRANS_IDLE)) {
            co_await ask(own_frame{});  // in a transaction, a name that is gone already would be the end of it
            drop.clear();
        }
        extra_ = true;  // until all of the answer is there
        if (!drop.empty()) {
            try {
                co_await run_script(own_frame{}, std::move(drop));
            } catch (const sql_error& e) {
                missing_ = true;  // and perhaps not it alone
                if (e.sqlstate() != "26000") {
                    throw;
                }
            }
        }
    }

    /// With BEGIN if that is due, and with its preparing: all in one round trip. Says what is answered first.
    message_part send(const std::string& text, const std::string& name, std::span<const values> each, bool prepares) {
        PGconn* const pg = link_->handle();
        begin_ = link_->take_begin();
        const bool begins = !begin_.empty();
        const bool piped = begins || prepares || each.size() > 1;
        link_->limit_statements(each.size() + begins + prepares);
        if (piped) {
            link_->begin_pipe();
        }
        if (begins) {
            link_->check_sent(PQsendQueryParams(pg, begin_.c_str(), 0, nullptr, nullptr, nullptr, nullptr, 0));
        }
        if (prepares) {
            link_->check_sent(PQsendPrepare(pg, name.c_str(), text.c_str(), 0, nullptr));
        }
        for (const values& one : each) {
            const pg_parameters v{one};
            link_->check_sent(
                name.empty()
                    ? PQsendQueryParams(pg, text.c_str(), v.count(), nullptr, v.values(), v.lengths(), v.formats(), 0)
                    : PQsendQueryPrepared(pg, name.c_str(), v.count(), v.values(), v.lengths(), v.formats(), 0));
        }
        if (piped) {
            link_->end_pipe();
        }
        return begins ? message_part::begin : prepares ? message_part::prepare : message_part::statement;
    }

    static std::uint64_t affected_by(const PGresult* result) {
        // Also told of a SELECT, which affects nothing.
        const std::string_view tag = PQcmdStatus(const_cast<PGresult*>(result));
        if (tag.starts_with("SELECT") || tag.starts_with("FETCH")) {
            return 0;
        }
        return parsed<std::uint64_t>(PQcmdTuples(const_cast<PGresult*>(result))).value_or(0);
    }

    // In a transaction it is too late to find out by an error. Where no tag tells, it is found out so.
    void see_tag(const PGresult* result) noexcept {
        const std::string_view tag = PQcmdStatus(const_cast<PGresult*>(result));
        missing_ = missing_ || tag == "DO" || tag == "DEALLOCATE ALL" || tag == "DISCARD ALL";
    }

    pg_ptr link_;
    statement_cache<std::string> prepared_;  // the server's names of them, by text
    std::vector<std::size_t> seen_;  // hashes of texts that were used once, the last ones
    std::size_t next_seen_ = 0;
    std::uint64_t names_ = 0;
    std::string reset_script_;
    std::string begin_;  // that was sent with the last statement, if any
    bool missing_ = false;  // at the server, perhaps: some of those in prepared_
    bool extra_ = false;  // at the server, perhaps: others than those in prepared_
    bool used_ = false;  // since the last reset
};

}  // namespace coraii::detail

#endif
