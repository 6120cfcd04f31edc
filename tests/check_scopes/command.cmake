# SPDX-License-Identifier: BSL-1.0
# cmake -D CHECK_SCOPES=file -D BUILD=dir -D COMPILER=c++ -P command.cmake
# What the command prints and gives: for a compile database of another compiler, with a precompiled header, paths with spaces and
# relative ones; for findings in headers; and for what it cannot do.
cmake_minimum_required(VERSION 3.25)
file(REMOVE_RECURSE "${BUILD}")

# Runs it in BUILD with the arguments, and leaves `output` and `errors`.
macro(check expected)
    execute_process(
        COMMAND "${CHECK_SCOPES}" ${ARGN}
        WORKING_DIRECTORY "${BUILD}"
        OUTPUT_VARIABLE output ERROR_VARIABLE errors RESULT_VARIABLE result)
    if(errors MATCHES "no clang-query")
        message("skipped: ${errors}")
        return()
    elseif(NOT result STREQUAL "${expected}")
        message(SEND_ERROR "check_scopes ${ARGN} gives ${result}, not ${expected}\n${output}${errors}")
    endif()
endmacro()
macro(says text words)
    if(NOT "${${text}}" MATCHES "${words}")
        message(SEND_ERROR "It does not say \"${words}\", but\n${${text}}")
    endif()
endmacro()

file(WRITE "${BUILD}/src/coroutine.hpp" [[
#include <coroutine>
namespace asio {
template <class T>
struct awaitable {
    struct promise_type {
        awaitable get_return_object();
        std::suspend_always initial_suspend();
        std::suspend_always final_suspend() noexcept;
        void return_void();
        void unhandled_exception();
    };
    bool await_ready();
    void await_suspend(std::coroutine_handle<>);
    void await_resume();
};
}
struct session {
    asio::awaitable<void> query();
    asio::awaitable<void> close();
};
]])
file(WRITE "${BUILD}/src/session.hpp" [[
#pragma once
inline asio::awaitable<void> in_a_header(session s) {
    co_await s.query();
    co_await s.close();
}
]])
foreach(name a b)
    file(WRITE "${BUILD}/src/${name}.cpp" "#include \"session.hpp\"\nint unused_variable_${name}() { int x; return 0; }\n")
endforeach()
file(WRITE "${BUILD}/src/clean.cpp" "asio::awaitable<void> clean(session s) { co_await s.query(); }\n")
file(WRITE "${BUILD}/src/broken.cpp" "int broken( {\n")
file(WRITE "${BUILD}/src/unlisted.cpp" "")
# The sources rely on what is precompiled, which is in another compiler's format.
file(WRITE "${BUILD}/cmake_pch.hxx" "#include \"src/coroutine.hpp\"\n")
file(WRITE "${BUILD}/cmake_pch.hxx.gch" "not Clang's")
set(entries)
foreach(name a b clean broken)
    list(APPEND entries "{\"directory\": \"${BUILD}\", \"file\": \"src/${name}.cpp\", \"command\": \"${COMPILER} -std=gnu++20 -Wall -Werror -fconcepts -Wno-dangling-reference -fno-such-option -Winvalid-pch -include \\\"${BUILD}/cmake_pch.hxx\\\" -o x.o -c src/${name}.cpp\"}")
endforeach()
list(JOIN entries ",\n" entries)
file(WRITE "${BUILD}/build/compile_commands.json" "[${entries}]\n")

# A header's findings once, though two sources include it, and with nothing else.
check(1 -p build src/a.cpp "${BUILD}/src/b.cpp")
if(NOT output MATCHES "^[^\n]*/src/session[.]hpp:4:5: warning: [^\n]* \\[coraii-skipped-cleanup\\]\n$" OR errors)
    message(SEND_ERROR "Not one warning, but\n${output}${errors}")
endif()
check(0 -p build src/clean.cpp)
if(output OR errors)
    message(SEND_ERROR "Something is said of a source without a fault\n${output}${errors}")
endif()
check(2 -p build src/broken.cpp)
says(errors "Clang could not read all of .*src/broken.cpp: .*error: ")
check(1 -p build)

check(2)
says(errors "-p is missing.*usage: check_scopes")
check(2 -p src)
says(errors "there is no compile_commands.json in .*src: configure with")
check(2 -p build src/missing.cpp)
says(errors "there is no file .*src/missing.cpp")
check(2 -p build src/unlisted.cpp)
says(errors "does not say how .*src/unlisted.cpp is compiled")
check(2 -p build --nonsense)
says(errors "unknown option --nonsense")
check(0 --help)
says(output "usage: check_scopes")
