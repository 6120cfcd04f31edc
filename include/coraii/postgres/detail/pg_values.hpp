// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_POSTGRES_DETAIL_PG_VALUES_HPP
#define CORAII_POSTGRES_DETAIL_PG_VALUES_HPP

#include "coraii/postgres/detail/pg_error.hpp"
#include "coraii/session/rows.hpp"
#include "coraii/session/value.hpp"

#include <boost/container/small_vector.hpp>

#include <libpq-fe.h>

#include <bit>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace coraii::detail {

/// The server's numbers for its types, which are the same everywhere.
namespace pg_type {
inline constexpr Oid boolean = 16, bytea = 17, int8 = 20, int2 = 21, int4 = 23, text = 25, oid = 26, float4 = 700,
                     float8 = 701, varchar = 1043;
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
        if (size > INT_MAX) {
            throw sql_error{sql_errc::bad_conversion, {.message = std::to_string(size) + " bytes are too many"}};
        }
        values_.push_back(static_cast<const char*>(data));
        lengths_.push_back(static_cast<int>(size));
        formats_.push_back(format);
    }

    template <class V>
    using few = boost::container::small_vector<V, 8>;

    few<std::string> texts_;  // reserved: what is in it does not move
    few<const char*> values_;
    few<int> lengths_;
    few<int> formats_;
};

/// True if we can read that type's binary form.
inline bool pg_reads_binary(Oid type) noexcept {
    switch (type) {
        case pg_type::boolean:
        case pg_type::bytea:
        case pg_type::int8:
        case pg_type::int2:
        case pg_type::int4:
        case pg_type::text:
        case pg_type::oid:
        case pg_type::float4:
        case pg_type::float8:
        case pg_type::varchar: return true;
        default: return false;
    }
}

template <class Unsigned>
Unsigned pg_big_endian(std::string_view data) noexcept {
    Unsigned value = 0;
    for (std::size_t i = 0; i < sizeof(Unsigned); ++i) {
        value = static_cast<Unsigned>(value << 8U) | static_cast<unsigned char>(data[i]);
    }
    return value;
}

inline sql_value pg_binary_value(Oid type, std::string_view data) {
    switch (type) {
        case pg_type::boolean: return std::int64_t{data[0]};
        case pg_type::int2: return std::int64_t{static_cast<std::int16_t>(pg_big_endian<std::uint16_t>(data))};
        case pg_type::int4: return std::int64_t{static_cast<std::int32_t>(pg_big_endian<std::uint32_t>(data))};
        case pg_type::int8: return static_cast<std::int64_t>(pg_big_endian<std::uint64_t>(data));
        case pg_type::oid: return std::int64_t{pg_big_endian<std::uint32_t>(data)};
        case pg_type::float4: return double{std::bit_cast<float>(pg_big_endian<std::uint32_t>(data))};
        case pg_type::float8: return std::bit_cast<double>(pg_big_endian<std::uint64_t>(data));
        case pg_type::bytea: {
            const auto* bytes = static_cast<const std::byte*>(static_cast<const void*>(data.data()));
            return sql_bytes(bytes, bytes + data.size());
        }
        default: return std::string{data};
    }
}

inline sql_value pg_text_value(Oid type, const char* data, std::size_t size) {
    const std::string_view text{data, size};
    switch (type) {
        case pg_type::boolean: return std::int64_t{text == "t"};
        case pg_type::int2:
        case pg_type::int4:
        case pg_type::int8:
        case pg_type::oid: return parsed<std::int64_t>(text).value_or(0);
        case pg_type::float4: return double{parsed<float>(text).value_or(0)};
        case pg_type::float8: return parsed<double>(text).value_or(0);
        case pg_type::bytea: {
            std::size_t length = 0;
            const auto* escaped = static_cast<const unsigned char*>(static_cast<const void*>(data));
            const std::unique_ptr<void, void (*)(void*)> bytes{PQunescapeBytea(escaped, &length), PQfreemem};
            if (!bytes) {
                throw std::bad_alloc{};
            }
            return pg_binary_value(pg_type::bytea, {static_cast<const char*>(bytes.get()), length});
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
            const char* data = PQgetvalue(result, row, i);
            const auto size = static_cast<std::size_t>(PQgetlength(result, row, i));
            to.add(PQfformat(result, i) == 1 ? pg_binary_value(PQftype(result, i), {data, size})
                                             : pg_text_value(PQftype(result, i), data, size));
        }
    }
}

}  // namespace coraii::detail

#endif
