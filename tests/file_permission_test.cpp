// SPDX-License-Identifier: BSL-1.0
// What the kernel and other users have a say in: permissions, owners, names, offsets.
#include "support/files.hpp"
#include "support/scenario.hpp"

#include <catch2/matchers/catch_matchers_string.hpp>

#include <cerrno>
#include <linux/capability.h>
#include <string>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <utility>
#include <vector>

using namespace test;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::StartsWith;
using coraii::atomic_file;
using names = std::vector<std::string>;

namespace {

constexpr uid_t other_user = 65534;

unsigned mode_of(const fs::path& path) {
    struct stat info{};
    REQUIRE(::stat(path.c_str(), &info) == 0);
    return info.st_mode & 07777;
}

awaitable<void> replace(fs::path path, std::string text, coraii::atomic_file_options options = {}) {
    auto f = co_await atomic_file(std::move(path), options);
    co_await f->write(text);
    co_await f.close();
}

awaitable<void> open_only(fs::path path) {
    (void)co_await coraii::open_file(std::move(path));
}

/// As another user, who is in no group of ours. What `f` throws is its result.
template <class F>
std::string as_other_user(F f) {
    std::string error = "no error";
    REQUIRE(::setegid(other_user) == 0);
    REQUIRE(::seteuid(other_user) == 0);
    try {
        f();
    } catch (const std::exception& e) { error = e.what(); }
    REQUIRE(::seteuid(0) == 0);
    REQUIRE(::setegid(0) == 0);
    return error;
}

bool is_root() {
    return ::geteuid() == 0;
}

/// The kernel's protection of directories in which everybody may make files, such as /tmp.
bool is_protected(const char* what) {
    std::ifstream in{std::string{"/proc/sys/fs/"} + what};
    int level = 0;
    return in >> level && level > 0;
}

/// On a thread that is root, but without a capability.
template <class F>
std::string without_capability(unsigned capability, F f) {
    std::string error = "no error";
    std::thread{[&] {
        __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
        __user_cap_data_struct data[2];
        ::syscall(SYS_capget, &header, data);
        data[capability / 32].effective &= ~(1U << capability % 32);
        ::syscall(SYS_capset, &header, data);
        try {
            f();
        } catch (const std::exception& e) { error = e.what(); }
    }}.join();
    return error;
}

}  // namespace

TEST_CASE("atomic_file: a group that cannot be kept gets no more than everybody", "[file][atomic][permissions]") {
    if (!is_root()) {
        SKIP("only root can make a file of a group that it is not in");
    }
    const auto [before, after] = GENERATE(std::pair{0640U, 0600U}, std::pair{0664U, 0644U}, std::pair{0660U, 0600U},
                                          std::pair{0754U, 0744U}, std::pair{02755U, 0755U});
    CAPTURE(before);
    const scratch dir;
    fs::permissions(dir.path(), fs::perms::all);
    spit(dir / "f", "old");
    REQUIRE(::chown((dir / "f").c_str(), other_user, 54321) == 0);
    REQUIRE(::chmod((dir / "f").c_str(), before) == 0);
    CHECK(as_other_user([&] { run(replace(dir / "f", "new")); }) == "no error");
    CHECK(mode_of(dir / "f") == after);
    CHECK(slurp(dir / "f") == "new");
}

TEST_CASE("atomic_file: permissions are given before the file is given away, or it is an error",
          "[file][atomic][permissions]") {
    if (!is_root()) {
        SKIP("only root can give files away");
    }
    const scratch dir;
    spit(dir / "f", "old");
    const auto mode = GENERATE(0640U, 04755U);
    REQUIRE(::chown((dir / "f").c_str(), other_user, other_user) == 0);
    REQUIRE(::chmod((dir / "f").c_str(), mode) == 0);
    const std::string error = without_capability(CAP_FOWNER, [&] { run(replace(dir / "f", "new")); });
    CHECK(mode_of(dir / "f") == mode);
    if (mode == 0640) {
        CHECK(error == "no error");
        CHECK(slurp(dir / "f") == "new");
    } else {  // set-user-ID goes with the owner, who alone may give it back
        CHECK_THAT(error, StartsWith("set the mode of " + (dir / "f").native() + ": Operation not permitted"));
        CHECK(slurp(dir / "f") == "old");
    }
    CHECK(dir.names() == names{"f"});
}

