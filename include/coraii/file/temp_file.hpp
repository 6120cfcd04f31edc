// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_FILE_TEMP_FILE_HPP
#define CORAII_FILE_TEMP_FILE_HPP

#include "coraii/async_scope.hpp"
#include "coraii/detail/coroutine/platform.hpp"
#include "coraii/file/handle.hpp"

#include <filesystem>
#include <source_location>

namespace coraii {

/// A new, empty file of its own, to be read and written; `path()` names it. The cleanup closes and removes it.
///
/// Effects: makes "coraii-<16 hex digits>" in `directory`, exclusively, with the mode 0600. That it has been removed or
///   renamed by the time of the cleanup is no error. A directory that has its name by then is not removed.
/// Preconditions: a directory that is not empty, without a NUL, else `std::invalid_argument` from this function.
///   A relative one is made absolute at once.
/// Cancellation: of setup, at once; a file that is made nevertheless is removed.
/// Errors: `boost::system::system_error` with the errno of open(2), close(2) or unlink(2), and the path.
///   `temp_directory_path()` throws `std::filesystem::filesystem_error` if $TMPDIR is no directory.
/// Lifetime: in a dying context it is removed on the spot. A child of the process (fork) does not remove it. A program that is
///   killed leaves it behind.
[[nodiscard]] CORAII_DECL async_scope<file> temp_file(
    std::filesystem::path directory = std::filesystem::temp_directory_path(),
    std::source_location where = std::source_location::current());

/// A new, empty directory of its own. The cleanup removes it, with everything in it.
///
/// Effects: makes "coraii-<16 hex digits>" in `parent`, with the mode 0700. Symlinks in it are removed, not followed.
/// Preconditions, Cancellation, Errors and Lifetime: as `temp_file`. What cannot be removed does not keep the rest; the error
///   names the first. A tree needs a descriptor for each level of its depth: one that is deeper is EMFILE. What is mounted in it
///   is removed, too, except the mount point (EBUSY).
[[nodiscard]] CORAII_DECL async_scope<std::filesystem::path> temp_directory(
    std::filesystem::path parent = std::filesystem::temp_directory_path(),
    std::source_location where = std::source_location::current());

}  // namespace coraii

#if defined(CORAII_HEADER_ONLY)
#include "coraii/file/impl/temp_file.ipp"
#endif

#endif
