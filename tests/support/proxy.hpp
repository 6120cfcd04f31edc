// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_TESTS_SUPPORT_PROXY_HPP
#define CORAII_TESTS_SUPPORT_PROXY_HPP

// Stands between a client and the PostgreSQL server, and can be told to fail them.

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <functional>
#include <list>
#include <mutex>
#include <netinet/in.h>
#include <poll.h>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace test {

enum class fault {
    none,
    close,        // both ends, at once
    stall,        // nothing is read any more
    drop,         // what the client sends is thrown away
    lose_answer,  // what the client sends is passed on; the answer is thrown away, and both ends are closed
};

class proxy {
public:
    /// `host=... port=...` of it are in `conninfo()`: a UNIX socket, or TCP on the loopback address.
    explicit proxy(std::filesystem::path server, bool tcp = false) : server_{std::move(server)} {
        if (tcp) {
            listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
            sockaddr_in address{};
            address.sin_family = AF_INET;
            address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
            socklen_t size = sizeof address;
            REQUIRE(::bind(listener_, as_address(address), size) == 0);
            REQUIRE(::getsockname(listener_, as_address(address), &size) == 0);
            conninfo_ = "host=localhost port=" + std::to_string(ntohs(address.sin_port));
        } else {
            directory_ = server_.native() + ".proxy";
            std::filesystem::create_directory(directory_);
            listener_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
            const sockaddr_un address = unix_address(directory_);
            ::unlink(address.sun_path);
            REQUIRE(::bind(listener_, as_address(address), sizeof address) == 0);
            conninfo_ = "host=" + directory_.native();
        }
        conninfo_ += " user=postgres dbname=postgres sslmode=disable gssencmode=disable";
        REQUIRE(::listen(listener_, 50) == 0);
        REQUIRE(::pipe(wake_) == 0);
        thread_ = std::thread{[this] { work(); }};
    }
    proxy(const proxy&) = delete;
    proxy& operator=(const proxy&) = delete;
    ~proxy() {
        {
            const std::lock_guard lock{mutex_};
            stopping_ = true;
        }
        wake();
        thread_.join();
        for (const line& l : lines_) {
            ::close(l.client);
            ::close(l.server);
        }
        for (const int fd : {listener_, wake_[0], wake_[1]}) {
            ::close(fd);
        }
        std::error_code ignored;
        std::filesystem::remove_all(directory_, ignored);
    }

    const std::string& conninfo() const { return conninfo_; }

    /// From the moment that a client sends `text`; "": from the next connection on, before anything is passed on.
    void fail(fault how, std::string text) {
        const std::lock_guard lock{mutex_};
        planned_ = how;
        trigger_ = std::move(text);
    }
    /// Calls `f`, once, when a client sends `text`, before it is passed on.
    void call(std::string text, std::function<void()> f) {
        const std::lock_guard lock{mutex_};
        trigger_ = std::move(text);
        call_ = std::move(f);
    }
    /// All connections, now.
    void fail_now(fault how) {
        {
            const std::lock_guard lock{mutex_};
            for (line& l : lines_) {
                l.now = how;
            }
        }
        wake();
    }
    /// How often a client has said something and then waited for the answer: round trips.
    std::size_t round_trips() {
        const std::lock_guard lock{mutex_};
        return round_trips_;
    }
    /// Connections from now on are good.
    void mend() { fail(fault::none, {}); }

private:
    struct line {
        int client, server;
        fault now = fault::none;
        bool answered = true;  // nothing came from the client since
    };

    template <class Address>
    static sockaddr* as_address(Address& a) {
        return const_cast<sockaddr*>(static_cast<const sockaddr*>(static_cast<const void*>(&a)));
    }
    static sockaddr_un unix_address(const std::filesystem::path& directory) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        const std::string path = directory / ".s.PGSQL.5432";
        std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
        return address;
    }

    void wake() { (void)!::write(wake_[1], "", 1); }

    void work() {
        for (;;) {
            std::vector<pollfd> fds{{listener_, POLLIN, 0}, {wake_[0], POLLIN, 0}};
            {
                const std::lock_guard lock{mutex_};
                if (stopping_) {
                    return;
                }
                std::erase_if(lines_, [](const line& l) {
                    if (l.now == fault::close) {
                        ::close(l.client);
                        ::close(l.server);
                    }
                    return l.now == fault::close;
                });
                for (const line& l : lines_) {
                    if (l.now != fault::stall) {
                        fds.push_back({l.client, POLLIN, 0});
                        fds.push_back({l.server, POLLIN, 0});
                    }
                }
            }
            ::poll(fds.data(), fds.size(), -1);
            const std::lock_guard lock{mutex_};
            const auto ready = [&fds](int fd) {
                return std::ranges::any_of(fds, [fd](const pollfd& p) { return p.fd == fd && p.revents != 0; });
            };
            if (ready(wake_[0])) {
                char byte = 0;
                (void)!::read(wake_[0], &byte, 1);
            }
            for (line& l : lines_) {
                if (l.now != fault::stall && l.now != fault::close && ready(l.client)) {
                    from_client(l);
                }
                if (l.now != fault::stall && l.now != fault::close && ready(l.server)) {
                    from_server(l);
                }
            }
            if (ready(listener_)) {
                accept_one();
            }
        }
    }

    void accept_one() {
        line l{::accept(listener_, nullptr, nullptr), ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
        const sockaddr_un address = unix_address(server_);
        if (::connect(l.server, as_address(address), sizeof address) != 0) {
            l.now = fault::close;
        } else if (trigger_.empty()) {
            l.now = planned_;
        }
        lines_.push_back(l);
    }

    void from_client(line& l) {
        char data[65536];
        const ssize_t n = ::read(l.client, data, sizeof data);
        if (n <= 0) {
            l.now = fault::close;
            return;
        }
        const std::string_view text{data, static_cast<std::size_t>(n)};
        round_trips_ += std::exchange(l.answered, false) ? 1U : 0U;
        if (l.now == fault::none && !trigger_.empty() && text.find(trigger_) != text.npos) {
            l.now = planned_;
            if (const auto f = std::exchange(call_, nullptr)) {
                f();
            }
        }
        if (l.now == fault::none || l.now == fault::lose_answer) {
            pass(l.server, text);
        }
    }

    void from_server(line& l) {
        char data[65536];
        const ssize_t n = ::read(l.server, data, sizeof data);
        if (n <= 0 || l.now == fault::lose_answer) {
            l.now = fault::close;
            return;
        }
        l.answered = true;
        pass(l.client, {data, static_cast<std::size_t>(n)});
    }

    static void pass(int to, std::string_view text) {
        while (!text.empty()) {
            const ssize_t n = ::send(to, text.data(), text.size(), MSG_NOSIGNAL);
            if (n <= 0) {
                return;
            }
            text.remove_prefix(static_cast<std::size_t>(n));
        }
    }

    std::filesystem::path server_;
    std::filesystem::path directory_;
    std::string conninfo_;
    int listener_ = -1;
    int wake_[2] = {-1, -1};
    std::mutex mutex_;
    std::list<line> lines_;
    fault planned_ = fault::none;
    std::string trigger_;
    std::function<void()> call_;
    std::size_t round_trips_ = 0;
    bool stopping_ = false;
    std::thread thread_;
};

}  // namespace test

#endif
