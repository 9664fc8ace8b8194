#pragma once
/// Watching and stopping long work.
#include <atomic>
#include <string_view>

namespace jko {

/// Receives progress and may ask to stop; all calls come from the thread that runs the work.
class Observer {
 public:
  virtual ~Observer() = default;
  /// `done` of `total` units of `what` are finished.
  virtual void progress(std::string_view what, double done, double total) { (void)what, (void)done, (void)total; }
  /// Work stops at the next safe point with Status::cancelled when this is true.
  [[nodiscard]] virtual bool stop_requested() { return false; }
};

/// A flag that a signal handler or another thread may raise.
class CancellationFlag {
 public:
  void raise() noexcept { raised_.store(true, std::memory_order_relaxed); }
  [[nodiscard]] bool raised() const noexcept { return raised_.load(std::memory_order_relaxed); }

 private:
  std::atomic<bool> raised_{false};
};

}  // namespace jko
