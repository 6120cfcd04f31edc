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
    sql_field(const std::string& column, const sql_value& value) noexcept : column_{&column}, value_{&value} {}

    const std::string& column() const noexcept { return *column_; }
    const sql_value& value() const noexcept { return *value_; }
    bool is_null() const noexcept { return std::holds_alternative<std::monostate>(*value_); }

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

/// One row of a result. Lifetime: a view into its `sql_rows`, which may be moved meanwhile, but not destroyed.
class sql_row {
public:
    sql_row(std::span<const std::string> columns, const sql_value* values) noexcept
        : columns_{columns}, values_{values} {}

    std::size_t size() const noexcept { return columns_.size(); }

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

private:
    std::span<const std::string> columns_;
    const sql_value* values_;
};

/// What a statement gave: rows, or how many it changed. Independent of the connection.
class sql_rows {
public:
    sql_rows() = default;
    explicit sql_rows(std::vector<std::string> columns) noexcept : columns_{std::move(columns)} {}

    std::size_t size() const noexcept { return columns_.empty() ? 0 : values_.size() / columns_.size(); }
    bool empty() const noexcept { return size() == 0; }
    const std::vector<std::string>& columns() const noexcept { return columns_; }

    /// How many rows the statement inserted, updated or deleted; 0 for others.
    std::uint64_t affected() const noexcept { return affected_; }

    /// Errors: `sql_errc::out_of_range`.
    CORAII_DECL sql_row operator[](std::size_t index) const;

    /// For range-based for.
    class iterator {
    public:
        using iterator_category = std::input_iterator_tag;
        using value_type = sql_row;
        using difference_type = std::ptrdiff_t;
        using reference = sql_row;
        using pointer = void;

        iterator() = default;
        iterator(const sql_rows& rows, std::size_t index) noexcept : rows_{&rows}, index_{index} {}
        sql_row operator*() const noexcept { return rows_->row(index_); }
        iterator& operator++() noexcept {
            ++index_;
            return *this;
        }
        iterator operator++(int) noexcept { return {*rows_, index_++}; }
        friend bool operator==(const iterator&, const iterator&) = default;

    private:
        const sql_rows* rows_ = nullptr;
        std::size_t index_ = 0;
    };
    iterator begin() const noexcept { return {*this, 0}; }
    iterator end() const noexcept { return {*this, size()}; }

    // ---- for what fills it

    void reserve(std::size_t rows) { values_.reserve(rows * columns_.size()); }
    /// Row by row, column by column.
    void add(sql_value value) { values_.push_back(std::move(value)); }
    void add_null() { values_.emplace_back(); }
    void set_affected(std::uint64_t count) noexcept { affected_ = count; }
    /// Keeps the columns.
    void clear() noexcept { values_.clear(); }

private:
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
