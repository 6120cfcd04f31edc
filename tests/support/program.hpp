// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_TESTS_SUPPORT_PROGRAM_HPP
#define CORAII_TESTS_SUPPORT_PROGRAM_HPP

// A random program that uses scopes, as a tree, made from a string of bytes. Two interpreters run it: one with coraii
// (program_coraii.hpp), one with synchronous RAII objects (program_synchronous.hpp). Neither is known here.

#include <array>
#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace test::program {

// ---- the tree

/// How a scope is written. The last two are for an exit stack only, and have no setup.
enum class written { co_yielded, pair, object, deferred, adopted };

inline const char* to_string(written form) {
    static constexpr std::array names{"co_yield", "pair", "object", "defer", "adopt"};
    return names[static_cast<std::size_t>(form)];
}

/// Where a setup throws: before its nested scope, or after it.
enum class setup_throws { never, at_begin, at_end };

/// What a scope does with a nested one: its setup keeps a guard of it beyond its end, or is done with it; or it is the
/// cleanup that needs it.
enum class nesting { none, held, in_setup, in_cleanup };

struct scope_spec {
    std::string name;
    written form = written::co_yielded;
    unsigned setup_turns = 0, cleanup_turns = 0;  // how often they suspend
    setup_throws fails = setup_throws::never;
    bool cleanup_throws = false;
    nesting nested = nesting::none;
    bool closes_inner = false;  // in the cleanup; else what is held is dropped at its end
    std::vector<scope_spec> inner{};  // one, if nested

    [[nodiscard]] bool has_setup() const { return form != written::deferred && form != written::adopted; }
};

enum class action : std::uint8_t {
    step,          // suspends, may throw
    block,         // { ... }
    try_catch,     // try { ... } catch (...)
    with,          // one to three scopes round children
    try_with,      // the same, as a result
    by_hand,       // a guard that is closed with the outcome of the children
    variable,      // a guard in a variable of the block, dropped at the block's end; maybe an empty one
    assign,        // a new guard into a variable, over what is in there
    move,          // from one variable to another, over what is in there
    close,         // of a variable, as the following
    reset,
    release,
    use,
    stack,         // with(make_exit_stack(), children)
    own_stack,     // a stack of one's own that is closed with the outcome of the children
    moved_stack,   // a stack that is moved out of its scope, and closed there
    dropped_stack, // a stack that is dropped; what it cleans in the background is waited for at once
    task,          // a task; its stack is the innermost one
    moved_task,    // a task that gives its stack away, which is closed then
    enter,         // enter, defer or adopt on the innermost stack
    joined,        // a region round children
};

inline const char* to_string(action what) {
    static constexpr std::array names{"step",       "block",  "try",       "with",        "try_with",      "by hand",
                                      "variable",   "assign", "move",      "close",       "reset",         "release",
                                      "use",        "stack",  "own stack", "moved stack", "dropped stack", "task",
                                      "moved task", "enter",  "joined"};
    return names[static_cast<std::size_t>(what)];
}

struct node {
    action what = action::step;
    std::string name{};  // of a step or a variable
    std::string from{};  // of `move`
    unsigned turns = 0;
    bool throws = false;
    bool waits = false;  // a variable that is not to be dropped before the end of its region
    std::vector<scope_spec> scopes{};
    std::vector<node> children{};
};

using statements = std::vector<node>;

// ---- making one

/// Bytes as a source of choices. When they are used up every choice is 0, the plainest.
class choices {
public:
    explicit choices(std::span<const std::uint8_t> bytes) : bytes_{bytes} {}

    /// One of 0 to n - 1.
    unsigned below(unsigned n) {
        if (bytes_.empty()) {
            return 0;
        }
        const unsigned byte = bytes_.front();
        bytes_ = bytes_.subspan(1);
        return byte % n;
    }
    /// Once in n times.
    bool seldom(unsigned n) { return below(n) == n - 1; }

private:
    std::span<const std::uint8_t> bytes_;
};

