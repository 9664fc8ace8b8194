#pragma once
/// The worst of many instances of one inequality.
#include <jko/analysis/verdict.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace jko::analysis {

/// Keeps the instance left <= right + tolerance with the largest excess over its own tolerance; NaN is the worst of all. An instance that neither holds without the tolerance's
/// help nor has a side above it decides nothing and is only counted: both sides are then below what they are known to.
class Worst {
 public:
  void add(double left, double right, double tolerance, std::size_t index) {
    ++count_;
    if (left > right - tolerance && tolerance >= std::max(std::abs(left), std::abs(right))) {
      ++undecided_;
      return;
    }
    const double excess = left - right - tolerance;
    if (!decided_ || !std::isfinite(excess) || excess > excess_) {
      if (!decided_ || std::isfinite(excess_)) left_ = left, right_ = right, tolerance_ = tolerance, excess_ = excess, index_ = index;
    }
    decided_ = true;
  }
  /// The check; `derivation` says how the tolerance came about.
  [[nodiscard]] Check check(std::string id, std::string claim, std::string source, std::string derivation) const {
    if (count_ > 0 && !decided_) return inconclusive(std::move(id), std::move(claim), std::move(source), "the sides' own errors exceed the sides: " + derivation);
    if (count_ > 1) derivation += fmt::format("; the least favourable of {} instances is number {}", count_, index_);
    if (undecided_ > 0) derivation += fmt::format("; {} instances, both of whose sides are below their errors, are left out", undecided_);
    return check_at_most(std::move(id), std::move(claim), std::move(source), left_, right_, tolerance_, std::move(derivation));
  }

 private:
  double left_ = std::nan(""), right_ = std::nan(""), tolerance_ = std::nan(""), excess_ = 0;
  std::size_t index_ = 0, count_ = 0, undecided_ = 0;
  bool decided_ = false;
};

}  // namespace jko::analysis
