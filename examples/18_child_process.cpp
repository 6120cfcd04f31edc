// SPDX-License-Identifier: BSL-1.0
// A child process (POSIX) as a scope. After its use it is asked to end, after a time of grace it is killed, and in any case it
// is reaped: no zombie is left. No signal goes to a process that has got the child's number since.
// Prints:
//   polite works, ended by signal 15
//   deaf does not listen, ended by signal 9
//   quick is done, exited with 3
#include <coraii/coraii.hpp>

#include <boost/asio.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>

#include <chrono>
#include <csignal>
#include <iostream>
#include <spawn.h>
#include <string>
#include <sys/wait.h>

namespace asio = boost::asio;
using namespace asio::experimental::awaitable_operators;
extern char** environ;

struct child {
    asio::signal_set signals;  // made before the process, so that its end is not missed
    asio::readable_pipe output;
    pid_t pid = 0;
    int status = 0;
    bool reaped = false;

    asio::awaitable<void> wait() {
        while (!(reaped = reaped || ::waitpid(pid, &status, WNOHANG) != 0)) {  // this child only, others are others'
            co_await signals.async_wait(asio::use_awaitable);  // one signal may stand for several
        }
    }
    void send(int signal) const { reaped ? 0 : ::kill(pid, signal); }
};

coraii::async_scope<child> run(std::string script, int grace) {
    const auto executor = co_await asio::this_coro::executor;
    child c{asio::signal_set{executor, SIGCHLD}, asio::readable_pipe{executor}};
    asio::writable_pipe its_end{executor};
    asio::connect_pipe(c.output, its_end);
    posix_spawn_file_actions_t actions{};
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, its_end.native_handle(), STDOUT_FILENO);
    const char* arguments[] = {"sh", "-c", script.c_str(), nullptr};
    const int error = ::posix_spawn(&c.pid, "/bin/sh", &actions, nullptr, const_cast<char**>(arguments), environ);
    posix_spawn_file_actions_destroy(&actions);
    if (error != 0) {
        throw boost::system::system_error(error, boost::system::system_category(), "posix_spawn");
    }
    its_end.close();
    const coraii::exit_status why = co_yield c;
    c.send(why.can_await() ? SIGTERM : SIGKILL);  // no time of grace in a context that is being destroyed
    asio::steady_timer timer{executor, std::chrono::milliseconds{grace}};
    co_await (c.wait() || timer.async_wait(asio::use_awaitable));
    c.send(SIGKILL);
    co_await c.wait();
    std::cout << (WIFSIGNALED(c.status) ? "ended by signal " : "exited with ")
              << (WIFSIGNALED(c.status) ? WTERMSIG(c.status) : WEXITSTATUS(c.status)) << '\n';
}

coraii::task<> use(std::string script, int grace) {
    child& c = co_await coraii::enter(run(script, grace));
    std::string output;
    co_await asio::async_read_until(c.output, asio::dynamic_buffer(output), ',', asio::use_awaitable);
    std::cout << output;
    if (script.ends_with("exit 3")) {
        co_await c.wait();
    }
}

asio::awaitable<void> all() {
    co_await use("printf 'polite works, '; exec sleep 60", 10000);
    co_await use("trap '' TERM; printf 'deaf does not listen, '; exec sleep 60", 100);
    co_await use("printf 'quick is done, '; exit 3", 10000);
}

int main() {
    try {
        asio::io_context context;
        auto done = asio::co_spawn(context, all(), asio::use_future);
        context.run();
        done.get();
    } catch (const std::exception& e) {
        std::cerr << "error: " << e.what() << '\n';
        return 1;
    }
}
