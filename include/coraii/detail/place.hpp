// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_PLACE_HPP
#define CORAII_DETAIL_PLACE_HPP

#include <utility>

namespace coraii::detail {

class region;
struct scope_record;

/// What code belongs to.
struct place {
    region* where = nullptr;  // null: no region
    scope_record* scope = nullptr;  // whose setup or cleanup it is; null: the body's, or what it calls
};

/// Where code belongs that runs on `executor`. (region_executor.hpp)
template <class Executor>
place place_of(const Executor& executor) noexcept;

/// While it exists, the calling thread runs code that belongs there.
class running_at {
public:
    explicit running_at(place here) noexcept : here_{here}, before_{std::exchange(now_, &here_)} {}
    running_at(const running_at&) = delete;
    running_at& operator=(const running_at&) = delete;
    ~running_at() { now_ = before_; }

    static place now() noexcept { return now_ != nullptr ? *now_ : place{}; }

private:
    inline static thread_local constinit const place* now_ = nullptr;

    place here_;
    const place* before_;
};

}  // namespace coraii::detail

#endif
