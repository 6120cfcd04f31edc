// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_CONTEXT_CLEANUP_REPORTS_HPP
#define CORAII_DETAIL_CONTEXT_CLEANUP_REPORTS_HPP

#include "coraii/scope_info.hpp"

#include <cstdio>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

namespace coraii::detail {

/// Where the errors go that nobody could be given.
class cleanup_reports {
public:
    using handler = std::function<void(const cleanup_failure&)>;

    CORAII_DECL void set_handler(handler h);

    CORAII_DECL void report(const cleanup_failure& failure) noexcept;

private:
    static CORAII_DECL void print(const cleanup_failure& failure) noexcept;

    std::mutex mutex_;
    std::shared_ptr<const handler> handler_;
};

}  // namespace coraii::detail

#if defined(CORAII_HEADER_ONLY)
#include "coraii/detail/context/impl/cleanup_reports.ipp"
#endif

#endif
