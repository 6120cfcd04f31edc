// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_TESTING_SWEEP_HPP
#define CORAII_TESTING_SWEEP_HPP

#include "coraii/detail/coroutine/recycler.hpp"
#include "coraii/testing/allocations.hpp"
#include "coraii/testing/detail/last_words.hpp"
#include "coraii/testing/detail/stage.hpp"
#include "coraii/testing/fault.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_type.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <exception>
#include <functional>
#include <map>
#include <ostream>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace coraii::testing {

/// What is swept: a coroutine that sets resources up, uses them, and leaves. It is called anew for each run, and must do
/// the same each time.
using scenario = std::function<asio::awaitable<void>()>;

/// One run of a scenario: a fault, and the circumstances.
struct trial {
    fault injected{};  ///< none, or the one of this run
    bool slot = true;  ///< whether the scenario has a cancellation slot
    on_executor executor = on_executor::context;  ///< that the scenario runs on
};

/// How a `sweep` runs.
struct sweep_options {
    cleanup_order order = cleanup_order::nested;  ///< that is asked for
    /// Set it where a `cleanup_timeout` is part of the scenario. Otherwise a cleanup that is cancelled is an error.
    bool cleanups_may_be_cancelled = false;
    /// Set it where the scenario catches errors and keeps them. Otherwise an injected exception must leave the scenario
    /// or reach `on_cleanup_error`, once.
    bool errors_may_be_swallowed = false;
    /// Set it where the scenario throws even if nothing is injected.
    bool may_throw = false;
    /// Set it where the scenario changes the cancellation state of its coroutine and leaves it so.
    bool keeps_cancellation_state = true;

    std::vector<on_executor> executors{on_executor::context};  ///< each is tried
    /// Leave out what the scenario cannot stand.
    std::vector<fault_kind> kinds{fault_kind::exception,           fault_kind::cancel,
                                  fault_kind::cancel_inside,       fault_kind::context_destroyed,
                                  fault_kind::coroutine_destroyed, fault_kind::no_memory};
    /// At how many pairs of places the same fault is injected twice, for each kind, spread evenly over all pairs.
    std::size_t pairs = 100;
    /// The sweep ends when so many runs have failed.
    std::size_t failures = 5;
    /// Called after each run, when its context is gone: what it throws is what was wrong with that run. For what the scenario
    /// leaves outside: files, rows, counters. It should put right what it finds wrong, or later runs are blamed.
    std::function<void()> check{};
    /// As in `run_options`.
    std::chrono::steady_clock::duration patience = std::chrono::seconds{2};
    std::size_t most_turns = 1'000'000;  ///< of the event loop, in a run
    std::chrono::steady_clock::duration most_time = std::chrono::hours{10'000};  ///< of virtual time, in a run
};

/// What became of one run.
struct run_report {
    trial tried;  ///< what was injected, and where
    bool struck = false;  ///< the fault was injected: the run came as far as that
    std::vector<std::string> problems{};  ///< none: the run was as it should be
    std::vector<std::string> trace{};  ///< what happened, if there were problems
    std::size_t points = 0;  ///< steps of probes, and `point()`s
    std::size_t turns = 0;  ///< of the event loop
    std::size_t handlers = 0;  ///< that were run
    std::size_t allocations = 0;  ///< that the scenario made

    [[nodiscard]] bool ok() const noexcept { return problems.empty(); }  ///< true if nothing is wrong
};

/// What a sweep has found.
struct sweep_report {
    std::size_t runs = 0;  ///< how many
    std::map<fault_kind, std::size_t> runs_with{};  ///< of these, by what was injected
    std::size_t points = 0;  ///< suspension points of the scenario without a fault
    std::size_t turns = 0;  ///< handlers that it runs
    std::size_t allocations = 0;  ///< heap allocations that it makes; 0 where they are not counted
    std::vector<run_report> failed;  ///< those that went wrong

