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
#include <optional>
#include <string>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace coraii::detail {

/// A file that is to take the place of another. Its methods block, and are called on a worker. Whatever happens, it
/// ends with either the new file in place or no trace of it.
class replacement {
public:
    explicit replacement(std::filesystem::path path, std::optional<mode_t> mode = {})
        : path_{std::move(path)}, mode_{mode} {}
    replacement(const replacement&) = delete;
    replacement& operator=(const replacement&) = delete;
    ~replacement() {
        discard();
        if (directory_ >= 0) {
            ::close(directory_);
        }
    }

    const std::shared_ptr<descriptor>& handle() const noexcept { return handle_; }

    /// What may fail at the end is tried now, where it can be.
    void begin() {
        const std::filesystem::path target = followed();
        open_directory(target.has_parent_path() ? target.parent_path() : ".");
        name_ = target.filename().native();
        struct stat old{};
        const bool exists = ::fstatat(directory_, name_.c_str(), &old, AT_SYMLINK_NOFOLLOW) == 0;
        if (!exists && errno != ENOENT) {
            fail("look at");
        }
        if (name_.empty() || name_ == "." || name_ == ".." || (exists && !S_ISREG(old.st_mode))) {
            throw_errno(!exists || S_ISDIR(old.st_mode) ? EISDIR : EINVAL, "replace", path_.native());
        }
        if (exists && is_mounted()) {
            throw_errno(EBUSY, "replace", path_.native());
        }
        const int fd = create(exists ? 0600 : mode_.value_or(0666));
        handle_->adopt(fd, path_.native());
        if (exists) {
            take_after(fd, old);
        } else if (mode_ && ::fchmod(fd, *mode_) != 0) {  // whatever the umask is
            fail("set the mode of");
        }
    }

    /// As the cleanup of a scope. No effect the second time.
    void close(const exit_status& why) {
        if (std::exchange(ended_, true)) {
            return;
        }
        if (!why.ok()) {
            return discard();
        }
        try {
            commit();
        } catch (...) {
            discard();
            throw;
        }
    }

private:
    [[noreturn]] void fail(const char* tried) const { throw_errno(errno, tried, path_.native()); }

    /// Where the last component of the path leads to, also if nothing is there. Only where open(2) would go.
    std::filesystem::path followed() const {
        struct stat there{};
        const bool exists = ::stat(path_.c_str(), &there) == 0;
        if (!exists && errno != ENOENT) {
            fail("replace");
        }
        constexpr int most_links = 40;  // as the kernel's
        std::filesystem::path path = path_;
        std::error_code is_none;
        for (int i = 0; i < most_links; ++i) {
            const std::filesystem::path link = std::filesystem::read_symlink(path, is_none);
            if (is_none) {
                // A link of /proc leads to what has no name, a pipe for one.
                struct stat found{};
                if (exists && (::stat(path.c_str(), &found) != 0 || found.st_dev != there.st_dev ||
                               found.st_ino != there.st_ino)) {
                    throw_errno(EINVAL, "replace", path_.native());
                }
                return path;
            }
            path = path.parent_path() / link;
        }
        throw_errno(ELOOP, "replace", path_.native());
    }

    /// By its descriptor: nothing that is renamed or changed meanwhile can lead us elsewhere.
    void open_directory(const std::filesystem::path& directory) {
        constexpr int flags = O_DIRECTORY | O_CLOEXEC;
        directory_ = uninterrupted([&] { return ::open(directory.c_str(), O_RDONLY | flags); });
#ifdef O_PATH
        if (directory_ < 0 && errno == EACCES) {  // it may be one to write in, not to read
            directory_ = uninterrupted([&] { return ::open(directory.c_str(), O_PATH | flags); });
        }
#endif
        if (directory_ < 0) {
            fail("open the directory of");
        }
    }

