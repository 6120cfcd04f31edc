// SPDX-License-Identifier: BSL-1.0
// The scopes of files under the fault-injection kit, on a real file system.
#include "coraii/file.hpp"
#include "coraii/testing.hpp"
#include "coraii/with.hpp"
#include "support/files.hpp"
#include "support/sweep.hpp"

#include <boost/asio/awaitable.hpp>

#include <catch2/catch_test_macros.hpp>

#include <cstddef>
#include <filesystem>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>

using namespace test;
using coraii::testing::fault_kind;
using coraii::testing::point;

namespace {

void sweep(const coraii::testing::scenario& scenario, std::function<void()> check) {
    coraii::testing::sweep_options options{.pairs = 20, .check = std::move(check)};
    // Standard library calls of the file system and threads are not ours to try without memory.
    std::erase(options.kinds, fault_kind::no_memory);
    options.executors = {coraii::testing::on_executor::context, coraii::testing::on_executor::strand};
    const auto report = coraii::testing::sweep(scenario, options);
    test::check_sweep(report);
}

}  // namespace

TEST_CASE("sweep: atomic_file has the old or the new content, and leaves nothing beside it", "[file]") {
    const scratch place;
    const auto path = place / "data";
    const std::string before(1000, 'o');
    const std::string after(3000, 'n');
    spit(path, before);
    std::size_t old_ones = 0;
    std::size_t new_ones = 0;
    const auto look = [&] {
        const std::string now = slurp(path);
        ++(now == before ? old_ones : new_ones);
        if ((now != before && now != after) || place.names().size() != 1) {
            throw std::logic_error("neither the old content nor the new, or a stray file");
        }
        spit(path, before);
    };
    sweep(
        [&]() -> awaitable<void> {
            co_await coraii::with(coraii::atomic_file(path), [&](coraii::file& f) -> awaitable<void> {
                co_await point("before the write");
                co_await f.write(after);
                co_await point("after the write");
            });
        },
        look);
    CHECK(old_ones > 20);
    CHECK(new_ones > 0);
}

TEST_CASE("sweep: temp_directory, temp_file, lock_file and open_file leave nothing behind", "[file]") {
    const scratch place;
    const no_descriptor_left checked;
    const auto look = [&] {
        if (place.names().size() > 1) {
            throw std::logic_error("a stray file");
        }
    };
    sweep(
        [&]() -> awaitable<void> {
            co_await coraii::with(
                coraii::lock_file(place / "lock"), coraii::temp_directory(place.path()),
                [&](coraii::file_lock&, std::filesystem::path& directory) -> awaitable<void> {
                    co_await coraii::with(coraii::temp_file(directory), [](coraii::file& f) -> awaitable<void> {
                        co_await f.write("text");
                        co_await coraii::with(coraii::open_file(f.path()), [](coraii::file& g) -> awaitable<void> {
                            co_await point("in the body");
                            if (co_await g.read_all() != "text") {
                                throw std::logic_error("another text");
                            }
                        });
                    });
                });
        },
        look);
    CHECK(place.names().size() == 1);
}
