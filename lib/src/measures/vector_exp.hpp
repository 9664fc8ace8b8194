#pragma once
/// exp for loops that the compiler vectorises: no branch, no call, the same bits at every vector width.
#include <bit>
#include <cstdint>

namespace jko {

/// exp(x) for x <= 0 with a relative error below 4e-16; 3e-308 below -708. x = n log 2 + r, |r| <= log(2)/2, the polynomial interpolates exp at the twelve
/// Chebyshev points of that interval (relative error 4e-18 before rounding), and 2^n enters through the exponent's bits.
[[gnu::always_inline]] inline double exp_nonpositive(double x) {
  constexpr double round = 0x1.8p52;  // adding it leaves the nearest integer in the low bits
  x = x > -708.0 ? x : -708.0;
  const double shifted = x * 0x1.71547652b82fep+0 + round;
  const double n = shifted - round;
  const double r = (x - n * 0x1.62e42fefa0000p-1) - n * 0x1.cf79abc9e3b3ap-40;  // log 2 in two parts; n times the first is exact
  double p = 0x1.af631d0059becp-26;
  p = p * r + 0x1.28b4057f44145p-22;
  p = p * r + 0x1.71ddf5749d126p-19;
  p = p * r + 0x1.a01991ac8730ap-16;
  p = p * r + 0x1.a01a01b14378fp-13;
  p = p * r + 0x1.6c16c187fbe02p-10;
  p = p * r + 0x1.111111110f225p-7;
  p = p * r + 0x1.555555554f0cfp-5;
  p = p * r + 0x1.555555555555ap-3;
  p = p * r + 0x1.0000000000011p-1;
  p = p * r + 1.0;
  p = p * r + 1.0;
  return p * std::bit_cast<double>((std::bit_cast<std::uint64_t>(shifted) + 1023) << 52);
}

}  // namespace jko