/// The bytes of the program number `seed`.
inline std::vector<std::uint8_t> random_bytes(std::uint64_t seed) {
    std::mt19937_64 random{seed};
    std::vector<std::uint8_t> bytes(64 + random() % 192);
    for (std::uint8_t& byte : bytes) {
        byte = static_cast<std::uint8_t>(random() >> 56U);
    }
    return bytes;
}

/// Makes programs that mean the same with coraii as with destructors. A destructor can start a cleanup but not wait for
/// it: what may be dropped has a cleanup that does not suspend, and so ends inside the destructor. Only at the end of a
/// region something waits.
class generator {
public:
    explicit generator(choices from) : from_{from}, peace_{std::array{0U, 25U, 12U, 5U}[from_.below(4)]} {}

    statements make() { return block({}, 1 + from_.below(8)); }

private:
    /// What the statements of a block can refer to.
    struct surroundings {
        unsigned depth = 0;
        bool in_stack = false;
        bool stack_above = false;  // the block is the stack's own
        bool joined = false;  // the block is a region: something waits for what is dropped at its end
        std::vector<std::string> variables{};
    };

    /// What of a scope must not suspend.
    enum class quiet { nothing, cleanup, all };

    static constexpr unsigned max_depth = 5, max_size = 40, max_nesting = 2;

    statements block(surroundings around, unsigned size) {
        statements made;
        while (size-- > 0 && size_ < max_size) {
            ++size_;
            made.push_back(statement(around));
            if (made.back().what == action::variable && !made.back().waits) {
                around.variables.push_back(made.back().name);
            }
        }
        return made;
    }

    action choose(const surroundings& around) {
        using enum action;
        // Those that make something for others to work on come more often.
        static constexpr auto often = std::to_array<action>(
            {step,  with,          try_with, variable, by_hand,   stack,       enter, try_catch, assign,    move,
             close, reset,         release,  use,      own_stack, moved_stack, block, step,      with,      variable,
             enter, assign,        move,     with,     try_catch, variable,    move,  move,      assign,    block,
             move,  dropped_stack, joined,   joined,   joined,    task,        task,  task,      moved_task});
        if (around.stack_above && from_.below(2) == 1) {
            return enter;
        }
        const action what = often[from_.below(often.size())];
        switch (what) {
            case step:
            case variable: return what;
            case assign:
            case close:
            case reset:
            case release:
            case use: return around.variables.empty() ? variable : what;
            case move: return around.variables.size() < 2 ? variable : what;
            case enter: return around.in_stack ? what : step;
            default: return around.depth < max_depth ? what : step;
        }
    }

    node statement(const surroundings& around) {
        node made{.what = choose(around)};
        switch (made.what) {
            case action::step:
                made.name = name("step ");
                made.turns = from_.below(3);
                made.throws = throws();
                return made;
            case action::variable:
                made.name = name("v");
                if (around.joined && from_.below(2) == 1) {
                    made.waits = true;
                    made.scopes.push_back(scope(quiet::nothing));
                } else if (!from_.seldom(4)) {
                    made.scopes.push_back(scope(quiet::cleanup));
                }
                return made;
            case action::assign:
                made.name = one_of(around.variables);
                made.scopes.push_back(scope(quiet::cleanup));
                return made;
            case action::move:
                made.name = one_of(around.variables);
                made.from = one_of(around.variables);
                if (made.from == made.name) {
                    made.what = action::reset;
                }
                return made;
            case action::close:
            case action::reset:
            case action::release:
            case action::use: made.name = one_of(around.variables); return made;
            case action::enter: made.scopes.push_back(entered()); return made;
            case action::with:
            case action::try_with:
                for (unsigned count = 1 + from_.below(3); count > 0; --count) {
                    made.scopes.push_back(scope(quiet::nothing));
                }
                break;
            case action::by_hand: made.scopes.push_back(scope(quiet::nothing)); break;
            default: break;
        }
        surroundings inside = around;
        ++inside.depth;
        inside.stack_above = made.what >= action::stack && made.what <= action::moved_task;
        inside.in_stack = inside.in_stack || inside.stack_above;
        inside.joined = made.what == action::joined;
        made.children = block(std::move(inside), from_.below(5));
        return made;
    }

