// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_SESSION_ROWS_HPP
#define CORAII_SESSION_ROWS_HPP

#include "coraii/detail/coroutine/platform.hpp"
#include "coraii/session/error.hpp"
#include "coraii/session/value.hpp"

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace coraii {

namespace detail {

[[noreturn]] CORAII_DECL void throw_out_of_range(std::string what);
[[noreturn]] CORAII_DECL void throw_column_error(sql_errc error, const std::string& column);

}  // namespace detail

/// One value of a row. Lifetime: a view into its `sql_rows`.
class sql_field {
public:
    /// Of that column.
    sql_field(const std::string& column, const sql_value& value) noexcept : column_{&column}, value_{&value} {}

    const std::string& column() const noexcept { return *column_; }  ///< its name
    const sql_value& value() const noexcept { return *value_; }  ///< as the database gave it
    bool is_null() const noexcept { return std::holds_alternative<std::monostate>(*value_); }  ///< true for NULL

    /// The value as a number, a bool, a char, a string, bytes, or a `std::optional` of these for what may be NULL. Text is
    /// read as a number where a number is asked for, all of it. A char is a text of one byte. That a double is rounded to a
    /// float is no loss; to leave a float's range is one, and so is an integer that no double equals. `std::string_view`
    /// and `std::span<const std::byte>` refer to the `sql_rows`.
    /// Errors: `sql_errc::null_value`; `sql_errc::bad_conversion` where something would be lost.
    template <class T>
    [[nodiscard]] T as() const {
        if constexpr (detail::is_optional<T>::value) {
            return is_null() ? T{} : T{as<typename T::value_type>()};
        } else {
            if (is_null()) {
                detail::throw_column_error(sql_errc::null_value, *column_);
            }
            std::optional<T> converted = detail::from_sql_value<T>(*value_);
            if (!converted) {
                detail::throw_column_error(sql_errc::bad_conversion, *column_);
            }
            return *std::move(converted);
        }
    }

private:
    const std::string* column_;
    const sql_value* value_;
};

/// How a row is made a T: session/row_types.hpp.
template <class T>
struct sql_row_type;

/// One row of a result. Lifetime: a view into its `sql_rows`, which may be moved meanwhile, but not destroyed.
class sql_row {
public:
    /// Without columns.
    sql_row() = default;
    /// Of these columns, and as many values.
    sql_row(std::span<const std::string> columns, const sql_value* values) noexcept
        : columns_{columns}, values_{values} {}

    std::size_t size() const noexcept { return columns_.size(); }  ///< how many columns

    /// Errors: `sql_errc::out_of_range`.
    template <std::integral Index>  // so that a literal 0 is no null pointer
    sql_field operator[](Index index) const {
        if (!std::in_range<std::size_t>(index) || static_cast<std::size_t>(index) >= size()) {
            detail::throw_out_of_range("column " + std::to_string(index));
        }
        return {columns_[static_cast<std::size_t>(index)], values_[index]};
    }
    /// The first column of that name.
    CORAII_DECL sql_field operator[](std::string_view column) const;
    /// The whole row: its columns, one after another, as the elements of a tuple or the members of an aggregate; or its
    /// only column, as a value.
    /// Errors: `sql_errc::out_of_range` if their numbers differ; and those of `sql_field::as`.
    template <class T>
    [[nodiscard]] T as() const {
        static_assert(
            requires(sql_row row) { sql_row_type<T>::from(row); },
            "coraii: rows as tuples, aggregates or values need <coraii/session/row_types.hpp>");
        return sql_row_type<T>::from(*this);
    }

private:
    std::span<const std::string> columns_;
    const sql_value* values_ = nullptr;
};

/// What a statement gave: rows, or how many it changed. Independent of the connection.
class sql_rows {
public:
    sql_rows() = default;
    explicit sql_rows(std::vector<std::string> columns) noexcept : columns_{std::move(columns)} {}  ///< Without rows.

    /// How many rows.
    std::size_t size() const noexcept { return columns_.empty() ? 0 : values_.size() / columns_.size(); }
    bool empty() const noexcept { return size() == 0; }  ///< true if there are no rows
    const std::vector<std::string>& columns() const noexcept { return columns_; }  ///< their names

    /// How many rows the statement inserted, updated or deleted; 0 for others.
    std::uint64_t affected() const noexcept { return affected_; }

    /// Errors: `sql_errc::out_of_range`.
    CORAII_DECL sql_row operator[](std::size_t index) const;
    sql_row at(std::size_t index) const { return (*this)[index]; }  ///< as `operator[]`
    sql_row front() const { return (*this)[0]; }  ///< the first; as `operator[]`

    /// All rows, each as a T (see `sql_row::as`).
    template <class T>
    [[nodiscard]] std::vector<T> as() const {
        std::vector<T> all;
        all.reserve(size());
        for (const sql_row& row : *this) {
            all.push_back(row.template as<T>());
        }
        return all;
    }
    /// The only row. Errors: `sql_errc::out_of_range` if there is none, or more than one.
    template <class T>
    [[nodiscard]] T one() const {
        check_one();
        return front().template as<T>();
    }
    /// The only row, or nothing. Errors: `sql_errc::out_of_range` if there is more than one.
    template <class T>
    [[nodiscard]] std::optional<T> one_or_none() const {
        return empty() ? std::optional<T>{} : one<T>();
    }

    /// For range-based for. The row that it gives is good until it moves on; what the row refers to, as long as the rows.
    class iterator {
    public:
        using iterator_category = std::input_iterator_tag;  ///< it gives a row that is its own
        using value_type = sql_row;  ///< a row
        using difference_type = std::ptrdiff_t;  ///< between two
        using reference = const sql_row&;  ///< good until it moves on
        using pointer = const sql_row*;  ///< good until it moves on

        iterator() = default;
        /// At that row.
        iterator(const sql_rows& rows, std::size_t index) noexcept
            : rows_{&rows}, index_{index}, row_{rows.row(index)} {}
        reference operator*() const noexcept { return row_; }  ///< the row
        pointer operator->() const noexcept { return &row_; }  ///< the row
        iterator& operator++() noexcept { return *this = {*rows_, index_ + 1}; }  ///< to the next row
        /// To the next row; gives this one.
        iterator operator++(int) noexcept { return std::exchange(*this, {*rows_, index_ + 1}); }
        /// At the same row.
        friend bool operator==(const iterator& a, const iterator& b) noexcept { return a.index_ == b.index_; }

    private:
        const sql_rows* rows_ = nullptr;
        std::size_t index_ = 0;
        sql_row row_;
    };
    iterator begin() const noexcept { return {*this, 0}; }  ///< the first
    iterator end() const noexcept { return {*this, size()}; }  ///< behind the last

    // ---- for what fills it

    void reserve(std::size_t rows) { values_.reserve(rows * columns_.size()); }  ///< room for so many rows
    /// Row by row, column by column.
    void add(sql_value value) { values_.push_back(std::move(value)); }
    void add_null() { values_.emplace_back(); }  ///< as `add`
    void set_affected(std::uint64_t count) noexcept { affected_ = count; }  ///< what `affected` gives
    /// Keeps the columns.
    void clear() noexcept { values_.clear(); }

private:
    CORAII_DECL void check_one() const;
    sql_row row(std::size_t index) const noexcept { return {columns_, values_.data() + index * columns_.size()}; }

    std::vector<std::string> columns_;
    std::vector<sql_value> values_;
    std::uint64_t affected_ = 0;
};

}  // namespace coraii

#if defined(CORAII_HEADER_ONLY)
#include "coraii/session/impl/rows.ipp"
#endif

#endif
