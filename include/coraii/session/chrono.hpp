// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_SESSION_CHRONO_HPP
#define CORAII_SESSION_CHRONO_HPP

#include "coraii/detail/coroutine/platform.hpp"  // first: it says what is missing

/// Times, dates and durations of `std::chrono` as parameters and as values.
///
///     co_await session.execute("update orders set paid = $1 where id = $2", std::chrono::system_clock::now(), 7);
///     auto paid = rows[0]["paid"].as<std::chrono::sys_seconds>();
///
/// | type | PostgreSQL | SQLite: text |
/// |---|---|---|
/// | `sys_time<D>`, `system_clock::time_point` | `timestamptz` | `2026-11-26 10:00:00.000000Z` |
/// | `local_time<D>` | `timestamp` | `2026-11-26 10:00:00.000000` |
/// | `year_month_day`, `sys_days` | `date` | `2026-11-26` |
/// | `duration` | `interval`, `time` | `-26:03:04.500000` |
///
/// What is shorter than a microsecond is rounded down when it is written. A time without a zone that is read as a
/// `sys_time` is UTC. A day of an interval has 24 hours.
///
/// Errors: `sql_errc::bad_conversion`: of a parameter, for years before 1 and after 9999, and dates that do not exist; of
///   `as`, for text that is none of these, for infinity, months in an interval, a zone in a `local_time`, and where a
///   fraction would be lost.

#include "coraii/session/value.hpp"

#include <chrono>
#include <optional>
#include <ratio>
#include <string>
#include <string_view>
#include <variant>

namespace coraii {
namespace detail {

CORAII_DECL std::string time_text(std::chrono::microseconds since_epoch, bool zoned);
CORAII_DECL std::string date_text(std::chrono::year_month_day date);
CORAII_DECL std::string duration_text(std::chrono::microseconds duration);
[[noreturn]] CORAII_DECL void throw_no_time();

enum class zone : bool { none, any };
CORAII_DECL std::optional<std::chrono::microseconds> parsed_time(std::string_view text, zone allowed);
CORAII_DECL std::optional<std::chrono::year_month_day> parsed_date(std::string_view text);
CORAII_DECL std::optional<std::chrono::microseconds> parsed_duration(std::string_view text);

inline std::string_view text_in(const sql_value& value) noexcept {
    const auto* text = std::get_if<std::string>(&value);
    return text != nullptr ? std::string_view{*text} : std::string_view{};
}

/// Rounded down; throws if that is more microseconds than there can be.
template <class Rep, class Period>
std::chrono::microseconds to_microseconds(std::chrono::duration<Rep, Period> d) {
    constexpr std::chrono::hours most{24LL * 366 * 10'000};
    const auto whole = std::chrono::floor<std::chrono::hours>(d);
    if (whole > most || whole < -most) {
        throw_no_time();
    }
    return std::chrono::floor<std::chrono::microseconds>(d);
}

/// Nothing if a D cannot be the same.
template <class D>
std::optional<D> from_microseconds(std::optional<std::chrono::microseconds> from) {
    if (!from) {
        return std::nullopt;
    }
    if constexpr (!std::chrono::treat_as_floating_point_v<typename D::rep> &&
                  std::ratio_less_v<typename D::period, std::chrono::hours::period>) {
        const auto whole = std::chrono::floor<std::chrono::hours>(*from);
        if (whole >= std::chrono::floor<std::chrono::hours>((D::max)()) ||
            whole <= std::chrono::ceil<std::chrono::hours>((D::min)())) {
            return std::nullopt;
        }
    }
    const D to = std::chrono::duration_cast<D>(*from);
    return std::chrono::round<std::chrono::microseconds>(to) == *from ? std::optional{to} : std::nullopt;
}

}  // namespace detail

/// A point in time, in UTC, of any precision: `timestamptz`.
template <class D>
struct sql_type<std::chrono::sys_time<D>> {
    /// In the database's notation.
    static std::string to_sql(std::chrono::sys_time<D> t) {
        return detail::time_text(detail::to_microseconds(t.time_since_epoch()), true);
    }
    /// Nothing if the text is none.
    static std::optional<std::chrono::sys_time<D>> from_sql(const sql_value& value) {
        const auto d = detail::from_microseconds<D>(detail::parsed_time(detail::text_in(value), detail::zone::any));
        return d ? std::optional{std::chrono::sys_time<D>{*d}} : std::nullopt;
    }
};

/// A time without a zone, of any precision: `timestamp`.
template <class D>
struct sql_type<std::chrono::local_time<D>> {
    /// In the database's notation.
    static std::string to_sql(std::chrono::local_time<D> t) {
        return detail::time_text(detail::to_microseconds(t.time_since_epoch()), false);
    }
    /// Nothing if the text is none.
    static std::optional<std::chrono::local_time<D>> from_sql(const sql_value& value) {
        const auto d = detail::from_microseconds<D>(detail::parsed_time(detail::text_in(value), detail::zone::none));
        return d ? std::optional{std::chrono::local_time<D>{*d}} : std::nullopt;
    }
};

/// A date: `date`.
template <>
struct sql_type<std::chrono::year_month_day> {
    /// In the database's notation.
    static std::string to_sql(std::chrono::year_month_day date) { return detail::date_text(date); }
    /// Nothing if the text is none.
    static std::optional<std::chrono::year_month_day> from_sql(const sql_value& value) {
        return detail::parsed_date(detail::text_in(value));
    }
};

/// A date: `date`.
template <>
struct sql_type<std::chrono::sys_days> {
    /// In the database's notation.
    static std::string to_sql(std::chrono::sys_days date) { return detail::date_text(date); }
    /// Nothing if the text is none.
    static std::optional<std::chrono::sys_days> from_sql(const sql_value& value) {
        const auto date = detail::parsed_date(detail::text_in(value));
        return date ? std::optional{std::chrono::sys_days{*date}} : std::nullopt;
    }
};

/// An interval of days or less, in any unit: `interval`.
template <class Rep, class Period>
struct sql_type<std::chrono::duration<Rep, Period>> {
    using duration = std::chrono::duration<Rep, Period>;  ///< the type of the value

    /// In the database's notation.
    static std::string to_sql(duration d) { return detail::duration_text(detail::to_microseconds(d)); }
    /// Nothing if the text is none.
    static std::optional<duration> from_sql(const sql_value& value) {
        return detail::from_microseconds<duration>(detail::parsed_duration(detail::text_in(value)));
    }
};

}  // namespace coraii

#if defined(CORAII_HEADER_ONLY)
#include "coraii/session/impl/chrono.ipp"
#endif

#endif
