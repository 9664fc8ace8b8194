#pragma once
/// The worst of many instances of one inequality.
#include <jko/analysis/verdict.hpp>

#include <fmt/format.h>

#include <cmath>

namespace jko::analysis {

/// Keeps the instance left <= right + tolerance with the largest excess over its own tolerance; NaN is the worst of all.
class Worst {
 public:
  void add(double left, double right, double tolerance, std::size_t index) {
    const double excess = left - right - tolerance;
    if (count_ == 0 || !std::isfinite(excess) || excess > excess_) {
      if (count_ == 0 || std::isfinite(excess_)) left_ = left, right_ = right, tolerance_ = tolerance, excess_ = excess, index_ = index;
    }
    ++count_;
  }
  /// The check; `derivation` says how the tolerance came about.
  [[nodiscard]] Check check(std::string id, std::string claim, std::string source, std::string derivation) const {
    if (count_ > 1) derivation += fmt::format("; the least favourable of {} instances is number {}", count_, index_);
    return check_at_most(std::move(id), std::move(claim), std::move(source), left_, right_, tolerance_, std::move(derivation));
  }

 private:
  double left_ = std::nan(""), right_ = std::nan(""), tolerance_ = std::nan(""), excess_ = 0;
  std::size_t index_ = 0, count_ = 0;
};

}  // namespace jko::analysis
