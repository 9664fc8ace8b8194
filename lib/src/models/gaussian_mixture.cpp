#include <jko/models/families.hpp>

#include "written_potential.hpp"

#include <limits>
#include <numbers>

namespace jko {
namespace {

struct GaussianMixture {
  static std::vector<Parameter> parameters() {
    constexpr double infinity = std::numeric_limits<double>::infinity();
    constexpr double tiny = std::numeric_limits<double>::min();  // a closed bound for an open one
    return {{"w", tiny, 1 - std::numeric_limits<double>::epsilon()}, {"m1"}, {"s1", tiny, infinity}, {"m2"}, {"s2", tiny, infinity}};
  }
  static std::string text() { return "-log(w*N(x; m1, s1^2) + (1-w)*N(x; m2, s2^2))"; }
  template <class T>
  static T psi(const T& x, const T* theta) {
    const T z1 = (x - theta[1]) / theta[2], z2 = (x - theta[3]) / theta[4];
    const T e1 = log(theta[0]) - log(theta[2]) - T(0.5) * z1 * z1;
    const T e2 = log(T(1.0) - theta[0]) - log(theta[4]) - T(0.5) * z2 * z2;
    const T normalisation(0.5 * std::log(2 * std::numbers::pi));
    // The larger exponent leads, so that neither tail overflows.
    return taylor::value_of(e1) >= taylor::value_of(e2) ? normalisation - e1 - log(T(1.0) + exp(e2 - e1))
                                                        : normalisation - e2 - log(T(1.0) + exp(e1 - e2));
  }
  static std::optional<Convexity> convexity(const ConstVectorRef& theta) {
    if (theta[2] != theta[4]) return std::nullopt;
    // With equal variances Psi'' = 1/s^2 - p(1-p) (m1-m2)^2/s^4, p the posterior weight, which takes the value 1/2.
    const double s2 = theta[2] * theta[2], gap = theta[1] - theta[3];
    return Convexity{1 / s2 - 0.25 * gap * gap / (s2 * s2), true, "1/s^2 - (m1-m2)^2/(4 s^4), attained"};
  }
};

}  // namespace

PotentialPtr gaussian_mixture() { return std::make_shared<WrittenPotential<GaussianMixture>>(); }

}  // namespace jko
