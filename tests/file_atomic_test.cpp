// SPDX-License-Identifier: BSL-1.0
#include "support/files.hpp"
#include "support/scenario.hpp"

#include <boost/asio/detached.hpp>

#include <catch2/matchers/catch_matchers_string.hpp>

#include <cerrno>
#include <csignal>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <utility>
#include <vector>

using namespace test;
using coraii::atomic_file;
using coraii::file;
using coraii::with;

namespace {

using names = std::vector<std::string>;

awaitable<void> replace(fs::path path, std::string text) {
    co_await with(atomic_file(std::move(path)), [&text](file& f) -> awaitable<void> { co_await f.write(text); });
}

mode_t mode_of(const fs::path& path) {
    struct stat info{};
    REQUIRE(::stat(path.c_str(), &info) == 0);
    return info.st_mode & 07777;
}

/// What a child does until it is killed: contents of one letter, of a length that tells the letter.
[[noreturn]] void replace_for_ever(const fs::path& path, int told) {
    asio::io_context context;
    asio::co_spawn(
        context,
        [](fs::path p, int tell) -> awaitable<void> {
            for (unsigned i = 0;; ++i) {
                const char letter = static_cast<char>('a' + i % 26);
                co_await with(atomic_file(p), [letter](file& f) -> awaitable<void> {
                    const std::string part(100, letter);
                    for (int n = 0; n <= letter - 'a'; ++n) {
                        co_await f.write(part);
                    }
                });
                if (i == 0) {
                    (void)!::write(tell, "!", 1);
                }
            }
        }(path, told),
        asio::detached);
    context.run();
    std::_Exit(1);
}

}  // namespace

TEST_CASE("atomic_file: the path has the old content until the new one is whole", "[file][atomic]") {
    const no_descriptor_left check;
    const auto s = GENERATE(slot::none, slot::connected);
    const auto w = GENERATE(0, 1);
    const bool exists = GENERATE(false, true);
    const scratch dir;
    const fs::path path = dir / "f";
    if (exists) {
        spit(path, "old");
    }
    const auto use = [&](file& f) -> awaitable<void> {
        CHECK(f.path() == path);
        co_await f.write("new ");
        co_await f.write("content");
        f.seek(0);
        const std::string read = co_await f.read_all();
        CHECK(read == "new content");
        CHECK(fs::exists(path) == exists);
        if (exists) {
            CHECK(slurp(path) == "old");
        }
    };
    const auto work = [&]() -> awaitable<void> {
        if (w == 0) {
            co_await with(atomic_file(path), use);
        } else {
            auto g = co_await atomic_file(path);
            co_await use(*g);
            co_await g.close();
        }
    };
    run(work(), s);
    CHECK(slurp(path) == "new content");
    CHECK(dir.names() == names{"f"});
}

TEST_CASE("atomic_file: failed, cancelled, dropped or cut short, the path is as it was, and nothing is left",
          "[file][atomic][cancel]") {
    const no_descriptor_left check;
    const auto s = GENERATE(slot::none, slot::connected);
    const bool exists = GENERATE(false, true);
    const auto how = GENERATE(0, 1, 2, 3, 4, 5);
    CAPTURE(s, exists, how);
    const scratch dir;
    const fs::path path = dir / "f";
    if (exists) {
        spit(path, "old");
    }
    {
        asio::io_context context;
        bool written = false;
        const auto body = [&](file& f) -> awaitable<void> {
            co_await f.write("new");
            written = true;
            if (how == 0) {
                throw std::runtime_error("changed my mind");
            }
            co_await forever();
        };
        const auto work = [&]() -> awaitable<void> {
            if (how <= 2) {
                co_await with(atomic_file(path), body);
            } else {
                auto g = co_await atomic_file(path);
                co_await g->write("new");
                written = true;
                if (how == 4) {
                    const file taken = g.release();
                }
                if (how == 5) {
                    co_await g.close(coraii::exit_reason::failed);
                }
            }
        };
        task t{context, work(), how == 1 ? slot::connected : s};
        while (!written) {
            context.run_one();
        }
        if (how == 1) {
            t.cancel();
        }
        if (how != 2) {
            finish(context);
        }
    }  // if how == 2, with the scope open
    CHECK(fs::exists(path) == exists);
    if (exists) {
        CHECK(slurp(path) == "old");
    }
    CHECK(dir.names() == (exists ? names{"f"} : names{}));
}

