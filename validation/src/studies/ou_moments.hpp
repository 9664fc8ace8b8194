#pragma once
/// Mean and variance of the one-dimensional Ornstein-Uhlenbeck JKO flow: the closed-form step of steps/gaussian_step.hpp on two numbers, for designs of millions of steps.
#include <cmath>

namespace jko::validation {

struct OuMoments {
  double mean, deviation;
  /// m' = (m + h kappa mu)/(1 + h kappa), s' = (s + sqrt(s^2 + 4 (1 + h kappa) h/beta))/(2 (1 + h kappa)).
  void step(double kappa, double mu, double beta, double h) {
    const double a = 1 + h * kappa, inverse = 1 / a;
    mean = (mean + h * kappa * mu) * inverse;
    deviation = 0.5 * inverse * (deviation + std::sqrt(deviation * deviation + 4 * a * h / beta));
  }
  [[nodiscard]] double variance() const { return deviation * deviation; }
};

}  // namespace jko::validation
