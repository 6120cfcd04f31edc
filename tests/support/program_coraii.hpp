// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_TESTS_SUPPORT_PROGRAM_CORAII_HPP
#define CORAII_TESTS_SUPPORT_PROGRAM_CORAII_HPP

// What a program does with coraii.

#include "coraii/coraii.hpp"
#include "coraii/testing/run.hpp"
#include "support/program.hpp"
#include "support/program_record.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/query.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <cstddef>
#include <exception>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace test::program::with_coraii {

namespace asio = boost::asio;
using asio::awaitable;

struct resource;
using scope = coraii::async_scope<resource>;
using guard = coraii::guard<resource>;

struct resource {
    record* log;
    const scope_spec* spec;
    guard inner{};

    void use() const { log->add("used " + spec->name); }
};

inline scope make(record& log, const scope_spec& spec);

inline awaitable<void> suspend(unsigned times) {
    for (; times > 0; --times) {
        co_await asio::post(co_await asio::this_coro::executor, asio::use_awaitable);
    }
}

inline coraii::exit_status outcome_of_use(const std::exception_ptr& error) {
    return {error ? coraii::exit_reason::failed : coraii::exit_reason::completed, error};
}

// ---- what a scope does

inline awaitable<void> borrow(record& log, const scope_spec& spec) {
    co_await coraii::with(make(log, spec), [](resource& borrowed) -> awaitable<void> {
        borrowed.use();
        co_return;
    });
}

inline awaitable<void> set_up(record& log, const scope_spec& spec, guard& inner) {
    log.add("setup " + spec.name);
    co_await suspend(spec.setup_turns);
    log.point("begin of setup " + spec.name, spec.fails == setup_throws::at_begin);
    if (spec.nested == nesting::held) {
        inner = co_await make(log, spec.inner.front());
    } else if (spec.nested == nesting::in_setup) {
        co_await borrow(log, spec.inner.front());
    }
    log.point("end of setup " + spec.name, spec.fails == setup_throws::at_end);
    log.add("set up " + spec.name);
}

inline void cleanup_begins(record& log, const scope_spec& spec, const coraii::exit_status& why) {
    static constexpr const char* reasons[] = {"completed", "failed", "cancelled", "abandoned"};
    const std::string reason = reasons[static_cast<std::size_t>(why.reason())];
    log.add("cleanup " + spec.name + ", " + reason + (why.error() ? ": " + to_text(why.error()) : ""));
}

inline awaitable<void> clean_up(record& log, const scope_spec& spec, guard& inner, coraii::exit_status why) {
    cleanup_begins(log, spec, why);
    co_await suspend(spec.cleanup_turns);
    if (spec.closes_inner) {
        co_await inner.close(why);
    } else if (spec.nested == nesting::in_cleanup) {
        co_await borrow(log, spec.inner.front());
    }
    log.point("cleanup " + spec.name, spec.cleanup_throws);
    log.add("cleaned " + spec.name);
}

// ---- the forms

/// All in the scope's own coroutine.
inline scope co_yielded(record& log, const scope_spec& spec) {
    log.add("setup " + spec.name);
    co_await suspend(spec.setup_turns);
    log.point("begin of setup " + spec.name, spec.fails == setup_throws::at_begin);
    guard inner;
    if (spec.nested == nesting::held) {
        inner = co_await make(log, spec.inner.front());
    } else if (spec.nested == nesting::in_setup) {
        co_await borrow(log, spec.inner.front());
    }
    log.point("end of setup " + spec.name, spec.fails == setup_throws::at_end);
    log.add("set up " + spec.name);
    resource made{&log, &spec};

    const coraii::exit_status why = co_yield made;

    cleanup_begins(log, spec, why);
    co_await suspend(spec.cleanup_turns);
    if (spec.closes_inner) {
        co_await inner.close(why);
    } else if (spec.nested == nesting::in_cleanup) {
        co_await borrow(log, spec.inner.front());
    }
    log.point("cleanup " + spec.name, spec.cleanup_throws);
    log.add("cleaned " + spec.name);
}

/// What is held is in the resource.
inline awaitable<resource> set_up_for_pair(record& log, const scope_spec& spec) {
    resource made{&log, &spec};
    co_await set_up(log, spec, made.inner);
    co_return made;
}

inline awaitable<void> clean_up_in_pair(resource& r, coraii::exit_status why) {
    return clean_up(*r.log, *r.spec, r.inner, std::move(why));
}

/// What is held is in the object.
class manager {
public:
    manager(record& log, const scope_spec& spec) : log_{&log}, spec_{&spec} {}

    awaitable<resource> enter() {
        co_await set_up(*log_, *spec_, inner_);
        resource made{log_, spec_};
        co_return made;
    }
    awaitable<void> exit(coraii::exit_status why) { return clean_up(*log_, *spec_, inner_, std::move(why)); }

private:
    record* log_;
    const scope_spec* spec_;
    guard inner_;
};

