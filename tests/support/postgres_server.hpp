// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_TESTS_SUPPORT_POSTGRES_SERVER_HPP
#define CORAII_TESTS_SUPPORT_POSTGRES_SERVER_HPP

// A PostgreSQL server of our own: in a temporary directory, on a UNIX socket, gone with the program.

#include <catch2/catch_test_macros.hpp>
#include <libpq-fe.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <grp.h>
#include <memory>
#include <pwd.h>
#include <stdexcept>
#include <string>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace test {

class postgres_server {
    struct nothing_installed {};

public:
    /// Started when first asked for. Null where PostgreSQL is not installed.
    static postgres_server* find() {
        static std::unique_ptr<postgres_server> const server = [] {
            try {
                return std::unique_ptr<postgres_server>{new postgres_server};
            } catch (const nothing_installed&) { return std::unique_ptr<postgres_server>{}; }
        }();
        return server.get();
    }

    postgres_server(const postgres_server&) = delete;
    postgres_server& operator=(const postgres_server&) = delete;
    ~postgres_server() {
        stop();
        std::error_code ignored;
        std::filesystem::remove_all(directory_, ignored);
    }

    const std::filesystem::path& directory() const { return directory_; }
    std::string conninfo(const std::string& more = {}) const {
        return "host=" + directory_.native() + " user=postgres dbname=postgres " + more;
    }

    /// SIGKILL, to the server and all its processes.
    void kill() {
        for_all(SIGKILL);
        ::waitpid(server_, nullptr, 0);
        server_ = -1;
    }
    void freeze() { for_all(SIGSTOP); }
    void thaw() { for_all(SIGCONT); }

    void start() {
        const std::string data = directory_ / "data";
        const std::vector<std::string> command{bin_ / "postgres",
                                               "-D",
                                               data,
                                               "-k",
                                               directory_.native(),
                                               "-c",
                                               "listen_addresses=",
                                               "-c",
                                               "fsync=off",
                                               "-c",
                                               "max_connections=60",
                                               "-c",
                                               "deadlock_timeout=100ms",
                                               "-c",
                                               "log_min_messages=fatal"};
        server_ = spawn(command, "server.log");
        const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds{60};
        while (PQping(conninfo().c_str()) != PQPING_OK) {
            if (std::chrono::steady_clock::now() > limit) {
                throw std::runtime_error("the PostgreSQL server does not start: see " + directory_.native());
            }
            std::this_thread::sleep_for(std::chrono::milliseconds{10});
            // It gives up while a process of the one before, which was killed, is not quite gone.
            if (::waitpid(server_, nullptr, WNOHANG) == server_) {
                server_ = spawn(command, "server.log");
            }
        }
    }

    void stop() {
        if (server_ > 0) {
            for_all(SIGCONT);
            ::kill(server_, SIGQUIT);
            ::waitpid(server_, nullptr, 0);
            server_ = -1;
        }
    }

    /// Asks beside the code under test; the first value of the first row.
    std::string ask(const std::string& sql) const {
        const std::unique_ptr<PGconn, void (*)(PGconn*)> c{
            PQconnectdb(conninfo("options='-c client_min_messages=warning'").c_str()), PQfinish};
        const std::unique_ptr<PGresult, void (*)(PGresult*)> r{PQexec(c.get(), sql.c_str()), PQclear};
        const auto status = PQresultStatus(r.get());
        if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
            throw std::runtime_error(PQerrorMessage(c.get()));
        }
        return PQntuples(r.get()) > 0 ? PQgetvalue(r.get(), 0, 0) : "";
    }
    /// An empty schema. What a test before has left there, asleep and with locks, is ended: it may not have noticed that
    /// nobody waits for it any more.
    void start_over(const std::string& schema = {}) const {
        ask("select pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'client backend' and pid <> "
            "pg_backend_pid()");
        ask("drop schema public cascade; create schema public; " + schema);
    }
    /// Sessions other than the one that asks.
    int backends(const std::string& condition = "true") const {
        return std::stoi(
            ask("select count(*) from pg_stat_activity where backend_type = 'client backend' and "
                "pid <> pg_backend_pid() and " +
                condition));
    }

