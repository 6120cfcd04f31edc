// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_TESTING_DETAIL_FORWARDING_EXECUTOR_HPP
#define CORAII_TESTING_DETAIL_FORWARDING_EXECUTOR_HPP

#include <boost/asio/prefer.hpp>
#include <boost/asio/query.hpp>
#include <boost/asio/require.hpp>

#include <utility>

namespace coraii::testing::detail {

/// An executor as any library might write one: all goes to `Inner`, after `Gate` has been asked whether it may run.
template <class Inner, class Gate>
class forwarding_executor {
public:
    forwarding_executor(Inner inner, Gate gate) noexcept : inner_{std::move(inner)}, gate_{gate} {}

    template <class Property>
    decltype(auto) query(const Property& property) const
        requires(boost::asio::can_query_v<const Inner&, Property>)
    {
        return boost::asio::query(inner_, property);
    }
    template <class Property>
    auto require(const Property& property) const
        requires(boost::asio::can_require_v<const Inner&, Property>)
    {
        return with(boost::asio::require(inner_, property));
    }
    template <class Property>
    auto prefer(const Property& property) const
        requires(boost::asio::can_prefer_v<const Inner&, Property>)
    {
        return with(boost::asio::prefer(inner_, property));
    }

    template <class F>
    void execute(F&& f) const {
        inner_.execute([gate = gate_, f = std::forward<F>(f)]() mutable {
            auto function = std::move(f);
            if (gate()) {
                std::move(function)();
            }
        });
    }

    friend bool operator==(const forwarding_executor&, const forwarding_executor&) noexcept = default;

private:
    template <class Other>
    forwarding_executor<Other, Gate> with(Other other) const noexcept {
        return {std::move(other), gate_};
    }

    Inner inner_;
    Gate gate_;
};

}  // namespace coraii::testing::detail

#endif
