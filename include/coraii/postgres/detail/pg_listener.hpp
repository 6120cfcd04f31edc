// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_POSTGRES_DETAIL_PG_LISTENER_HPP
#define CORAII_POSTGRES_DETAIL_PG_LISTENER_HPP

#include <libpq-fe.h>

#include <string>
#include <utility>

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

}  // namespace coraii::detail

#endif
