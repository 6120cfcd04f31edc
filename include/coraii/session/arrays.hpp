// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_SESSION_ARRAYS_HPP
#define CORAII_SESSION_ARRAYS_HPP

#include "coraii/detail/coroutine/platform.hpp"  // first: it says what is missing

/// Arrays: a `std::vector` as a parameter and as a value.
///
///     std::vector<int> ids{1, 2, 3};
///     co_await session.execute("select * from t where id = any($1)", ids);
///     co_await session.execute("insert into t select * from unnest($1::int[], $2::text[])", ids, names);  // in one go
///     auto tags = rows[0]["tags"].as<std::vector<std::string>>();
///
/// The elements may be whatever may be a parameter, `std::optional` for those that may be NULL, and vectors again. They
/// are PostgreSQL's arrays. SQLite has none; `json_array` gives a parameter for its `json_each`:
///
///     co_await session.execute("select * from t where id in (select value from json_each($1))", coraii::json_array(ids));
///
/// g++ 12 cannot compile a `std::vector{1, 2}` inside of a `co_await`; give it a name first.
///
/// Errors: of `as`, `sql_errc::bad_conversion` if the text is no array, an element cannot be had as that type, or is NULL
///   where that has no NULL. A vector of bytes is bytes, and no array. The bounds of an array that does not begin at 1
///   are not kept.

#include "coraii/session/value.hpp"

#include <concepts>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace coraii {
namespace detail {

template <class T>
concept array_element = !std::same_as<T, std::byte> && !std::same_as<T, unsigned char>;

template <class>
inline constexpr bool is_array = false;
template <array_element T>
inline constexpr bool is_array<std::vector<T>> = true;

/// Adds an element to an array's text.
CORAII_DECL void add_element(std::string& to, const sql_value& element);
CORAII_DECL void add_json(std::string& to, const sql_value& element);

template <class T>
std::string array_text(const std::vector<T>& elements) {
    std::string text = "{";
    for (const T& element : elements) {  // of std::vector<bool>, a copy
        text += text.size() > 1 ? "," : "";
        if constexpr (is_array<T>) {
            text += array_text(element);
        } else {
            add_element(text, to_sql_value(element));
        }
    }
    return text + '}';
}

/// An array's text, taken apart.
class array_reader {
public:
    explicit CORAII_DECL array_reader(std::string_view text) noexcept;

    /// To be called before each element. False at the array's end, or if there is none.
    CORAII_DECL bool next() noexcept;
    /// The element, as text, or NULL.
    CORAII_DECL sql_value element();
    /// Where the element is an array.
    CORAII_DECL bool enter() noexcept;
    /// The array is whole, and nothing follows.
    bool done() const noexcept { return good_ && rest_.empty() && depth_ == 0; }
    void fail() noexcept { good_ = false; }

private:
    CORAII_DECL bool take(char c) noexcept;

    std::string_view rest_;
    int depth_ = 0;
    bool first_ = true;
    bool good_ = true;
};

/// "\x..." as bytes.
CORAII_DECL std::optional<sql_bytes> hex_bytes(const sql_value& text);

template <class T>
std::optional<T> array_element_as(const sql_value& value) {
    if constexpr (is_optional<T>::value) {
        using inner = typename T::value_type;
        if (std::holds_alternative<std::monostate>(value)) {
            return std::optional<T>{std::in_place};
        }
        std::optional<inner> converted = array_element_as<inner>(value);
        return converted ? std::optional<T>{std::in_place, std::move(converted)} : std::nullopt;
    } else if constexpr (std::same_as<T, sql_bytes> || std::same_as<T, std::vector<unsigned char>>) {
        const std::optional<sql_bytes> bytes = hex_bytes(value);
        return bytes ? from_sql_value<T>(sql_value{*bytes}) : std::nullopt;
    } else {
        return std::holds_alternative<std::monostate>(value) ? std::nullopt : from_sql_value<T>(value);
    }
}

template <class T>
std::vector<T> read_array(array_reader& reader) {
    std::vector<T> elements;
    while (reader.next()) {
        if constexpr (is_array<T>) {
            if (!reader.enter()) {
                reader.fail();
                break;
            }
            elements.push_back(read_array<typename T::value_type>(reader));
        } else {
            std::optional<T> element = array_element_as<T>(reader.element());
            if (!element) {
                reader.fail();
                break;
            }
            elements.push_back(*std::move(element));
        }
    }
    return elements;
}

}  // namespace detail

/// A vector is an array of the database's: `{1,2,NULL}`.
template <detail::array_element T>
struct sql_type<std::vector<T>> {
    /// In the database's notation.
    static std::string to_sql(const std::vector<T>& elements) { return detail::array_text(elements); }

    /// Nothing if the text is no array of such elements.
    static std::optional<std::vector<T>> from_sql(const sql_value& value) {
        const auto* text = std::get_if<std::string>(&value);
        detail::array_reader reader{text != nullptr ? std::string_view{*text} : std::string_view{}};
        std::vector<T> elements;
        if (reader.enter()) {
            elements = detail::read_array<T>(reader);
        }
        return reader.done() ? std::optional{std::move(elements)} : std::nullopt;
    }
};

/// A JSON array, as text. The elements are numbers, texts, and NULLs; NaN and infinity are null. Errors:
/// `sql_errc::bad_conversion` for bytes, which JSON has not.
template <class T>
[[nodiscard]] std::string json_array(const std::vector<T>& elements) {
    std::string text = "[";
    for (const T& element : elements) {
        text += text.size() > 1 ? "," : "";
        detail::add_json(text, detail::to_sql_value(element));
    }
    return text + ']';
}

}  // namespace coraii

#if defined(CORAII_HEADER_ONLY)
#include "coraii/session/impl/arrays.ipp"
#endif

#endif
