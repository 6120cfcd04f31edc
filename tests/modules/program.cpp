// SPDX-License-Identifier: BSL-1.0
// G33: a program and a plug-in use one execution context, and regions reach across. Each check is run with either of
// them in either part. Prints what is wrong; a check that hangs ends with the alarm.
#include "modules/functions.hpp"

#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/system/system_error.hpp>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
#include <exception>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <system_error>
#include <thread>
#include <tuple>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

using namespace modules;
using namespace std::chrono_literals;

int failures = 0;

void check(bool ok, int line, const char* text) {
    if (!ok) {
        ++failures;
        std::printf("    wrong, line %d: %s\n", line, text);
    }
}
#define CHECK(...) check(static_cast<bool>(__VA_ARGS__), __LINE__, #__VA_ARGS__)

/// Begins the work, and complains if it throws. The result says whether it has ended.
std::shared_ptr<bool> begin(asio::io_context& context, awaitable<void> work) {
    auto ended = std::make_shared<bool>(false);
    asio::co_spawn(context, std::move(work), [ended](std::exception_ptr error) {
        *ended = true;
        CHECK(!error);
    });
    return ended;
}

void run(asio::io_context& context, awaitable<void> work) {
    context.restart();
    const auto ended = begin(context, std::move(work));
    context.run();
    CHECK(*ended);
}

bool is_clean(const counters& c, int opened) {
    return c.opened == opened && c.begun == opened && c.cleaned == opened;
}

/// `a` opens the region, guards are dropped in `b`.
awaitable<void> regions(const table& a, const table& b) {
    counters inside, strand, handed, outer, inner;
    co_await a.join([&]() -> awaitable<void> { co_await b.drop(inside); });
    CHECK(is_clean(inside, 1));
    co_await a.join([&]() -> awaitable<void> { co_await b.drop_on_strand(strand); });
    CHECK(is_clean(strand, 1));

    // Where a guard is dropped decides, not who opened it.
    auto g = co_await a.open(handed);
    co_await a.join([&]() -> awaitable<void> {
        co_await turn();
        b.drop_guard(std::move(g));
    });
    CHECK(is_clean(handed, 1));
    auto h = co_await b.open(handed);
    co_await a.join([&]() -> awaitable<void> {
        co_await b.use(a.scope(handed));
        a.drop_guard(std::move(h));
    });
    CHECK(is_clean(handed, 3));

    co_await a.join([&]() -> awaitable<void> {
        co_await b.drop(outer);
        co_await b.join([&]() -> awaitable<void> {
            co_await a.drop(inner);
            co_await b.drop(inner);
        });
        CHECK(is_clean(inner, 2));
        co_await a.drop(outer);
    });
    CHECK(is_clean(outer, 2));
}

void check_regions(const table& a, const table& b) {
    asio::io_context context;
    run(context, regions(a, b));
    CHECK(a.stats(context).opened == 9);
    CHECK(b.stats(context).cleaned == 9);
}

/// All counts are one context's, whoever asks.
void check_counts(const table& a, const table& b) {
    asio::io_context context;
    counters c;
    coraii::guard<int> open;
    const auto work = [&]() -> awaitable<void> {
        co_await a.drop(c);
        co_await b.drop(c);
        co_await b.close(c);
        co_await a.with(c);
        co_await b.with(c);
        co_await a.drain(context);
        CHECK(is_clean(c, 5));
        open = co_await b.open(c);
        for (const table* who : {&a, &b}) {
            const auto stats = who->stats(context);
            CHECK(stats.opened == 6);
            CHECK(stats.cleaned == 5);
            CHECK(stats.abandoned == 2);
            CHECK(stats.failed == 0);
            CHECK(stats.open == 1);
            CHECK(stats.closing == 0);
            CHECK(who->listed(context) == 1);
        }
        a.drop_guard(std::move(open));
        CHECK(b.stats(context).open == 0);
        CHECK(b.stats(context).closing == 1);
    };
    run(context, work());
    CHECK(is_clean(c, 6));
    CHECK(a.stats(context).cleaned == 6);
    CHECK(b.stats(context).cleaned == 6);
}

/// `a` waits for what runs in the background.
void check_drain(const table& a, const table& b) {
    asio::io_context context;
    counters c;
    const auto work = [&]() -> awaitable<void> {
        co_await b.drop(c);
        co_await a.drain(context);
        CHECK(is_clean(c, 1));
        co_await b.drop(c);
        co_await a.drop(c);
        co_await b.drop_on_strand(c);
        co_await a.drain(context);
        CHECK(is_clean(c, 4));
    };
    run(context, work());
}

