#pragma once
/// What data look like before a fit.
#include <jko/estimators/data.hpp>
#include <jko/estimators/hypothesis.hpp>

#include <string>

namespace jko::estimators {

/// Of one coordinate.
struct CoordinateSummary {
  double minimum = 0, maximum = 0, mean = 0, deviation = 0;
  double autocorrelation = 0;   ///< of neighbours, all paths together
  double dickey_fuller = 0;     ///< t statistic of the regression of increments on levels with a constant, one path; unit root rejected at 10, 5, 1 % below -2.57, -2.86, -3.43
  TestResult kpss;              ///< level stationarity of one path ([KPSS1992]), p by the Cramer-von Mises law, which is its limit; Bartlett window of 12 (n/100)^{1/4} lags
  double quadratic_variation = 0;  ///< sum dX^2 / T: the squared diffusion coefficient, if it is constant
  Vector signature;             ///< the same from every 1st, 2nd, 4th, 8th observation, over the first: rises towards small spacings under measurement noise, falls where the spacing is coarse against mean reversion
  TestResult constancy;         ///< does dX^2/dt depend on X? n R^2 of its regression on X and X^2 ([Koenker1981]): a model with constant diffusion is wrong where p is small
};

struct DataSummary {
  Index paths = 0, transitions = 0, dimension = 0;
  double duration = 0;          ///< T, over all paths
  double min_spacing = 0, median_spacing = 0, max_spacing = 0;
  bool even = false;            ///< all spacings the same to 1e-9 relative
  Index gaps = 0;               ///< spacings above one and a half medians
  std::vector<CoordinateSummary> coordinates;
  [[nodiscard]] std::string text() const;
};

/// Serial tests (Dickey-Fuller, KPSS, signature) are of the longest path and ignore uneven spacing; they need thirty observations and are zero, with p = 1, below.
/// KPSS over-rejects for correlation times beyond its window: read it as a warning.
[[nodiscard]] DataSummary summarise(const Panel& panel);

/// P(W > x) of the Cramer-von Mises limit, int of the squared Brownian bridge, to about 1e-10.
[[nodiscard]] double cramer_von_mises_tail(double statistic);

}  // namespace jko::estimators
