// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_SESSION_IMPL_ARRAYS_IPP
#define CORAII_SESSION_IMPL_ARRAYS_IPP

#include "coraii/session/arrays.hpp"
#include "coraii/session/error.hpp"
#include "coraii/session/value.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace coraii::detail {

inline constexpr std::string_view hex_digits = "0123456789abcdef";

void add_element(std::string& to, const sql_value& element) {
    if (const auto* integer = std::get_if<std::int64_t>(&element)) {
        to += std::to_string(*integer);
    } else if (const auto* number = std::get_if<double>(&element)) {
        to += number_text(*number);
    } else if (const auto* text = std::get_if<std::string>(&element)) {
        to += '"';
        for (const char c : *text) {
            to += c == '"' || c == '\\' ? "\\" : "";
            to += c;
        }
        to += '"';
    } else if (const auto* bytes = std::get_if<sql_bytes>(&element)) {
        to += R"("\\x)";
        for (const std::byte b : *bytes) {
            to += hex_digits[std::to_integer<std::size_t>(b >> 4)];
            to += hex_digits[std::to_integer<std::size_t>(b & std::byte{0xf})];
        }
        to += '"';
    } else {
        to += "NULL";
    }
}

void add_json(std::string& to, const sql_value& element) {
    const auto* number = std::get_if<double>(&element);
    if (const auto* text = std::get_if<std::string>(&element)) {
        to += '"';
        for (const char c : *text) {
            if (const auto code = static_cast<unsigned char>(c); code < 0x20) {
                to += "\\u00";
                to += hex_digits[code / 16U];
                to += hex_digits[code % 16U];
            } else {
                to += c == '"' || c == '\\' ? "\\" : "";
                to += c;
            }
        }
        to += '"';
    } else if (std::holds_alternative<sql_bytes>(element)) {
        throw sql_error{sql_errc::bad_conversion, {.message = "bytes in JSON"}};
    } else if (std::holds_alternative<std::monostate>(element) || (number != nullptr && !std::isfinite(*number))) {
        to += "null";
    } else {
        add_element(to, element);
    }
}

array_reader::array_reader(std::string_view text) noexcept : rest_{text} {
    if (rest_.starts_with('[')) {  // the bounds
        rest_.remove_prefix((std::min)(rest_.find('=') + 1, rest_.size()));
    }
}

bool array_reader::take(char c) noexcept {
    const bool there = rest_.starts_with(c);
    rest_.remove_prefix(there ? 1 : 0);
    return there;
}

bool array_reader::enter() noexcept {
    good_ = good_ && take('{');
    depth_ += good_ ? 1 : 0;
    first_ = true;
    return good_;
}

bool array_reader::next() noexcept {
    if (!good_) {
        return false;
    }
    if (take('}')) {
        --depth_;
        first_ = false;
        return false;
    }
    good_ = first_ || take(',');
    first_ = false;
    return good_;
}

sql_value array_reader::element() {
    std::string text;
    if (take('"')) {
        while (!rest_.empty() && !take('"')) {
            (void)take('\\');
            text += rest_.substr(0, 1);
            rest_.remove_prefix(rest_.empty() ? 0 : 1);
        }
        return text;
    }
    text = rest_.substr(0, rest_.find_first_of(",{}\""));
    rest_.remove_prefix(text.size());
    good_ = good_ && !text.empty();
    return text == "NULL" ? sql_value{} : sql_value{std::move(text)};
}

std::optional<sql_bytes> hex_bytes(const sql_value& value) {
    const auto* text = std::get_if<std::string>(&value);
    if (text == nullptr || !text->starts_with("\\x") || text->size() % 2 != 0) {
        return std::nullopt;
    }
    sql_bytes bytes;
    for (std::size_t i = 2; i < text->size(); i += 2) {
        const std::size_t high = hex_digits.find((*text)[i]);
        const std::size_t low = hex_digits.find((*text)[i + 1]);
        if (high == hex_digits.npos || low == hex_digits.npos) {
            return std::nullopt;
        }
        bytes.push_back(static_cast<std::byte>(high * 16 + low));
    }
    return bytes;
}

}  // namespace coraii::detail

#endif
