#include <jko/models/families.hpp>

#include "written_potential.hpp"

#include <limits>

namespace jko {
namespace {

struct StudentWell {
  static std::vector<Parameter> parameters() {
    constexpr double infinity = std::numeric_limits<double>::infinity();
    constexpr double tiny = std::numeric_limits<double>::min();  // a closed bound for an open one
    return {{"nu", tiny, infinity}, {"mu"}, {"s", tiny, infinity}};
  }
  static std::string text() { return "(nu+1)/2*log(1 + (x-mu)^2/(nu*s^2))"; }
  template <class T>
  static T psi(const T& x, const T* theta) {
    const T z = (x - theta[1]) / theta[2];
    return T(0.5) * (theta[0] + T(1.0)) * log(T(1.0) + z * z / theta[0]);
  }
  static std::optional<Convexity> convexity(const ConstVectorRef& theta) {
    return Convexity{-(theta[0] + 1) / (8 * theta[0] * theta[2] * theta[2]), true, "-(nu+1)/(8 nu s^2), at (x-mu)^2 = 3 nu s^2"};
  }
};

}  // namespace

PotentialPtr student_well() { return std::make_shared<WrittenPotential<StudentWell>>(); }

}  // namespace jko
