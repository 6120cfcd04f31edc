// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_SESSION_IMPL_ROWS_IPP
#define CORAII_SESSION_IMPL_ROWS_IPP

#include "coraii/session/error.hpp"
#include "coraii/session/rows.hpp"

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

namespace coraii {

namespace detail {

void throw_out_of_range(std::string what) {
    throw sql_error{sql_errc::out_of_range, {.message = std::move(what)}};
}

void throw_column_error(sql_errc error, const std::string& column) {
    throw sql_error{error, {.message = "column \"" + column + '"'}};
}

}  // namespace detail

sql_field sql_row::operator[](std::string_view column) const {
    const auto found = std::find(columns_.begin(), columns_.end(), column);
    if (found == columns_.end()) {
        detail::throw_out_of_range("column \"" + std::string{column} + '"');
    }
    return (*this)[static_cast<std::size_t>(found - columns_.begin())];
}

sql_row sql_rows::operator[](std::size_t index) const {
    if (index >= size()) {
        detail::throw_out_of_range("row " + std::to_string(index));
    }
    return row(index);
}

void sql_rows::check_one() const {
    if (size() != 1) {
        detail::throw_out_of_range("one row, of " + std::to_string(size()));
    }
}

}  // namespace coraii

#endif
