// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_TESTS_SUPPORT_PROGRAM_RECORD_HPP
#define CORAII_TESTS_SUPPORT_PROGRAM_RECORD_HPP

#include <cstddef>
#include <exception>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace test::program {

/// What a program throws, and where.
struct oops {
    std::string where;
};

inline std::string to_text(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const oops& thrown) { return thrown.where; } catch (const std::exception& e) {
        return std::string{"an unexpected error: "} + e.what();
    } catch (...) { return "an unexpected error"; }
}

/// What happens in one run of a program, in order.
class record {
public:
    /// `throw_at`: the point, counted from 0 as they are reached, that throws whatever the program says.
    explicit record(std::optional<std::size_t> throw_at) : throw_at_{throw_at} {}

    void add(std::string event) { events_.push_back(std::move(event)); }

    /// A place where an exception may be thrown.
    void point(const std::string& where, bool throws) {
        if (points_++ == throw_at_ || throws) {
            ++thrown_;
            add("throws: " + where);
            throw oops{where};
        }
    }

    void reported(const std::string& by, const std::exception_ptr& error, const std::exception_ptr& instead_of_it) {
        add("reported by " + by + ": " + to_text(error) +
            (instead_of_it ? ", suppressed by: " + to_text(instead_of_it) : ""));
    }

    [[nodiscard]] const std::vector<std::string>& events() const noexcept { return events_; }
    [[nodiscard]] std::size_t points() const noexcept { return points_; }
    [[nodiscard]] std::size_t thrown() const noexcept { return thrown_; }

private:
    std::optional<std::size_t> throw_at_;
    std::size_t points_ = 0, thrown_ = 0;
    std::vector<std::string> events_;
};

}  // namespace test::program

#endif
