// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_POSTGRES_DETAIL_PG_CONNINFO_HPP
#define CORAII_POSTGRES_DETAIL_PG_CONNINFO_HPP

#include "coraii/postgres/detail/pg_error.hpp"
#include "coraii/session/error.hpp"
#include "coraii/session/value.hpp"

#include <libpq-fe.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <map>
#include <memory>
#include <netdb.h>
#include <random>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <utility>
#include <vector>

namespace coraii::detail {

/// It will not get better by being tried again.
struct pg_bad_conninfo : sql_error {
    explicit pg_bad_conninfo(std::string why)
        : sql_error{sql_errc::connection_failed, {.message = without_newline(std::move(why))}} {}
};

/// What a connection string says, and the addresses of the hosts in it: libpq would block to find them, and cannot be told
/// to go on to the next.
class pg_conninfo {
public:
    /// Blocks: reads files, and resolves host names.
    explicit pg_conninfo(const std::string& text) {
        if (text.find('\0') != text.npos) {
            throw pg_bad_conninfo{"a NUL character in the connection string"};
        }
        char* why = nullptr;
        const options given{PQconninfoParse(text.c_str(), &why), PQconninfoFree};
        const std::unique_ptr<char, void (*)(void*)> complaint{why, PQfreemem};
        if (!given) {
            throw pg_bad_conninfo{why != nullptr ? why : "out of memory"};
        }
        take(*given);
        complete("gssencmode");
        complete("target_session_attrs");  // and the one that was spoiled the first time
        values_.erase("service");
        for (const auto& [keyword, value] : defaults) {
            values_.try_emplace(keyword, value);
        }
        find_targets();
    }

    /// For each host, from `connect_timeout`. Zero: none is given.
    std::chrono::seconds host_timeout() const {
        return std::chrono::seconds{(std::max)(parsed<int>(value("connect_timeout")).value_or(0), 0)};
    }

    std::size_t targets() const noexcept { return targets_.size(); }

    /// Sets the values for the next of them, after which the arrays are right.
    void choose(std::size_t i) {
        const target& t = targets_[i];
        values_["host"] = t.host;
        values_["hostaddr"] = t.address;
        values_["port"] = t.port;
        if (!t.attributes.empty()) {
            values_["target_session_attrs"] = t.attributes;
        }
    }
    /// As libpq takes them; a last one takes the place of its namesake.
    struct settings {
        std::vector<const char*> keywords, values;
    };
    settings all(const char* keyword = nullptr, const char* value = nullptr) const {
        settings s;
        for (const auto& each : values_) {
            s.keywords.push_back(each.first.c_str());
            s.values.push_back(each.second.c_str());
        }
        s.keywords.insert(s.keywords.end(), {keyword, nullptr});
        s.values.insert(s.values.end(), {value, nullptr});
        return s;
    }

    const std::string& chosen() const { return values_.at("host"); }

    /// Why hosts are not among the targets.
    const std::string& not_found() const noexcept { return not_found_; }

private:
    using options = std::unique_ptr<PQconninfoOption, void (*)(PQconninfoOption*)>;
    struct target {
        std::string host, address, port, attributes;
    };

    // So that a peer that is gone without a word is found within a minute or so.
    static constexpr std::pair<const char*, const char*> defaults[] = {
        {"client_encoding", "UTF8"}, {"keepalives_idle", "30"},     {"keepalives_interval", "10"},
        {"keepalives_count", "3"},   {"tcp_user_timeout", "60000"},
    };

    void take(const PQconninfoOption& first) {
        for (const PQconninfoOption* o = &first; o->keyword != nullptr; ++o) {
            if (o->val != nullptr && *o->val != '\0') {
                values_.try_emplace(o->keyword, o->val);
            }
        }
    }