    [[nodiscard]] bool ok() const noexcept { return failed.empty(); }  ///< true if none went wrong
};

inline std::ostream& operator<<(std::ostream& out, const trial& t) {
    out << "{.injected = " << t.injected;
    if (!t.slot) {
        out << ", .slot = false";
    }
    if (t.executor != on_executor::context) {
        out << ", .executor = on_executor::" << (t.executor == on_executor::strand ? "strand" : "forwarding");
    }
    return out << '}';
}

inline std::ostream& operator<<(std::ostream& out, const run_report& r) {
    out << r.tried << (r.ok() ? ", options): ok" : ", options):");
    for (const std::string& problem : r.problems) {
        out << "\n  wrong: " << problem;
    }
    for (const std::string& event : r.trace) {
        out << "\n    " << event;
    }
    return out;
}

inline std::ostream& operator<<(std::ostream& out, const sweep_report& r) {
    out << r.runs << " runs";
    const char* separator = " (";
    for (const auto& [kind, runs] : r.runs_with) {
        out << std::exchange(separator, ", ") << to_string(kind) << ' ' << runs;
    }
    out << ") over " << r.points << " points, " << r.turns << " turns, ";
    if (allocations::counted()) {
        out << r.allocations << " allocations";
    } else {
        out << "allocations not counted";
    }
    out << ": " << (r.ok() ? "ok" : "FAILED");
    for (const run_report& run : r.failed) {
        out << "\nreplay(scenario, " << run;
    }
    return out;
}

namespace detail {

inline void check_end(stage& run, const trial& tried, const sweep_options& options) {
    record& log = *run.log();
    // On an executor that the library does not know, a guard that is dropped without memory is left to the context's end.
    const bool without_memory_to_queue =
        tried.injected.kind == fault_kind::no_memory && tried.executor == on_executor::forwarding;
    if (tried.injected.kind == fault_kind::none && run.error() && !options.may_throw) {
        log.problem("the scenario throws, and nothing was injected: " + what(run.error()));
    }
    const std::string not_over = run.not_over("the scenario");
    if (!not_over.empty() && !(run.ended() && !run.endless() && without_memory_to_queue)) {
        log.problem(not_over);
    }
    if (!run.torn() && !options.errors_may_be_swallowed) {
        for (const std::string& problem : run.errors().problems()) {
            log.problem(problem);
        }
    }
}

inline run_report run_once(const scenario& tested, const trial& tried, const sweep_options& options) {
    run_report report{tried};
    std::ostringstream text;
    text << "coraii::testing: the program ends in the run replay(scenario, " << tried << ", options)\n";
    const last_words if_it_crashes{text.str()};
    stage run{{.injected = tried.injected,
               .slot = tried.slot,
               .executor = tried.executor,
               .order = options.order,
               .cleanups_may_be_cancelled = options.cleanups_may_be_cancelled,
               .keeps_cancellation_state = options.keeps_cancellation_state,
               .tracked = tried.executor != on_executor::forwarding,
               .patience = options.patience,
               .most_turns = options.most_turns,
               .most_time = options.most_time}};
    run.run(tested);
    check_end(run, tried, options);
    run.destroy_context();
    run.log()->run_ended();
    if (options.check) {
        const allocations::unobserved quiet;
        try {
            options.check();
        } catch (...) { run.log()->problem("the check after the run: " + what(std::current_exception())); }
    }
    report.struck = run.reached();
    report.points = run.points();
    report.turns = run.turns();
    report.handlers = run.handlers();
    report.allocations = run.allocations_made();
    if (!run.log()->good()) {
        report.problems = run.log()->problems();
        report.trace = run.log()->trace();
    }
    return report;
}

/// A run, and whether it leaks. What is made once in a program's life is no leak: so it is only one if the next runs
/// leak as well. (The C library keeps the memory of threads: some more with each that runs at a time with others.)
inline run_report try_once(const scenario& tested, const trial& tried, const sweep_options& options) {
    run_report report;
    const auto leaked = [&] {
        coraii::detail::recycler::trim();
        const long before = allocations::live();
        report = run_once(tested, tried, options);
        coraii::detail::recycler::trim();
        if (!report.ok()) {
            return 0L;
        }
        // Threads that are just ending may still give memory back.
        for (int i = 0; i < 5 && allocations::live() > before; ++i) {
            std::this_thread::sleep_for(std::chrono::milliseconds{i});
        }
        return allocations::live() - before;
    };
    long amount = leaked();
    for (int again = 0; again < 6 && amount > 0; ++again) {
        amount = leaked();
    }
    if (amount > 0) {
        report.problems.push_back("memory is leaked: " + std::to_string(amount) +
                                  (allocation_counts::live_bytes != nullptr ? " bytes" : " blocks"));
    }
    return report;
}

}  // namespace detail

/// One run of a scenario, alone: to look at one that failed in a sweep. Give the same options.
///
/// Executor: everything runs on the calling thread, on an `io_context` of the run's own. Not to be called inside a
///   coroutine.
/// Thread safety: of `sweep` and `replay` one at a time in a program; leaked memory is counted over all threads.
inline run_report replay(const scenario& tested, const trial& tried, const sweep_options& options = {}) {
    if (tried.injected.kind == fault_kind::no_memory) {
        detail::run_once(tested, {{}, tried.slot, tried.executor}, options);  // allocates what is there to stay
    }
    return detail::try_once(tested, tried, options);
}

namespace detail {

/// The runs of one sweep.
class sweeper {
public:
    sweeper(const scenario& tested, const sweep_options& options) : tested_{tested}, options_{options} {}

