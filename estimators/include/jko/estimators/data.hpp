#pragma once
/// Data: paths, panels, samples.
#include <jko/core/types.hpp>

#include <vector>

namespace jko::estimators {

/// Observations of one path: values.col(i) in R^d at times[i], strictly increasing; n transitions = times.size() - 1 >= 1.
struct Path {
  Vector times;
  Matrix values;
  void validate() const;  ///< throws one line naming the first bad index
  [[nodiscard]] Index transitions() const { return times.size() - 1; }
};

using Panel = std::vector<Path>;  ///< independent paths

/// Unpaired samples of a population: samples[k] (d x n_k) are independent draws at times[k], strictly increasing, and independent of the others.
struct Snapshots {
  Vector times;
  std::vector<Matrix> samples;
  void validate() const;  ///< at least two snapshots of at least two points each, finite, of one dimension; throws one line
  [[nodiscard]] Index dimension() const { return samples.empty() ? 0 : samples.front().rows(); }
};

}  // namespace jko::estimators
