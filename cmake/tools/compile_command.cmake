# SPDX-License-Identifier: BSL-1.0

# Sets RESULT to the arguments with which Clang reads what the entry of a compile database (one JSON object) compiles. An
# entry may be another compiler's: so only what decides how a source is read is kept, and no warning. SCRATCH is a
# directory for what is written.
function(coraii_clang_arguments entry scratch result)
    string(JSON listed ERROR_VARIABLE not_listed LENGTH "${entry}" arguments)
    set(given)
    if(not_listed)
        string(JSON command GET "${entry}" command)
        separate_arguments(given UNIX_COMMAND "${command}")
    else()
        math(EXPR last "${listed} - 1")
        foreach(i RANGE ${last})
            string(JSON argument GET "${entry}" arguments ${i})
            string(REPLACE ";" "\\;" argument "${argument}")
            list(APPEND given "${argument}")
        endforeach()
    endif()

    # Where there is nothing but coraii or Boost, it is not the user's own tree.
    set(libraries coraii boost asio asio.hpp)

    set(kept -xc++)
    set(language "")
    list(POP_FRONT given compiler)
    while(given)
        list(POP_FRONT given argument)
        string(REPLACE ";" "\\;" argument "${argument}")
        if(argument STREQUAL "-include")
            list(POP_FRONT given header)
            # In a file of its own: with `-include` Clang would read the compiler's precompiled header, if there is one.
            string(SHA1 name "${header}")
            file(WRITE "${scratch}/${name}.hpp" "#include \"${header}\"\n")
            list(APPEND kept -include "${scratch}/${name}.hpp")
        elseif(argument MATCHES "^-(D|U|isystem|iquote|idirafter|isysroot|imacros|iprefix|iwithprefix|target|F)$")
            list(POP_FRONT given value)
            string(REPLACE ";" "\\;" value "${value}")
            list(APPEND kept "${argument}" "${value}")
        elseif(argument MATCHES "^-I(.*)")
            set(value "${CMAKE_MATCH_1}")
            if(value STREQUAL "")
                list(POP_FRONT given value)
            endif()
            file(GLOB others RELATIVE "${value}" "${value}/*")
            list(LENGTH others size)
            list(REMOVE_ITEM others ${libraries})
            if(others OR size EQUAL 0)
                list(APPEND kept "-I${value}")
            else()
                list(APPEND kept "-isystem${value}")
            endif()
        elseif(argument MATCHES "^-std=(c|gnu)[+][+]" OR
               argument MATCHES "^-(D|U|isystem|iquote|idirafter|isysroot|F).+" OR
               argument MATCHES "^-(-sysroot=|-target=|stdlib=|nostdinc|pthread$|m(32|64|arch=|sse|avx|x32)|O[0-9sgz]?$)" OR
               argument MATCHES "^-f(no-)?(exceptions|rtti|char8_t|signed-char|unsigned-char|openmp|short-enums|aligned-allocation|sized-deallocation|sanitize=)" OR
               argument MATCHES "^@")
            list(APPEND kept "${argument}")
        endif()
    endwhile()
    # g++ names its drafts otherwise.
    list(TRANSFORM kept REPLACE "^-std=(c|gnu)[+][+]2a$" "-std=\\1++20")
    list(APPEND kept -fsyntax-only -w -Wno-everything -ferror-limit=5)
    set(${result} "${kept}" PARENT_SCOPE)
endfunction()
