// SPDX-License-Identifier: BSL-1.0
// FILE* with a deleter.
#ifndef CORAII_TESTS_CONVERT_SCOPE_FILE_HPP
#define CORAII_TESTS_CONVERT_SCOPE_FILE_HPP

#include <cstdio>
#include <memory>

struct closes_file {
    void operator()(std::FILE* f) const { std::fclose(f); }
};
using file = std::unique_ptr<std::FILE, closes_file>;

inline file open_a_file(const char* path, const char* mode) {
    return file{std::fopen(path, mode)};
}

#endif
