#include <jko/measures/bandwidth.hpp>

#include <jko/core/check.hpp>

#include <boost/math/tools/toms748_solve.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

namespace jko {
namespace {

double spread(const char* where, const Particles& p) {
  const double variance = p.covariance().trace() / p.dimension();
  if (!(variance > 0)) throw DomainError(fmt::format("{}: all particles coincide, so no bandwidth can be chosen", where));
  return std::sqrt(variance);
}

double effective_size(const Particles& p) { return 1 / p.weights().squaredNorm(); }

/// (1/(n (n-1) g^{r+1})) sum over all pairs of the r-th derivative of the normal density at (x_i - x_j)/g, r = 4 or 6, the pairs i = j included.
double derivative_functional(const std::vector<double>& x, double g, int r) {
  const auto n = static_cast<double>(x.size());
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    for (std::size_t j = i + 1; j < x.size(); ++j) {
      const double z = (x[j] - x[i]) / g, q = z * z;
      if (q > 1500) break;  // sorted: the rest is below exp(-750)
      const double polynomial = r == 4 ? (q - 6) * q + 3 : ((q - 15) * q + 45) * q - 15;
      sum += 2 * polynomial * std::exp(-0.5 * q);
    }
  }
  sum += n * (r == 4 ? 3 : -15);
  return sum / (std::sqrt(2 * std::numbers::pi) * n * (n - 1) * std::pow(g, r + 1));
}

}  // namespace

double silverman_bandwidth(const Particles& p) {
  const double d = p.dimension();
  return spread("silverman_bandwidth", p) * std::pow(4 / ((d + 2) * effective_size(p)), 1 / (d + 4));
}

double scott_bandwidth(const Particles& p) { return spread("scott_bandwidth", p) * std::pow(effective_size(p), -1.0 / (p.dimension() + 4)); }

double sheather_jones_bandwidth(const Particles& p) {
  check_at_least("sheather_jones_bandwidth", "the number of particles", p.size(), 3);
  if (p.dimension() != 1) throw DomainError(fmt::format("sheather_jones_bandwidth: the particles have dimension {}, but the rule is for one", p.dimension()));
  if (!((p.weights().array() - p.weights()[0]).abs().maxCoeff() <= 1e-12 * p.weights()[0])) throw DomainError("sheather_jones_bandwidth: the weights must be equal");
  std::vector<double> x(p.points().data(), p.points().data() + p.size());
  std::sort(x.begin(), x.end());
  const auto n = static_cast<double>(x.size());
  const double deviation = spread("sheather_jones_bandwidth", p) * std::sqrt(n / (n - 1));
  const auto quartile = [&](double level) {
    const double at = level * (n - 1);
    const auto k = static_cast<std::size_t>(at);
    return x[k] + (at - static_cast<double>(k)) * (x[std::min(k + 1, x.size() - 1)] - x[k]);
  };
  // The scale of the pilot bandwidths: the smaller of standard deviation and interquartile range over that of N(0, 1).
  const double range = (quartile(0.75) - quartile(0.25)) / 1.3489795003921634;
  const double scale = range > 0 ? std::min(deviation, range) : deviation;
  // With psi_r = int f^(r) f, the best pilots have g^7 = 6/(sqrt(2 pi) |psi_6| n) for psi_4 and g^9 = 30/(sqrt(2 pi) psi_8 n) for psi_6; the normal law's
  // psi_6 = -15/(16 sqrt(pi) s^7) and psi_8 = 105/(32 sqrt(pi) s^9) make them (96/(15 sqrt 2))^{1/7} s n^{-1/7} and (960/(105 sqrt 2))^{1/9} s n^{-1/9}.
  const double a = std::pow(96 / (15 * std::numbers::sqrt2), 1.0 / 7) * scale * std::pow(n, -1.0 / 7);
  const double b = std::pow(960 / (105 * std::numbers::sqrt2), 1.0 / 9) * scale * std::pow(n, -1.0 / 9);
  const double fourth = derivative_functional(x, a, 4), sixth = -derivative_functional(x, b, 6);
  const auto fail = [] { throw DomainError("sheather_jones_bandwidth: the equation has no root for these points (too many of them coincide); use silverman_bandwidth"); };
  if (!(fourth > 0 && sixth > 0)) fail();
  // Eliminating n between h^5 = 1/(2 sqrt(pi) psi_4 n) and g^7 above: g^7 = 6 sqrt 2 (psi_4/|psi_6|) h^5.
  const double ratio = std::pow(6 * std::numbers::sqrt2 * fourth / sixth, 1.0 / 7);
  const auto equation = [&](double h) {
    const double functional = derivative_functional(x, ratio * std::pow(h, 5.0 / 7), 4);
    return functional > 0 ? std::pow(2 * std::sqrt(std::numbers::pi) * n * functional, -0.2) - h : -h;
  };
  const double low = 1e-3 * scale * std::pow(n, -0.2), high = 3 * scale * std::pow(n, -0.2);
  if (!(equation(low) > 0 && equation(high) < 0)) fail();
  std::uintmax_t iterations = 60;
  const auto root = boost::math::tools::toms748_solve(equation, low, high, boost::math::tools::eps_tolerance<double>(40), iterations);
  return 0.5 * (root.first + root.second);
}

}  // namespace jko