private:
    postgres_server() {
        find_programs();
        std::string name = (std::filesystem::temp_directory_path() / "coraii-pg-XXXXXX").native();
        if (::mkdtemp(name.data()) == nullptr) {
            throw std::runtime_error("mkdtemp");
        }
        directory_ = name;
        ::chmod(name.c_str(), 0755);
        if (::geteuid() == 0) {  // the server refuses to run as root
            for (const char* user : {"postgres", "nobody"}) {
                if (const passwd* found = ::getpwnam(user); found != nullptr && user_ == 0) {
                    user_ = found->pw_uid;
                    group_ = found->pw_gid;
                }
            }
            (void)!::chown(name.c_str(), user_, group_);
        }
        const pid_t init = spawn({bin_ / "initdb", "-D", directory_ / "data", "-A", "trust", "-U", "postgres", "-E",
                                  "UTF8", "--locale=C", "--no-sync"},
                                 "initdb.log");
        int status = 0;
        ::waitpid(init, &status, 0);
        if (status != 0) {
            throw std::runtime_error("initdb failed: see " + directory_.native());
        }
        start();
    }

    void find_programs() {
        namespace fs = std::filesystem;
        std::vector<fs::path> found;
        const auto look = [&found](const fs::path& bin) {
            std::error_code none;
            if (fs::exists(bin / "initdb", none) && fs::exists(bin / "postgres", none)) {
                found.push_back(bin);
            }
        };
        std::error_code none;
        for (const auto& version : fs::directory_iterator{"/usr/lib/postgresql", none}) {
            look(version.path() / "bin");
        }
        std::ranges::sort(found);
        if (const char* path = std::getenv("PATH"); path != nullptr) {
            for (std::string rest = path; !rest.empty() && found.empty();) {
                const auto colon = std::min(rest.find(':'), rest.size());
                look(rest.substr(0, colon));
                rest.erase(0, colon + 1);
            }
        }
        if (found.empty()) {
            throw nothing_installed{};
        }
        bin_ = found.back();
    }

    pid_t spawn(const std::vector<std::string>& command, const char* log) const {
        std::vector<char*> arguments;
        for (const std::string& a : command) {
            arguments.push_back(const_cast<char*>(a.c_str()));
        }
        arguments.push_back(nullptr);
        const std::string log_path = directory_ / log;
        const pid_t child = ::fork();
        if (child == 0) {
            if (user_ != 0 && (::setgroups(0, nullptr) != 0 || ::setgid(group_) != 0 || ::setuid(user_) != 0)) {
                ::_exit(126);
            }
            ::prctl(PR_SET_PDEATHSIG, SIGQUIT);  // also if the tests crash
            const int out = ::open(log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
            ::dup2(out, 1);
            ::dup2(out, 2);
            (void)!::chdir("/");
            ::execv(arguments[0], arguments.data());
            ::_exit(127);
        }
        return child;
    }

    /// The server's processes are its children, each in a session of its own.
    void for_all(int signal) const {
        std::vector<pid_t> all{server_};
        for (const auto& entry : std::filesystem::directory_iterator{"/proc"}) {
            if (std::isdigit(static_cast<unsigned char>(entry.path().filename().native().front())) == 0) {
                continue;
            }
            std::ifstream stat{entry.path() / "stat"};
            std::string text;
            std::getline(stat, text, '\0');  // empty of a process that is gone (a buffer's own iterators would throw)
            const auto end_of_name = text.rfind(')');
            if (end_of_name == std::string::npos) {
                continue;
            }
            if (std::stoi(text.substr(end_of_name + 4)) == server_) {
                all.push_back(std::stoi(entry.path().filename().native()));
            }
        }
        for (const pid_t process : all) {
            ::kill(process, signal);
        }
    }

    std::filesystem::path bin_;
    std::filesystem::path directory_;
    uid_t user_ = 0;
    gid_t group_ = 0;
    pid_t server_ = -1;
};

}  // namespace test

#endif
