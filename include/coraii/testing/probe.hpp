// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_TESTING_PROBE_HPP
#define CORAII_TESTING_PROBE_HPP

#include "coraii/testing/allocations.hpp"
#include "coraii/testing/detail/record.hpp"
#include "coraii/testing/detail/wait.hpp"

#include <array>
#include <cstddef>
#include <exception>
#include <memory>
#include <source_location>
#include <stdexcept>
#include <string>
#include <utility>

namespace coraii::testing {

/// A suspension point: waits for one turn of the event loop. A sweep can make it throw. Give it where real code would
/// wait for something, so that a sweep has a place to strike.
///
/// Cancellation: any type ends the wait with `asio::error::operation_aborted`.
/// Errors: what a sweep injects; `std::logic_error` outside `run` and `sweep`.
[[nodiscard]] inline auto point(const std::string& name = "point",
                                std::source_location where = std::source_location::current()) {
    const allocations::unobserved quiet;
    return detail::wait_as({detail::current_stage().log(), name + " (" + detail::to_string(where) + ")"});
}

/// A resource that is only looked at: it records when it is set up, used, cleaned and destroyed, and `run` and `sweep`
/// fail if it is not cleaned exactly once, or in the wrong order, or used afterwards.
///
/// Put one into a scope in place of the real resource, or beside it; then clean it before the first wait of the cleanup, for in a
/// context that is destroyed there the cleanup is cut off. Each step is an async operation that waits for one
/// turn, a `point()`; it can be told to fail or to stall there. Steps named `_now` do not wait.
///
/// Move-only; to use one that was moved from is a `std::logic_error`.
/// Cancellation, Errors: as for `point`. The constructor throws `std::logic_error` outside `run` and `sweep`.
/// Thread safety: the `_now` steps and `touch` may be called on other threads.
class probe {
    enum class instruction : unsigned char { none, fail, stall };

    instruction& told(step s) { return told_[static_cast<std::size_t>(s)]; }

    std::string text(step s) const {
        static constexpr const char* names[] = {"setup", "use", "cleanup"};
        return std::string{names[static_cast<std::size_t>(s)]} + " of '" + name_ + "'";
    }

    auto wait(step s, const std::source_location& where = {}) {
        const allocations::unobserved quiet;
        checked();
        return detail::wait_as(
            {log_, text(s), detail::probe_step{id_, s, where}, told(s) == instruction::stall,
             told(s) == instruction::fail ? std::make_exception_ptr(failed(s)) : std::exception_ptr{}});
    }

public:
    /// Of that name in reports, made at `where`.
    explicit probe(std::string name, std::source_location where = std::source_location::current())
        : log_{detail::current_stage().log()}, id_{log_->add(name, where)}, name_{std::move(name)} {}
    probe(probe&&) noexcept = default;  ///< the other one is empty
    /// The other one is empty.
    probe& operator=(probe&& other) noexcept {
        probe old{std::move(*this)};
        log_ = std::move(other.log_);
        id_ = other.id_;
        name_ = std::move(other.name_);
        told_ = other.told_;
        return *this;
    }
    ~probe() {
        if (log_) {
            log_->destroyed(id_);
        }
    }

    /// A step: an operation to be awaited. It may be made to fail.
    [[nodiscard]] auto set_up(std::source_location where = std::source_location::current()) {
        return wait(step::setup, where);
    }
    [[nodiscard]] auto use() { return wait(step::use); }  ///< a step, as `set_up`
    [[nodiscard]] auto clean_up() { return wait(step::cleanup); }  ///< a step, as `set_up`

    /// The same steps without an await.
    void set_up_now(std::source_location where = std::source_location::current()) { now(step::setup, where); }
    void touch() const { checked().touched(id_); }  ///< notes a use that is no step
    void clean_up_now() { now(step::cleanup); }  ///< as `set_up_now`

    /// The resource was taken out of its scope: from now on nothing must clean it.
    void released() { checked().released(id_); }

    /// From now on the step throws a `std::runtime_error`.
    probe& fail_at(step s) {
        told(s) = instruction::fail;
        return *this;
    }
    /// From now on the step does not end by itself. A step named `_now` cannot stall.
    probe& stall_at(step s) {
        told(s) = instruction::stall;
        return *this;
    }

    [[nodiscard]] const std::string& name() const noexcept { return name_; }  ///< as it was given

private:
    void now(step s, const std::source_location& where = {}) {
        checked().began(id_, s, where);
        const bool fails = told(s) == instruction::fail;
        log_->ended(id_, s, fails ? detail::record::outcome::failed : detail::record::outcome::done);
        if (fails) {
            throw failed(s);
        }
    }

    detail::record& checked() const {
        if (!log_) {
            throw std::logic_error("coraii::testing: a probe is used that was moved from");
        }
        return *log_;
    }

    std::runtime_error failed(step s) const { return std::runtime_error{text(s) + " fails, as it was told"}; }

    std::shared_ptr<detail::record> log_;
    std::size_t id_;
    std::string name_;
    std::array<instruction, 3> told_{};
};

}  // namespace coraii::testing

#endif
