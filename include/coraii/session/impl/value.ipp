// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_SESSION_IMPL_VALUE_IPP
#define CORAII_SESSION_IMPL_VALUE_IPP

#include "coraii/session/error.hpp"
#include "coraii/session/value.hpp"

#include <charconv>
#include <cstddef>
#include <string>
#include <utility>

namespace coraii::detail {

sql_error wrong_parameter_count(std::size_t given, std::size_t takes, std::string statement) {
    return sql_error{sql_errc::wrong_parameter_count,
                     {.message = std::to_string(given) + " values for " + std::to_string(takes) + " parameters",
                      .statement = std::move(statement)}};
}

std::string number_text(double number) {
    if (number != number) {
        return "NaN";
    }
    char text[32];
    return {text, std::to_chars(text, text + sizeof text, number).ptr};
}

}  // namespace coraii::detail

#endif
