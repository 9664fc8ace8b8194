#pragma once
/// Progress on a terminal and Ctrl-C; checks of numbers on the command line.
#include <jko/core/progress.hpp>

#include <CLI/CLI.hpp>

#include <chrono>

namespace jko::cli {

/// Draws one line (done, total, rate, time left) on standard error when it is a terminal; asks to stop after SIGINT or SIGTERM.
class Console : public Observer {
 public:
  Console();  ///< installs the signal handlers
  ~Console() override;
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;
  void progress(std::string_view what, double done, double total) override;
  [[nodiscard]] bool stop_requested() override;

 private:
  bool terminal_;
  bool drawn_ = false;
  double before_ = 0, begin_done_ = 0;
  std::chrono::steady_clock::time_point begin_, last_;
};

/// For options: CLI11's own print the largest double.
[[nodiscard]] CLI::Validator positive_number();      ///< > 0
[[nodiscard]] CLI::Validator non_negative_number();  ///< >= 0

}  // namespace jko::cli