    scope_spec scope(quiet must_be, unsigned depth = 0) {
        scope_spec made{.name = name("s"), .form = static_cast<written>(from_.below(3))};
        made.setup_turns = must_be == quiet::all ? 0 : from_.below(3);
        made.fails = throws() ? static_cast<setup_throws>(1 + from_.below(2)) : setup_throws::never;
        clean_up(made, must_be);
        if (depth < max_nesting && from_.seldom(3)) {
            made.nested = static_cast<nesting>(1 + from_.below(3));
            if (made.nested == nesting::held && must_be == quiet::all) {
                made.nested = nesting::in_setup;  // to get a guard is to wait
            }
            if (made.nested == nesting::held) {
                made.closes_inner = must_be == quiet::nothing && from_.below(2) == 1;  // that waits, too
                must_be = quiet::cleanup;
            } else if (must_be == quiet::cleanup) {
                must_be = made.nested == nesting::in_cleanup ? quiet::all : quiet::nothing;
            }
            made.inner.push_back(scope(must_be, depth + 1));
        }
        return made;
    }

    scope_spec entered() {
        const unsigned how = from_.below(4);
        if (how < 2) {
            return scope(quiet::nothing);
        }
        const bool deferred = how == 2;
        scope_spec made{.name = name(deferred ? "d" : "a"), .form = deferred ? written::deferred : written::adopted};
        clean_up(made, quiet::nothing);
        return made;
    }

    void clean_up(scope_spec& scope, quiet must_be) {
        scope.cleanup_turns = must_be == quiet::nothing ? from_.below(3) : 0;
        scope.cleanup_throws = throws();
    }

    bool throws() { return peace_ != 0 && from_.seldom(peace_); }
    std::string name(const char* what) { return what + std::to_string(++names_); }
    const std::string& one_of(const std::vector<std::string>& variables) {
        return variables[from_.below(static_cast<unsigned>(variables.size()))];
    }

    choices from_;
    const unsigned peace_;  // about how many places there are to one that throws; 0: none does
    unsigned size_ = 0, names_ = 0;
};

inline statements from_bytes(std::span<const std::uint8_t> bytes) {
    return generator{choices{bytes}}.make();
}

// ---- as text

inline std::string to_text(const scope_spec& scope) {
    std::string text = scope.name + " (" + to_string(scope.form);
    const auto turns = [&text](const char* who, unsigned n) {
        if (n != 0) {
            text += std::string{", "} + who + " suspends " + std::to_string(n) + "x";
        }
    };
    turns("setup", scope.setup_turns);
    if (scope.fails != setup_throws::never) {
        text += scope.fails == setup_throws::at_begin ? ", setup throws at its begin" : ", setup throws at its end";
    }
    if (scope.nested != nesting::none) {
        text += scope.nested == nesting::in_setup     ? ", setup uses "
                : scope.nested == nesting::in_cleanup ? ", cleanup uses "
                : scope.closes_inner                  ? ", closes "
                                                      : ", drops ";
        text += to_text(scope.inner.front());
    }
    turns("cleanup", scope.cleanup_turns);
    return text + (scope.cleanup_throws ? ", cleanup throws)" : ")");
}

inline std::string to_text(const statements& program, const std::string& indent = "    ") {
    std::string text;
    for (const node& n : program) {
        text += indent + (n.what == action::step ? "" : to_string(n.what));
        text +=
            (n.name.empty() || n.what == action::step ? "" : " ") + n.name + (n.from.empty() ? "" : " from ") + n.from;
        for (const scope_spec& scope : n.scopes) {
            text += " " + to_text(scope);
        }
        text += (n.turns != 0 ? ", suspends " + std::to_string(n.turns) + "x" : "") + (n.throws ? ", throws\n" : "\n");
        text += to_text(n.children, indent + "    ");
    }
    return text;
}

}  // namespace test::program

#endif
