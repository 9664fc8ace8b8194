#include "console.hpp"

#include <fmt/format.h>

#include <atomic>
#include <csignal>
#include <cstdio>

#include <unistd.h>

namespace jko::cli {
namespace {

CancellationFlag interrupted;
static_assert(std::atomic<bool>::is_always_lock_free);  // so that the handler may raise it

extern "C" void on_signal(int) { interrupted.raise(); }

}  // namespace

Console::Console() : terminal_(::isatty(STDERR_FILENO) != 0), begin_(std::chrono::steady_clock::now()), last_(begin_) {
  std::signal(SIGINT, on_signal);
  std::signal(SIGTERM, on_signal);
}

Console::~Console() {
  if (drawn_) fmt::print(stderr, "\r\x1b[K");
}

void Console::progress(std::string_view what, double done, double total) {
  const auto now = std::chrono::steady_clock::now();
  if (!terminal_ || now - last_ < std::chrono::milliseconds(100)) return;
  last_ = now;
  drawn_ = true;
  if (done < before_) begin_done_ = 0;                        // another piece of work
  if (begin_done_ == 0) begin_ = now, begin_done_ = done;     // what a resumed run found finished is no speed
  before_ = done;
  const double elapsed = std::chrono::duration<double>(now - begin_).count(), rate = elapsed > 0 ? (done - begin_done_) / elapsed : 0;
  fmt::print(stderr, "\r\x1b[K{} {:.7g} of {:.7g}, {:.3g}/s", what, done, total, rate);
  if (rate > 0) fmt::print(stderr, ", {:.0f} s left", (total - done) / rate);
  std::fflush(stderr);
}

bool Console::stop_requested() { return interrupted.raised(); }

namespace {

CLI::Validator number_check(bool zero) {
  return {[zero](std::string& text) {
            double value = 0;
            if (!CLI::detail::lexical_cast(text, value)) return fmt::format("'{}' is no number", text);
            if (value > 0 || (zero && value == 0)) return std::string();
            return fmt::format("is {}, but must be {}", text, zero ? ">= 0" : "> 0");
          },
          zero ? "NUMBER >= 0" : "NUMBER > 0"};
}

}  // namespace

CLI::Validator positive_number() { return number_check(false); }
CLI::Validator non_negative_number() { return number_check(true); }

}  // namespace jko::cli
