// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_SESSION_IMPL_CHRONO_IPP
#define CORAII_SESSION_IMPL_CHRONO_IPP

#include "coraii/session/chrono.hpp"
#include "coraii/session/error.hpp"

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

namespace coraii::detail {

/// Takes a text apart from its beginning.
class time_reader {
public:
    explicit time_reader(std::string_view text) noexcept : rest_{text} {}

    bool at_end() const noexcept { return rest_.empty(); }
    bool take(char c) noexcept {
        const bool there = rest_.starts_with(c);
        rest_.remove_prefix(there ? 1 : 0);
        return there;
    }
    bool take(std::string_view word) noexcept {
        const bool there = rest_.starts_with(word);
        rest_.remove_prefix(there ? word.size() : 0);
        return there;
    }

    /// A number of at least `least` and at most `most` digits.
    std::optional<std::int64_t> number(std::size_t least, std::size_t most) noexcept {
        std::size_t digits = 0;
        std::int64_t value = 0;
        for (; digits < most && digits < rest_.size() && rest_[digits] >= '0' && rest_[digits] <= '9'; ++digits) {
            value = value * 10 + (rest_[digits] - '0');
        }
        rest_.remove_prefix(digits);
        return digits >= least ? std::optional{value} : std::nullopt;
    }

    std::optional<std::chrono::year_month_day> date() noexcept {
        const auto y = number(4, 4);
        const bool first = take('-');
        const auto m = number(2, 2);
        const bool second = take('-');
        const auto d = number(2, 2);
        if (!y || !m || !d || !first || !second) {
            return std::nullopt;
        }
        const std::chrono::year_month_day date{std::chrono::year{static_cast<int>(*y)},
                                               std::chrono::month{static_cast<unsigned>(*m)},
                                               std::chrono::day{static_cast<unsigned>(*d)}};
        return date.ok() ? std::optional{date} : std::nullopt;
    }

    /// `HH:MM[:SS[.fraction]]`, where HH has up to `hour_digits`.
    std::optional<std::chrono::microseconds> clock(std::size_t hour_digits) noexcept {
        const auto h = number(2, hour_digits);
        const bool colon = take(':');
        const auto m = number(2, 2);
        std::optional<std::int64_t> s = 0;
        std::int64_t fraction = 0;
        if (take(':')) {
            s = number(2, 2);
            for (std::int64_t unit = take('.') ? 100'000 : 0;
                 const auto digit = unit >= 0 ? number(1, 1) : std::nullopt; unit /= 10) {
                if (unit == 0 && *digit != 0) {
                    return std::nullopt;  // shorter than a microsecond
                }
                fraction += *digit * unit;
            }
        }
        if (!h || !m || !s || !colon || *m > 59 || *s > 59) {
            return std::nullopt;
        }
        return std::chrono::hours{*h} + std::chrono::minutes{*m} + std::chrono::seconds{*s} +
               std::chrono::microseconds{fraction};
    }

    /// How far the zone is ahead of UTC. `Z`, `+HH`, `+HHMM`, `+HH:MM`, `+HH:MM:SS`.
    std::optional<std::chrono::seconds> offset() noexcept {
        if (take('Z')) {
            return std::chrono::seconds{0};
        }
        const bool minus = take('-');
        const bool plus = !minus && take('+');
        const auto h = number(2, 2);
        if (!h || (!minus && !plus)) {
            return std::nullopt;
        }
        std::optional<std::int64_t> m = 0;
        std::optional<std::int64_t> s = 0;
        if (take(':') || !at_end()) {
            m = number(2, 2);
            s = take(':') ? number(2, 2) : s;
        }
        if (!m || !s) {
            return std::nullopt;
        }
        const std::chrono::seconds ahead{(*h * 60 + *m) * 60 + *s};
        return minus ? -ahead : ahead;
    }

private:
    std::string_view rest_;
};

void throw_no_time() {
    throw sql_error{sql_errc::bad_conversion, {.message = "a time or date that cannot be written"}};
}

std::string date_text(std::chrono::year_month_day date) {
    const int year = static_cast<int>(date.year());
    if (!date.ok() || year < 1 || year > 9999) {
        throw_no_time();
    }
    char text[24];
    std::snprintf(text, sizeof text, "%04d-%02u-%02u", year, static_cast<unsigned>(date.month()),
                  static_cast<unsigned>(date.day()));
    return text;
}

std::string time_text(std::chrono::microseconds since_epoch, bool zoned) {
    const auto day = std::chrono::floor<std::chrono::days>(since_epoch);
    // The number of digits is always the same, so that the order of texts is that of times.
    return date_text(std::chrono::sys_days{day}) + ' ' + duration_text(since_epoch - day) + (zoned ? "Z" : "");
}

std::string duration_text(std::chrono::microseconds duration) {
    const bool negative = duration.count() < 0;
    const auto length = negative ? -duration : duration;
    const auto s = std::chrono::duration_cast<std::chrono::seconds>(length);
    char text[48];
    std::snprintf(text, sizeof text, "%s%02lld:%02d:%02d.%06d", negative ? "-" : "",
                  static_cast<long long>(s.count() / 3600), static_cast<int>(s.count() / 60 % 60),
                  static_cast<int>(s.count() % 60), static_cast<int>((length - s).count()));
    return text;
}

std::optional<std::chrono::microseconds> parsed_time(std::string_view text, zone allowed) {
    time_reader reader{text};
    const auto date = reader.date();
    if (!date) {
        return std::nullopt;
    }
    const std::chrono::microseconds day = std::chrono::sys_days{*date}.time_since_epoch();
    if (reader.at_end()) {
        return day;
    }
    const bool separated = reader.take(' ') || reader.take('T');
    const auto clock = separated ? reader.clock(2) : std::nullopt;
    if (!clock) {
        return std::nullopt;
    }
    const auto ahead = reader.at_end()        ? std::optional{std::chrono::seconds{0}}
                       : allowed == zone::any ? reader.offset()
                                              : std::nullopt;
    return ahead && reader.at_end() ? std::optional{day + *clock - *ahead} : std::nullopt;
}

std::optional<std::chrono::year_month_day> parsed_date(std::string_view text) {
    time_reader reader{text};
    const auto date = reader.date();
    return reader.at_end() ? date : std::nullopt;
}

std::optional<std::chrono::microseconds> parsed_duration(std::string_view text) {
    constexpr std::size_t most_digits = 9;
    std::chrono::microseconds sum{0};
    time_reader reader{text};
    do {
        time_reader days = reader;
        const bool minus = days.take('-');
        (void)days.take('+');
        const int sign = minus ? -1 : 1;
        time_reader clock = days;
        const auto n = days.number(1, most_digits);
        const bool is_days = days.take(" day");
        if (n && is_days) {
            (void)days.take('s');
            sum += sign * std::chrono::days{static_cast<int>(*n)};
            reader = days;
        } else {
            const auto time = clock.clock(most_digits);
            if (!time || !clock.at_end()) {
                return std::nullopt;
            }
            return sum + sign * *time;
        }
    } while (reader.take(' '));
    return reader.at_end() ? std::optional{sum} : std::nullopt;
}

}  // namespace coraii::detail

#endif
