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

}  // namespace jko::estimators
