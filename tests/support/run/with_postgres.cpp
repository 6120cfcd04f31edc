// SPDX-License-Identifier: BSL-1.0
// with_postgres program [argument...]: runs it with a PostgreSQL server of its own, whose connection string is put in
// the place of each argument `{}`. Exit status: the program's; 4 if no server is installed.
#include "support/postgres_server.hpp"

#include <cstdio>
#include <exception>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

int main(int argc, char** argv) {
    try {
        const test::postgres_server* const server = test::postgres_server::find();
        if (server == nullptr || argc < 2) {
            std::puts(argc < 2 ? "usage: with_postgres program [argument...]" : "no PostgreSQL server is installed");
            return argc < 2 ? 2 : 4;
        }
        std::string conninfo = server->conninfo();
        std::vector<char*> command(argv + 1, argv + argc);
        for (char*& argument : command) {
            argument = std::string{argument} == "{}" ? conninfo.data() : argument;
        }
        command.push_back(nullptr);
        const pid_t child = ::fork();
        if (child == 0) {
            ::execv(command[0], command.data());
            ::_exit(127);
        }
        int status = 0;
        ::waitpid(child, &status, 0);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
    } catch (const std::exception& e) {
        std::fprintf(stderr, "with_postgres: %s\n", e.what());
        return 1;
    }
}
