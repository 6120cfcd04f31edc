// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_SESSION_ROW_TYPES_HPP
#define CORAII_SESSION_ROW_TYPES_HPP

#include "coraii/detail/coroutine/platform.hpp"  // first: it says what is missing

/// Rows as tuples, as aggregates of your own, and as single values.
///
///     struct order { std::int64_t id; std::string customer; std::optional<double> discount; };
///
///     auto orders = rows.as<order>();                            // std::vector<order>
///     auto [id, name] = rows.one<std::tuple<int, std::string>>();  // the only row
///     auto total = rows.one<double>();                           // its only column
///
/// Columns are taken in the order in which they stand in the SELECT. An aggregate may have up to 16 members, no bases, and
/// no members that are C arrays. For a class of another kind specialise `sql_row_type`, with `static T from(sql_row)`.
///
/// Lifetime: a `std::string_view` in them refers to the `sql_rows`.

#include "coraii/session/rows.hpp"
#include "coraii/session/value.hpp"

#include <array>
#include <concepts>
#include <cstddef>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

namespace coraii {
namespace detail {

/// Converts to a member of a T, and not to a T.
template <class T>
struct any_member {
    template <class Member>
        requires(!std::same_as<std::remove_cvref_t<Member>, T>)
    operator Member() const noexcept;
};

template <class T, std::size_t... I>
constexpr bool made_from(std::index_sequence<I...>) noexcept {
    return requires { T{(static_cast<void>(I), any_member<T>{})...}; };
}

inline constexpr std::size_t most_members = 16;

template <class T, std::size_t N = most_members + 1>
constexpr std::size_t member_count() noexcept {
    if constexpr (N == 0 || made_from<T>(std::make_index_sequence<N>{})) {
        return N;
    } else {
        return member_count<T, N - 1>();
    }
}

template <class... Members>
std::tuple<Members...> as_tuple(Members&...);

/// The types of the members, as a tuple. Only its type is of interest.
template <std::size_t N, class T>
auto member_types(T& v) {
    static_assert(N != 0 && N <= most_members, "coraii: rows as aggregates: it must have from 1 to 16 members");
    if constexpr (N == 1) {
        auto& [a] = v;
        return std::type_identity<decltype(as_tuple(a))>{};
    } else if constexpr (N == 2) {
        auto& [a, b] = v;
        return std::type_identity<decltype(as_tuple(a, b))>{};
    } else if constexpr (N == 3) {
        auto& [a, b, c] = v;
        return std::type_identity<decltype(as_tuple(a, b, c))>{};
    } else if constexpr (N == 4) {
        auto& [a, b, c, d] = v;
        return std::type_identity<decltype(as_tuple(a, b, c, d))>{};
    } else if constexpr (N == 5) {
        auto& [a, b, c, d, e] = v;
        return std::type_identity<decltype(as_tuple(a, b, c, d, e))>{};
    } else if constexpr (N == 6) {
        auto& [a, b, c, d, e, f] = v;
        return std::type_identity<decltype(as_tuple(a, b, c, d, e, f))>{};
    } else if constexpr (N == 7) {
        auto& [a, b, c, d, e, f, g] = v;
        return std::type_identity<decltype(as_tuple(a, b, c, d, e, f, g))>{};
    } else if constexpr (N == 8) {
        auto& [a, b, c, d, e, f, g, h] = v;
        return std::type_identity<decltype(as_tuple(a, b, c, d, e, f, g, h))>{};
    } else if constexpr (N == 9) {
        auto& [a, b, c, d, e, f, g, h, i] = v;
        return std::type_identity<decltype(as_tuple(a, b, c, d, e, f, g, h, i))>{};
    } else if constexpr (N == 10) {
        auto& [a, b, c, d, e, f, g, h, i, j] = v;
        return std::type_identity<decltype(as_tuple(a, b, c, d, e, f, g, h, i, j))>{};
    } else if constexpr (N == 11) {
        auto& [a, b, c, d, e, f, g, h, i, j, k] = v;
        return std::type_identity<decltype(as_tuple(a, b, c, d, e, f, g, h, i, j, k))>{};
    } else if constexpr (N == 12) {
        auto& [a, b, c, d, e, f, g, h, i, j, k, l] = v;
        return std::type_identity<decltype(as_tuple(a, b, c, d, e, f, g, h, i, j, k, l))>{};
    } else if constexpr (N == 13) {
        auto& [a, b, c, d, e, f, g, h, i, j, k, l, m] = v;
        return std::type_identity<decltype(as_tuple(a, b, c, d, e, f, g, h, i, j, k, l, m))>{};
    } else if constexpr (N == 14) {
        auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n] = v;
        return std::type_identity<decltype(as_tuple(a, b, c, d, e, f, g, h, i, j, k, l, m, n))>{};
    } else if constexpr (N == 15) {
        auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o] = v;
        return std::type_identity<decltype(as_tuple(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o))>{};
    } else if constexpr (N == most_members) {
        auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = v;
        return std::type_identity<decltype(as_tuple(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p))>{};
    }
}

template <class T>
concept tuple_like = requires { std::tuple_size<T>::value; };

template <class T>
concept has_own_value = requires(const sql_value& v) { sql_type<T>::from_sql(v); };

inline void check_columns(const sql_row& row, std::size_t wanted) {
    if (row.size() != wanted) {
        throw_out_of_range(std::to_string(row.size()) + " columns, not " + std::to_string(wanted));
    }
}

/// `To` is made of the columns as the elements of `Elements`, with braces, in their order.
template <class To, class Elements>
To from_columns(const sql_row& row) {
    check_columns(row, std::tuple_size_v<Elements>);
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
        return To{row[I].template as<std::tuple_element_t<I, Elements>>()...};
    }(std::make_index_sequence<std::tuple_size_v<Elements>>{});
}

}  // namespace detail

template <class T>
struct sql_row_type {
    /// Errors: as `sql_row::as`.
    static T from(const sql_row& row) {
        if constexpr (detail::has_own_value<T>) {
            detail::check_columns(row, 1);
            return row[0].template as<T>();
        } else if constexpr (detail::tuple_like<T>) {
            return detail::from_columns<T, T>(row);
        } else if constexpr (std::is_aggregate_v<T> && std::is_class_v<T>) {
            using members = decltype(detail::member_types<detail::member_count<T>()>(std::declval<T&>()));
            return detail::from_columns<T, typename members::type>(row);
        } else {
            detail::check_columns(row, 1);
            return row[0].template as<T>();
        }
    }
};

}  // namespace coraii

#endif