TEST_CASE("atomic_file: a secret is a secret from the beginning", "[file][atomic][permissions]") {
    const scratch dir;
    const mode_t before = ::umask(GENERATE(0U, 077U, 0177U));
    const auto mode = GENERATE(0600U, 0640U, 0644U);
    const auto write = [&]() -> awaitable<void> {
        auto f = co_await atomic_file(dir / "secret", {.mode = mode});
        struct stat info{};
        REQUIRE(::fstat(f->native_handle(), &info) == 0);
        CHECK((info.st_mode & 07777) == mode);
        co_await f->write("secret");
        co_await f.close();
    };
    run(write());
    ::umask(before);
    CHECK(mode_of(dir / "secret") == mode);
    REQUIRE(::chmod((dir / "secret").c_str(), 0400) == 0);
    run(replace(dir / "secret", "again", {.mode = 0644}));  // that is for new ones
    CHECK(mode_of(dir / "secret") == 0400);
}

TEST_CASE("atomic_file: a symlink is followed where open(2) would", "[file][atomic][permissions]") {
    if (!is_root() || !is_protected("protected_symlinks")) {
        SKIP("needs root, and fs.protected_symlinks");
    }
    const scratch dir;
    REQUIRE(::chmod(dir.path().c_str(), 01777) == 0);
    spit(dir / "target", "old");
    fs::create_symlink(dir / "target", dir / "link");
    fs::create_symlink(dir / "nothing", dir / "dangling");
    for (const char* name : {"link", "dangling"}) {
        REQUIRE(::lchown((dir / name).c_str(), other_user, other_user) == 0);
        CHECK_THROWS_WITH(run(open_only(dir / name)), ContainsSubstring("Permission denied"));
        CHECK_THROWS_WITH(run(replace(dir / name, "new")), ContainsSubstring("Permission denied"));
    }
    CHECK(slurp(dir / "target") == "old");
}

TEST_CASE("lock_file: another's lock file in a directory for everybody can be locked", "[file][lock][permissions]") {
    if (!is_root() || !is_protected("protected_regular")) {
        SKIP("needs root, and fs.protected_regular");
    }
    const scratch dir;
    REQUIRE(::chmod(dir.path().c_str(), 01777) == 0);
    spit(dir / "lock", "");
    REQUIRE(::chmod((dir / "lock").c_str(), 0666) == 0);
    REQUIRE(::chown((dir / "lock").c_str(), 12345, 12345) == 0);
    const auto lock = [&]() -> awaitable<void> { (void)co_await coraii::lock_file(dir / "lock"); };
    CHECK(as_other_user([&] { run(lock()); }) == "no error");
}

TEST_CASE("lock_file: a lock file is made where there is none, also at the end of a symlink", "[file][lock]") {
    const scratch dir;
    fs::create_symlink(dir / "target", dir / "link");
    const auto lock = [&](fs::path path) -> awaitable<void> { (void)co_await coraii::lock_file(path); };
    run(lock(dir / "link"));
    run(lock(dir / "new"));
    CHECK(dir.names() == names{"link", "new", "target"});
    CHECK_THROWS_WITH(run(lock(dir / "no/such")), ContainsSubstring("No such file or directory"));
}

TEST_CASE("atomic_file: the name of the temporary file fits wherever the target's does", "[file][atomic]") {
    const scratch dir;
    const auto name = GENERATE(std::string(255, 'x'), std::string("\xff\xfe not UTF-8"), std::string("f"));
    const auto write = [&]() -> awaitable<void> {
        auto f = co_await atomic_file(dir / name);
        for (const std::string& there : dir.names()) {
            CHECK(there.size() <= 40);
            CHECK(std::ranges::all_of(there, [](unsigned char c) { return c < 128; }));
        }
        co_await f->write("new");
        co_await f.close();
    };
    run(write());
    CHECK(dir.names() == names{name});
}

