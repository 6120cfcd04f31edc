// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_TESTING_DETAIL_LAST_WORDS_HPP
#define CORAII_TESTING_DETAIL_LAST_WORDS_HPP

#include "coraii/testing/allocations.hpp"

#include <array>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <signal.h>
#include <string>
#include <utility>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CORAII_TESTING_DEATH_CALLBACK
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define CORAII_TESTING_DEATH_CALLBACK
#endif
#endif

#if !defined(_WIN32)
#define CORAII_TESTING_SIGNALS
#endif

#if defined(CORAII_TESTING_DEATH_CALLBACK)
extern "C" void __sanitizer_set_death_callback(void (*callback)());  // NOLINT: the sanitizers' name
#endif

namespace coraii::testing::detail {

/// A text that is printed if the program ends while it exists: by std::terminate, by a signal (not on Windows), by a
/// sanitizer. What else would have happened then, happens after it.
class last_words {
public:
    explicit last_words(std::string text) : text_{std::move(text)}, before_{std::exchange(current_, this)} {
        if (before_ == nullptr) {
            terminate_before_ = std::set_terminate(on_terminate);
#if defined(CORAII_TESTING_DEATH_CALLBACK)
            __sanitizer_set_death_callback(speak);
#endif
#if defined(CORAII_TESTING_SIGNALS)
            struct sigaction ours{};
            ours.sa_sigaction = on_signal;
            ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
            for (std::size_t i = 0; i < signals.size(); ++i) {
                ::sigaction(signals[i], &ours, &signals_before_[i]);
            }
#endif
        }
    }
    last_words(const last_words&) = delete;
    last_words& operator=(const last_words&) = delete;
    ~last_words() {
        current_ = before_;
        if (before_ == nullptr) {
            restore();
        }
    }

private:
    static void restore() {
        std::set_terminate(terminate_before_);
#if defined(CORAII_TESTING_DEATH_CALLBACK)
        __sanitizer_set_death_callback(nullptr);
#endif
#if defined(CORAII_TESTING_SIGNALS)
        for (std::size_t i = 0; i < signals.size(); ++i) {
            ::sigaction(signals[i], &signals_before_[i], nullptr);
        }
#endif
    }

    static void speak() {
        if (const last_words* const said = std::exchange(current_, nullptr)) {
            std::fputs(said->text_.c_str(), stderr);
            std::fflush(stderr);
        }
    }

#if defined(CORAII_TESTING_SIGNALS)
    static constexpr std::array signals{SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};
    inline static std::array<struct sigaction, signals.size()> signals_before_{};

    // What it was for before gets it next, a sanitizer's report for one: where an instruction was at fault, by its being
    // executed again.
    static void on_signal(int number, siginfo_t* info, void*) {
        const bool comes_again = info->si_code > 0;
        speak();
        restore();
        if (!comes_again) {
            ::raise(number);
        }
    }
#endif

    [[noreturn]] static void on_terminate() {
        const allocations::unobserved quiet;
        const std::terminate_handler next = terminate_before_;
        speak();
        restore();
        if (next != nullptr) {
            next();
        }
        std::abort();
    }

    inline static thread_local constinit last_words* current_ = nullptr;
    inline static std::terminate_handler terminate_before_ = nullptr;

    const std::string text_;
    last_words* before_;
};

}  // namespace coraii::testing::detail

#endif
