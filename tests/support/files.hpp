// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_TESTS_SUPPORT_FILES_HPP
#define CORAII_TESTS_SUPPORT_FILES_HPP

// What the tests of files share: a directory of their own, plain ways to look at files, and limits for a while.

#include "coraii/file.hpp"
#include "support/scenario.hpp"

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <exception>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <memory>
#include <string>
#include <string_view>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace test {

namespace fs = std::filesystem;

/// A directory that is gone with its object.
class scratch {
public:
    scratch() {
        std::string name = (fs::temp_directory_path() / "coraii-test-XXXXXX").native();
        REQUIRE(::mkdtemp(name.data()) != nullptr);
        path_ = name;
    }
    scratch(const scratch&) = delete;
    scratch& operator=(const scratch&) = delete;
    ~scratch() {
        std::error_code ignored;
        fs::remove_all(path_, ignored);
    }
    const fs::path& path() const { return path_; }
    fs::path operator/(std::string_view name) const { return path_ / name; }

    /// The names in it, sorted.
    std::vector<std::string> names() const {
        std::vector<std::string> all;
        for (const auto& entry : fs::directory_iterator{path_}) {
            all.push_back(entry.path().filename().native());
        }
        std::ranges::sort(all);
        return all;
    }

private:
    fs::path path_;
};

/// A file system of 64 KiB in a directory, if we may mount one.
class small_disk {
public:
    explicit small_disk(fs::path at, bool read_only = false) : path_{std::move(at)} {
        fs::create_directory(path_);
        mounted_ = ::mount("none", path_.c_str(), "tmpfs", read_only ? MS_RDONLY : 0, "size=64k") == 0;
    }
    small_disk(const small_disk&) = delete;
    small_disk& operator=(const small_disk&) = delete;
    ~small_disk() {
        if (mounted_) {
            ::umount2(path_.c_str(), MNT_DETACH);
        }
    }
    explicit operator bool() const { return mounted_; }

private:
    fs::path path_;
    bool mounted_;
};

/// A lower soft limit for a while.
class limit {
public:
    limit(int resource, rlim_t value) : resource_{resource} {
        REQUIRE(::getrlimit(which(), &before_) == 0);
        rlimit now = before_;
        now.rlim_cur = value;
        REQUIRE(::setrlimit(which(), &now) == 0);
    }
    limit(const limit&) = delete;
    limit& operator=(const limit&) = delete;
    ~limit() { ::setrlimit(which(), &before_); }

private:
    decltype(RLIMIT_NOFILE) which() const { return static_cast<decltype(RLIMIT_NOFILE)>(resource_); }

    int resource_;
    rlimit before_{};
};

inline void spit(const fs::path& path, std::string_view text) {
    std::ofstream out{path, std::ios::binary};
    out << text;
    REQUIRE(out.flush());
}

inline std::string slurp(const fs::path& path) {
    std::ifstream in{path, std::ios::binary};
    REQUIRE(in);
    return {std::istreambuf_iterator<char>{in}, {}};
}

/// ThreadSanitizer ends a child of a process of several threads that starts one.
#if defined(__SANITIZE_THREAD__)
inline constexpr bool can_fork = false;
#elif defined(__has_feature)
inline constexpr bool can_fork = !__has_feature(thread_sanitizer);
#else
inline constexpr bool can_fork = true;
#endif

/// The descriptors of this process.
inline std::size_t open_descriptors() {
    const fs::directory_iterator all{"/proc/self/fd"};
    return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

/// Whether anybody has the lock, as another program sees it.
inline bool is_locked(const fs::path& path) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    REQUIRE(fd >= 0);
    const bool free = ::flock(fd, LOCK_EX | LOCK_NB) == 0;
    ::close(fd);
    return !free;
}

/// Fails the test, at its end, if there are then more descriptors than at its beginning.
class no_descriptor_left {
public:
    no_descriptor_left() = default;
    no_descriptor_left(const no_descriptor_left&) = delete;
    no_descriptor_left& operator=(const no_descriptor_left&) = delete;
    ~no_descriptor_left() { CHECK(open_descriptors() == before_); }

private:
    std::size_t before_ = open_descriptors();
};

/// Gives way to other threads until something is so. If it never is, the test runs into its time limit.
template <class Condition>
void until(Condition condition) {
    while (!condition()) {
        std::this_thread::yield();
    }
}

/// Calls `f` on a thread of which, as of those that it starts, the kernel takes a system call with `error`: all of that
/// number, or those with `bit` in their argument `argument`. What `f` throws is thrown here.
template <class F>
void where_refused(unsigned number, int error, unsigned argument, unsigned bit, F f) {
    std::exception_ptr thrown;
    bool installed = false;
    std::thread{[&] {
        const auto argument_at = static_cast<unsigned>(offsetof(seccomp_data, args)) + 8 * argument;
        sock_filter steps[] = {
            {BPF_LD | BPF_W | BPF_ABS, 0, 0, static_cast<unsigned>(offsetof(seccomp_data, nr))},
            {BPF_JMP | BPF_JEQ | BPF_K, 0, 3, number},
            {BPF_LD | BPF_W | BPF_ABS, 0, 0, argument_at},  // the lower half, on what is little-endian
            {BPF_JMP | BPF_JSET | BPF_K, 0, 1, bit},
            {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | static_cast<unsigned>(error)},
            {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW},
        };
        const sock_fprog program{std::size(steps), steps};
        installed = ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
                    ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
        try {
            if (installed) {
                f();
            }
        } catch (...) { thrown = std::current_exception(); }
    }}.join();
    if (thrown) {
        std::rethrow_exception(thrown);
    }
    if (!installed) {
        SKIP("no seccomp filters here");
    }
}

}  // namespace test

#endif
