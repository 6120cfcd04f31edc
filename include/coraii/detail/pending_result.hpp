// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_DETAIL_PENDING_RESULT_HPP
#define CORAII_DETAIL_PENDING_RESULT_HPP

#include <optional>
#include <type_traits>

namespace coraii::detail {

/// In the place of a value of type void. (`std::monostate` brings the whole of <variant>.)
struct nothing {};

/// A body's result until the cleanups are done; of void, nothing.
template <class R>
using pending_result = std::conditional_t<std::is_void_v<R>, nothing, std::optional<R>>;

}  // namespace coraii::detail

#endif