TEST_CASE("atomic_file: mode and owner are those of the file that is replaced", "[file][atomic]") {
    const auto mode = GENERATE(0600U, 0644U, 0755U, 0440U, 0666U);
    const scratch dir;
    const fs::path path = dir / "f";
    spit(path, "old");
    REQUIRE(::chmod(path.c_str(), mode) == 0);
    const bool root = ::geteuid() == 0;
    if (root) {
        REQUIRE(::chown(path.c_str(), 12345, 54321) == 0);
    }
    run(replace(path, "new"));
    CHECK(slurp(path) == "new");
    CHECK(mode_of(path) == mode);
    struct stat info{};
    REQUIRE(::stat(path.c_str(), &info) == 0);
    CHECK(info.st_uid == (root ? 12345 : ::geteuid()));
    CHECK((!root || info.st_gid == 54321));
}

TEST_CASE("atomic_file: a new file has the mode that the umask leaves", "[file][atomic]") {
    const scratch dir;
    const mode_t before = ::umask(027);
    run(replace(dir / "f", "new"));
    ::umask(before);
    CHECK(mode_of(dir / "f") == 0640);
}

TEST_CASE("atomic_file: who may not give the owner away does not make his own program set-user-ID", "[file][atomic]") {
    if (::geteuid() != 0) {
        SKIP("only root can make a file of somebody else's");
    }
    const scratch dir;
    fs::permissions(dir.path(), fs::perms::all);
    spit(dir / "f", "old");
    REQUIRE(::chmod((dir / "f").c_str(), 06755) == 0);
    REQUIRE(::seteuid(65534) == 0);
    std::string error = "no error";
    try {
        run(replace(dir / "f", "new"));
    } catch (const std::exception& e) { error = e.what(); }
    REQUIRE(::seteuid(0) == 0);
    CHECK(error == "no error");
    CHECK(mode_of(dir / "f") == 0755);
    CHECK(slurp(dir / "f") == "new");
}

TEST_CASE("atomic_file: symlinks are followed to their target", "[file][atomic]") {
    const scratch dir;
    fs::create_directory(dir / "a");
    fs::create_directory(dir / "b");
    fs::create_symlink("../b/second", dir / "a/first");
    fs::create_symlink(dir / "b/target", dir / "b/second");
    fs::create_directory_symlink(dir / "a", dir / "c");
    const bool exists = GENERATE(false, true);
    if (exists) {
        spit(dir / "b/target", "old");
    }
    run(replace(dir / "c/first", "new"));
    CHECK(fs::is_symlink(dir / "a/first"));
    CHECK(fs::is_symlink(dir / "b/second"));
    CHECK(!fs::is_symlink(dir / "b/target"));
    CHECK(slurp(dir / "b/target") == "new");
    CHECK(std::distance(fs::directory_iterator{dir / "a"}, {}) == 1);
    CHECK(std::distance(fs::directory_iterator{dir / "b"}, {}) == 2);
    fs::create_symlink("loop", dir / "loop");
    CHECK_THROWS_WITH(run(replace(dir / "loop", "new")),
                      Catch::Matchers::StartsWith("replace ") && Catch::Matchers::ContainsSubstring("symbolic links"));
}

TEST_CASE("atomic_file: a path without a directory is in the current one, wherever that goes", "[file][atomic]") {
    const scratch dir;
    const fs::path before = fs::current_path();
    fs::current_path(dir.path());
    run([](const scratch& d) -> awaitable<void> {
        auto g = co_await atomic_file("f");
        co_await g->write("new");
        fs::current_path("/");
        fs::rename(d.path(), d.path().native() + "-moved");
        co_await g.close();
        fs::rename(d.path().native() + "-moved", d.path());
    }(dir));
    fs::current_path(before);
    CHECK(slurp(dir / "f") == "new");
}

