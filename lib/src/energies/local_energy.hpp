#pragma once
/// The local part u(rho) = beta^{-1} rho log rho + c/(m-1) rho^m of a free energy, and its convex conjugate.
#include <jko/energies/free_energy.hpp>

#include <cmath>

namespace jko {

struct LocalEnergy {
  double temperature = 0;   ///< 1/beta, 0 without entropy
  double coefficient = 0;   ///< c, 0 without porous medium
  double exponent = 2;      ///< m

  explicit LocalEnergy(const FreeEnergy& energy) {
    if (energy.entropy()) temperature = 1 / energy.entropy()->beta;
    if (energy.porous_medium()) {
      coefficient = energy.porous_medium()->coefficient;
      exponent = energy.porous_medium()->exponent;
    }
  }

  /// Without entropy u is continued evenly to rho < 0. Push-forwards of positive measures are positive, so a problem that minimises over them is the same, and
  /// its dual loses the kink at rho = 0.
  [[nodiscard]] bool signed_densities() const { return temperature == 0; }

  /// x^e for x >= 0.
  [[nodiscard]] static double power(double x, double e) { return e == 1 ? x : e == 0 ? 1.0 : std::pow(x, e); }
  [[nodiscard]] double value(double rho) const {
    const double entropy = temperature > 0 && rho > 0 ? temperature * rho * std::log(rho) : 0;
    return entropy + (coefficient > 0 ? coefficient / (exponent - 1) * std::abs(rho) * power(std::abs(rho), exponent - 1) : 0);
  }
  /// u'(rho); -inf at 0 with entropy.
  [[nodiscard]] double slope(double rho) const {
    const double entropy = temperature > 0 ? temperature * (std::log(rho) + 1) : 0;
    return entropy + (coefficient > 0 ? std::copysign(coefficient * exponent / (exponent - 1) * power(std::abs(rho), exponent - 1), rho) : 0);
  }
  /// rho u' - u = u*(u'(rho)).
  [[nodiscard]] double pressure(double rho) const {
    return temperature * rho + (coefficient > 0 ? coefficient * std::abs(rho) * power(std::abs(rho), exponent - 1) : 0);
  }
  /// 1/u''(rho), the derivative of density() there; infinite at 0 for m > 2 without entropy.
  [[nodiscard]] double mobility(double rho) const {
    if (coefficient == 0) return rho / temperature;
    const double curvature = coefficient * exponent * power(std::abs(rho), exponent - 2);
    return temperature == 0 ? 1 / curvature : rho / (temperature + rho * curvature);
  }
  /// The rho at which u'(rho) = p (m > 1), the maximiser of p rho - u.
  [[nodiscard]] double density(double p) const {
    if (coefficient == 0) return std::exp(p / temperature - 1);
    const double k = coefficient * exponent / (exponent - 1);
    if (temperature == 0) return std::copysign(power(std::abs(p) / k, 1 / (exponent - 1)), p);
    // With s = log rho: T(s + 1) + k e^{(m-1)s} = p, convex and increasing in s; Newton from the right of the root falls monotonically to it. Either term
    // alone, with the other one >= 0, gives a point on the right.
    double s = p / temperature - 1;
    if (p > 0) s = std::min(s, std::max(-1.0, std::log(p / k) / (exponent - 1)));
    for (int i = 0; i < 60; ++i) {
      const double e = k * std::exp((exponent - 1) * s), g = temperature * (s + 1) + e - p;
      const double step = g / (temperature + (exponent - 1) * e);
      s -= step;
      if (std::abs(step) <= 4e-16 * (1 + std::abs(s))) break;
    }
    return std::exp(s);
  }
};

}  // namespace jko