/// Errors come through, and go where the program wants them.
void check_errors(const table& a, const table& b) {
    asio::io_context context;
    int reported = 0;
    coraii::on_cleanup_error(context, [&](const coraii::cleanup_failure&) { ++reported; });
    counters c;
    bool told = false;
    const auto work = [&]() -> awaitable<void> {
        co_await a.fail();
        co_await b.fail();
        co_await a.drain(context);
        try {
            co_await b.await_twice(c);
        } catch (const boost::system::system_error& e) { told = e.code() == coraii::errc::already_awaited; }
    };
    run(context, work());
    CHECK(reported == 2);
    CHECK(told);
    CHECK(a.stats(context).failed == 2);
    CHECK(b.stats(context).failed == 2);
}

/// One context after the other in the same place, both modules in each. `a` is the first in every other one.
void check_same_place(const table& a, const table& b) {
    std::optional<asio::io_context> context;
    for (int round = 0; round < 6; ++round) {
        context.reset();
        context.emplace();
        const table& first = round % 2 == 0 ? a : b;
        const table& second = round % 2 == 0 ? b : a;
        counters c;
        coraii::guard<int> left;
        const auto work = [&]() -> awaitable<void> {
            co_await first.with(c);
            if (round < 3) {
                co_await second.drop(c);
            }
            co_await first.join([&]() -> awaitable<void> { co_await second.drop(c); });
            co_await first.drop(c);
            co_await second.drain(*context);
        };
        run(*context, work());
        const int n = round < 3 ? 4 : 3;
        CHECK(is_clean(c, n));
        CHECK(first.stats(*context).opened == static_cast<unsigned>(n));
        CHECK(second.stats(*context).cleaned == static_cast<unsigned>(n));
        const auto leave_open = [&]() -> awaitable<void> { left = co_await second.open(c); };
        context->restart();
        begin(*context, leave_open());
        context->poll();
        CHECK(left);
        context.reset();  // cleans what is open, as far as that goes without waiting
        CHECK(c.begun == n + 1);
        CHECK(c.cut_off == 1);
        CHECK(c.cleaned == n);
        first.drop_guard(std::move(left));
        CHECK(c.begun == n + 1);
    }
}

/// Two threads, each in both modules.
void check_threads(const table& a, const table& b) {
    asio::io_context context;
    counters c;
    std::atomic<int> late{0};
    constexpr int coroutines = 8, rounds = 20;
    std::vector<std::shared_ptr<bool>> ended;
    const auto work = [&](const table& x, const table& y) -> awaitable<void> {
        for (int i = 0; i < rounds; ++i) {
            counters mine;
            co_await x.join([&]() -> awaitable<void> {
                co_await y.drop(mine);
                co_await x.drop(mine);
                co_await y.drop_on_strand(mine);
            });
            if (!is_clean(mine, 3)) {
                ++late;
            }
            co_await y.drop(c);
            co_await x.with(c);
            co_await y.close(c);
        }
    };
    for (int i = 0; i < coroutines; ++i) {
        ended.push_back(begin(context, i % 2 == 0 ? work(a, b) : work(b, a)));
    }
    std::thread other{[&] { context.run(); }};
    context.run();
    other.join();
    for (const auto& e : ended) {
        CHECK(*e);
    }
    CHECK(late == 0);
    CHECK(is_clean(c, 3 * rounds * coroutines));
    for (const table* who : {&a, &b}) {
        CHECK(who->stats(context).opened == 6U * rounds * coroutines);
        CHECK(who->stats(context).cleaned == 6U * rounds * coroutines);
    }
}

/// `a` makes the context, and uses it first.
void check_made_elsewhere(const table& a, const table& b) {
    const auto context = a.make_context();
    CHECK(b.stats(*context).opened == 1);
    CHECK(b.stats(*context).cleaned == 1);
    run(*context, regions(b, a));
    run(*context, regions(a, b));
    CHECK(a.stats(*context).opened == 19);
    CHECK(b.stats(*context).cleaned == 19);
}

/// `a` offloads to threads of the program's, and leases from a pool of `b`.
void check_offload_and_pool(const table& a, const table& b) {
    asio::io_context context;
    asio::thread_pool workers{1};
    counters offloaded, pooled;
    const auto pool = b.make_pool(context.get_executor(), pooled);
    const auto work = [&]() -> awaitable<void> {
        co_await a.join([&]() -> awaitable<void> { co_await a.offload(workers, offloaded); });
        CHECK(is_clean(offloaded, 2));
        co_await b.join([&]() -> awaitable<void> { co_await a.offload(workers, offloaded); });
        CHECK(is_clean(offloaded, 4));
        co_await a.lease(*pool);
        co_await b.lease(*pool);
        co_await a.join([&]() -> awaitable<void> { co_await a.lease(*pool); });
        co_await pool->close();
        CHECK(pooled.opened >= 1);
        CHECK(is_clean(pooled, pooled.opened));
    };
    run(context, work());
    CHECK(a.stats(context).open == 0);
    CHECK(b.stats(context).closing == 0);
}

