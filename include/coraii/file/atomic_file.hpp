// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_FILE_ATOMIC_FILE_HPP
#define CORAII_FILE_ATOMIC_FILE_HPP

#include "coraii/async_scope.hpp"
#include "coraii/detail/coroutine/platform.hpp"
#include "coraii/file/handle.hpp"

#include <filesystem>
#include <optional>
#include <source_location>
#include <sys/types.h>

namespace coraii {

/// How `atomic_file` replaces a file.
struct atomic_file_options {
    /// Of a file that was not there, exactly: the umask does not count. Without, 0666 less the umask. For a secret: 0600.
    std::optional<::mode_t> mode{};
};

/// A new content for `path`, all or nothing: an empty file to be written, that takes the place of `path` when the use
/// went well (`exit_status::ok()`: the body of `with` returned, or `close()` was called).
///
///     coraii::file& f = co_await coraii::enter(coraii::atomic_file("token", {.mode = 0600}));
///     co_await f.write(secret);  // never to be seen by others, nor half
///
/// Effects: setup makes a temporary file in the directory of `path` (of its target, if it is a symlink; one that leads
///   nowhere is followed, too), without a name where the file system can (O_TMPFILE), else exclusively as
///   ".coraii-<16 hex digits>.tmp". It has the permissions of the file to be replaced, and its owner and group where we
///   may give them away; else it is without set-user-ID and set-group-ID, and its group may do no more than everybody. ACLs and
///   extended attributes are not kept, and other hard links of the old file stay what they are. The cleanup, if all went
///   well, makes fsync(2) of it, closes it, renames it over `path`, and makes fsync(2) of the directory, if that may be read:
///   rename(2) is atomic, so at any moment, and after a crash, `path` has the old or the new content whole.
///   Otherwise (failed, cancelled, abandoned) `path` is untouched and the temporary file is gone.
///   A program that is killed leaves `path` whole. Only if it is killed between giving the temporary file its name and
///   renaming it (without O_TMPFILE: at any moment) is that name left behind.
/// Preconditions: a path that is not empty, without a NUL, else `std::invalid_argument` from this function. A relative one is
///   made absolute at once.
/// Cancellation: of setup, at once. The cleanup is shielded; should its `cleanup_timeout` come while it is replacing,
///   the system calls go on alone, and either may be the outcome.
/// Errors: `boost::system::system_error` with the errno and the path. In setup: EISDIR for a directory, EINVAL for what
///   is no regular file or has no name, EBUSY for a mount point (a file that is bind-mounted), EACCES (also for a symlink that
///   open(2) would not follow), EPERM if the permissions cannot be given, ENOENT for a missing directory, EROFS and others. In
///   the cleanup, those of fsync(2), close(2), linkat(2) and rename(2): `path` is then untouched; but if it is the
///   directory's fsync that fails, the new content is in place and may not survive a crash. A write that fails, fails the
///   body, unless you catch it there.
/// Lifetime: in a dying context the cleanup does its work on the spot. In a child of the process (fork) it replaces nothing,
///   with EPERM if all went well.
/// Thread safety: of several at a time on one path, the last to end wins. To read, change and write, use `lock_file`.
[[nodiscard]] CORAII_DECL async_scope<file> atomic_file(std::filesystem::path path, atomic_file_options options = {},
                                                        std::source_location where = std::source_location::current());

}  // namespace coraii

#if defined(CORAII_HEADER_ONLY)
#include "coraii/file/impl/atomic_file.ipp"
#endif

#endif
