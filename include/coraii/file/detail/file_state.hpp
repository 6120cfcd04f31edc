// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_FILE_DETAIL_FILE_STATE_HPP
#define CORAII_FILE_DETAIL_FILE_STATE_HPP

#include "coraii/detail/context/registry.hpp"
#include "coraii/detail/workers/worker_pool.hpp"
#include "coraii/file/detail/descriptor.hpp"
#include "coraii/file/detail/file_operation.hpp"
#include "coraii/file/detail/file_ring.hpp"

#include <boost/asio/any_io_executor.hpp>

#include <cerrno>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <limits>
#include <memory>
#include <mutex>
#include <string_view>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <utility>

namespace coraii::detail {

/// Memory that is read ahead into. Who has the claim may write behind `end`: a worker, also when nobody waits for it
/// any more, or the file's user between two calls.
struct read_block {
    explicit read_block(std::size_t size) : data{std::make_unique_for_overwrite<char[]>(size)}, capacity{size} {}

    std::unique_ptr<char[]> data;
    std::size_t capacity;
    std::size_t begin = 0;  // the user's
    std::size_t end = 0;  // the user's, with the claim
    std::size_t arrived = 0;  // behind end; with the claim. Of a stream, it must not be lost
    bool retired = false;  // there is another block now; with the claim

    std::mutex mutex;
    std::condition_variable changed;
    bool claimed = false;
    unsigned reads = 0;  // asked for, of a stream: only the last one need wait for its turn
};

class block_claim {
public:
    block_claim() = default;
    block_claim(block_claim&&) noexcept = default;
    block_claim& operator=(block_claim&&) = delete;
    ~block_claim() {
        if (block_) {
            {
                const std::lock_guard lock{block_->mutex};
                block_->claimed = false;
            }
            block_->changed.notify_all();
        }
    }

    static block_claim attempt(const std::shared_ptr<read_block>& block) {
        block_claim claim;
        if (block) {
            const std::lock_guard lock{block->mutex};
            if (!std::exchange(block->claimed, true)) {
                claim.block_ = block;
            }
        }
        return claim;
    }

    static unsigned announce(read_block& block) {
        unsigned number = 0;
        {
            const std::lock_guard lock{block.mutex};
            number = ++block.reads;
        }
        block.changed.notify_all();
        return number;
    }
    /// None if another read has been announced since.
    static block_claim wait(const std::shared_ptr<read_block>& block, unsigned number) {
        block_claim claim;
        std::unique_lock lock{block->mutex};
        block->changed.wait(lock, [&] { return !block->claimed || block->reads != number; });
        if (block->reads == number) {
            block->claimed = true;
            claim.block_ = block;
        }
        return claim;
    }

    explicit operator bool() const noexcept { return block_ != nullptr; }

private:
    std::shared_ptr<read_block> block_;
};

/// What a file and its operations share. Used on the file's executor only; workers are given what they need of it.
class file_state {
public:
    static constexpr std::size_t block_size = std::size_t{64} * 1024;  // bytes that are read ahead, at least
    static constexpr std::size_t block_capacity = block_size + 4096;  // with what may be left of the one before
    static constexpr std::uint64_t most_offset = (std::numeric_limits<std::int64_t>::max)();  // the kernel's are signed
    static constexpr std::size_t most_at_once = 2 * block_size;  // bytes copied from the page cache by an event loop

    file_state(asio::any_io_executor on, worker_executor pool, std::shared_ptr<descriptor> opened,
               std::filesystem::path named, bool appending)
        : executor{std::move(on)},
          workers{std::move(pool)},
          handle{std::move(opened)},
          path{std::move(named)},
          append{appending},
          positioned{S_ISREG(handle->info().st_mode) || S_ISBLK(handle->info().st_mode)},
          position{append && positioned ? static_cast<std::uint64_t>(handle->info().st_size) : 0} {
        if (positioned && !append) {
            ring.open(executor, handle->fd());
        }
    }

    std::string_view unread() const noexcept {
        return block ? std::string_view{block->data.get() + block->begin, block->end - block->begin}
                     : std::string_view{};
    }
    void consume(std::size_t n) noexcept {
        block->begin += n;
        advance(n);
    }
    void advance(std::size_t n) noexcept {
        if (positioned) {
            position += n;
        }
    }
    void seek(std::uint64_t to) noexcept {
        const std::uint64_t ahead = to - position;  // wraps if it is behind
        if (ahead < unread().size()) {
            block->begin += static_cast<std::size_t>(ahead);
        } else {
            forget_unread();
        }
        position = to;
    }
    /// The scope is being left: the descriptor is its own again, and what may never end is not waited for.
    void leave() {
        left = true;
        block.reset();
        ring.release();
        if (const std::shared_ptr<external_wait> call = stream_call.lock()) {
            call->cancel();
        }
    }
    /// The file is about to differ from what was read ahead. What came from a stream is kept.
    void forget_unread() noexcept {
        if (positioned) {
            block.reset();
        }
    }