inline scope make(record& log, const scope_spec& spec) {
    switch (spec.form) {
        case written::co_yielded: return co_yielded(log, spec).named(spec.name);
        case written::pair: return scope{set_up_for_pair(log, spec), clean_up_in_pair}.named(spec.name);
        case written::object: return coraii::scoped(manager{log, spec}).named(spec.name);
        case written::deferred:
        case written::adopted: break;
    }
    throw std::logic_error("only a stack can do that");
}

// ---- the statements

/// The variables that a statement sees, innermost first.
struct variable {
    const std::string& name;
    guard& value;
    const variable* outer;
};

class interpreter {
public:
    explicit interpreter(record& log) : log_{log} {}

    awaitable<void> run(const statements& program) {
        co_await run(program.data(), program.data() + program.size(), nullptr, nullptr);
    }

private:
    awaitable<void> run(const node* next, const node* end, const variable* variables, coraii::exit_stack* on) {
        for (; next != end; ++next) {
            if (next->what == action::variable) {
                guard declared;
                if (!next->scopes.empty()) {
                    declared = co_await make(log_, next->scopes.front());
                }
                const variable visible{next->name, declared, variables};
                co_await run(next + 1, end, &visible, on);  // the rest of the block; then it is dropped
                co_return;
            }
            co_await run(*next, variables, on);
        }
    }

    awaitable<void> children(const node& n, const variable* variables, coraii::exit_stack* on) {
        return run(n.children.data(), n.children.data() + n.children.size(), variables, on);
    }

    awaitable<void> run(const node& n, const variable* variables, coraii::exit_stack* on) {
        switch (n.what) {
            case action::step:
                log_.add(n.name);
                co_await suspend(n.turns);
                log_.point(n.name, n.throws);
                break;
            case action::block: co_await children(n, variables, on); break;
            case action::try_catch: try { co_await children(n, variables, on);
                } catch (...) { log_.add("caught: " + to_text(std::current_exception())); }
                break;
            case action::with: co_await with(n, variables, on); break;
            case action::try_with: co_await try_with(n, variables, on); break;
            case action::by_hand: co_await by_hand(n, variables, on); break;
            case action::variable: break;
            case action::assign: {
                guard& to = find(n.name, variables);
                to = co_await make(log_, n.scopes.front());
                log_.add("assigned " + n.name);
                break;
            }
            case action::move: {
                guard& to = find(n.name, variables);
                to = std::move(find(n.from, variables));
                log_.add("moved " + n.from + " to " + n.name + (to ? "" : ", nothing"));
                break;
            }
            case action::close:
                co_await find(n.name, variables).close();
                log_.add("closed " + n.name);
                break;
            case action::reset:
                find(n.name, variables).reset();
                log_.add("reset " + n.name);
                break;
            case action::release:
                if (guard& releasing = find(n.name, variables)) {
                    const resource handed_out = releasing.release();
                    log_.add("released " + handed_out.spec->name);
                }
                break;
            case action::use:
                if (const guard& used = find(n.name, variables)) {
                    used->use();
                } else {
                    log_.add("empty " + n.name);
                }
                break;
            case action::stack: co_await in_stack(n, variables); break;
            case action::own_stack: co_await in_own_stack(n, variables); break;
            case action::moved_stack: co_await out_of_stack(n, variables); break;
            case action::dropped_stack: co_await in_dropped_stack(n, variables); break;
            case action::task: co_await in_task<void>(n, variables); break;
            case action::moved_task: {
                coraii::exit_stack moved = co_await in_task<coraii::exit_stack>(n, variables);
                log_.add("left " + std::to_string(moved.size()));
                co_await moved.close();
                break;
            }
            case action::joined: co_await joined(n, variables, on); break;
            case action::enter: co_await enter(n.scopes.front(), *on); break;
        }
    }

    /// What `with` is given: all that were set up are used, then come the children.
    auto body(const node& n, const variable* variables, coraii::exit_stack* on) {
        return [this, &n, variables, on](auto&... set_up) -> awaitable<void> {
            (set_up.use(), ...);
            co_await children(n, variables, on);
        };
    }

    awaitable<void> with(const node& n, const variable* variables, coraii::exit_stack* on) {
        const auto& s = n.scopes;
        auto inside = body(n, variables, on);
        switch (s.size()) {
            case 1: return coraii::with(make(log_, s[0]), inside);
            case 2: return coraii::with(make(log_, s[0]), make(log_, s[1]), inside);
            default: return coraii::with(make(log_, s[0]), make(log_, s[1]), make(log_, s[2]), inside);
        }
    }

    using result = boost::system::result<void, std::exception_ptr>;

    awaitable<result> start_try_with(const node& n, const variable* variables, coraii::exit_stack* on) {
        const auto& s = n.scopes;
        auto inside = body(n, variables, on);
        switch (s.size()) {
            case 1: return coraii::try_with(make(log_, s[0]), inside);
            case 2: return coraii::try_with(make(log_, s[0]), make(log_, s[1]), inside);
            default: return coraii::try_with(make(log_, s[0]), make(log_, s[1]), make(log_, s[2]), inside);
        }
    }

    awaitable<void> try_with(const node& n, const variable* variables, coraii::exit_stack* on) {
        const result ended = co_await start_try_with(n, variables, on);
        if (ended.has_error()) {
            log_.add("result: " + to_text(ended.error()));
        }
    }

