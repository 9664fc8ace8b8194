#include <jko/problems/entropic_gaussian.hpp>

#include <jko/core/check.hpp>

#include <fmt/format.h>

#include <cmath>

namespace jko::problems {

void EntropicGaussian::validate() const {
  check_finite("entropic_gaussian", "kappa", kappa);
  check_positive("entropic_gaussian", "beta", beta);
  check_nonnegative("entropic_gaussian", "epsilon", epsilon);
  check_in("entropic_gaussian", "theta", theta, 0, 0.5);
}

double EntropicGaussian::variance(double from, double h) const {
  validate();
  check_positive("entropic_gaussian", "variance", from);
  check_positive("entropic_gaussian", "step size h", h);
  const double b = 1 + h * kappa, c = h / beta + (0.5 - theta) * epsilon;
  if (b <= 0) throw DomainError(fmt::format("entropic_gaussian: 1 + h kappa is {}, but must be positive", b));
  // b v - c = sqrt(a v + e^2/4) squared; the larger root has b v >= c.
  const double half = b * c + 0.5 * from, product = (c - 0.5 * epsilon) * (c + 0.5 * epsilon);
  return (half + std::sqrt(half * half - b * b * product)) / (b * b);
}

double EntropicGaussian::mean(double from, double h) const {
  validate();
  check_finite("entropic_gaussian", "mean", from);
  check_positive("entropic_gaussian", "step size h", h);
  const double b = 1 + h * kappa;
  if (b <= 0) throw DomainError(fmt::format("entropic_gaussian: 1 + h kappa is {}, but must be positive", b));
  return from / b;
}

double EntropicGaussian::stationary(double h) const {
  validate();
  check_positive("entropic_gaussian", "kappa", kappa);
  check_positive("entropic_gaussian", "step size h", h);
  // (1 + h kappa) v - c = sqrt(v^2 + e^2/4): with b^2 - 1 = h kappa (2 + h kappa), the root that b v >= c.
  const double hk = h * kappa, b = 1 + hk, c = h / beta + (0.5 - theta) * epsilon, square = hk * (2 + hk);
  const double product = (c - 0.5 * epsilon) * (c + 0.5 * epsilon);
  return (b * c + std::sqrt(b * b * c * c - square * product)) / square;
}

}  // namespace jko::problems
