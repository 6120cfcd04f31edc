# SPDX-License-Identifier: BSL-1.0
# What including coraii adds to the time of compiling a source file that includes Asio's coroutines already: user time, the
# best of three, with the bodies compiled once (CORAII_SEPARATE_COMPILATION) and header-only. Then what the main example
# costs at -O2. The target `compile_time` runs this; by hand:
#   cmake -DCOMPILER=g++ -DINCLUDES=include -DEXAMPLE=examples/import_ledger.cpp -P tests/bench/compile_time.cmake
set(rounds 3)

# What a program with coroutines and sockets includes of Asio.
set(asio "")
foreach(header IN ITEMS any_io_executor awaitable co_spawn detached io_context ip/tcp read_until write steady_timer
        use_awaitable)
    string(APPEND asio "#include <boost/asio/${header}.hpp>\n")
endforeach()
set(coraii_target 1.25)
set(file_target 1.6)
set(sqlite_target 1.6)
set(postgres_target 1.7)
set(example_target 18)  # seconds

set(dirs ${INCLUDES})
list(TRANSFORM dirs PREPEND -I)
set(separately -DCORAII_SEPARATE_COMPILATION)

# Keeps the least user time of all calls with the same name, in hundredths of a second.
function(compile name source)
    execute_process(
        COMMAND sh -c "\"$@\" && times" sh ${COMPILER} -std=c++20 ${dirs} ${ARGN} -c ${source} -o compile_time/${name}.o
        OUTPUT_VARIABLE times COMMAND_ERROR_IS_FATAL ANY)
    # The shell's own, then its children's: 0m1.23s 0m0.04s
    if(NOT times MATCHES "\n([0-9]+)m([0-9]+)[.]([0-9][0-9])[0-9]*s ")
        message(FATAL_ERROR "what `times` prints is not understood: ${times}")
    endif()
    math(EXPR time "${CMAKE_MATCH_1} * 6000 + ${CMAKE_MATCH_2} * 100 + 1${CMAKE_MATCH_3} - 100")
    if(NOT DEFINED ${name}_best OR time LESS ${name}_best)
        set(${name}_best ${time} PARENT_SCOPE)
    endif()
endfunction()

# Hundredths as a number with two digits after the point.
function(decimal hundredths result)
    math(EXPR whole "${hundredths} / 100")
    math(EXPR rest "${hundredths} % 100 + 100")
    string(SUBSTRING ${rest} 1 2 rest)
    set(${result} "${whole}.${rest}" PARENT_SCOPE)
endfunction()

function(ratio name result)
    math(EXPR hundredths "(100 * ${${name}_best} + ${asio_best} / 2) / ${asio_best}")
    decimal(${hundredths} text)
    set(${result} ${text} PARENT_SCOPE)
endfunction()

file(WRITE compile_time/asio.cpp "${asio}")
foreach(header IN ITEMS coraii file sqlite postgres)
    file(WRITE compile_time/${header}.cpp "${asio}#include <coraii/${header}.hpp>\n")
endforeach()
foreach(round RANGE 1 ${rounds})
    compile(asio compile_time/asio.cpp -O0)
    foreach(header IN ITEMS coraii file sqlite postgres)
        compile(${header} compile_time/${header}.cpp -O0 ${separately})
        compile(${header}_whole compile_time/${header}.cpp -O0)
    endforeach()
    compile(example ${EXAMPLE} -O2 ${separately} "-DCORAII_SAMPLE_CSV=\"\"")
endforeach()

decimal(${asio_best} seconds)
message("Asio's headers: ${seconds} s")
foreach(header IN ITEMS coraii file sqlite postgres)
    ratio(${header} separate)
    ratio(${header}_whole whole)
    message("with coraii/${header}.hpp: ${separate} times that, target ${${header}_target}; header-only ${whole}")
endforeach()
decimal(${example_best} seconds)
message("import_ledger at -O2: ${seconds} s, target ${example_target}")
