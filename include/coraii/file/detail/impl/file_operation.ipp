// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_FILE_DETAIL_IMPL_FILE_OPERATION_IPP
#define CORAII_FILE_DETAIL_IMPL_FILE_OPERATION_IPP

#include "coraii/detail/workers/offloaded_call.hpp"
#include "coraii/file/detail/file_call.hpp"
#include "coraii/file/detail/file_operation.hpp"
#include "coraii/file/detail/file_state.hpp"

#include <boost/asio/buffer.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

namespace coraii::detail {

void start_read(io_handler handler, const shared_file& file, std::optional<std::uint64_t> at, const io_vectors& to) {
    file_state& f = *file;
    if (const int refused = f.refused(at.value_or(f.position)); refused != 0 || to.bytes == 0) {
        return post_result(std::move(handler), errno_code(refused), 0);
    }
    if (!at && !f.positioned) {
        f.take_arrived();
    }
    if (!at && !f.unread().empty()) {
        const std::size_t n = to.assign(f.unread());
        f.consume(n);
        return post_result(std::move(handler), {}, n);
    }
    if (!at && !f.positioned) {
        f.claim_room();
        read_stream_call read{f.handle, f.block};
        return start_call(std::move(handler), f, on_cancel::leave, std::move(read), [file, to](call_result& result) {
            file->take_arrived();
            if (!result.error) {
                result.bytes = to.assign(file->unread());
                file->consume(result.bytes);
            }
        });
    }
    const std::uint64_t offset = at ? *at : f.position;
    const bool moves = !at;
    if (f.positioned) {
        if (const std::size_t n = f.read_at_once(to, offset); n != 0) {
            f.advance(moves ? n : 0);
            return post_result(std::move(handler), {}, n);
        }
    }
    auto finish = [file, moves](call_result& result) { file->advance(moves ? result.bytes : 0); };
    if (f.ring) {
        finishing_handler<decltype(finish)> done{std::move(handler), nullptr, std::move(finish)};
        return f.ring.read_at(offset, to.as_buffers<asio::mutable_buffer>(), std::move(done));
    }
    start_call(std::move(handler), f, on_cancel::withdraw, read_call{f.handle, to, offset}, std::move(finish));
}

void start_write(io_handler handler, const shared_file& file, std::optional<std::uint64_t> at, const io_vectors& from,
                 bool whole) {
    file_state& f = *file;
    if (const int refused = f.refused(at.value_or(f.position)); refused != 0 || from.bytes == 0) {
        return post_result(std::move(handler), errno_code(refused), 0);
    }
    f.forget_unread();
    if (!at && !f.positioned) {
        write_stream_call write{f.handle, from.joined(whole ? from.bytes : file_state::block_size), whole};
        return start_call(std::move(handler), f, on_cancel::leave, std::move(write), [](call_result&) {});
    }
    const std::uint64_t offset = at ? *at : f.position;
    const bool moves = !at;
    auto finish = [file, moves](call_result& result) {
        file->forget_unread();  // what was read meanwhile may be old
        if (moves) {
            file->position =
                result.position >= 0 ? static_cast<std::uint64_t>(result.position) : file->position + result.bytes;
        }
    };
    if (f.ring && !whole) {
        finishing_handler<decltype(finish)> done{std::move(handler), nullptr, std::move(finish)};
        return f.ring.write_at(offset, from.as_buffers<asio::const_buffer>(), std::move(done));
    }
    write_call write{f.handle, from, offset, whole, f.append && moves};
    start_call(std::move(handler), f, on_cancel::withdraw, write, std::move(finish));
}

}  // namespace coraii::detail

#endif
