# SPDX-License-Identifier: BSL-1.0
# Copies the headers in FROM to TO, and plants the bug that the file BUG tells: in HEADER, NEW stands for OLD. That text
# has to be there, once.
include("${BUG}")
file(REMOVE_RECURSE "${TO}")
file(COPY "${FROM}/coraii" DESTINATION "${TO}")
if(HEADER)
    file(READ "${TO}/coraii/${HEADER}" text)
    string(FIND "${text}" "${OLD}" first)
    string(FIND "${text}" "${OLD}" last REVERSE)
    if(first EQUAL -1 OR NOT first EQUAL last)
        message(FATAL_ERROR "The text to plant a bug in is not in coraii/${HEADER}, or more than once:\n${OLD}")
    endif()
    string(REPLACE "${OLD}" "${NEW}" text "${text}")
    file(WRITE "${TO}/coraii/${HEADER}" "${text}")
endif()
