#pragma once
/// The transitions of a one-dimensional panel, and what every likelihood makes of them.
#include <jko/estimators/likelihood.hpp>
#include <jko/models/diffusion.hpp>

#include <algorithm>

namespace jko::estimators {

/// All paths end to end: transition i goes from x[start[i]] to x[start[i] + 1] in dt[i].
struct Transitions {
  Vector x;                 ///< all observations
  std::vector<Index> start;
  Vector dt, from, next;    ///< from[i] = x[start[i]], next[i] = x[start[i] + 1]
  std::vector<std::pair<Index, Index>> paths;  ///< first and last observation of each
  explicit Transitions(const Panel& panel);
  [[nodiscard]] Index size() const { return dt.size(); }
  /// Every stride-th transition, as a panel of pairs.
  [[nodiscard]] Transitions thinned(Index stride) const;

 private:
  Transitions() = default;
};

/// log p of every transition with its derivatives; log_density -infinity marks an inadmissible one.
struct Terms {
  Vector log_density;
  Matrix scores;         ///< P x n
  Matrix expected;       ///< empty: the sum of the scores' outer products stands in for it
  Vector error;          ///< estimated numerical error of each log p, infinite where there is none; empty for closed formulas
  Vector variance;       ///< of each log p over the simulation's random numbers; empty unless simulated
  Matrix score_variance; ///< of the sum of scores, likewise
  explicit Terms(Index parameters = 0, Index n = 0) : log_density(n), scores(parameters, n) {}
};
[[nodiscard]] LikelihoodValue collect(Terms terms, bool with_scores);

/// body(first, count) on stretches short enough for their derivatives to stay in the cache, and for their buffers to be recycled by the allocator.
template <class Body>
void in_blocks(Index n, const Body& body) {
  constexpr Index block = 256;
  for (Index first = 0; first < n; first += block) body(first, std::min(block, n - first));
}

}  // namespace jko::estimators
