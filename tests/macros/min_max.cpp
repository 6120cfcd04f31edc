// SPDX-License-Identifier: BSL-1.0
// <windows.h> defines min and max. All that coraii includes comes before, so that only coraii's own text is tested.
#include <boost/asio.hpp>
#include <boost/asio/append.hpp>
#include <boost/asio/experimental/parallel_group.hpp>
#include <boost/container/small_vector.hpp>
#include <boost/smart_ptr/intrusive_ptr.hpp>
#include <boost/smart_ptr/intrusive_ref_counter.hpp>
#include <boost/system/result.hpp>

#include <algorithm>
#include <atomic>
#include <bit>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <functional>
#include <iterator>
#include <limits>
#include <list>
#include <locale>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <ranges>
#include <source_location>
#include <span>
#include <sstream>
#include <string>
#include <thread>
#include <unordered_map>
#include <variant>
#include <vector>

#define min(a, b) (((a) < (b)) ? (a) : (b))
#define max(a, b) (((a) > (b)) ? (a) : (b))

#include <coraii/coraii.hpp>
#include <coraii/file.hpp>
#include <coraii/session.hpp>
#include <coraii/testing.hpp>
#if __has_include(<sqlite3.h>)
#include <coraii/sqlite.hpp>
#endif
#if __has_include(<libpq-fe.h>)
#include <coraii/postgres.hpp>
#endif
