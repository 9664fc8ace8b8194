#include <jko/estimators/bias.hpp>

#include <jko/core/check.hpp>
#include <jko/estimators/online.hpp>

#include <cmath>

namespace jko::estimators {

Vector exact_ou_bias(double kappa, double beta, double dt, Index n) {
  check_positive("exact_ou_bias", "kappa", kappa);
  check_positive("exact_ou_bias", "beta", beta);
  check_positive("exact_ou_bias", "spacing dt", dt);
  check_at_least("exact_ou_bias", "n", n, 1);
  const double phi = std::exp(-kappa * dt), size = static_cast<double>(n);
  const double shift = -(1 + 3 * phi) / size, spread = (1 - phi * phi) / size;  // of phi^
  Vector out = Vector::Zero(3);
  out[0] = -shift / (phi * dt) + spread / (2 * phi * phi * dt);
  // beta = dt g(phi)/v, g = -(1 - phi^2)/log phi. Derivatives of g = f/l with f = phi^2 - 1, l = log phi:
  const double l = std::log(phi), f = phi * phi - 1;
  const double g = f / l;
  const double first = 2 * phi / l - f / (phi * l * l);
  const double second = 2 / l - 4 / (l * l) + f * (1 + 2 / l) / (phi * phi * l * l);
  out[2] = beta * (first * shift + 0.5 * second * spread) / g + 4 * beta / size;
  return out;
}

std::optional<Vector> jackknife(const Path& path, int stretches, const VectorEstimator& estimator) {
  check_at_least("jackknife", "stretches", stretches, 2);
  const auto whole = estimator({path});
  if (!whole) return std::nullopt;
  Vector mean = Vector::Zero(whole->size());
  for (const Panel& part : split_into_batches(path, stretches)) {
    const auto estimate = estimator(part);
    if (!estimate) return std::nullopt;
    mean += *estimate / stretches;
  }
  return Vector((stretches * *whole - mean) / (stretches - 1));
}

}  // namespace jko::estimators
