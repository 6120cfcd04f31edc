// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_SESSION_VALUE_HPP
#define CORAII_SESSION_VALUE_HPP

#include "coraii/detail/coroutine/platform.hpp"
#include "coraii/session/error.hpp"

#include <charconv>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <locale>
#include <optional>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace coraii {

using sql_bytes = std::vector<std::byte>;  ///< binary data

/// A value on its way to or from a database; `std::monostate` is NULL. What a database has beside these (dates,
/// numerics, JSON) is text, in the database's own notation.
using sql_value = std::variant<std::monostate, std::int64_t, double, std::string, sql_bytes>;

/// A statement and the values of its parameters `$1`, `$2`, ...
struct sql_query {
    /// Of a text, and the values for its parameters.
    explicit sql_query(std::string text, std::vector<sql_value> values = {}) noexcept
        : statement{std::move(text)}, parameters{std::move(values)} {}

    std::string statement;  ///< its text
    std::vector<sql_value> parameters;  ///< `$1` comes first
};

/// A statement that is executed once for each of `rows`, which are the values of its parameters.
struct sql_batch {
    std::string statement;  ///< its text
    std::vector<std::vector<sql_value>> rows;  ///< each as `sql_query::parameters`
};

/// How a type of your own is a value: specialise it, with one function or both.
///
///     template <>
///     struct coraii::sql_type<color> {
///         static std::string to_sql(color c);  // gives anything that may be a parameter
///         static std::optional<color> from_sql(const coraii::sql_value& value);  // nothing if it is no color
///     };
///
/// Wherever values are given and `as<T>()` is asked for, T may then be such a type, an enum for example.
template <class T>
struct sql_type {};