    /// Nothing can be renamed over a mount point.
    bool is_mounted() const noexcept {
#ifdef STATX_ATTR_MOUNT_ROOT
        struct statx what{};
        return ::statx(directory_, name_.c_str(), AT_SYMLINK_NOFOLLOW, 0, &what) == 0 &&
               (what.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
#else
        return false;
#endif
    }

    int create(mode_t mode) {
#ifdef O_TMPFILE
        // Without a name there is nothing to be left behind by a program that is killed. It needs the file system's
        // support, and /proc and links to be given a name later: the first one shows that.
        const int first = nameless(mode);
        if (first >= 0) {
            const int other = link_under_a_name(first) ? nameless(mode) : -1;
            ::close(first);
            if (!temporary_.empty()) {
                ::unlinkat(directory_, temporary_.c_str(), 0);
                temporary_.clear();
            }
            if (other >= 0) {
                return other;
            }
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

#ifdef O_TMPFILE
    int nameless(mode_t mode) const noexcept {
        return uninterrupted([&] { return ::openat(directory_, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, mode); });
    }
#endif

    // Short, and ASCII: some file systems take no more than 143 bytes, or only what is UTF-8.
    static std::string random_name() { return ".coraii-" + random_digits() + ".tmp"; }

    /// Mode and owner of the file that is replaced, before there is any content to be seen. Nobody gets at the new file who
    /// could not get at the old one.
    void take_after(int fd, const struct stat& old) const {
        struct stat made{};
        if (::fstat(fd, &made) != 0) {
            fail("look at");
        }
        constexpr auto same = static_cast<uid_t>(-1);
        const bool same_group = made.st_gid == old.st_gid || ::fchown(fd, same, old.st_gid) == 0;
        mode_t mode = old.st_mode & 0777;
        if (!same_group) {  // another group has no more than everybody
            mode &= ~static_cast<mode_t>(070) | ((old.st_mode & 07) << 3);
        }
        // First: who has given the file away may not be allowed to change it.
        if (::fchmod(fd, mode) != 0) {
            fail("set the mode of");
        }
        const bool same_owner = made.st_uid == old.st_uid || ::fchown(fd, old.st_uid, static_cast<gid_t>(-1)) == 0;
        // Another owner's program must not become one of ours. Last: a new owner takes these bits away.
        const mode_t special = old.st_mode & (same_owner && same_group ? 07000 : 01000);
        if (special != 0 && ::fchmod(fd, mode | special) != 0) {
            fail("set the mode of");
        }
    }

    void commit() {
        if (!handle_->is_ours()) {
            throw_errno(EPERM, "replace, in a child of the process that opened it,", path_.native());
        }
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
        // Some file systems have no such thing for a directory; one that may not be read cannot be synced.
        if (uninterrupted([&] { return ::fsync(directory_); }) != 0 && errno != EINVAL && errno != ENOTSUP &&
            errno != EBADF) {
            fail("sync the directory of");
        }
    }

    void give_name(int fd) {
        if (!link_under_a_name(fd)) {
            fail("name the temporary file beside");
        }
    }

    bool link_under_a_name(int fd) {
        const std::string nameless = "/proc/self/fd/" + std::to_string(fd);
        for (int i = 0; i < most_names; ++i) {
            std::string name = random_name();
            if (::linkat(AT_FDCWD, nameless.c_str(), directory_, name.c_str(), AT_SYMLINK_FOLLOW) == 0) {
                temporary_ = std::move(name);
                return true;
            }
            if (errno != EEXIST) {
                break;
            }
        }
        return false;
    }

    void discard() noexcept {
        ended_ = true;
        if (!temporary_.empty() && handle_->is_ours()) {
            ::unlinkat(directory_, temporary_.c_str(), 0);
        }
        temporary_.clear();
        try {
            handle_->close();
        } catch (const boost::system::system_error&) {  // of what is thrown away, nobody wants to know
        }
    }

    std::filesystem::path path_;
    std::optional<mode_t> mode_;  // of a new file
    std::string name_;  // of the target, in its directory
    std::string temporary_;  // likewise; empty while it has no name, and again when it is in place
    int directory_ = -1;
    bool ended_ = false;
    std::shared_ptr<descriptor> handle_ = std::make_shared<descriptor>();
};

}  // namespace coraii::detail

#endif