    sweep_report sweep() {
        for (const on_executor executor : options_.executors) {
            for (const bool slot : {true, false}) {
                const run_report plain = tried({{}, slot, executor});
                report_.points = (std::max)(report_.points, plain.points);
                report_.turns = (std::max)(report_.turns, plain.turns);
                report_.allocations = (std::max)(report_.allocations, plain.allocations);
                if (!plain.ok()) {
                    continue;
                }
                for (const fault_kind kind : options_.kinds) {
                    everywhere_as(kind, slot, executor);
                }
            }
        }
        return std::move(report_);
    }

private:
    run_report tried(const trial& t) {
        run_report report = try_once(tested_, t, options_);
        ++report_.runs;
        ++report_.runs_with[t.injected.kind];
        if (!report.ok()) {
            report_.failed.push_back(report);
        }
        return report;
    }
    bool enough() const { return report_.failed.size() >= options_.failures; }

    void everywhere_as(fault_kind kind, bool slot, on_executor executor) {
        switch (kind) {
            case fault_kind::none: break;
            case fault_kind::exception: return everywhere({{kind}, slot, executor}, true);
            case fault_kind::context_destroyed: return everywhere({{kind}, slot, executor}, false);
            case fault_kind::coroutine_destroyed:
                if (executor == on_executor::forwarding) {
                    everywhere({{kind}, slot, executor}, true);
                }
                break;
            case fault_kind::no_memory:
                if (allocations::counted() && executor != on_executor::strand) {  // a strand ends the program then
                    everywhere({{kind}, slot, executor}, false);
                }
                break;
            case fault_kind::cancel:
            case fault_kind::cancel_inside:
                for (const auto type : {asio::cancellation_type::terminal, asio::cancellation_type::partial,
                                        asio::cancellation_type::total}) {
                    if (slot) {
                        everywhere({{kind, 0, {}, type}, slot, executor}, true);
                    }
                }
                break;
        }
    }

    /// The fault at each place there is, and then at pairs of them.
    void everywhere(trial t, bool twice) {
        std::size_t places = 0;
        for (t.injected.at = 0; !enough(); ++t.injected.at) {
            if (!tried(t).struck) {
                break;
            }
            ++places;
        }
        if (!twice) {
            return;
        }
        // Cancelled twice at one place, too; an exception cannot be thrown twice there.
        const bool same_place = t.injected.kind == fault_kind::cancel || t.injected.kind == fault_kind::cancel_inside;
        const std::size_t all = places * (places + 1) / 2;
        const std::size_t stride = options_.pairs == 0 ? all + 1 : (all + options_.pairs - 1) / options_.pairs;
        std::size_t n = 0;
        for (t.injected.at = 0; t.injected.at < places; ++t.injected.at) {
            for (std::size_t again = t.injected.at + (same_place ? 0 : 1); again < places; ++again) {
                if (n++ % std::max<std::size_t>(stride, 1) == 0 && options_.pairs != 0 && !enough()) {
                    t.injected.again = again;
                    tried(t);
                }
            }
        }
    }

    const scenario& tested_;
    const sweep_options& options_;
    sweep_report report_;
};

}  // namespace detail

/// Runs the scenario with every fault at every place, and checks each run. An error found here is an error of the
/// scenario, of the scopes it uses, or of the library: the report names the fault, the place and what happened, and
/// `replay` repeats that run alone.
///
/// Faults: an exception at each `point()` and step of a `probe`; cancellation (terminal, partial, total) requested between each two
/// turns of the event loop, and by the code that is about to wait; the same twice; the context destroyed between each
/// two turns; where the program includes `coraii/testing/replace_allocation.hpp`, each heap allocation failing (but not
/// on a strand: Asio's ends the program then); on `on_executor::forwarding`, each handler destroyed instead of run. All
/// of it with and without a cancellation slot. The report counts the runs by kind.
///
/// Checks, after each run: the scenario came to its end; each `probe` that was set up was cleaned exactly once, in the
/// order that the options ask for, and not used afterwards; no cleanup was cancelled; no scope is left open; an injected
/// exception came out once, and the first not hidden by a later; the cancellation state of the caller's coroutine is as
/// without the library; no memory leaked, where allocations are counted. A scenario of several coroutines at a time has
/// no order of its cleanups (`cleanup_order::any`), and one that catches errors may swallow them: see the options.
///
/// Executor: as `replay`. Errors: found ones are in the report; nothing is thrown for them.
[[nodiscard]] inline sweep_report sweep(const scenario& tested, const sweep_options& options = {}) {
    return detail::sweeper{tested, options}.sweep();
}

}  // namespace coraii::testing

#endif
