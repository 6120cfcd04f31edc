# SPDX-License-Identifier: BSL-1.0
# CORAII_INCLUDES: the directories that coraii's users compile with, for commands that run a compiler themselves. Those the
# compiler searches anyhow are left out: naming them again changes their order, which its own headers rely on.
set(CORAII_INCLUDES "$<TARGET_PROPERTY:coraii,INTERFACE_INCLUDE_DIRECTORIES>")
foreach(dir IN LISTS CMAKE_CXX_IMPLICIT_INCLUDE_DIRECTORIES)
    string(REPLACE "+" "[+]" dir "${dir}")
    set(CORAII_INCLUDES "$<FILTER:${CORAII_INCLUDES},EXCLUDE,^${dir}$>")
endforeach()