class fifo {
public:
    fifo() {
        std::string name = (std::filesystem::temp_directory_path() / "coraii-XXXXXX").string();
        if (::mkdtemp(name.data()) == nullptr) {
            std::perror("mkdtemp");
            std::exit(2);
        }
        directory_ = name;
        if (::mkfifo(path().c_str(), 0600) != 0) {
            std::perror("mkfifo");
            std::exit(2);
        }
    }
    fifo(const fifo&) = delete;
    fifo& operator=(const fifo&) = delete;
    ~fifo() {
        std::error_code ignored;
        std::filesystem::remove_all(directory_, ignored);
    }
    [[nodiscard]] std::string path() const { return directory_ / "fifo"; }

private:
    std::filesystem::path directory_;
};

/// `a` opens a FIFO that nobody else opens; the thread that waits for that must not outlive the context, or hold it.
void check_fifo(const table& a, const table& b, bool cancelled) {
    const fifo nobody;
    bool ended = false;
    {
        asio::io_context context;
        bool other = false;  // who opens files first
        b.read(context, "/dev/null", {}, [&](std::exception_ptr error) {
            other = true;
            CHECK(!error);
        });
        context.run();
        CHECK(other);
        context.restart();
        asio::cancellation_signal cancel;
        a.read(context, nobody.path(), cancel.slot(), [&](std::exception_ptr error) {
            ended = true;
            CHECK(error);
        });
        context.run_for(50ms);
        CHECK(!ended);
        if (cancelled) {
            cancel.emit(asio::cancellation_type::terminal);
            context.run();
            CHECK(ended);
        }
    }
    CHECK(ended == cancelled);
}

const table* plugin([[maybe_unused]] int count, [[maybe_unused]] char** arguments) {
#ifdef CORAII_TEST_LINKED
    return coraii_test_plugin();
#else
    void* const library = count > 1 ? ::dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL) : nullptr;
    void* const entry = library != nullptr ? ::dlsym(library, "coraii_test_plugin") : nullptr;
    if (entry == nullptr) {
        std::printf("no plug-in: %s\n", count > 1 ? ::dlerror() : "name it as the argument");
        std::exit(2);
    }
    return reinterpret_cast<decltype(&coraii_test_plugin)>(entry)();
#endif
}

/// A check in a process of its own: one that crashes or hangs hides no other.
bool passes(const std::function<void()>& run_check) {
    const pid_t child = ::fork();
    if (child == 0) {
        ::alarm(60);
        run_check();
        std::exit(failures == 0 ? 0 : 1);
    }
    int status = 0;
    if (child < 0 || ::waitpid(child, &status, 0) != child) {
        std::perror("fork");
        return false;
    }
    if (WIFSIGNALED(status)) {
        std::printf("    ended by signal %d%s\n", WTERMSIG(status), WTERMSIG(status) == SIGALRM ? ": it hangs" : "");
    }
    return status == 0;
}

}  // namespace

int main(int count, char** arguments) {
    std::setvbuf(stdout, nullptr, _IONBF, 0);
    const table& theirs = *plugin(count, arguments);
    const table& ours = functions;
    const std::pair<const char*, std::function<void(const table&, const table&)>> checks[] = {
        {"regions reach across", check_regions},
        {"one context has one set of counts", check_counts},
        {"async_drain waits for both", check_drain},
        {"errors", check_errors},
        {"contexts in the same place", check_same_place},
        {"two threads", check_threads},
        {"a context made by the other", check_made_elsewhere},
        {"offload and pool", check_offload_and_pool},
        {"a FIFO, cancelled", [](const table& a, const table& b) { check_fifo(a, b, true); }},
        {"a FIFO, and the context destroyed", [](const table& a, const table& b) { check_fifo(a, b, false); }},
    };
    bool all = true;
    for (const auto& [name, check] : checks) {
        // First the program alone, to tell what is wrong with the check from what is wrong between modules.
        const std::tuple<const char*, const table&, const table&> modules[] = {
            {"program alone", ours, ours}, {"program, plug-in", ours, theirs}, {"plug-in, program", theirs, ours}};
        for (const auto& [who, a, b] : modules) {
            std::printf("%s (%s)\n", name, who);
            all = passes([&] { check(a, b); }) && all;
        }
    }
    std::puts(all ? "all is well" : "FAILED");
    return all ? 0 : 1;
}
