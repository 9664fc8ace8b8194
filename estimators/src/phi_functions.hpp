#pragma once
/// phi_k(z) = sum_j z^j/(j + k)!, the functions of exponential integrators.
#include <cmath>

namespace jko::estimators {

struct Phi {
  double one, two, three;
};

inline Phi phi(double z) {
  if (std::abs(z) >= 0.5) {
    const double one = std::expm1(z) / z, two = (one - 1) / z;
    return {one, two, (two - 0.5) / z};
  }
  double three = 0;  // the series: 20 terms leave 0.5^20/23!, far below rounding
  for (int j = 20; j >= 1; --j) three = (1 + three) * z / (j + 3);
  three = (1 + three) / 6;
  const double two = 0.5 + z * three;
  return {1 + z * two, two, three};
}

}  // namespace jko::estimators
