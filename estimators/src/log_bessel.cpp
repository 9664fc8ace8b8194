#include "log_bessel.hpp"

#include <boost/math/special_functions/digamma.hpp>

#include <array>
#include <cmath>
#include <numbers>

namespace jko::estimators {
namespace {

constexpr int debye_terms = 12;
/// U_k(p)/p^k as a polynomial in p^2: U_{k+1} = p^2 (1 - p^2) U_k'/2 + int_0^p (1 - 5 t^2) U_k dt/8.
using Debye = std::array<std::array<double, debye_terms + 1>, debye_terms + 1>;

const Debye& debye() {
  static const Debye table = [] {
    Debye c{};  // c[k][j]: coefficient of p^{k + 2 j}
    c[0][0] = 1;
    for (std::size_t k = 0; k < debye_terms; ++k) {
      for (std::size_t j = 0; j <= k; ++j) {
        const double m = static_cast<double>(k + 2 * j), a = c[k][j];
        c[k + 1][j] += 0.5 * m * a + a / (8 * (m + 1));
        c[k + 1][j + 1] -= 0.5 * m * a + 5 * a / (8 * (m + 3));
      }
    }
    return c;
  }();
  return table;
}

LogBessel series(double q, double z) {
  // Terms t_k = (z/2)^{2k}/(k! (q+1)...(q+k)) and their logarithmic derivatives in q, -sum_{i<=k} 1/(q+i), and in log z, 2k.
  const double quarter = 0.25 * z * z;
  double term = 1, sum = 1, harmonic = 0, by_order = 0, by_log = 0;
  for (int k = 1; k < 400; ++k) {
    term *= quarter / (k * (q + k));
    harmonic += 1 / (q + k);
    sum += term;
    by_order -= term * harmonic;
    by_log += term * 2 * k;
    if (term * (harmonic + 2 * k) < 1e-17 * sum && k > 0.5 * z) break;
  }
  return {q * std::log(0.5 * z) - std::lgamma(q + 1) + std::log(sum), std::log(0.5 * z) - boost::math::digamma(q + 1) + by_order / sum, (q + by_log / sum) / z};
}

}  // namespace

LogBessel log_bessel_i(double q, double z) {
  const double r = std::hypot(q, z);
  if (r < 40) return series(q, z);
  // U_k(p)/q^k = w^k (polynomial in p^2), w = 1/r, p = q/r.
  const double w = 1 / r, p = q * w, p2 = p * p;
  double sum = 1, by_w = 0, by_p2 = 0, power = 1;
  for (std::size_t k = 1; k <= debye_terms; ++k) {
    double value = 0, slope = 0;
    for (std::size_t j = k + 1; j-- > 0;) {
      slope = slope * p2 + value;
      value = value * p2 + debye()[k][j];
    }
    by_w += static_cast<double>(k) * power * value;
    power *= w;
    sum += power * value;
    by_p2 += power * slope;
    if (power < 1e-18) break;
  }
  // dw/dq = -q w^3, dw/dz = -z w^3; d p^2/dq = 2 q z^2 w^4, d p^2/dz = -2 q^2 z w^4.
  const double w3 = w * w * w, w4 = w3 * w;
  LogBessel out;
  out.value = r + q * std::log(z / (q + r)) - 0.5 * std::log(2 * std::numbers::pi * r) + std::log(sum);
  out.by_order = std::log(z / (q + r)) - 0.5 * q * w * w + (-by_w * q * w3 + by_p2 * 2 * q * z * z * w4) / sum;
  out.by_argument = r / z - 0.5 * z * w * w + (-by_w * z * w3 - by_p2 * 2 * q * q * z * w4) / sum;
  return out;
}

}  // namespace jko::estimators