    /// Adds what the service file says, and the environment. libpq tells of a connection that has failed because of one
    /// bad value, before it looks for a host.
    void complete(const char* spoiled) {
        static constexpr const char* bad = "none of coraii's";
        const settings s = all(spoiled, bad);
        const std::unique_ptr<PGconn, void (*)(PGconn*)> probe{
            PQconnectStartParams(s.keywords.data(), s.values.data(), 0), PQfinish};
        const std::string_view complaint = PQerrorMessage(probe.get());
        if (complaint.find(bad) == complaint.npos) {
            throw pg_bad_conninfo{std::string{complaint}};
        }
        const options told{PQconninfo(probe.get()), PQconninfoFree};
        if (!told) {
            throw std::bad_alloc{};
        }
        for (PQconninfoOption* o = told.get(); o->keyword != nullptr; ++o) {
            if (o->val != nullptr && std::string_view{o->val} == bad) {
                *o->val = '\0';
            }
        }
        take(*told);
    }

    std::string value(const char* keyword) const {
        const auto found = values_.find(keyword);
        return found == values_.end() ? std::string{} : found->second;
    }

    /// At least one.
    std::vector<std::string> list(const char* keyword) const {
        std::vector<std::string> parts(1);
        for (const char c : value(keyword)) {
            if (c == ',') {
                parts.emplace_back();
            } else {
                parts.back() += c;
            }
        }
        return parts;
    }

    void find_targets() {
        std::vector<std::string> hosts = list("host");  // libpq has checked how many there are
        std::vector<std::string> addresses = list("hostaddr");
        std::vector<std::string> ports = list("port");
        const std::size_t count = (std::max)(hosts.size(), addresses.size());
        hosts.resize(count);
        addresses.resize(count);
        ports.resize(count, ports.front());
        for (std::size_t i = 0; i < count; ++i) {
            if (const auto port = parsed<int>(ports[i]); !ports[i].empty() && (!port || *port < 1 || *port > 65535)) {
                throw pg_bad_conninfo{"invalid port number: \"" + ports[i] + '"'};
            }
            for (std::string& address : addresses[i].empty() ? addresses_of(hosts[i]) : std::vector{addresses[i]}) {
                targets_.push_back({hosts[i], std::move(address), ports[i], {}});
            }
        }
        if (value("load_balance_hosts") == "random") {
            std::shuffle(targets_.begin(), targets_.end(), std::minstd_rand{std::random_device{}()});
        }
        if (value("target_session_attrs") == "prefer-standby") {
            const std::vector<target> hosts_once = targets_;
            targets_.insert(targets_.end(), hosts_once.begin(), hosts_once.end());
            for (std::size_t i = 0; i < targets_.size(); ++i) {
                targets_[i].attributes = i < hosts_once.size() ? "standby" : "any";
            }
        }
    }

    std::vector<std::string> addresses_of(const std::string& host) {
        if (host.empty() || host.front() == '/' || host.front() == '@') {
            return {std::string{}};  // a UNIX socket
        }
        addrinfo hints{};
        hints.ai_socktype = SOCK_STREAM;
        addrinfo* found = nullptr;
        const int error = ::getaddrinfo(host.c_str(), nullptr, &hints, &found);
        const std::unique_ptr<addrinfo, void (*)(addrinfo*)> all{found, ::freeaddrinfo};
        std::vector<std::string> addresses;
        if (error != 0) {
            not_found_ += (not_found_.empty() ? "" : "; ") + ("could not find the host \"" + host) +
                          "\": " + ::gai_strerror(error);
            return addresses;
        }
        for (const addrinfo* a = found; a != nullptr; a = a->ai_next) {
            char text[NI_MAXHOST];
            if (::getnameinfo(a->ai_addr, a->ai_addrlen, text, sizeof text, nullptr, 0, NI_NUMERICHOST) == 0) {
                addresses.emplace_back(text);
            }
        }
        return addresses;
    }

    std::map<std::string, std::string> values_;
    std::vector<target> targets_;
    std::string not_found_;
};

}  // namespace coraii::detail

#endif
