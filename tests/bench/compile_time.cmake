# SPDX-License-Identifier: BSL-1.0
# What including coraii adds to the time of compiling a source file that includes Asio's coroutines already. The ratio is
# the median over the rounds, in each of which the files take turns. The target `compile_time` runs this; by hand:
#   cmake -DCOMPILER=g++ -DINCLUDES=include -P tests/bench/compile_time.cmake
set(rounds 9)

# What Asio's own examples of coroutines, echo_server.cpp and chat_server.cpp, include of it (but for lines of text).
set(asio "")
foreach(header IN ITEMS awaitable co_spawn detached io_context ip/tcp signal_set steady_timer use_awaitable write)
    string(APPEND asio "#include <boost/asio/${header}.hpp>\n")
endforeach()
set(async_scope "${asio}#include <coraii/async_scope.hpp>\n")
set(coraii "${asio}#include <coraii/coraii.hpp>\n")
set(async_scope_target 1.10)
set(coraii_target 1.25)

list(TRANSFORM INCLUDES PREPEND -I)

# In hundredths of a second of processor time, the kernel's included.
function(compile file result)
    execute_process(
        COMMAND sh -c "\"$@\" && times" sh ${COMPILER} -std=c++20 -O0 ${INCLUDES} -c compile_time/${file}.cpp
            -o compile_time/${file}.o
        OUTPUT_VARIABLE times COMMAND_ERROR_IS_FATAL ANY)
    # The shell's own, then its children's: 0m1.23s 0m0.04s
    if(NOT times MATCHES "\n([0-9]+)m([0-9]+)[.]([0-9][0-9])[0-9]*s ([0-9]+)m([0-9]+)[.]([0-9][0-9])")
        message(FATAL_ERROR "what `times` prints is not understood: ${times}")
    endif()
    math(EXPR time "(${CMAKE_MATCH_1} + ${CMAKE_MATCH_4}) * 6000 + (${CMAKE_MATCH_2} + ${CMAKE_MATCH_5}) * 100 \
        + 1${CMAKE_MATCH_3} - 100 + 1${CMAKE_MATCH_6} - 100")
    set(${result} ${time} PARENT_SCOPE)
endfunction()

function(print_median name hundredths note)
    list(SORT hundredths COMPARE NATURAL)
    math(EXPR middle "${rounds} / 2")
    list(GET hundredths ${middle} median)
    string(REGEX REPLACE "(..)$" ".\\1" median ${median})
    message("${name}: ${median}${note}")
endfunction()

foreach(file IN ITEMS asio async_scope coraii)
    file(WRITE compile_time/${file}.cpp "${${file}}")
    compile(${file} not_counted) # the first time, files come from the disk
endforeach()
foreach(round RANGE 1 ${rounds})
    compile(asio base)
    list(APPEND asio_times ${base})
    foreach(file IN ITEMS async_scope coraii)
        compile(${file} time)
        math(EXPR ratio "(100 * ${time} + ${base} / 2) / ${base}")
        list(APPEND ${file}_ratios ${ratio})
    endforeach()
endforeach()
print_median("Asio's headers" "${asio_times}" " s")
foreach(file IN ITEMS async_scope coraii)
    print_median("with coraii/${file}.hpp" "${${file}_ratios}" " times that; target ${${file}_target}")
endforeach()
