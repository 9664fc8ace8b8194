#pragma once
/// Truncated Taylor arithmetic: a potential written once as a template gives every derivative to rounding.
///
/// Series<C, N> is a polynomial in dx with coefficients C, truncated after dx^N; HyperDual carries a value, its derivatives in two
/// directions of theta and the mixed second one. Series<HyperDual, 4> is all that Potential::evaluate() can be asked for.
#include <array>
#include <cmath>

namespace jko::taylor {

struct HyperDual {
  double value = 0, a = 0, b = 0, ab = 0;
  HyperDual() = default;
  HyperDual(double v) : value(v) {}  // NOLINT: numbers are hyper-dual constants
  HyperDual(double v, double da, double db, double dab) : value(v), a(da), b(db), ab(dab) {}
};
inline HyperDual operator+(HyperDual x, HyperDual y) { return {x.value + y.value, x.a + y.a, x.b + y.b, x.ab + y.ab}; }
inline HyperDual operator-(HyperDual x, HyperDual y) { return {x.value - y.value, x.a - y.a, x.b - y.b, x.ab - y.ab}; }
inline HyperDual operator*(HyperDual x, HyperDual y) {
  return {x.value * y.value, x.a * y.value + x.value * y.a, x.b * y.value + x.value * y.b,
          x.ab * y.value + x.a * y.b + x.b * y.a + x.value * y.ab};
}
/// f(x) from f, f', f'' at its value.
inline HyperDual chain(HyperDual x, double f, double first, double second) {
  return {f, first * x.a, first * x.b, first * x.ab + second * x.a * x.b};
}
inline HyperDual inverse(HyperDual x) {
  const double r = 1 / x.value;
  return chain(x, r, -r * r, 2 * r * r * r);
}
inline double inverse(double x) { return 1 / x; }
inline HyperDual exp(HyperDual x) { return chain(x, std::exp(x.value), std::exp(x.value), std::exp(x.value)); }
inline HyperDual log(HyperDual x) { return chain(x, std::log(x.value), 1 / x.value, -1 / (x.value * x.value)); }
inline HyperDual sin(HyperDual x) { return chain(x, std::sin(x.value), std::cos(x.value), -std::sin(x.value)); }
inline HyperDual cos(HyperDual x) { return chain(x, std::cos(x.value), -std::sin(x.value), -std::cos(x.value)); }
inline double value_of(double x) { return x; }
inline double value_of(HyperDual x) { return x.value; }

template <class C, int N>
struct Series {
  std::array<C, N + 1> c{};
  C& operator[](int k) { return c[static_cast<std::size_t>(k)]; }
  const C& operator[](int k) const { return c[static_cast<std::size_t>(k)]; }
  Series() = default;
  Series(C constant) { c[0] = constant; }  // NOLINT: constants are series
  Series(double constant) requires(!std::is_same_v<C, double>) { c[0] = C(constant); }  // NOLINT
  static Series variable(double at) {
    Series x(C{at});
    if constexpr (N > 0) x[1] = C(1.0);
    return x;
  }
};
template <class C, int N>
Series<C, N> operator+(Series<C, N> x, const Series<C, N>& y) {
  for (int k = 0; k <= N; ++k) x[k] = x[k] + y[k];
  return x;
}
template <class C, int N>
Series<C, N> operator-(Series<C, N> x, const Series<C, N>& y) {
  for (int k = 0; k <= N; ++k) x[k] = x[k] - y[k];
  return x;
}
template <class C, int N>
Series<C, N> operator*(const Series<C, N>& x, const Series<C, N>& y) {
  Series<C, N> z;
  for (int k = 0; k <= N; ++k) {
    for (int j = 0; j <= k; ++j) z[k] = z[k] + x[j] * y[k - j];
  }
  return z;
}
template <class C, int N>
Series<C, N> operator/(const Series<C, N>& x, const Series<C, N>& y) {
  Series<C, N> z;
  const C r = inverse(y[0]);
  for (int k = 0; k <= N; ++k) {
    C sum = x[k];
    for (int j = 0; j < k; ++j) sum = sum - z[j] * y[k - j];
    z[k] = sum * r;
  }
  return z;
}
template <class C, int N>
Series<C, N> exp(const Series<C, N>& x) {
  using std::exp;
  Series<C, N> z(exp(x[0]));  // z' = x' z
  for (int k = 1; k <= N; ++k) {
    for (int j = 1; j <= k; ++j) z[k] = z[k] + C(static_cast<double>(j) / k) * x[j] * z[k - j];
  }
  return z;
}
template <class C, int N>
Series<C, N> log(const Series<C, N>& x) {
  using std::log;
  Series<C, N> z(log(x[0]));  // x z' = x'
  const C r = inverse(x[0]);
  for (int k = 1; k <= N; ++k) {
    C sum = x[k];
    for (int j = 1; j < k; ++j) sum = sum - C(static_cast<double>(j) / k) * z[j] * x[k - j];
    z[k] = sum * r;
  }
  return z;
}
template <class C, int N>
Series<C, N> cos(const Series<C, N>& x) {
  using std::cos;
  using std::sin;
  Series<C, N> c(cos(x[0])), s(sin(x[0]));  // c' = -x' s, s' = x' c
  for (int k = 1; k <= N; ++k) {
    for (int j = 1; j <= k; ++j) {
      const C slope = C(static_cast<double>(j) / k) * x[j];
      c[k] = c[k] - slope * s[k - j];
      s[k] = s[k] + slope * c[k - j];
    }
  }
  return c;
}
template <class C, int N>
double value_of(const Series<C, N>& x) { return value_of(x[0]); }

}  // namespace jko::taylor
