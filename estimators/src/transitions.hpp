#pragma once
/// The transitions of a one-dimensional panel, and what every likelihood makes of them.
#include <jko/estimators/likelihood.hpp>
#include <jko/models/diffusion.hpp>

#include <span>

namespace jko::estimators {

/// All paths end to end: transition i goes from x[start[i]] to x[start[i] + 1] in dt[i].
struct Transitions {
  Vector x;                 ///< all observations
  std::vector<Index> start;
  Vector dt;
  std::vector<std::pair<Index, Index>> paths;  ///< first and last observation of each
  explicit Transitions(const Panel& panel);
  [[nodiscard]] Index size() const { return dt.size(); }
  [[nodiscard]] Vector from() const;
  [[nodiscard]] Vector next() const;
};

/// log p of every transition with its derivatives; log_density -infinity marks an inadmissible one.
struct Terms {
  Vector log_density;
  Matrix scores;         ///< P x n
  Matrix expected;       ///< empty: the sum of the scores' outer products stands in for it
  Vector error;          ///< estimated numerical error of each log p, infinite where there is none; empty for closed formulas
  explicit Terms(Index parameters = 0, Index n = 0) : log_density(n), scores(parameters, n) {}
};
[[nodiscard]] LikelihoodValue collect(Terms terms, bool with_scores);

}  // namespace jko::estimators