TEST_CASE("file: a relative path is of the directory at the time of the call", "[file]") {
    const scratch here;
    const scratch there;
    const fs::path before = fs::current_path();
    for (const scratch* d : {&here, &there}) {
        spit(*d / "f", "old");
        spit(*d / "lock", "");
    }
    fs::current_path(here.path());
    auto opened = coraii::open_file("f", coraii::open_mode::append);
    auto replaced = coraii::atomic_file("g");
    auto locked = coraii::lock_file("lock");
    auto temporary = coraii::temp_file(".");
    auto directory = coraii::temp_directory(".");
    fs::current_path(there.path());
    const auto use = [&]() -> awaitable<void> {
        auto f = co_await std::move(opened);
        auto g = co_await std::move(replaced);
        auto l = co_await std::move(locked);
        auto t = co_await std::move(temporary);
        auto d = co_await std::move(directory);
        CHECK(there.names() == names{"f", "lock"});
        CHECK(here.names().size() == 4);
        co_await f->write(", and new");
        co_await g->write("new");
        co_await f.close();
        co_await g.close();
        co_await t.close();
        co_await d.close();
    };
    run(use());
    fs::current_path(before);
    CHECK(slurp(here / "f") == "old, and new");
    CHECK(here.names() == names{"f", "g", "lock"});
    CHECK(there.names() == names{"f", "lock"});
}

TEST_CASE("atomic_file: in a directory that may be written and not read", "[file][atomic][permissions]") {
    if (!is_root()) {
        SKIP("needs another user");
    }
    const scratch dir;
    REQUIRE(::chmod(dir.path().c_str(), 0333) == 0);
    CHECK(as_other_user([&] { run(replace(dir / "f", "new")); }) == "no error");
    CHECK(slurp(dir / "f") == "new");
    CHECK(dir.names() == names{"f"});
}

TEST_CASE("atomic_file: what has no name cannot be replaced", "[file][atomic][errors]") {
    const scratch dir;
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    spit(dir / "deleted", "text");
    const int deleted = ::open((dir / "deleted").c_str(), O_RDWR | O_CLOEXEC);
    fs::remove(dir / "deleted");
    for (const int fd : {ends[1], deleted}) {
        const fs::path path = "/proc/self/fd/" + std::to_string(fd);
        fs::create_symlink(path, dir / "stdout");  // as /dev/stdout is
        CHECK_THROWS_WITH(run(replace(path, "new")), ContainsSubstring("Invalid argument"));
        CHECK_THROWS_WITH(run(replace(dir / "stdout", "new")), ContainsSubstring("Invalid argument"));
        fs::remove(dir / "stdout");
        ::close(fd);
    }
    ::close(ends[0]);
    CHECK(dir.names().empty());
}

TEST_CASE("temp_file: a directory that has taken its name is not removed", "[file][temp]") {
    const scratch dir;
    fs::path path;
    const auto use = [&]() -> awaitable<void> {
        auto f = co_await coraii::temp_file(dir.path());
        path = f->path();
        fs::remove(path);
        fs::create_directory(path);
        spit(path / "precious", "text");
        co_await f.close();
    };
    CHECK_THROWS_WITH(run(use()), StartsWith("remove " + dir.path().native()));
    CHECK(slurp(path / "precious") == "text");
}

TEST_CASE("temp_directory: what cannot be removed is named, and keeps nothing else", "[file][temp][errors]") {
    if (!is_root()) {
        SKIP("needs another user");
    }
    const scratch dir;
    fs::permissions(dir.path(), fs::perms::all);
    fs::path path;
    const auto use = [&]() -> awaitable<void> {
        auto d = co_await coraii::temp_directory(dir.path());
        path = *d;
        fs::create_directories(path / "a/b");
        fs::create_directories(path / "locked/below");
        fs::create_directories(path / "z");
        spit(path / "a/b/f", "text");
        spit(path / "locked/f", "text");
        spit(path / "z/f", "text");
        REQUIRE(::chmod((path / "locked").c_str(), 0555) == 0);
        co_await d.close();
    };
    const std::string error = as_other_user([&] { run(use()); });
    CHECK_THAT(error,
               StartsWith("remove " + (path / "locked").native() + "/") && ContainsSubstring("Permission denied"));
    CHECK(fs::exists(path / "locked/f"));
    CHECK(!fs::exists(path / "a"));
    CHECK(!fs::exists(path / "z"));
}

TEST_CASE("atomic_file: what cannot be replaced at the end is refused at the beginning", "[file][atomic][errors]") {
    const scratch dir;
    SECTION("a file that is mounted") {
        spit(dir / "target", "old");
        spit(dir / "source", "other");
        if (::mount((dir / "source").c_str(), (dir / "target").c_str(), nullptr, MS_BIND, nullptr) != 0) {
            SKIP("nothing can be mounted here");
        }
        bool written = false;
        const auto write = [&]() -> awaitable<void> {
            auto f = co_await atomic_file(dir / "target");
            written = true;
            co_await f->write("new");
            co_await f.close();
        };
        CHECK_THROWS_WITH(run(write()), ContainsSubstring("Device or resource busy"));
        CHECK(!written);
        ::umount2((dir / "target").c_str(), MNT_DETACH);
        CHECK(slurp(dir / "target") == "old");
        CHECK(dir.names() == names{"source", "target"});
    }
    SECTION("links are forbidden: a temporary file that has a name from the beginning") {
        where_refused(SYS_linkat, EPERM, 4, ~0U, [&] { run(replace(dir / "f", "new")); });
        CHECK(slurp(dir / "f") == "new");
        CHECK(dir.names() == names{"f"});
    }
}

