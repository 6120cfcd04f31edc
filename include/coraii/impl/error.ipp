// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_IMPL_ERROR_IPP
#define CORAII_IMPL_ERROR_IPP

#include "coraii/error.hpp"

#include <boost/system/error_category.hpp>
#include <boost/system/error_code.hpp>
#include <boost/system/system_error.hpp>

#include <exception>
#include <string>

namespace coraii {

const boost::system::error_category& error_category() noexcept {
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"  // Boost's class is made to have none
#endif
    class category final : public boost::system::error_category {
    public:
        constexpr category() : boost::system::error_category(0x636f'7261'6969'0001ULL) {}

        const char* name() const noexcept override { return "coraii"; }

        std::string message(int value) const override {
            switch (static_cast<errc>(value)) {
                case errc::no_value:
                    return "the scope's coroutine ended without a co_yield, so there is no resource to use";
                case errc::yielded_twice:
                    return "the scope's coroutine came to a second co_yield; a scope yields exactly once";
                case errc::cleanup_timeout:
                    return "the cleanup did not end within its cleanup_timeout and was cancelled";
                case errc::already_awaited:
                    return "the scope has been awaited before or moved from; a scope can be used once";
                case errc::empty_guard:
                    return "the guard holds no resource: it was closed, released, reset or moved from";
                case errc::scope_closed:
                    return "the scope is closed or closing: it can no longer be held, and takes no child or user more";
                case errc::offload_stopped: return "the executor that the blocking call was given to has been stopped";
                case errc::cleanup_destroyed: return "the cleanup's coroutine was destroyed before it ended";
                case errc::pool_timeout: return "the pool had no resource to lend within the time given";
                case errc::pool_closed: return "the pool has been closed";
                case errc::pool_exhausted: return "too many wait for a resource of the pool already";
                case errc::lease_overdue:
                    return "it has not begun: the lease is out for longer than the pool's leak_warning";
                case errc::child_destroyed: return "the coroutine of the group's child was destroyed before it ended";
                case errc::setup_timeout: return "the setup did not end within its setup_timeout and was cancelled";
            }
            return "unknown coraii error";
        }
    };
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
    static const category instance;
    return instance;
}

namespace detail {

void throw_error(boost::system::error_code e) {
    throw boost::system::system_error(e);
}

std::exception_ptr make_error(boost::system::error_code e) noexcept {
    try {
        throw_error(e);
    } catch (...) { return std::current_exception(); }
}

}  // namespace detail

}  // namespace coraii

#endif
