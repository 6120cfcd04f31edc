// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_TESTS_SUPPORT_PROGRAM_SYNCHRONOUS_HPP
#define CORAII_TESTS_SUPPORT_PROGRAM_SYNCHRONOUS_HPP

// What a program should do: the same with constructors, destructors and the order in which C++ calls them. Nothing of
// coraii is used here. Where destructors are not enough, for they cannot throw and are not told why, the library's rule
// is written out: see `resource::close` and `close_all`.

#include "support/program.hpp"
#include "support/program_record.hpp"

#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace test::program::synchronous {

/// Why a resource is cleaned.
struct outcome {
    std::string reason;
    std::exception_ptr error{};
};

inline outcome outcome_of_use(const std::exception_ptr& error) {
    return error ? outcome{"failed", error} : outcome{"completed"};
}

/// The rule: the first error of a cleanup that nobody else waits for is the region's, if its body is well.
class region {
public:
    explicit region(record& log) : log_{log}, outer_{std::exchange(innermost, this)} {}
    region(const region&) = delete;
    region& operator=(const region&) = delete;
    ~region() { innermost = outer_; }

    void cleanup_failed(const std::string& name, const std::exception_ptr& error) {
        if (!first_) {
            name_ = name;
            first_ = error;
        } else {
            log_.reported(name, error, first_);
        }
    }

    void end(const std::exception_ptr& body_error) {
        if (first_ && body_error) {
            log_.reported(name_, first_, body_error);
        } else if (first_) {
            std::rethrow_exception(first_);
        }
        if (body_error) {
            std::rethrow_exception(body_error);
        }
    }

    inline static thread_local region* innermost = nullptr;

private:
    record& log_;
    region* outer_;
    std::string name_;
    std::exception_ptr first_;
};

/// Set up by its constructor, cleaned by `close`, or else by its destructor.
class resource {
public:
    resource(record& log, const scope_spec& spec) : log_{&log}, spec_{&spec} {
        if (!spec.has_setup()) {
            return;
        }
        log.add("setup " + spec.name);
        log.point("begin of setup " + spec.name, spec.fails == setup_throws::at_begin);
        if (spec.nested == nesting::held) {
            inner_ = std::make_unique<resource>(log, spec.inner.front());
        } else if (spec.nested == nesting::in_setup) {
            borrow();
        }
        log.point("end of setup " + spec.name, spec.fails == setup_throws::at_end);
        log.add("set up " + spec.name);
    }
    resource(const resource&) = delete;
    resource& operator=(const resource&) = delete;
    ~resource() {
        if (open_) {
            try {
                close({"abandoned"});
            } catch (...) {
                const std::exception_ptr error = std::current_exception();
                if (region::innermost != nullptr) {
                    region::innermost->cleanup_failed(reported_name(), error);
                } else {
                    report(error, nullptr);
                }
            }
        }
    }

    void use() const { log_->add("used " + spec_->name); }

    /// The rule: an error of the use goes on, and one of the cleanup is reported; if the use was well, it is thrown.
    void close(const outcome& why) {
        open_ = false;
        std::exception_ptr error;
        try {
            clean_up(why);
        } catch (...) { error = std::current_exception(); }
        inner_.reset();
        if (error && why.error) {
            report(error, why.error);
        } else if (error) {
            std::rethrow_exception(error);
        }
    }

    /// It will not be cleaned. In a pair, what is held is part of what is handed out; else it is cleaned now.
    std::unique_ptr<resource> release() {
        open_ = false;
        if (spec_->form != written::pair) {
            inner_.reset();
        }
        return std::move(inner_);
    }

    [[nodiscard]] const std::string& name() const { return spec_->name; }

private:
    void borrow() {
        resource borrowed{*log_, spec_->inner.front()};
        borrowed.use();
        borrowed.close({"completed"});
    }

    void clean_up(const outcome& why) {
        log_->add("cleanup " + name() + ", " + why.reason + (why.error ? ": " + to_text(why.error) : ""));
        if (spec_->closes_inner) {
            inner_->close(why);
        } else if (spec_->nested == nesting::in_cleanup) {
            borrow();
        }
        log_->point("cleanup " + name(), spec_->cleanup_throws);
        log_->add("cleaned " + name());
    }

    void report(const std::exception_ptr& error, const std::exception_ptr& instead_of_it) const {
        log_->reported(reported_name(), error, instead_of_it);
    }
    [[nodiscard]] std::string reported_name() const { return spec_->has_setup() ? name() : ""; }

    record* log_;
    const scope_spec* spec_;
    bool open_ = true;
    std::unique_ptr<resource> inner_;
};

using guard = std::unique_ptr<resource>;
using stack = std::vector<std::unique_ptr<resource>>;

/// The rule: last in, first out; the first error is thrown, and those below are told of it.
inline void close_all(stack& resources, outcome why) {
    std::exception_ptr first;
    while (!resources.empty()) {
        try {
            resources.back()->close(why);
        } catch (...) {
            first = std::current_exception();
            why = {"failed", first};
        }
        resources.pop_back();
    }
    if (first) {
        std::rethrow_exception(first);
    }
}

