#pragma once
/// Forward derivatives: a value and its partial derivatives in N inputs.
#include <array>
#include <cmath>

namespace jko::estimators {

template <int N>
struct Dual {
  double v = 0;
  std::array<double, static_cast<std::size_t>(N)> d{};
  Dual() = default;
  Dual(double value) : v(value) {}  // constants mix with duals
  static Dual input(double value, int index) {
    Dual out(value);
    out.d[static_cast<std::size_t>(index)] = 1;
    return out;
  }
  /// f(this) with f' given.
  [[nodiscard]] Dual chain(double value, double slope) const {
    Dual out(value);
    for (std::size_t i = 0; i < N; ++i) out.d[i] = slope * d[i];
    return out;
  }
  Dual& operator+=(const Dual& o) {
    v += o.v;
    for (std::size_t i = 0; i < N; ++i) d[i] += o.d[i];
    return *this;
  }
  Dual& operator-=(const Dual& o) {
    v -= o.v;
    for (std::size_t i = 0; i < N; ++i) d[i] -= o.d[i];
    return *this;
  }
  Dual& operator*=(const Dual& o) {
    for (std::size_t i = 0; i < N; ++i) d[i] = d[i] * o.v + v * o.d[i];
    v *= o.v;
    return *this;
  }
  Dual& operator*=(double c) {
    v *= c;
    for (double& x : d) x *= c;
    return *this;
  }
  Dual& operator/=(const Dual& o) {
    const double inverse = 1 / o.v;
    v *= inverse;
    for (std::size_t i = 0; i < N; ++i) d[i] = (d[i] - v * o.d[i]) * inverse;
    return *this;
  }
  friend Dual operator+(Dual a, const Dual& b) { return a += b; }
  friend Dual operator-(Dual a, const Dual& b) { return a -= b; }
  friend Dual operator*(Dual a, const Dual& b) { return a *= b; }
  friend Dual operator/(Dual a, const Dual& b) { return a /= b; }
  friend Dual operator+(Dual a, double c) { return a.v += c, a; }
  friend Dual operator+(double c, Dual a) { return a.v += c, a; }
  friend Dual operator-(Dual a, double c) { return a.v -= c, a; }
  friend Dual operator-(double c, const Dual& a) { return a.chain(c - a.v, -1); }
  friend Dual operator*(Dual a, double c) { return a *= c; }
  friend Dual operator*(double c, Dual a) { return a *= c; }
  friend Dual operator/(Dual a, double c) { return a *= 1 / c; }
  friend Dual operator-(const Dual& a) { return a.chain(-a.v, -1); }
  friend Dual log(const Dual& a) { return a.chain(std::log(a.v), 1 / a.v); }
  friend Dual log1p(const Dual& a) { return a.chain(std::log1p(a.v), 1 / (1 + a.v)); }
  friend Dual exp(const Dual& a) {
    const double e = std::exp(a.v);
    return a.chain(e, e);
  }
  friend Dual expm1(const Dual& a) {
    const double e = std::expm1(a.v);
    return a.chain(e, e + 1);
  }
  friend Dual sqrt(const Dual& a) {
    const double r = std::sqrt(a.v);
    return a.chain(r, 0.5 / r);
  }
};

}  // namespace jko::estimators
