#pragma once
/// Exponential, logarithm and Wright's omega as branch-free code that compilers vectorise. The same operations in the same order in every
/// instruction set, so the same bits.
#include <bit>
#include <cstdint>
#include <limits>

// The same source compiled for several instruction sets, chosen when the program starts; without fused operations the bits are the same.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define JKO_VECTOR_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define JKO_VECTOR_CLONES
#endif
#define JKO_INLINE inline __attribute__((always_inline))

namespace jko::vector_math {

inline constexpr double ln2_high = 0x1.62e42fefa38p-1, ln2_low = 0x1.ef35793c7673p-45;  // high part: 32 trailing zero bits, so that k * ln2_high is exact
inline constexpr double ln2 = 0.69314718055994530942;

/// e^x: relative error below 3 ulp on [-708, 709]; 0 below -708 (no subnormals), e^709 above 709. NaN gives NaN or 0.
JKO_INLINE double exp(double x) {
  constexpr double shift = 0x1.8p52;  // adding it rounds to an integer that sits in the low bits
  const double clamped = x < -708.0 ? -708.0 : (x > 709.0 ? 709.0 : x);
  const double shifted = clamped * 1.44269504088896340736 + shift;
  const double k = shifted - shift;
  const double r = (clamped - k * ln2_high) - k * ln2_low;
  // Taylor to r^13: |r| <= 0.347, so the remainder is below 0.347^14/14! = 4e-18.
  double p = 1.0 / 6227020800.0;
  p = p * r + 1.0 / 479001600.0;
  p = p * r + 1.0 / 39916800.0;
  p = p * r + 1.0 / 3628800.0;
  p = p * r + 1.0 / 362880.0;
  p = p * r + 1.0 / 40320.0;
  p = p * r + 1.0 / 5040.0;
  p = p * r + 1.0 / 720.0;
  p = p * r + 1.0 / 120.0;
  p = p * r + 1.0 / 24.0;
  p = p * r + 1.0 / 6.0;
  p = p * r + 0.5;
  p = p * r + 1.0;
  p = p * r + 1.0;
  const double power = std::bit_cast<double>((std::bit_cast<std::uint64_t>(shifted) + 1023u) << 52);
  const double value = p * power;
  return x < -708.0 ? 0.0 : value;
}

/// log x: error below 2 ulp for normal x > 0; -infinity for x below 2.2e-308 (zero and subnormals). x must be finite.
JKO_INLINE double log(double x) {
  constexpr std::uint64_t middle = 0x3fe6a09e667f3bcdu;  // sqrt(1/2)
  const std::uint64_t bits = std::bit_cast<std::uint64_t>(x);
  const std::uint64_t biased = (bits - middle + (std::uint64_t{1023} << 52)) >> 52;  // exponent + 1023
  const double k = std::bit_cast<double>(biased | 0x4330000000000000u) - (0x1p52 + 1023.0);
  const double m = std::bit_cast<double>(bits - ((biased - 1023u) << 52));  // in [sqrt(1/2), sqrt 2)
  // log m = 2 atanh s with |s| <= 0.1716: the first term left out is below 2 s^23/23 = 2e-19.
  const double f = m - 1.0, s = f / (2.0 + f), q = s * s;
  double p = 1.0 / 21.0;
  p = p * q + 1.0 / 19.0;
  p = p * q + 1.0 / 17.0;
  p = p * q + 1.0 / 15.0;
  p = p * q + 1.0 / 13.0;
  p = p * q + 1.0 / 11.0;
  p = p * q + 1.0 / 9.0;
  p = p * q + 1.0 / 7.0;
  p = p * q + 1.0 / 5.0;
  p = p * q + 1.0 / 3.0;
  const double s2 = 2.0 * s;
  const double value = k * ln2_high + (s2 + (s2 * (q * p) + k * ln2_low));
  return x < std::numeric_limits<double>::min() ? -std::numeric_limits<double>::infinity() : value;
}

/// Wright's omega and its logarithm: omega + log omega = z. Two steps of the fourth-order iteration of [Fritsch1973] from the elementary
/// approximation p (1 - log(1+p)/(2+p)), p = log(1 + e^z), which is good to 3 %. Relative error below 1e-14 on [-700, 1e15]; 0 and z below -700.
struct Omega {
  double value, log;
};
JKO_INLINE Omega wright_omega(double z) {
  const double bounded = z < -700.0 ? -700.0 : z;
  const double power = exp(bounded > 30.0 ? 30.0 : bounded);
  // Beyond 30, log(1 + e^z) - z is below 1e-13; below -30, omega is e^z (1 - e^z) to rounding.
  const double p = bounded > 30.0 ? bounded : log(1.0 + power);
  double w = bounded < -30.0 ? power : p * (1.0 - log(1.0 + p) / (2.0 + p));
  double logarithm = 0, change = 0;
  for (int i = 0; i < 2; ++i) {
    logarithm = log(w);
    const double r = bounded - w - logarithm, w1 = 1.0 + w;
    const double q = 2.0 * w1 * (w1 + 2.0 / 3.0 * r);
    change = r * (q - r) / (w1 * (q - 2.0 * r));
    w = w + w * change;
  }
  // The last change is below 1e-5: log(1 + change) to third order.
  logarithm = logarithm + change * (1.0 - change * (0.5 - change * (1.0 / 3.0)));
  return {z < -700.0 ? 0.0 : w, z < -700.0 ? z : logarithm};
}

}  // namespace jko::vector_math