TEST_CASE("atomic_file: only a regular file can be replaced", "[file][atomic][errors]") {
    const no_descriptor_left check;
    const scratch dir;
    fs::create_directory(dir / "d");
    REQUIRE(::mkfifo((dir / "fifo").c_str(), 0600) == 0);
    using Catch::Matchers::ContainsSubstring;
    CHECK_THROWS_WITH(run(replace(dir / "d", "x")), ContainsSubstring((dir / "d").native() + ": Is a directory"));
    CHECK_THROWS_WITH(run(replace(dir / "d/", "x")), ContainsSubstring((dir / "d/").native() + ": Is a directory"));
    CHECK_THROWS_WITH(run(replace(dir / "fifo", "x")), ContainsSubstring("fifo: Invalid argument"));
    CHECK_THROWS_WITH(run(replace("/dev/null", "x")), ContainsSubstring("/dev/null: Invalid argument"));
    CHECK_THROWS_WITH(run(replace(dir / "no/such", "x")), ContainsSubstring("no/such: No such file or directory"));
    CHECK(dir.names() == names{"d", "fifo"});
}

TEST_CASE("atomic_file: on a full disk the old content stays", "[file][atomic][errors]") {
    const no_descriptor_left check;
    const scratch dir;
    const small_disk disk{dir / "disk"};
    if (!disk) {
        SKIP("mounting is not permitted");
    }
    const fs::path path = dir / "disk/f";
    run(replace(path, "old"));
    CHECK_THROWS_WITH(run(replace(path, std::string(100'000, 'x'))), Catch::Matchers::StartsWith("write "));
    CHECK(slurp(path) == "old");
    CHECK(std::distance(fs::directory_iterator{dir / "disk"}, {}) == 1);
}

TEST_CASE("atomic_file: a cleanup that fails leaves the path as it was, and nothing else", "[file][atomic][errors]") {
    const auto how = GENERATE(0, 1);
    const scratch dir;
    spit(dir / "f", "old");
    const auto work = [&]() -> awaitable<void> {
        auto g = co_await atomic_file(dir / "f");
        co_await g->write("new");
        if (how == 0) {
            ::close(g->native_handle());  // behind the library's back
        } else {
            fs::remove(dir / "f");
            fs::create_directory(dir / "f");  // cannot be renamed over
        }
        co_await g.close();
    };
    CHECK_THROWS_WITH(run(work()), Catch::Matchers::StartsWith(how == 0 ? "sync " : "replace "));
    CHECK(dir.names() == names{"f"});
    CHECK(fs::is_directory(dir / "f") == (how == 1));
}

TEST_CASE("atomic_file: on a file system that knows no nameless files, too", "[file][atomic]") {
    const no_descriptor_left check;
    const scratch dir;
    const fs::path path = dir / "f";
    spit(path, "old");
    REQUIRE(::chmod(path.c_str(), 0640) == 0);
    names meanwhile;
    std::string after_failure;
    where_refused(SYS_openat, EOPNOTSUPP, 2, O_TMPFILE & ~O_DIRECTORY, [&] {
        const auto work = [&](bool fail) -> awaitable<void> {
            co_await with(atomic_file(path), [&](file& f) -> awaitable<void> {
                co_await f.write("new");
                meanwhile = dir.names();
                if (fail) {
                    throw std::runtime_error("changed my mind");
                }
            });
        };
        asio::io_context context;
        task failing{context, work(true), slot::connected};
        context.run();
        context.restart();
        after_failure = slurp(path);
        task working{context, work(false), slot::connected};
        context.run();
    });
    CHECK(after_failure == "old");
    CHECK(meanwhile.size() == 2);
    CHECK(dir.names() == names{"f"});
    CHECK(slurp(path) == "new");
    CHECK(mode_of(path) == 0640);
}

TEST_CASE("atomic_file: killed at any moment, the path has an old or a new content whole",
          "[file][atomic][processes]") {
    const scratch dir;
    const fs::path path = dir / "f";
    const auto seed = Catch::getSeed();
    CAPTURE(seed);
    std::mt19937 random{seed};
    const int rounds = sanitized ? 60 : 400;
    std::size_t different = 0;
    std::size_t last = 0;
    for (int round = 0; round < rounds; ++round) {
        int told[2];
        REQUIRE(::pipe(told) == 0);
        const pid_t child = ::fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            replace_for_ever(path, told[1]);
        }
        ::close(told[1]);
        char ready = 0;
        CHECK(::read(told[0], &ready, 1) == 1);
        ::close(told[0]);
        ::usleep(static_cast<useconds_t>(random() % 3000));  // any time will do
        REQUIRE(::kill(child, SIGKILL) == 0);
        int status = 0;
        REQUIRE(::waitpid(child, &status, 0) == child);
        REQUIRE(WIFSIGNALED(status));

        const std::string content = slurp(path);
        REQUIRE(!content.empty());
        REQUIRE(content == std::string(static_cast<std::size_t>(content[0] - 'a' + 1) * 100, content[0]));
        different += content.size() != last ? 1 : 0;
        last = content.size();
    }
    CHECK(different > 1);
    // What a killed program may leave is known by its name.
    for (const std::string& name : dir.names()) {
        CHECK((name == "f" || (name.starts_with(".coraii-") && name.ends_with(".tmp"))));
    }
    run(replace(path, "the end"));
    CHECK(slurp(path) == "the end");
}

TEST_CASE("temp_file: it has a name and can be written and read, and is removed", "[file][temp]") {
    const no_descriptor_left check;
    const auto s = GENERATE(slot::none, slot::connected);
    const auto how = GENERATE(0, 1, 2, 3, 4);
    const scratch dir;
    {
        const auto use = [&](file& f) -> awaitable<void> {
            CHECK(f.path().parent_path() == dir.path());
            CHECK(mode_of(f.path()) == 0600);
            co_await f.write("text\n");
            CHECK(slurp(f.path()) == "text\n");
            f.seek(0);
            const auto line = co_await f.read_line();
            CHECK(line == "text");
            if (how == 3) {
                fs::remove(f.path());
            }
        };
        const auto work = [&]() -> awaitable<void> {
            if (how == 0) {
                co_await with(coraii::temp_file(dir.path()), use);
            } else {
                auto g = co_await coraii::temp_file(dir.path());
                auto another = co_await coraii::temp_file(dir.path());
                CHECK(g->path() != another->path());
                co_await use(*g);
                if (how == 2) {
                    co_await forever();
                }
                if (how == 4) {
                    const file taken = g.release();
                    const std::uint64_t size = co_await another->size();
                    CHECK(size == 0);
                }
            }
        };
        asio::io_context context;
        task t{context, work(), s};
        if (how == 2) {
            context.run_for(50ms);
        } else {
            finish(context);
            CHECK(what(t.error()) == "no error");
        }
    }
    CHECK(dir.names().empty());
}

TEST_CASE("temp_directory: it is removed with all that is in it, and symlinks in it are not followed", "[file][temp]") {
    const no_descriptor_left check;
    const auto s = GENERATE(slot::none, slot::connected);
    const bool context_dies = GENERATE(false, true);
    const scratch dir;
    spit(dir / "kept", "text");
    {
        const auto work = [&]() -> awaitable<void> {
            co_await with(coraii::temp_directory(dir.path()), [&](fs::path& path) -> awaitable<void> {
                CHECK(path.parent_path() == dir.path());
                CHECK(mode_of(path) == 0700);
                fs::create_directories(path / "a/b");
                spit(path / "a/b/f", "text");
                fs::create_directory_symlink(dir.path(), path / "a/link");
                if (context_dies) {
                    co_await forever();
                }
            });
        };
        asio::io_context context;
        task t{context, work(), s};
        if (context_dies) {
            context.run_for(50ms);
        } else {
            finish(context);
            CHECK(what(t.error()) == "no error");
        }
    }
    CHECK(dir.names() == names{"kept"});
}

TEST_CASE("temp_file, temp_directory: what cannot be made says where", "[file][temp][errors]") {
    const scratch dir;
    const auto use_file = [&]() -> awaitable<void> { (void)co_await coraii::temp_file(dir / "no"); };
    const auto use_directory = [&]() -> awaitable<void> { (void)co_await coraii::temp_directory(dir / "no"); };
    const std::string expected = "make a temporary in " + (dir / "no").native() + ": No such file or directory";
    CHECK_THROWS_WITH(run(use_file()), Catch::Matchers::StartsWith(expected));
    CHECK_THROWS_WITH(run(use_directory()), Catch::Matchers::StartsWith(expected));
}
