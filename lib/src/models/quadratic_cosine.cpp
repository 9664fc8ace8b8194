#include <jko/models/families.hpp>

#include "written_potential.hpp"

namespace jko {
namespace {

struct QuadraticCosine {
  static std::vector<Parameter> parameters() { return {{"kappa"}, {"mu"}, {"a"}, {"omega"}}; }
  static std::string text() { return "kappa/2*(x-mu)^2 + a*cos(omega*(x-mu))"; }
  template <class T>
  static T psi(const T& x, const T* theta) {
    const T z = x - theta[1];
    return T(0.5) * theta[0] * z * z + theta[2] * cos(theta[3] * z);
  }
  static std::optional<Convexity> convexity(const ConstVectorRef& theta) {
    if (theta[3] == 0) return Convexity{theta[0], true, "Psi'' = kappa"};
    return Convexity{theta[0] - std::abs(theta[2]) * theta[3] * theta[3], true, "kappa - |a| omega^2, attained"};
  }
};

}  // namespace

PotentialPtr quadratic_cosine() { return std::make_shared<WrittenPotential<QuadraticCosine>>(); }

}  // namespace jko
