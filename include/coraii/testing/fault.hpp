// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_TESTING_FAULT_HPP
#define CORAII_TESTING_FAULT_HPP

#include <boost/asio/cancellation_type.hpp>

#include <cstddef>
#include <optional>
#include <ostream>
#include <stdexcept>
#include <string>

namespace coraii::testing {

namespace asio = boost::asio;

/// What is done to a run. The places are those of the kit: a point is a wait for a `point()` or a step of a `probe`, a
/// turn is one handler that the event loop runs.
enum class fault_kind {
    none,
    exception,           ///< an `injected_error` is thrown at a point
    cancel,              ///< cancellation is requested of the scenario between two turns
    cancel_inside,       ///< the same by the code that is about to wait at a point
    context_destroyed,   ///< the execution context is destroyed between two turns
    coroutine_destroyed, ///< a handler is destroyed instead of run, and with it the coroutine that waited
    no_memory,           ///< a heap allocation fails
};

/// One fault, and where. Two runs of a scenario with the same fault do the same.
struct fault {
    fault_kind kind = fault_kind::none;  ///< what happens
    /// Which point, turn, handler or allocation, counted from 0.
    std::size_t at = 0;
    /// The same fault once more, there: not before `at`.
    std::optional<std::size_t> again{};
    /// Of a cancel.
    asio::cancellation_type type = asio::cancellation_type::terminal;

    /// How many times it is injected at this place.
    [[nodiscard]] int strikes(std::size_t place) const noexcept {
        return (place == at ? 1 : 0) + (place == again ? 1 : 0);
    }
};

/// Which executor a scenario runs on.
enum class on_executor {
    context,  ///< the io_context's own
    strand,   ///< a strand of it
    forwarding,  ///< one that forwards to it, and that no library knows
};

/// What a `fault_kind::exception` throws.
class injected_error : public std::runtime_error {
public:
    /// The n-th of its run, from 0.
    explicit injected_error(std::size_t n, const std::string& where)
        : std::runtime_error{"injected error " + std::to_string(n) + " at " + where}, number_{n} {}

    [[nodiscard]] std::size_t number() const noexcept { return number_; }  ///< as `fault::at` counts

private:
    std::size_t number_;
};

inline const char* to_string(fault_kind kind) noexcept {
    switch (kind) {
        case fault_kind::none: return "none";
        case fault_kind::exception: return "exception";
        case fault_kind::cancel: return "cancel";
        case fault_kind::cancel_inside: return "cancel_inside";
        case fault_kind::context_destroyed: return "context_destroyed";
        case fault_kind::coroutine_destroyed: return "coroutine_destroyed";
        case fault_kind::no_memory: return "no_memory";
    }
    return "?";
}

inline const char* to_string(asio::cancellation_type type) noexcept {
    switch (type) {
        case asio::cancellation_type::terminal: return "terminal";
        case asio::cancellation_type::partial: return "partial";
        case asio::cancellation_type::total: return "total";
        default: return "?";
    }
}

/// As one writes it in C++, to repeat the run.
inline std::ostream& operator<<(std::ostream& out, const fault& f) {
    out << "{.kind = fault_kind::" << to_string(f.kind);
    if (f.kind != fault_kind::none) {
        out << ", .at = " << f.at;
    }
    if (f.again) {
        out << ", .again = " << *f.again;
    }
    if (f.kind == fault_kind::cancel || f.kind == fault_kind::cancel_inside) {
        out << ", .type = asio::cancellation_type::" << to_string(f.type);
    }
    return out << '}';
}

}  // namespace coraii::testing

#endif