TEST_CASE("file: offsets that the kernel does not have are EINVAL", "[file][errors]") {
    const scratch dir;
    spit(dir / "f", "text");
    const auto offset = GENERATE(std::uint64_t{1} << 63, ~std::uint64_t{0});
    const auto use = [&]() -> awaitable<void> {
        auto f = co_await coraii::open_file(dir / "f", coraii::open_mode::read_write);
        char byte = 'x';
        const auto [read, n] =
            co_await f->async_read_some_at(offset, asio::buffer(&byte, 1), asio::as_tuple(asio::use_awaitable));
        CHECK(read.value() == EINVAL);
        const auto [written, m] =
            co_await f->async_write_some_at(offset, asio::buffer(&byte, 1), asio::as_tuple(asio::use_awaitable));
        CHECK(written.value() == EINVAL);
        CHECK(byte == 'x');
        CHECK_THROWS_WITH(f->seek(offset), ContainsSubstring("Invalid argument"));
        CHECK(f->position() == 0);
        std::string error;
        try {
            co_await f->resize(offset);
        } catch (const boost::system::system_error& e) { error = e.what(); }
        CHECK_THAT(error, StartsWith("resize") && ContainsSubstring("Invalid argument"));
        const std::string text = co_await f->read_all();
        CHECK(text == "text");
    };
    run(use());
    CHECK(slurp(dir / "f") == "text");
}

TEST_CASE("file: used when its scope has been left, it is EBADF", "[file][errors]") {
    const scratch dir;
    spit(dir / "f", "a\nb\n");
    const auto use = [&]() -> awaitable<void> {
        auto g = co_await coraii::open_file(dir / "f", coraii::open_mode::read_write);
        const auto line = co_await g->read_line();
        CHECK(line == "a");
        coraii::file f = std::move(*g);
        co_await g.close();
        const auto code = [](awaitable<void> call) -> awaitable<int> {
            try {
                co_await std::move(call);
            } catch (const boost::system::system_error& e) { co_return e.code().value(); }
            co_return 0;
        };
        const auto read = [&]() -> awaitable<void> { (void)co_await f.read_line(); };
        const auto size = [&]() -> awaitable<void> { (void)co_await f.size(); };
        const auto all = [&]() -> awaitable<void> { (void)co_await f.read_all(); };
        int error = co_await code(read());
        CHECK(error == EBADF);
        error = co_await code(all());
        CHECK(error == EBADF);
        error = co_await code(size());
        CHECK(error == EBADF);
        error = co_await code(f.sync());
        CHECK(error == EBADF);
        error = co_await code(f.write("x"));
        CHECK(error == EBADF);
        error = co_await code(f.resize(0));
        CHECK(error == EBADF);
        char byte = 0;
        const auto [code_alone, n] =
            co_await f.async_read_some(asio::buffer(&byte, 1), asio::as_tuple(asio::use_awaitable));
        CHECK(code_alone.value() == EBADF);
    };
    run(use());
    CHECK(slurp(dir / "f") == "a\nb\n");
}

TEST_CASE("read_line: a last line without an end is told from one that has it", "[file][lines]") {
    const scratch dir;
    spit(dir / "f", "a\nb");
    const auto follow = [&]() -> awaitable<void> {
        auto f = co_await coraii::open_file(dir / "f");
        std::optional<std::string> line = co_await f->read_line();
        CHECK(line == "a");
        CHECK(f->line_ended());
        line = co_await f->read_line();
        CHECK(line == "b");
        CHECK(!f->line_ended());
        std::ofstream{dir / "f", std::ios::app} << "c\nd\n";
        line = co_await f->read_line();
        CHECK(line == "c");
        CHECK(f->line_ended());
        line = co_await f->read_line();
        CHECK(line == "d");
        line = co_await f->read_line();
        CHECK(line == std::nullopt);
    };
    run(follow());
}
