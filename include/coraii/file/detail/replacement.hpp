// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_FILE_DETAIL_REPLACEMENT_HPP
#define CORAII_FILE_DETAIL_REPLACEMENT_HPP

#include "coraii/exit_status.hpp"
#include "coraii/file/detail/descriptor.hpp"
#include "coraii/file/detail/file_scope.hpp"

#include <boost/system/system_error.hpp>

#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <filesystem>
#include <memory>
#include <string>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace coraii::detail {

/// A file that is to take the place of another. Its methods block, and are called on a worker. Whatever happens, it
/// ends with either the new file in place or no trace of it.
class replacement {
public:
    explicit replacement(std::filesystem::path path) : path_{std::move(path)} {}
    replacement(const replacement&) = delete;
    replacement& operator=(const replacement&) = delete;
    ~replacement() {
        discard();
        if (directory_ >= 0) {
            ::close(directory_);
        }
    }

    const std::shared_ptr<descriptor>& handle() const noexcept { return handle_; }

    void begin() {
        const std::filesystem::path target = followed(path_);
        const std::filesystem::path parent = target.has_parent_path() ? target.parent_path() : ".";
        name_ = target.filename().native();
        // By its descriptor: nothing that is renamed or changed meanwhile can lead us elsewhere.
        directory_ = uninterrupted([&] { return ::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
        if (directory_ < 0) {
            fail("open the directory of");
        }
        struct stat old{};
        const bool exists = ::fstatat(directory_, name_.c_str(), &old, AT_SYMLINK_NOFOLLOW) == 0;
        if (!exists && errno != ENOENT) {
            fail("look at");
        }
        if (name_.empty() || name_ == "." || name_ == ".." || (exists && !S_ISREG(old.st_mode))) {
            throw_errno(!exists || S_ISDIR(old.st_mode) ? EISDIR : EINVAL, "replace", path_.native());
        }
        const int fd = create(exists ? 0600 : 0666);
        if (exists) {
            take_after(fd, old);
        }
        handle_->adopt(fd, path_.native());
    }

    /// As the cleanup of a scope. No effect the second time.
    void close(const exit_status& why) {
        if (std::exchange(ended_, true)) {
            return;
        }
        if (why.ok()) {
            try {
                commit();
            } catch (...) {
                discard();
                throw;
            }
        } else {
            discard();
        }
    }

private:
    [[noreturn]] void fail(const char* tried) const { throw_errno(errno, tried, path_.native()); }

    /// Where the last component of `path` leads to, also if nothing is there.
    static std::filesystem::path followed(std::filesystem::path path) {
        constexpr int most_links = 40;  // as the kernel's
        std::error_code is_none;
        for (int i = 0; i < most_links; ++i) {
            const std::filesystem::path link = std::filesystem::read_symlink(path, is_none);
            if (is_none) {
                return path;
            }
            path = path.parent_path() / link;
        }
        throw_errno(ELOOP, "replace", path.native());
    }

    int create(mode_t mode) {
#ifdef O_TMPFILE
        // Without a name there is nothing to be left behind by a program that is killed. It needs the file system's
        // support, and /proc to be given a name later.
        const int nameless =
            uninterrupted([&] { return ::openat(directory_, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, mode); });
        if (nameless >= 0) {
            if (::access(proc_path(nameless).c_str(), F_OK) == 0) {
                return nameless;
            }
            ::close(nameless);
        }
#endif
        for (int i = 0; i < most_names; ++i) {
            std::string name = random_name();
            const int fd = uninterrupted([&] {
                return ::openat(directory_, name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
            });
            if (fd >= 0) {
                temporary_ = std::move(name);
                return fd;
            }
            if (errno != EEXIST) {
                break;
            }
        }
        fail("create a temporary file beside");
    }

    static std::string proc_path(int fd) { return "/proc/self/fd/" + std::to_string(fd); }

    std::string random_name() const {
        constexpr std::size_t most = 200;  // of the 255 bytes a name may have
        return "." + name_.substr(0, most) + "." + random_digits() + ".tmp";
    }

    /// Mode and owner of the file that is replaced, before there is any content to be seen.
    static void take_after(int fd, const struct stat& old) noexcept {
        struct stat made{};
        ::fstat(fd, &made);
        bool same_owner = made.st_uid == old.st_uid && made.st_gid == old.st_gid;
        if (!same_owner) {
            same_owner = ::fchown(fd, old.st_uid, old.st_gid) == 0;
            if (!same_owner) {
                (void)!::fchown(fd, static_cast<uid_t>(-1), old.st_gid);
            }
        }
        // Another owner's program must not become one of ours.
        const mode_t kept = same_owner ? 07777 : 01777;
        ::fchmod(fd, old.st_mode & kept);
    }

    void commit() {
        {
            const descriptor::use use{*handle_};
            if (!use) {
                throw_errno(EBADF, "sync", path_.native());
            }
            if (uninterrupted([&] { return ::fsync(use.fd()); }) != 0) {
                fail("sync");
            }
            if (temporary_.empty()) {
                give_name(use.fd());
            }
        }
        handle_->close();
        if (::renameat(directory_, temporary_.c_str(), directory_, name_.c_str()) != 0) {
            fail("replace");
        }
        temporary_.clear();
        // Some file systems have no such thing for a directory.
        if (uninterrupted([&] { return ::fsync(directory_); }) != 0 && errno != EINVAL && errno != ENOTSUP) {
            fail("sync the directory of");
        }
    }

    void give_name(int fd) {
        const std::string nameless = proc_path(fd);
        for (int i = 0; i < most_names; ++i) {
            std::string name = random_name();
            if (::linkat(AT_FDCWD, nameless.c_str(), directory_, name.c_str(), AT_SYMLINK_FOLLOW) == 0) {
                temporary_ = std::move(name);
                return;
            }
            if (errno != EEXIST) {
                break;
            }
        }
        fail("name the temporary file beside");
    }

    void discard() noexcept {
        ended_ = true;
        if (!temporary_.empty()) {
            ::unlinkat(directory_, temporary_.c_str(), 0);
            temporary_.clear();
        }
        try {
            handle_->close();
        } catch (const boost::system::system_error&) {  // of what is thrown away, nobody wants to know
        }
    }

    std::filesystem::path path_;
    std::string name_;  // of the target, in its directory
    std::string temporary_;  // likewise; empty while it has no name, and again when it is in place
    int directory_ = -1;
    bool ended_ = false;
    std::shared_ptr<descriptor> handle_ = std::make_shared<descriptor>();
};

}  // namespace coraii::detail

#endif
