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
  // The series sum_k z^k/(k + 3)!: the first term left out is below 0.5^14/17! = 2e-19.
  constexpr double c[] = {1.0 / 6, 1.0 / 24, 1.0 / 120, 1.0 / 720, 1.0 / 5040, 1.0 / 40320, 1.0 / 362880, 1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800.0, 1.0 / 87178291200.0, 1.0 / 1307674368000.0, 1.0 / 20922789888000.0};
  // Even and odd halves: two short chains instead of one long one.
  const double q = z * z;
  const double even = c[0] + q * (c[2] + q * (c[4] + q * (c[6] + q * (c[8] + q * (c[10] + q * c[12])))));
  const double odd = c[1] + q * (c[3] + q * (c[5] + q * (c[7] + q * (c[9] + q * (c[11] + q * c[13])))));
  const double three = even + z * odd;
  const double two = 0.5 + z * three;
  return {1 + z * two, two, three};
}

/// phi_1(2z) and phi_2(2z) from phi at z, without another exponential: (e^z + 1)/2 phi_1(z) and (phi_1(z)^2 + 2 phi_2(z))/4.
struct DoubledPhi {
  double one, two;
};

inline DoubledPhi doubled(const Phi& f, double z) { return {f.one * (1 + 0.5 * z * f.one), 0.25 * (f.one * f.one + 2 * f.two)}; }

}  // namespace jko::estimators
