// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_EXIT_STACK_DETAIL_SCOPE_STACK_HPP
#define CORAII_EXIT_STACK_DETAIL_SCOPE_STACK_HPP

#include "coraii/detail/coroutine/recycler.hpp"
#include "coraii/detail/scope/scope_core.hpp"
#include "coraii/detail/scope/scope_use.hpp"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace coraii::detail {

/// Scopes in the order in which they were entered, and the right to use each. Its destructor ends the uses, the last first.
/// A few take no memory.
template <class Executor>
class scope_stack {
    using core_type = scope_core<Executor>;

public:
    scope_stack() noexcept {}
    scope_stack(scope_stack&& other) noexcept { swap(other); }
    scope_stack& operator=(scope_stack other) noexcept {
        swap(other);
        return *this;
    }
    ~scope_stack() {
        while (!empty()) {
            const scope_use<Executor> dropped{pop()};
        }
        if (capacity_ > few) {
            recycling_allocator<core_type*>{}.deallocate(place_.many, capacity_);
        }
    }

    bool empty() const noexcept { return size_ == 0; }
    std::size_t size() const noexcept { return size_; }
    core_type& operator[](std::size_t i) const noexcept { return *scopes()[i]; }

    /// For one more.
    void make_room() {
        if (size_ == capacity_) {
            core_type** const larger = recycling_allocator<core_type*>{}.allocate(2 * size_ + few);
            std::copy_n(scopes(), size_, larger);
            if (capacity_ > few) {
                recycling_allocator<core_type*>{}.deallocate(place_.many, capacity_);
            }
            place_.many = larger;
            capacity_ = 2 * size_ + few;
        }
    }

    /// There is room.
    void push(scope_ptr<Executor> scope) noexcept { scopes()[size_++] = scope.detach(); }
    scope_ptr<Executor> pop() noexcept { return {scopes()[--size_], false}; }

private:
    static constexpr std::size_t few = 3;
    union place {
        core_type* here[few];
        core_type** many;
    };

    core_type** scopes() noexcept { return capacity_ > few ? place_.many : place_.here; }
    core_type* const* scopes() const noexcept { return capacity_ > few ? place_.many : place_.here; }
    void swap(scope_stack& other) noexcept {
        std::swap(place_, other.place_);
        std::swap(size_, other.size_);
        std::swap(capacity_, other.capacity_);
    }

    place place_{};
    std::size_t size_ = 0, capacity_ = few;
};

}  // namespace coraii::detail

#endif
