// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_SESSION_DETAIL_STATEMENT_CACHE_HPP
#define CORAII_SESSION_DETAIL_STATEMENT_CACHE_HPP

#include <cstddef>
#include <list>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace coraii::detail {

/// Prepared statements by their text; the one that was not used for longest is first to go.
template <class Statement>
class statement_cache {
public:
    explicit statement_cache(std::size_t limit) : limit_{limit == 0 ? 1 : limit} {}

    bool full() const noexcept { return used_.size() >= limit_; }
    std::size_t size() const noexcept { return used_.size(); }

    /// Null if there is none.
    Statement* find(std::string_view text) {
        const auto found = by_text_.find(text);
        if (found == by_text_.end()) {
            return nullptr;
        }
        used_.splice(used_.begin(), used_, found->second);
        return &used_.front().second;
    }

    /// Preconditions: not full, and none of that text.
    Statement& add(std::string text, Statement statement) {
        used_.emplace_front(std::move(text), std::move(statement));
        try {
            by_text_.emplace(used_.front().first, used_.begin());
        } catch (...) {
            used_.pop_front();
            throw;
        }
        return used_.front().second;
    }

    /// Preconditions: not empty.
    Statement& oldest() noexcept { return used_.back().second; }
    void drop_oldest() noexcept {
        by_text_.erase(used_.back().first);
        used_.pop_back();
    }

    /// False if there was none.
    bool drop(std::string_view text) noexcept {
        const auto found = by_text_.find(text);
        if (found == by_text_.end()) {
            return false;
        }
        const auto entry = found->second;
        by_text_.erase(found);
        used_.erase(entry);
        return true;
    }

    /// Those of which `f(statement)` is true.
    template <class F>
    void drop_if(F f) {
        for (auto next = used_.begin(); next != used_.end();) {
            const auto entry = next++;
            if (f(entry->second)) {
                by_text_.erase(entry->first);
                used_.erase(entry);
            }
        }
    }

    void clear() noexcept {
        by_text_.clear();
        used_.clear();
    }

private:
    using entries = std::list<std::pair<std::string, Statement>>;

    std::size_t limit_;
    entries used_;  // last used first
    std::unordered_map<std::string_view, typename entries::iterator> by_text_;
};

}  // namespace coraii::detail

#endif
