// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_POSTGRES_DETAIL_PG_LISTENER_HPP
#define CORAII_POSTGRES_DETAIL_PG_LISTENER_HPP

#include "coraii/postgres/detail/pg_error.hpp"
#include "coraii/postgres/options.hpp"

#include <libpq-fe.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace coraii::detail {

/// Who listens to a channel.
class pg_listener {
public:
    const std::string& channel() const noexcept { return channel_; }
    /// Of whatever channel.
    virtual void hear(const PGnotify& heard) noexcept = 0;
    pg_listener(const pg_listener&) = delete;
    pg_listener& operator=(const pg_listener&) = delete;

protected:
    explicit pg_listener(std::string channel) noexcept : channel_{std::move(channel)} {}
    ~pg_listener() = default;

private:
    std::string channel_;
};

/// Those of a connection. Notifications that nobody hears are thrown away.
class pg_listeners {
public:
    void add(pg_listener& listener) { all_.push_back(&listener); }
    void remove(pg_listener& listener) noexcept { std::erase(all_, &listener); }
    bool hear(const std::string& channel) const noexcept {
        return std::any_of(all_.begin(), all_.end(), [&](auto* l) { return l->channel() == channel; });
    }

    /// libpq keeps them until somebody asks.
    void take_notifications(PGconn* connection) const noexcept {
        while (PGnotify* const heard = PQnotifies(connection)) {
            for (pg_listener* const listener : all_) {
                listener->hear(*heard);
            }
            PQfreemem(heard);
        }
    }

private:
    std::vector<pg_listener*> all_;
};

/// For libpq: gives a notice to `on_notice` of the `postgres::options`.
inline void tell_pg_notice(void* options, const PGresult* notice) {
    const auto& handler = static_cast<const postgres::options*>(options)->on_notice;
    if (handler) {
        try {
            handler({std::string{pg_field(notice, PG_DIAG_SEVERITY_NONLOCALIZED)},
                     std::string{pg_field(notice, PG_DIAG_SQLSTATE)},
                     without_newline(std::string{pg_field(notice, PG_DIAG_MESSAGE_PRIMARY)})});
        } catch (...) {  // libpq cannot let it through
        }
    }
}

}  // namespace coraii::detail

#endif
