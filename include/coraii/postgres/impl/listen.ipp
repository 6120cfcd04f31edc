// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_POSTGRES_IMPL_LISTEN_IPP
#define CORAII_POSTGRES_IMPL_LISTEN_IPP

#include "coraii/async_scope.hpp"
#include "coraii/detail/coroutine/frame.hpp"
#include "coraii/exit_status.hpp"
#include "coraii/guard.hpp"
#include "coraii/postgres/detail/pg_access.hpp"
#include "coraii/postgres/detail/pg_link.hpp"
#include "coraii/postgres/detail/pg_listener.hpp"
#include "coraii/postgres/listen.hpp"
#include "coraii/session/error.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>

#include <libpq-fe.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <source_location>
#include <string>
#include <utility>

namespace coraii::detail {

/// Those of one channel that nobody has read yet.
class pg_notifications final : public pg_listener {
public:
    pg_notifications(pg_ptr link, std::string channel, std::size_t most)
        : pg_listener{std::move(channel)}, link_{std::move(link)}, most_{most == 0 ? 1 : most} {
        link_->listeners().add(*this);
    }
    pg_notifications(const pg_notifications&) = delete;
    pg_notifications& operator=(const pg_notifications&) = delete;
    ~pg_notifications() { link_->listeners().remove(*this); }

    void hear(const PGnotify& heard) noexcept override {
        if (channel() == heard.relname) {
            try {
                kept_.push_back({heard.relname, heard.extra, heard.be_pid});
            } catch (...) {  // no memory
                ++dropped_;
            }
            if (kept_.size() > most_) {
                kept_.pop_front();
                ++dropped_;
            }
        }
    }

    asio::awaitable<postgres::notification> next(own_frame) {
        if (kept_.empty()) {
            const pg_link::use use{*link_};
            while (kept_.empty()) {
                co_await link_->wait(own_frame{}, asio::posix::stream_descriptor::wait_read);
                if (!link_->consume()) {
                    link_->throw_lost();
                }
            }
        }
        postgres::notification first = std::move(kept_.front());
        kept_.pop_front();
        co_return first;
    }

    std::uint64_t dropped() const noexcept { return dropped_; }

private:
    pg_ptr link_;
    std::size_t most_;
    std::deque<postgres::notification> kept_;
    std::uint64_t dropped_ = 0;
};

struct pg_listens {
    static async_scope<postgres::notifications> open(pg_parent parent, std::string channel,
                                                     postgres::listen_options options) {
        const scope_hold hold = parent.scope->hold();
        sql_access::check_depth(*parent.connection, parent.depth);
        std::string quoted = "\"";
        for (const char c : channel) {
            quoted.append(c == '"' ? 2 : 1, c);
        }
        quoted += '"';
        const pg_ptr link = pg_access::link(*parent.connection);
        pg_notifications all{link, channel, options.most_kept};
        std::string begin = "LISTEN " + quoted;
        co_await parent.connection->execute_script(std::move(begin));
        postgres::notifications opened{all};
        const exit_status why = co_yield opened;
        link->listeners().remove(all);
        if (why.can_await() && !link->listeners().hear(channel)) {
            std::string end = "UNLISTEN " + quoted;
            try {
                co_await parent.connection->execute_script(std::move(end));
            } catch (...) {  // in a failed transaction, or it is lost: the reset does it
            }
        }
    }

    static async_scope<postgres::notifications> open_at(pg_parent parent, std::string channel,
                                                        postgres::listen_options options, std::source_location where) {
        auto scope = open(parent, std::move(channel), options);
        scope_access::made_at(scope, where);
        return scope;
    }
};

}  // namespace coraii::detail

namespace coraii::postgres {

asio::awaitable<notification> notifications::next() {
    return all_->next(detail::own_frame{});
}

std::uint64_t notifications::dropped() const noexcept {
    return all_->dropped();
}

async_scope<notifications> listen(sql_client<connection>& parent, std::string channel, listen_options options,
                                  std::source_location where) {
    return detail::pg_listens::open_at(detail::pg_parent{parent}, std::move(channel), options, where);
}
async_scope<notifications> listen(connection& parent, std::string channel, listen_options options,
                                  std::source_location where) {
    return detail::pg_listens::open_at(detail::pg_parent{parent}, std::move(channel), options, where);
}

}  // namespace coraii::postgres

#endif
