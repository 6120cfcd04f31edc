// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_TESTING_DETAIL_INJECTED_ERRORS_HPP
#define CORAII_TESTING_DETAIL_INJECTED_ERRORS_HPP

#include "coraii/scope_info.hpp"
#include "coraii/testing/fault.hpp"

#include <boost/asio/multiple_exceptions.hpp>

#include <cstddef>
#include <exception>
#include <optional>
#include <string>
#include <vector>

namespace coraii::testing::detail {

inline std::string what(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const std::exception& e) { return e.what(); } catch (...) {
    }
    return "an exception that is no std::exception";
}

/// The errors that were injected into a run, and where each came out: each has to, once.
class injected_errors {
public:
    std::exception_ptr make(const std::string& where) {
        came_out_.push_back(0);
        return std::make_exception_ptr(injected_error{came_out_.size() - 1, where});
    }

    /// An error has left the scenario, or is reported. It may be one of the scenario's own.
    void came_out(const std::exception_ptr& error) {
        if (const auto number = number_of(error)) {
            ++came_out_[*number];
        }
    }

    /// True if an error is reported only because a later one went before it.
    static bool hides_earlier(const cleanup_failure& failure) {
        const auto reported = number_of(failure.error);
        const auto kept = number_of(failure.suppressed_by);
        return reported && kept && *reported < *kept;
    }

    std::vector<std::string> problems() const {
        std::vector<std::string> found;
        for (std::size_t n = 0; n < came_out_.size(); ++n) {
            if (came_out_[n] != 1) {
                found.push_back("injected error " + std::to_string(n) +
                                (came_out_[n] == 0 ? " was lost" : " came out more than once"));
            }
        }
        return found;
    }

private:
    static std::optional<std::size_t> number_of(const std::exception_ptr& error) {
        try {
            if (error) {
                std::rethrow_exception(error);
            }
        } catch (const injected_error& e) {
            return e.number();
        } catch (const asio::multiple_exceptions& several) {  // as of awaitable_operators
            return number_of(several.first_exception());
        } catch (...) {  // the scenario's own
        }
        return std::nullopt;
    }

    std::vector<int> came_out_;  // how often
};

}  // namespace coraii::testing::detail

#endif
