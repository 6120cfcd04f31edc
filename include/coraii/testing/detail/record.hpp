// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_TESTING_DETAIL_RECORD_HPP
#define CORAII_TESTING_DETAIL_RECORD_HPP

#include "coraii/testing/allocations.hpp"

#include <cstddef>
#include <list>
#include <mutex>
#include <source_location>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace coraii::testing {

/// The steps in the life of a resource.
enum class step { setup, use, cleanup };

/// What a scenario promises of the order of its cleanups.
enum class cleanup_order {
    nested,   ///< each is over before the next begins and before the scenario ends: `with`, `exit_stack`, `joined`
    reverse,  ///< they begin in the reverse order of the setups, and may overlap: guards that are dropped
    any,
};

namespace detail {

/// The file's name without its directories, and the line.
inline std::string to_string(const std::source_location& where) {
    const std::string_view file{where.file_name()};
    return std::string{file.substr(file.find_last_of("/\\") + 1)} + ":" + std::to_string(where.line());
}

/// What happened to the resources of one run, and what was wrong with it. Probes may outlive the run, and may be used by
/// its threads.
class record {
public:
    enum class outcome { done, failed, cancelled };

    explicit record(cleanup_order order) : order_{order} {}

    std::size_t add(std::string name, std::source_location where) {
        const allocations::unobserved quiet;
        const std::lock_guard lock{mutex_};
        probes_.push_back({std::move(name), where});
        return probes_.size() - 1;
    }

    void began(std::size_t id, step what, const std::source_location& where) {
        const allocations::unobserved quiet;
        const std::lock_guard lock{mutex_};
        probe& p = probes_[id];
        switch (what) {
            case step::setup:
                // Made by `std::make_shared`, the place is in the library; it is set up in the user's code.
                if (std::string_view{p.where.file_name()} != where.file_name()) {
                    p.where = where;
                }
                note(p, "setup begins");
                if (p.setup != 0) {
                    wrong(p, "was set up twice");
                }
                break;
            case step::use: check_use(p); break;
            case step::cleanup:
                note(p, "cleanup begins");
                if (p.setup == 0) {
                    wrong(p, "is cleaned but was never set up");
                }
                if (++p.cleanups == 2) {
                    wrong(p, "was cleaned twice");
                } else {
                    check_order(p);
                }
                break;
        }
    }

    void ended(std::size_t id, step what, outcome how) {
        const allocations::unobserved quiet;
        const std::lock_guard lock{mutex_};
        probe& p = probes_[id];
        static constexpr const char* texts[3][3] = {
            {"set up", "setup fails", "setup is cancelled"},
            {"used", "use fails", "use is cancelled"},
            {"cleaned", "cleanup fails", "cleanup is cancelled"},
        };
        note(p, texts[static_cast<int>(what)][static_cast<int>(how)]);
        if (what == step::setup && how == outcome::done) {
            p.setup = ++setups_;
        }
        if (what == step::cleanup) {
            p.over = true;
            if (how == outcome::cancelled && shielded_) {
                wrong(p, "had its cleanup cancelled");
            }
        }
    }

    /// A use that does not wait.
    void touched(std::size_t id) {
        const allocations::unobserved quiet;
        const std::lock_guard lock{mutex_};
        note(probes_[id], "used");
        check_use(probes_[id]);
    }

    /// The resource was taken out of its scope: nothing has to clean it.
    void released(std::size_t id) {
        const allocations::unobserved quiet;
        const std::lock_guard lock{mutex_};
        note(probes_[id], "released");
        probes_[id].released = true;
    }

    void destroyed(std::size_t id) {
        const allocations::unobserved quiet;
        const std::lock_guard lock{mutex_};
        note(probes_[id], "destroyed");
        if (!torn_ && !may_break_off_ && probes_[id].cleanups != 0 && !probes_[id].over) {
            wrong(probes_[id], "was destroyed in the middle of its cleanup");
        }
        probes_[id].over = true;
    }

    // ---- who waits for what

    using wait = std::list<std::string>::iterator;
    wait now_waiting(std::string for_what) {
        const allocations::unobserved quiet;
        const std::lock_guard lock{mutex_};
        return waits_.insert(waits_.end(), std::move(for_what));
    }
    void no_longer(wait w) {
        const std::lock_guard lock{mutex_};
        waits_.erase(w);
    }
    [[nodiscard]] std::vector<std::string> waits() const {
        const std::lock_guard lock{mutex_};
        return {waits_.begin(), waits_.end()};
    }