    awaitable<void> by_hand(const node& n, const variable* variables, coraii::exit_stack* on) {
        guard closing = co_await make(log_, n.scopes.front());
        std::exception_ptr error;
        try {
            closing->use();
            co_await children(n, variables, on);
        } catch (...) { error = std::current_exception(); }
        co_await closing.close(outcome_of_use(error));
        if (error) {
            std::rethrow_exception(error);
        }
    }

    awaitable<void> in_stack(const node& n, const variable* variables) {
        co_await coraii::with(coraii::make_exit_stack(),
                              [this, &n, variables](coraii::exit_stack& stack) -> awaitable<void> {
                                  co_await children(n, variables, &stack);
                              });
    }

    awaitable<void> in_own_stack(const node& n, const variable* variables) {
        coraii::exit_stack stack{co_await asio::this_coro::executor};
        std::exception_ptr error;
        try {
            co_await children(n, variables, &stack);
        } catch (...) { error = std::current_exception(); }
        co_await stack.close(outcome_of_use(error));
        if (error) {
            std::rethrow_exception(error);
        }
    }

    awaitable<void> out_of_stack(const node& n, const variable* variables) {
        coraii::exit_stack moved{co_await asio::this_coro::executor};
        co_await coraii::with(coraii::make_exit_stack(),
                              [this, &n, variables, &moved](coraii::exit_stack& stack) -> awaitable<void> {
                                  co_await children(n, variables, &stack);
                                  moved = std::move(stack);
                              });
        log_.add("left " + std::to_string(moved.size()));
        co_await moved.close();
    }

    awaitable<void> in_dropped_stack(const node& n, const variable* variables) {
        const asio::any_io_executor executor = co_await asio::this_coro::executor;
        std::exception_ptr error;
        {
            coraii::exit_stack stack{executor};
            try {
                co_await children(n, variables, &stack);
            } catch (...) { error = std::current_exception(); }
        }
        co_await coraii::async_drain(asio::query(executor, asio::execution::context));
        if (error) {
            std::rethrow_exception(error);
        }
    }

    /// Gives its stack away unless R is void.
    template <class R>
    coraii::task<R> in_task(const node& n, const variable* variables) {
        coraii::exit_stack& mine = co_await coraii::this_stack;
        const node* const end = n.children.data() + n.children.size();
        for (const node* next = n.children.data(); next != end; ++next) {
            if (next->what == action::variable) {
                co_await run(next, end, variables, &mine);
                break;
            }
            if (next->what != action::enter) {
                co_await run(*next, variables, &mine);
            } else if (const scope_spec& spec = next->scopes.front(); spec.form == written::deferred) {
                co_await coraii::defer([this, &spec](coraii::exit_status why) -> awaitable<void> {
                    guard none;
                    co_await clean_up(log_, spec, none, std::move(why));
                });
            } else if (spec.form == written::adopted) {
                mine.adopt(resource{&log_, &spec}, clean_up_in_pair);
            } else {
                const resource& entered = co_await coraii::enter(make(log_, spec));
                entered.use();
            }
        }
        if constexpr (!std::is_void_v<R>) {
            co_return std::move(mine);
        }
    }

    awaitable<void> joined(const node& n, const variable* variables, coraii::exit_stack* on) {
        const auto region = [this, &n, variables, on]() -> awaitable<void> { co_await children(n, variables, on); };
        co_await coraii::joined(region);
    }

    awaitable<void> enter(const scope_spec& spec, coraii::exit_stack& on) {
        if (spec.form == written::deferred) {
            on.defer([this, &spec](coraii::exit_status why) -> awaitable<void> {
                guard none;
                co_await clean_up(log_, spec, none, std::move(why));
            });
        } else if (spec.form == written::adopted) {
            on.adopt(resource{&log_, &spec}, clean_up_in_pair);
        } else {
            const resource* entered = co_await on.enter(make(log_, spec));
            entered->use();
        }
    }

    static guard& find(const std::string& name, const variable* variables) {
        while (variables->name != name) {
            variables = variables->outer;
        }
        return variables->value;
    }

    record& log_;
};

/// Anything amiss with the run itself, such as a scope that is left open, is an event, too.
inline record run(const statements& program, std::optional<std::size_t> throw_at,
                  const coraii::testing::run_options& options) {
    record log{throw_at};
    const auto work = [&]() -> awaitable<void> {
        const asio::any_io_executor executor = co_await asio::this_coro::executor;
        coraii::on_cleanup_error(asio::query(executor, asio::execution::context),
                                 [&log](const coraii::cleanup_failure& failure) {
                                     log.reported(std::string{failure.name}, failure.error, failure.suppressed_by);
                                 });
        try {
            co_await interpreter{log}.run(program);
        } catch (...) { log.add("ended by: " + to_text(std::current_exception())); }
        log.add("ended");
    };
    try {
        coraii::testing::run(work, options);
    } catch (const coraii::testing::failure& wrong) { log.add(wrong.what()); }
    return log;
}

}  // namespace test::program::with_coraii

#endif