/// The variables that a statement sees, innermost first.
struct variable {
    const std::string& name;
    guard& value;
    const variable* outer;
};

class interpreter {
public:
    explicit interpreter(record& log) : log_{log} {}

    void run(const statements& program) { run(program, nullptr, nullptr); }

private:
    using nodes = std::span<const node>;

    void run(nodes rest, const variable* variables, stack* on) {
        for (; !rest.empty(); rest = rest.subspan(1)) {
            const node& n = rest.front();
            if (n.what == action::variable) {
                guard declared;
                if (!n.scopes.empty()) {
                    declared = std::make_unique<resource>(log_, n.scopes.front());
                }
                const variable visible{n.name, declared, variables};
                return run(rest.subspan(1), &visible, on);  // the rest of the block; then it is destroyed
            }
            run(n, variables, on);
        }
    }

    void run(const node& n, const variable* variables, stack* on) {
        switch (n.what) {
            case action::step:
                log_.add(n.name);
                log_.point(n.name, n.throws);
                break;
            case action::block: run(n.children, variables, on); break;
            case action::try_catch: try { run(n.children, variables, on);
                } catch (...) { log_.add("caught: " + to_text(std::current_exception())); }
                break;
            case action::with: with(n.scopes, n.children, variables, on); break;
            case action::try_with: try { with(n.scopes, n.children, variables, on);
                } catch (...) { log_.add("result: " + to_text(std::current_exception())); }
                break;
            case action::by_hand: with(n.scopes, n.children, variables, on); break;
            case action::variable: break;
            case action::assign: {
                guard& to = find(n.name, variables);
                to = std::make_unique<resource>(log_, n.scopes.front());
                log_.add("assigned " + n.name);
                break;
            }
            case action::move: {
                guard& to = find(n.name, variables);
                to = std::move(find(n.from, variables));
                log_.add("moved " + n.from + " to " + n.name + (to ? "" : ", nothing"));
                break;
            }
            case action::close: {
                const guard closing = std::move(find(n.name, variables));
                if (closing) {
                    closing->close({"completed"});
                }
                log_.add("closed " + n.name);
                break;
            }
            case action::reset:
                find(n.name, variables).reset();
                log_.add("reset " + n.name);
                break;
            case action::release: {
                const guard releasing = std::move(find(n.name, variables));
                if (releasing) {
                    const guard handed_out = releasing->release();
                    log_.add("released " + releasing->name());
                }
                break;
            }
            case action::use:
                if (const guard& used = find(n.name, variables)) {
                    used->use();
                } else {
                    log_.add("empty " + n.name);
                }
                break;
            case action::stack:
            case action::own_stack:
            case action::task: {
                stack resources;
                leave(resources, caught([&] { run(n.children, variables, &resources); }));
                break;
            }
            case action::moved_stack:
            case action::moved_task: {
                stack resources;
                stack moved;
                leave(resources, caught([&] {
                          run(n.children, variables, &resources);
                          moved = std::move(resources);
                          resources.clear();
                      }));
                log_.add("left " + std::to_string(moved.size()));
                close_all(moved, {"completed"});
                break;
            }
            case action::dropped_stack: {
                stack resources;
                const std::exception_ptr error = caught([&] { run(n.children, variables, &resources); });
                while (!resources.empty()) {
                    resources.pop_back();
                }
                if (error) {
                    std::rethrow_exception(error);
                }
                break;
            }
            case action::joined: {
                region inside{log_};
                inside.end(caught([&] { run(n.children, variables, on); }));
                break;
            }
            case action::enter:
                on->push_back(std::make_unique<resource>(log_, n.scopes.front()));
                if (n.scopes.front().has_setup()) {
                    on->back()->use();
                }
                break;
        }
    }

    /// All scopes are set up, all are used, then come the children.
    void with(std::span<const scope_spec> scopes, const statements& body, const variable* variables, stack* on,
              const std::vector<const resource*>& set_up = {}) {
        if (scopes.empty()) {
            for (const resource* r : set_up) {
                r->use();
            }
            return run(body, variables, on);
        }
        resource first{log_, scopes.front()};
        std::vector<const resource*> also = set_up;
        also.push_back(&first);
        const std::exception_ptr error = caught([&] { with(scopes.subspan(1), body, variables, on, also); });
        first.close(outcome_of_use(error));
        if (error) {
            std::rethrow_exception(error);
        }
    }

    static void leave(stack& resources, const std::exception_ptr& error) {
        close_all(resources, outcome_of_use(error));
        if (error) {
            std::rethrow_exception(error);
        }
    }

    template <class F>
    static std::exception_ptr caught(F f) {
        try {
            f();
        } catch (...) { return std::current_exception(); }
        return nullptr;
    }

    static guard& find(const std::string& name, const variable* variables) {
        while (variables->name != name) {
            variables = variables->outer;
        }
        return variables->value;
    }

    record& log_;
};

inline record run(const statements& program, std::optional<std::size_t> throw_at) {
    record log{throw_at};
    try {
        interpreter{log}.run(program);
    } catch (...) { log.add("ended by: " + to_text(std::current_exception())); }
    log.add("ended");
    return log;
}

}  // namespace test::program::synchronous

#endif
