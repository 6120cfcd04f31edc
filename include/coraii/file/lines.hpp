// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_FILE_LINES_HPP
#define CORAII_FILE_LINES_HPP

#include "coraii/detail/coroutine/platform.hpp"  // first: it says what is missing

/// Several lines of a file.

#include <cstddef>
#include <cstring>
#include <iterator>
#include <string_view>

namespace coraii {

/// The lines that `file::read_lines` gives: a range of `std::string_view`, without their LF or CRLF.
///
/// Lifetime: the lines are in the file's memory. They are good until the next operation on the file, or the end of its
///   scope.
/// Thread safety: as of `std::string_view`.
class file_lines {
public:
    /// Goes from one line to the next.
    class iterator {
    public:
        using iterator_concept = std::forward_iterator_tag;  ///< it can be gone over again
        using iterator_category = std::input_iterator_tag;  ///< in C++17's words, since it gives a value
        using value_type = std::string_view;  ///< a line
        using reference = std::string_view;  ///< a line, by value
        using difference_type = std::ptrdiff_t;  ///< between two

        iterator() = default;

        std::string_view operator*() const noexcept { return {at_, size_}; }  ///< the line
        /// To the next line.
        iterator& operator++() noexcept {
            at_ = next_;
            find_end();
            return *this;
        }
        /// To the next line; gives the one before.
        iterator operator++(int) noexcept {
            const iterator before = *this;
            ++*this;
            return before;
        }
        /// At the same line.
        friend bool operator==(const iterator& a, const iterator& b) noexcept { return a.at_ == b.at_; }

    private:
        friend class file_lines;
        iterator(const char* at, const char* stop) noexcept : at_{at}, stop_{stop} { find_end(); }

        void find_end() noexcept {
            const auto left = static_cast<std::size_t>(stop_ - at_);
            const void* const end = left != 0 ? std::memchr(at_, '\n', left) : nullptr;
            if (end == nullptr) {
                size_ = left;
                next_ = stop_;
                return;
            }
            size_ = static_cast<std::size_t>(static_cast<const char*>(end) - at_);
            next_ = at_ + size_ + 1;
            if (size_ != 0 && at_[size_ - 1] == '\r') {
                --size_;
            }
        }

        const char* at_ = nullptr;
        const char* stop_ = nullptr;
        const char* next_ = nullptr;
        std::size_t size_ = 0;
    };

    file_lines() = default;
    /// Of `text`, which is good for as long as they are.
    explicit file_lines(std::string_view text) noexcept : text_{text} {}

    /// True at the end of the file.
    bool empty() const noexcept { return text_.empty(); }
    iterator begin() const noexcept { return {text_.data(), text_.data() + text_.size()}; }  ///< the first
    /// Behind the last.
    iterator end() const noexcept { return {text_.data() + text_.size(), text_.data() + text_.size()}; }

private:
    std::string_view text_;
};

}  // namespace coraii

#endif