    // ---- what happens to the whole run

    void note(std::string what) {
        const allocations::unobserved quiet;
        const std::lock_guard lock{mutex_};
        trace_.push_back(std::move(what));
    }
    void problem(std::string what) {
        const allocations::unobserved quiet;
        const std::lock_guard lock{mutex_};
        problems_.push_back(std::move(what));
    }

    /// From now on cleanups are cut short, and may overlap: the context or a coroutine was destroyed.
    void torn() {
        const std::lock_guard lock{mutex_};
        torn_ = true;
    }
    void context_dies() {
        const std::lock_guard lock{mutex_};
        torn_ = dying_ = true;
    }
    /// The same, and a cleanup may be left to the context's end: what was destroyed may have been its start.
    void torn_out_of_order() {
        const std::lock_guard lock{mutex_};
        torn_ = true;
        ordered_ = false;
    }
    [[nodiscard]] bool is_torn() const {
        const std::lock_guard lock{mutex_};
        return torn_;
    }
    void cleanups_may_be_cancelled() { shielded_ = false; }
    /// Without memory for its next wait, a coroutine is destroyed.
    void cleanups_may_break_off() { may_break_off_ = true; }

    /// The scenario's coroutine has ended.
    void main_ended() {
        const allocations::unobserved quiet;
        const std::lock_guard lock{mutex_};
        trace_.emplace_back("the scenario ends");
        if (order_ == cleanup_order::nested && !torn_) {
            for (const probe& p : probes_) {
                if (p.setup != 0 && !p.released && !p.over) {
                    wrong(p, "was not cleaned when the scenario went on");
                }
            }
        }
    }

    /// Nothing can happen any more.
    void run_ended() {
        const allocations::unobserved quiet;
        const std::lock_guard lock{mutex_};
        for (const probe& p : probes_) {
            if (p.setup != 0 && !p.released && p.cleanups == 0) {
                wrong(
                    p,
                    dying_
                        ? "was set up and never cleaned. In a context that is destroyed a cleanup is cut off at its first "
                          "suspension: if yours waits for something else before, clean the probe before that"
                        : "was set up and never cleaned");
            }
            if (p.released && p.cleanups != 0) {
                wrong(p, "was released, and cleaned nevertheless");
            }
        }
    }

    [[nodiscard]] bool good() const {
        const std::lock_guard lock{mutex_};
        return problems_.empty();
    }
    [[nodiscard]] std::vector<std::string> problems() const {
        const std::lock_guard lock{mutex_};
        return problems_;
    }
    [[nodiscard]] std::vector<std::string> trace() const {
        const std::lock_guard lock{mutex_};
        return trace_;
    }

private:
    struct probe {
        std::string name;
        std::source_location where;
        std::size_t setup = 0;  // the n-th successful one of the run, from 1
        int cleanups = 0;
        bool over = false;
        bool released = false;
    };

    void note(const probe& p, const char* what) { trace_.push_back(p.name + ": " + what); }
    void wrong(const probe& p, const char* what) {
        problems_.push_back("'" + p.name + "' (" + to_string(p.where) + ") " + what);
    }
    void check_use(const probe& p) {
        if (p.setup == 0) {
            wrong(p, "was used before it was set up");
        }
        if (p.cleanups != 0) {
            wrong(p, "was used after its cleanup had begun");
        }
    }
    void check_order(const probe& mine) {
        if (order_ == cleanup_order::any || !ordered_) {
            return;
        }
        for (const probe& other : probes_) {
            if (other.setup > mine.setup && !other.released) {
                if (other.cleanups == 0) {
                    wrong(mine, ("is cleaned before '" + other.name + "', which was set up after it").c_str());
                } else if (order_ == cleanup_order::nested && !torn_ && !other.over) {
                    wrong(mine, ("is cleaned while '" + other.name + "' is still being cleaned").c_str());
                }
            }
        }
    }

    const cleanup_order order_;
    bool shielded_ = true;
    bool may_break_off_ = false;

    mutable std::mutex mutex_;
    bool torn_ = false;
    bool dying_ = false;
    bool ordered_ = true;
    std::size_t setups_ = 0;
    std::vector<probe> probes_;
    std::list<std::string> waits_;
    std::vector<std::string> trace_;
    std::vector<std::string> problems_;
};

}  // namespace detail
}  // namespace coraii::testing

#endif
