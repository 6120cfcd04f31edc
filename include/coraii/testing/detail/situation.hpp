// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_TESTING_DETAIL_SITUATION_HPP
#define CORAII_TESTING_DETAIL_SITUATION_HPP

#include "coraii/detail/coroutine/clock.hpp"
#include "coraii/scopes.hpp"
#include "coraii/testing/detail/record.hpp"

#include <boost/asio/io_context.hpp>

#include <chrono>
#include <string>

namespace coraii::testing::detail {

/// What is open and what is waited for, in lines. For a run that is stuck, has left something behind, or never ends.
inline std::string situation_of(boost::asio::io_context& context, const record& log,
                                const coraii::detail::clock::virtual_time& time) {
    std::string text;
    for (const std::string& wait : log.waits()) {
        text += "\n  waiting: " + wait;
    }
    for_each_scope(context, [&text](const scope_info& scope) {
        static constexpr const char* phases[] = {"not begun", "being set up", "open", "being cleaned", "closed"};
        const auto age = std::chrono::duration_cast<std::chrono::milliseconds>(scope.age);
        text += "\n  scope: ";
        text += scope.name.empty() ? std::string{"(without a name)"} : "'" + std::string{scope.name} + "'";
        text += " (" + to_string(scope.where) + ") is " + phases[static_cast<int>(scope.state)] + ", begun " +
                std::to_string(age.count()) + " ms ago";
    });
    if (time.next == (coraii::detail::clock::time_point::max)()) {
        text += "\n  timer: one that never expires";
    }
    if (text.empty()) {
        text = "\n  an operation that the kit does not know: I/O, a real timer, another thread";
    }
    return text;
}

}  // namespace coraii::testing::detail

#endif
