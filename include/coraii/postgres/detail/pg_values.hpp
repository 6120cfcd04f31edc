// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_POSTGRES_DETAIL_PG_VALUES_HPP
#define CORAII_POSTGRES_DETAIL_PG_VALUES_HPP

#include "coraii/postgres/detail/pg_error.hpp"
#include "coraii/session/rows.hpp"
#include "coraii/session/value.hpp"

#include <boost/container/small_vector.hpp>

#include <libpq-fe.h>

#include <climits>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace coraii::detail {

/// The server's numbers for its types, which are the same everywhere.
namespace pg_type {
inline constexpr Oid boolean = 16, bytea = 17, int8 = 20, int2 = 21, int4 = 23, oid = 26, float4 = 700, float8 = 701;
}

/// Bytes go as they are; all else as text, so that the server takes it for whatever type it needs.
class pg_parameters {
public:
    explicit pg_parameters(const std::vector<sql_value>& from) {
        const std::size_t n = from.size();
        texts_.reserve(n);
        values_.reserve(n);
        lengths_.reserve(n);
        formats_.reserve(n);
        for (const sql_value& value : from) {
            std::visit([this](const auto& v) { add(v); }, value);
        }
    }

    /// Errors: there are too many, or one is too long, to be sent.
    static void check(const std::vector<sql_value>& values, const std::string& statement) {
        if (values.size() > most) {
            throw wrong_parameter_count(values.size(), most, statement);
        }
        for (const sql_value& value : values) {
            const auto* text = std::get_if<std::string>(&value);
            const auto* bytes = std::get_if<sql_bytes>(&value);
            const std::size_t size = text != nullptr ? text->size() : bytes != nullptr ? bytes->size() : 0;
            if (size > INT_MAX) {
                throw sql_error{sql_errc::bad_conversion, {.message = std::to_string(size) + " bytes are too many"}};
            }
        }
    }

    int count() const noexcept { return static_cast<int>(values_.size()); }
    const char* const* values() const noexcept { return values_.data(); }
    const int* lengths() const noexcept { return lengths_.data(); }
    const int* formats() const noexcept { return formats_.data(); }

private:
    void add(std::monostate) { add_raw(nullptr, 0, 0); }
    void add(std::int64_t v) { add_text(std::to_string(v)); }
    void add(double v) { add_text(number_text(v)); }
    void add(const std::string& v) {
        // A text must not contain a NUL. In this form the server says so; in the other, libpq would cut it off.
        add_raw(v.c_str(), v.size(), v.find('\0') == std::string::npos ? 0 : 1);
    }
    void add(const sql_bytes& v) { add_raw(v.empty() ? "" : static_cast<const void*>(v.data()), v.size(), 1); }

    void add_text(std::string v) {
        texts_.push_back(std::move(v));
        add_raw(texts_.back().c_str(), texts_.back().size(), 0);
    }
    void add_raw(const void* data, std::size_t size, int format) {
        values_.push_back(static_cast<const char*>(data));
        lengths_.push_back(static_cast<int>(size));
        formats_.push_back(format);
    }

    static constexpr std::size_t most = 65'535;

    template <class V>
    using few = boost::container::small_vector<V, 8>;

    few<std::string> texts_;  // reserved: what is in it does not move
    few<const char*> values_;
    few<int> lengths_;
    few<int> formats_;
};

/// The number in it, or the text if it is not one that fits.
template <class As, class T>
sql_value pg_number(std::string_view text) {
    const std::optional<T> number = parsed<T>(text);
    return number ? sql_value{As{*number}} : sql_value{std::string{text}};
}

/// All results come as text.
inline sql_value pg_value(Oid type, const char* data, std::size_t size) {
    const std::string_view text{data, size};
    switch (type) {
        case pg_type::boolean: return std::int64_t{text == "t"};
        case pg_type::int2:
        case pg_type::int4:
        case pg_type::int8:
        case pg_type::oid: return pg_number<std::int64_t, std::int64_t>(text);
        case pg_type::float4: return pg_number<double, float>(text);
        case pg_type::float8: return pg_number<double, double>(text);
        case pg_type::bytea: {
            std::size_t length = 0;
            const auto* escaped = static_cast<const unsigned char*>(static_cast<const void*>(data));
            const std::unique_ptr<void, void (*)(void*)> bytes{PQunescapeBytea(escaped, &length), PQfreemem};
            if (!bytes) {
                throw std::bad_alloc{};
            }
            const auto* first = static_cast<const std::byte*>(bytes.get());
            return sql_bytes(first, first + length);
        }
        default: return std::string{text};
    }
}

inline sql_rows pg_columns(const PGresult* result) {
    std::vector<std::string> names;
    const int count = PQnfields(result);
    names.reserve(static_cast<std::size_t>(count));
    for (int i = 0; i < count; ++i) {
        names.emplace_back(PQfname(result, i));
    }
    return sql_rows{std::move(names)};
}

inline void pg_add_rows(const PGresult* result, sql_rows& to) {
    const int columns = PQnfields(result);
    const int rows = PQntuples(result);
    if (rows > 1) {
        to.reserve(static_cast<std::size_t>(rows));
    }
    for (int row = 0; row < rows; ++row) {
        for (int i = 0; i < columns; ++i) {
            if (PQgetisnull(result, row, i) != 0) {
                to.add_null();
                continue;
            }
            to.add(pg_value(PQftype(result, i), PQgetvalue(result, row, i),
                            static_cast<std::size_t>(PQgetlength(result, row, i))));
        }
    }
}

}  // namespace coraii::detail

#endif
