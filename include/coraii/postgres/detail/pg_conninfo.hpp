// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_POSTGRES_DETAIL_PG_CONNINFO_HPP
#define CORAII_POSTGRES_DETAIL_PG_CONNINFO_HPP

#include "coraii/postgres/detail/pg_error.hpp"
#include "coraii/session/error.hpp"

#include <libpq-fe.h>

#include <cstddef>
#include <map>
#include <memory>
#include <netdb.h>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <utility>
#include <vector>

namespace coraii::detail {

/// What a connection string says, and the addresses of the hosts in it: libpq would block to find them.
class pg_conninfo {
public:
    explicit pg_conninfo(const std::string& text) {
        char* why = nullptr;
        const options given{PQconninfoParse(text.c_str(), &why), PQconninfoFree};
        const std::unique_ptr<char, void (*)(void*)> complaint{why, PQfreemem};
        if (!given) {
            throw sql_error{sql_errc::connection_failed,
                            {.message = without_newline(why != nullptr ? why : "out of memory")}};
        }
        take(given);
        const options defaults{PQconndefaults(), PQconninfoFree};  // from the environment, for one
        take(defaults);
        values_.try_emplace("client_encoding", "UTF8");
    }

    /// Replaces host names by addresses. Blocks.
    void resolve() {
        const std::vector<std::string> names = list("host");
        if (!value("hostaddr").empty()) {
            return;
        }
        std::vector<std::string> ports = list("port");
        std::string hosts, addresses, their_ports, why;
        bool any = false;
        for (std::size_t i = 0; i < names.size(); ++i) {
            const std::string& port = ports.size() == 1 ? ports[0] : ports.at(i);
            for (const std::string& address : addresses_of(names[i], port, why)) {
                const char* comma = std::exchange(any, true) ? "," : "";
                hosts += comma + names[i];
                addresses += comma + address;
                their_ports += comma + port;
            }
        }
        if (!any) {
            throw sql_error{sql_errc::connection_failed, {.message = std::move(why)}};
        }
        values_["host"] = std::move(hosts);
        values_["hostaddr"] = std::move(addresses);
        values_["port"] = std::move(their_ports);
    }

    std::vector<const char*> keywords() const {
        std::vector<const char*> all;
        for (const auto& [keyword, value] : values_) {
            all.push_back(keyword.c_str());
        }
        all.push_back(nullptr);
        return all;
    }
    std::vector<const char*> values() const {
        std::vector<const char*> all;
        for (const auto& [keyword, value] : values_) {
            all.push_back(value.c_str());
        }
        all.push_back(nullptr);
        return all;
    }

private:
    using options = std::unique_ptr<PQconninfoOption, void (*)(PQconninfoOption*)>;

    void take(const options& from) {
        for (const PQconninfoOption* o = from.get(); o != nullptr && o->keyword != nullptr; ++o) {
            if (o->val != nullptr) {
                values_.try_emplace(o->keyword, o->val);
            }
        }
    }

    std::string value(const char* keyword) const {
        const auto found = values_.find(keyword);
        return found == values_.end() ? std::string{} : found->second;
    }

    /// At least one.
    std::vector<std::string> list(const char* keyword) const {
        const std::string text = value(keyword);
        std::vector<std::string> parts(1);
        for (const char c : text) {
            if (c == ',') {
                parts.emplace_back();
            } else {
                parts.back() += c;
            }
        }
        return parts;
    }

    static std::vector<std::string> addresses_of(const std::string& host, const std::string& port, std::string& why) {
        if (host.empty() || host.front() == '/' || host.front() == '@') {
            return {std::string{}};  // a UNIX socket
        }
        addrinfo hints{};
        hints.ai_socktype = SOCK_STREAM;
        addrinfo* found = nullptr;
        const int error = ::getaddrinfo(host.c_str(), port.c_str(), &hints, &found);
        const std::unique_ptr<addrinfo, void (*)(addrinfo*)> all{found, ::freeaddrinfo};
        std::vector<std::string> addresses;
        if (error != 0) {
            why += (why.empty() ? "" : "; ") + ("could not find the host \"" + host) + "\": " + ::gai_strerror(error);
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
};

}  // namespace coraii::detail

#endif
