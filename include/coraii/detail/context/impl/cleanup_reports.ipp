// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_CONTEXT_IMPL_CLEANUP_REPORTS_IPP
#define CORAII_DETAIL_CONTEXT_IMPL_CLEANUP_REPORTS_IPP

#include "coraii/detail/context/cleanup_reports.hpp"
#include "coraii/scope_info.hpp"

#include <cstdio>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

namespace coraii::detail {

void cleanup_reports::set_handler(handler h) {
    auto shared = std::make_shared<const handler>(std::move(h));
    const std::lock_guard lock{mutex_};
    handler_ = std::move(shared);
}

void cleanup_reports::report(const cleanup_failure& failure) noexcept {
    try {
        std::shared_ptr<const handler> call;
        {
            const std::lock_guard lock{mutex_};
            call = handler_;
        }
        if (call && *call) {
            (*call)(failure);
            return;
        }
    } catch (...) {  // there is nobody left to tell but stderr
    }
    print(failure);
}

void cleanup_reports::print(const cleanup_failure& failure) noexcept {
    const char* what = "an exception that is no std::exception";
    std::string text;
    try {
        std::rethrow_exception(failure.error);
    } catch (const std::exception& e) {
        try {
            text = e.what();
            what = text.c_str();
        } catch (...) { what = "an error (no memory left to say which)"; }
    } catch (...) {}
    std::fprintf(stderr, "coraii: the cleanup of %.*s%s%s:%u failed: %s\n", static_cast<int>(failure.name.size()),
                 failure.name.data(), failure.name.empty() ? "the scope at " : " at ", failure.where.file_name(),
                 static_cast<unsigned>(failure.where.line()), what);
}

}  // namespace coraii::detail

#endif
