// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_CONTEXT_CODE_ORIGIN_HPP
#define CORAII_DETAIL_CONTEXT_CODE_ORIGIN_HPP

#include "coraii/detail/context/registry.hpp"

#include <utility>

namespace coraii::detail {

/// While it exists, the calling thread runs code of that origin, as far as this execution context is concerned.
class current_origin {
public:
    current_origin(registry& scopes, code_origin origin) noexcept
        : current_origin{scopes.here(), origin} {}
    current_origin(const current_origin&) = delete;
    current_origin& operator=(const current_origin&) = delete;
    ~current_origin() { place_ = before_; }

    static code_origin get(registry& scopes) noexcept {
        const code_origin* const now = scopes.here().origin;
        return now != nullptr ? *now : code_origin{};
    }

private:
    // A thread whose slot is shared is taken to run outside of regions.
    current_origin(thread_slot& slot, code_origin origin) noexcept
        : here_{origin},
          place_{slot.shared ? before_ : slot.origin},
          before_{slot.shared ? nullptr : std::exchange(slot.origin, &here_)} {}

    code_origin here_;
    const code_origin*& place_;
    const code_origin* before_;
};

}  // namespace coraii::detail

#endif