namespace detail {

template <class T>
struct is_optional : std::false_type {};
template <class T>
struct is_optional<std::optional<T>> : std::true_type {};

template <class>
inline constexpr bool is_no_sql_type = false;

template <class T>
concept sql_integer = std::integral<T> && !std::same_as<T, char> && !std::same_as<T, wchar_t> &&
                      !std::same_as<T, char8_t> && !std::same_as<T, char16_t> && !std::same_as<T, char32_t>;

/// Arrays and vectors of bytes, whatever they call them.
template <class T>
concept byte_range =
    std::convertible_to<T, std::span<const std::byte>> || std::convertible_to<T, std::span<const unsigned char>>;

template <class T>
concept byte_vector = std::same_as<T, sql_bytes> || std::same_as<T, std::vector<unsigned char>>;

/// The value of a parameter.
template <class T>
sql_value to_sql_value(T&& from) {
    using type = std::remove_cvref_t<T>;
    if constexpr (requires { sql_type<type>::to_sql(from); }) {
        return to_sql_value(sql_type<type>::to_sql(from));
    } else if constexpr (is_optional<type>::value) {
        return from ? to_sql_value(*std::forward<T>(from)) : sql_value{};
    } else if constexpr (std::same_as<type, sql_value> || std::same_as<type, sql_bytes> ||
                         std::same_as<type, std::string>) {
        return std::forward<T>(from);
    } else if constexpr (std::same_as<type, std::nullptr_t> || std::same_as<type, std::nullopt_t>) {
        return {};
    } else if constexpr (std::same_as<type, char>) {
        return std::string(1, from);
    } else if constexpr (sql_integer<type>) {
        if (!std::in_range<std::int64_t>(static_cast<std::conditional_t<std::same_as<type, bool>, int, type>>(from))) {
            throw sql_error{sql_errc::bad_conversion, {.message = std::to_string(from) + " is too large"}};
        }
        return static_cast<std::int64_t>(from);
    } else if constexpr (std::floating_point<type>) {
        return static_cast<double>(from);
    } else if constexpr (std::convertible_to<T, std::string_view>) {
        if constexpr (std::is_pointer_v<type>) {
            if (from == nullptr) {
                return {};
            }
        }
        return std::string{std::string_view{from}};
    } else if constexpr (byte_range<T>) {
        const auto bytes = std::as_bytes(std::span{from});
        return sql_bytes{bytes.begin(), bytes.end()};
    } else {
        static_assert(
            is_no_sql_type<type>,
            "coraii: a parameter must be a number, a bool, a char, a string, bytes (std::byte, unsigned char), nullptr "
            "for NULL, or a std::optional of these; or a type that has a coraii::sql_type (see session/chrono.hpp, "
            "session/arrays.hpp, and write your own)");
    }
}

/// For a statement that takes so many parameters, and was given another number of values.
CORAII_DECL sql_error wrong_parameter_count(std::size_t given, std::size_t takes, std::string statement);

/// The whole text as a number; nothing if it is none, or not in T's range.
template <class T>
std::optional<T> parsed(std::string_view text) {
    T number{};
#if !defined(__cpp_lib_to_chars)
    if constexpr (std::floating_point<T>) {  // some standard libraries have from_chars for integers alone
        std::istringstream in{std::string{text}};
        in.imbue(std::locale::classic());
        return in >> number && in.peek() == std::istringstream::traits_type::eof() ? std::optional{number}
                                                                                   : std::nullopt;
    } else
#endif
    {
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
        return error == std::errc{} && end == text.data() + text.size() ? std::optional{number} : std::nullopt;
    }
}

/// As databases write it: "NaN", whatever its sign.
CORAII_DECL std::string number_text(double number);

/// A double of the same value; nothing if there is none.
constexpr std::optional<double> exact_double(std::int64_t integer) noexcept {
    constexpr double end = 9223372036854775808.0;  // 2^63
    const auto number = static_cast<double>(integer);
    return number < end && static_cast<std::int64_t>(number) == integer ? std::optional{number} : std::nullopt;
}

/// Rounded, as C++ does it; nothing if it is beyond what a T can be.
template <std::floating_point T>
std::optional<T> narrowed(double number) noexcept {
    const auto result = static_cast<T>(number);
    const bool too_large = number - number == 0 && result - result != 0;  // finite, and is not any more
    const bool too_small = number != 0 && result == 0;
    return too_large || too_small ? std::nullopt : std::optional{result};
}

/// A value that is not NULL as a T; nothing if that would lose something.
template <class T>
std::optional<T> from_sql_value(const sql_value& value) {
    const auto* integer = std::get_if<std::int64_t>(&value);
    const auto* number = std::get_if<double>(&value);
    const auto* text = std::get_if<std::string>(&value);
    const auto* bytes = std::get_if<sql_bytes>(&value);
    if constexpr (requires { sql_type<T>::from_sql(value); }) {
        return sql_type<T>::from_sql(value);
    } else if constexpr (std::same_as<T, bool>) {
        if (integer != nullptr && (*integer == 0 || *integer == 1)) {
            return *integer == 1;
        }
        if (text != nullptr && (*text == "t" || *text == "true" || *text == "f" || *text == "false")) {
            return text->front() == 't';
        }
        return std::nullopt;
    } else if constexpr (std::same_as<T, char>) {
        return text != nullptr && text->size() == 1 ? std::optional{text->front()} : std::nullopt;
    } else if constexpr (sql_integer<T>) {
        if (text != nullptr) {
            return parsed<T>(*text);
        }
        return integer != nullptr && std::in_range<T>(*integer) ? std::optional{static_cast<T>(*integer)}
                                                                : std::nullopt;
    } else if constexpr (std::floating_point<T>) {
        if (text != nullptr) {
            return parsed<T>(*text);
        }
        const auto exact = integer != nullptr ? exact_double(*integer) : std::nullopt;
        if (exact) {
            const auto rounded = narrowed<T>(*exact);
            return rounded && *rounded == *exact ? rounded : std::nullopt;
        }
        return number != nullptr ? narrowed<T>(*number) : std::nullopt;
    } else if constexpr (std::same_as<T, std::string>) {
        if (text != nullptr) {
            return *text;
        }
        if (integer != nullptr) {
            return std::to_string(*integer);
        }
        return number != nullptr ? std::optional{number_text(*number)} : std::nullopt;
    } else if constexpr (std::same_as<T, std::string_view>) {
        return text != nullptr ? std::optional<std::string_view>{*text} : std::nullopt;
    } else if constexpr (byte_vector<T>) {
        if (bytes == nullptr) {
            return std::nullopt;
        }
        const auto* first = static_cast<const typename T::value_type*>(static_cast<const void*>(bytes->data()));
        return T(first, first + bytes->size());
    } else if constexpr (std::same_as<T, std::span<const std::byte>>) {
        return bytes != nullptr ? std::optional<std::span<const std::byte>>{*bytes} : std::nullopt;
    } else {
        static_assert(is_no_sql_type<T>,
                      "coraii: as<T>() gives numbers, bool, char, std::string, std::string_view, coraii::sql_bytes, "
                      "std::vector<unsigned char>, std::span<const std::byte>, and a std::optional of these; and types "
                      "that have a coraii::sql_type (see session/chrono.hpp, session/arrays.hpp, and write your own)");
    }
}

}  // namespace detail
}  // namespace coraii

#if defined(CORAII_HEADER_ONLY)
#include "coraii/session/impl/value.ipp"
#endif

#endif
