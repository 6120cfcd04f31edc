// SPDX-License-Identifier: BSL-1.0
// A class that blocks, as programs have them: opened by `open`, closed by `close`, with five methods between.
#ifndef CORAII_TESTS_CONVERT_SCOPE_STORE_HPP
#define CORAII_TESTS_CONVERT_SCOPE_STORE_HPP

#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace app {

inline int open_stores = 0;

class store {
public:
    struct row {
        explicit row(int number) : number{number} {}
        int number;
    };
    enum class order { up, down };

    explicit store(int limit = 3) : limit_{limit} {}
    store(const store&) = delete;
    store& operator=(const store&) = delete;
    ~store() = default;

    void open(const std::string& path, const char* mode = "r") {
        if (path.empty()) {
            throw std::runtime_error("no path");
        }
        path_ = path + ":" + mode;
        ++open_stores;
    }
    void close() {
        --open_stores;
        closed_on = std::this_thread::get_id();
    }

    void put(std::string_view key, row value) {
        if (size_ == limit_) {
            throw std::runtime_error("full");
        }
        rows_.emplace(std::string{key}, value);
        ++size_;
    }
    row get(const std::string& key) const { return rows_.at(key); }
    std::vector<std::string> keys(order wanted = order::up) const {
        std::vector<std::string> all;
        for (const auto& [key, value] : rows_) {
            all.insert(wanted == order::up ? all.end() : all.begin(), key);
        }
        return all;
    }
    std::thread::id where() { return std::this_thread::get_id(); }
    int size() const noexcept { return size_; }

    template <class F>
    void for_each(F f) {
        for (auto& [key, value] : rows_) {
            f(key, value);
        }
    }
    const std::string& path() const { return path_; }

    inline static std::thread::id closed_on{};

private:
    std::map<std::string, row> rows_{};
    std::string path_{};
    int limit_;
    int size_ = 0;
};

// What cannot be converted.
template <class T>
class of_any {};
class never_ends {
    ~never_ends();
};
class nobody_makes {
    nobody_makes();
};
class outer {
public:
    class inner {};
};

}  // namespace app

#endif
