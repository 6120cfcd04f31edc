// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_CONTEXT_CODE_ORIGIN_HPP
#define CORAII_DETAIL_CONTEXT_CODE_ORIGIN_HPP

#include "coraii/detail/context/registry.hpp"

#include <utility>

namespace coraii::detail {

/// While it exists, the calling thread runs code of that origin, as far as this execution context is concerned.
class current_origin {
public:
    current_origin(registry& scopes, code_origin origin) noexcept : here_{origin} { begin(scopes); }
    current_origin(const current_origin&) = delete;
    current_origin& operator=(const current_origin&) = delete;
    ~current_origin() {
        if (place_ != nullptr) {
            *place_ = before_;
        }
    }

    static code_origin get(registry& scopes) noexcept {
        const code_origin* const now = scopes.here().origin;
        return now != nullptr ? *now : code_origin{};
    }

protected:
    struct as_before {};
    current_origin(code_origin origin, as_before) noexcept : here_{origin} {}

    // A thread whose slot is shared is taken to run outside of regions.
    void begin(registry& scopes) noexcept {
        if (thread_slot& slot = scopes.here(); !slot.shared) {
            place_ = &slot.origin;
            before_ = std::exchange(slot.origin, &here_);
        }
    }

private:
    code_origin here_;
    const code_origin** place_ = nullptr;
    const code_origin* before_ = nullptr;
};

/// The same for an origin in a region; for one outside, nothing changes.
class current_region_origin : current_origin {
public:
    current_region_origin(registry& scopes, code_origin origin) noexcept : current_origin{origin, as_before{}} {
        if (origin.inside != nullptr) {
            begin(scopes);
        }
    }
};

}  // namespace coraii::detail

#endif