    /// Makes room for `block_size` behind what is unread. Without a claim, a worker is still writing there.
    block_claim claim_room() {
        block_claim claim = block_claim::attempt(block);
        const std::string_view kept = unread();
        if (claim && block->capacity - kept.size() >= block_size &&
            (block->capacity <= block_capacity || !kept.empty())) {
            if (block->begin != 0) {
                std::memmove(block->data.get(), kept.data(), kept.size());
                block->begin = 0;
                block->end = kept.size();
            }
            return claim;
        }
        if (block && !claim && !positioned) {
            return claim;
        }
        auto larger = std::make_shared<read_block>(kept.empty() ? block_capacity : 2 * (block_size + kept.size()));
        if (!kept.empty()) {
            std::memcpy(larger->data.get(), kept.data(), kept.size());
        }
        larger->end = kept.size();
        if (claim) {
            block->retired = true;
        }
        block = std::move(larger);
        return block_claim::attempt(block);
    }

    /// Of a stream: takes what a worker has read for a waiter that is gone. True if there was anything.
    bool take_arrived() noexcept {
        const block_claim claim = block_claim::attempt(block);
        if (!claim || block->arrived == 0) {
            return false;
        }
        block->end += std::exchange(block->arrived, 0);
        return true;
    }

    /// Why an operation at `offset` is not even begun; 0 if it may be.
    int refused(std::uint64_t offset = 0) const noexcept {
        return left || handle->is_closing() ? EBADF : offset > most_offset ? EINVAL : 0;
    }

    /// What the kernel has in memory, without blocking; 0 if a worker has to be asked.
    std::size_t read_at_once(const io_vectors& to, std::uint64_t offset) noexcept {
#ifdef RWF_NOWAIT
        if (at_once_works_ && to.bytes <= most_at_once) {
            const descriptor::use use{*handle};
            if (use) {
                const ssize_t n = ::preadv2(use.fd(), to.all.data(), static_cast<int>(to.count),
                                            static_cast<off_t>(offset), RWF_NOWAIT);
                if (n > 0) {
                    return static_cast<std::size_t>(n);
                }
                at_once_works_ = n == 0 || errno == EAGAIN || errno == EINTR;
            }
        }
#endif
        (void)to;
        (void)offset;
        return 0;
    }

    /// The first LF in what is unread, but for its first `searched` bytes, or null.
    const void* end_of_line(std::size_t searched) const noexcept {
        const std::string_view text = unread();
        return searched < text.size() ? std::memchr(text.data() + searched, '\n', text.size() - searched) : nullptr;
    }
    /// What stands before that LF, or before a CR and it. Good until the next operation.
    std::string_view take_line(const void* end) noexcept {
        line_ended = true;
        const char* line = unread().data();
        const auto size = static_cast<std::size_t>(static_cast<const char*>(end) - line);
        consume(size + 1);
        return {line, size != 0 && line[size - 1] == '\r' ? size - 1 : size};
    }

    /// All up to the last LF, of which there is one.
    std::string_view take_lines() noexcept {
        line_ended = true;
        const std::string_view text = unread();
        const std::string_view lines = text.substr(0, text.rfind('\n') + 1);
        consume(lines.size());
        return lines;
    }
    /// What stands behind the last LF of the file. Empty if it ends with one.
    std::string_view take_unended_line() noexcept {
        const std::string_view rest = unread();
        if (!rest.empty()) {
            consume(rest.size());
            line_ended = false;
        }
        return rest;
    }

    asio::any_io_executor executor;
    worker_executor workers;
    std::shared_ptr<descriptor> handle;
    std::filesystem::path path;
    bool append;
    bool left = false;  // its scope: what is begun now is refused
    bool line_ended = true;  // the last line that was read
    bool positioned;  // else a stream: a FIFO, a terminal
    std::uint64_t position;  // of the next byte for the user; unread() begins here
    std::shared_ptr<read_block> block;
    file_ring ring;
    std::weak_ptr<external_wait> stream_call;  // under way; it may be so for ever

private:
    bool at_once_works_ = true;
};

}  // namespace coraii::detail

#endif
