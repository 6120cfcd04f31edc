# SPDX-License-Identifier: BSL-1.0
# cmake -D NEW_SCOPE=file -D DIRECTORY=dir -D CLANG_FORMAT=file -D STYLE=file -P command.cmake
# The command writes what the function writes, laid out as STYLE says (where there is a clang-format), refuses to write over
# anything, and says what is wrong with its arguments.
cmake_minimum_required(VERSION 3.25)
file(REMOVE_RECURSE "${DIRECTORY}")
file(MAKE_DIRECTORY "${DIRECTORY}")

function(refused words)
    execute_process(
        COMMAND "${CMAKE_COMMAND}" ${ARGN} -P "${NEW_SCOPE}"
        WORKING_DIRECTORY "${DIRECTORY}"
        OUTPUT_VARIABLE output ERROR_VARIABLE output RESULT_VARIABLE result)
    string(REGEX REPLACE "[ \n]+" " " output "${output}")
    if(result STREQUAL "0" OR NOT output MATCHES "${words}")
        message(SEND_ERROR "${ARGN}: not refused with the words \"${words}\"\n${output}")
    endif()
endfunction()

foreach(form coroutine pair class offload)
    execute_process(
        COMMAND "${CMAKE_COMMAND}" -D NAME=${form}_lock -D FORM=${form} -D NAMESPACE=app -D TEST=ON -P "${NEW_SCOPE}"
        WORKING_DIRECTORY "${DIRECTORY}" OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
    foreach(file ${form}_lock.hpp ${form}_lock_test.cpp)
        if(NOT EXISTS "${DIRECTORY}/${file}")
            message(SEND_ERROR "${file} was not written")
        elseif(CLANG_FORMAT)
            execute_process(
                COMMAND "${CLANG_FORMAT}" --dry-run -Werror "--style=file:${STYLE}" "${DIRECTORY}/${file}"
                RESULT_VARIABLE result ERROR_VARIABLE errors)
            if(NOT result STREQUAL "0")
                message(SEND_ERROR "${errors}")
            endif()
        endif()
    endforeach()
endforeach()

file(WRITE "${DIRECTORY}/mine.hpp" "mine\n")
file(WRITE "${DIRECTORY}/other_test.cpp" "mine\n")
refused("mine.hpp is there already, and is not overwritten" -D NAME=mine)
refused("other_test.cpp is there already, and is not overwritten" -D NAME=other -D TEST=ON)
file(READ "${DIRECTORY}/mine.hpp" text)
if(NOT text STREQUAL "mine\n" OR EXISTS "${DIRECTORY}/other.hpp")
    message(SEND_ERROR "Something was written all the same")
endif()
refused("NAME is missing")
refused("NAME is \"7up\", but must be a name of C\\+\\+" -D NAME=7up)
refused("NAME is \"a/b\", but must be a name of C\\+\\+" -D NAME=a/b)
refused("NAME is \"class\", but must be a name of C\\+\\+" -D NAME=class)
refused("FORM is \"circle\", but must be one of coroutine, pair, class, offload" -D NAME=x -D FORM=circle)
refused("NAMESPACE is \"a:b\", but must be a name of C\\+\\+" -D NAME=x -D NAMESPACE=a:b)
refused("NAMESPACE is \"std\", and std cannot be yours" -D NAME=x -D NAMESPACE=std)
refused("RESOURCE is \"int&\", but must be a type that can be kept" -D NAME=x "-DRESOURCE=int&")
refused("it is not known which header has std::nonsense" -D NAME=x -D RESOURCE=std::nonsense)
refused("which belongs to an event loop" -D NAME=x -D FORM=offload -D RESOURCE=boost::asio::steady_timer)
refused("DIRECTORY is .*mine.hpp, which is a file" -D NAME=x -D DIRECTORY=mine.hpp)
