// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_FILE_DETAIL_TREE_REMOVAL_HPP
#define CORAII_FILE_DETAIL_TREE_REMOVAL_HPP

#include "coraii/file/detail/descriptor.hpp"

#include <cerrno>
#include <dirent.h>
#include <fcntl.h>
#include <filesystem>
#include <memory>
#include <sys/stat.h>
#include <unistd.h>

namespace coraii::detail {

/// Removes a directory with all that is in it. What cannot be removed does not keep the rest; the first error is told, with its
/// path. Goes by descriptors, and follows no symlink, also if somebody changes the tree meanwhile. Blocks.
class tree_removal {
public:
    /// `name` in the directory `parent`; its whole path is for errors. That it is gone already is no error.
    void remove_directory(int parent, const std::filesystem::path& name) { remove_directory(parent, name, name); }

    void remove_entry(int parent, const std::filesystem::path& name, const std::filesystem::path& path, int flags = 0) {
        if (::unlinkat(parent, name.c_str(), flags) != 0 && errno != ENOENT) {
            keep_error(path);
        }
    }

    void throw_first_error() const {
        if (errors_ != 0) {
            throw_errno(error_, "remove", culprit_.native());
        }
    }

private:
    struct close_directory {
        void operator()(DIR* directory) const noexcept { ::closedir(directory); }
    };

    void remove_directory(int parent, const std::filesystem::path& name, const std::filesystem::path& path) {
        const int fd = uninterrupted(
            [&] { return ::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW); });
        const std::unique_ptr<DIR, close_directory> directory{fd >= 0 ? ::fdopendir(fd) : nullptr};
        if (!directory) {
            if (errno != ENOENT) {
                keep_error(path);
            }
            if (fd >= 0) {
                ::close(fd);
            }
            return;
        }
        const unsigned before = errors_;
        while (const dirent* entry = ::readdir(directory.get())) {
            const std::filesystem::path child{entry->d_name};
            if (child == "." || child == "..") {
                continue;
            }
            struct stat what{};
            if (::fstatat(fd, child.c_str(), &what, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(what.st_mode)) {
                remove_directory(fd, child, path / child);
            } else {
                remove_entry(fd, child, path / child);
            }
        }
        if (errors_ == before) {  // else it is not empty
            remove_entry(parent, name, path, AT_REMOVEDIR);
        }
    }

    void keep_error(const std::filesystem::path& path) {
        if (errors_++ == 0) {
            error_ = errno;
            culprit_ = path;
        }
    }

    unsigned errors_ = 0;
    int error_ = 0;  // the first
    std::filesystem::path culprit_;
};

}  // namespace coraii::detail

#endif
