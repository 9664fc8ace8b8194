#include <jko/estimators/residuals.hpp>

#include <jko/core/check.hpp>

#include <boost/math/distributions/normal.hpp>
#include <boost/math/quadrature/gauss_kronrod.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

namespace jko::estimators {
namespace {

/// P(sqrt(n) D > x) by the alternating series; it converges within a few terms for x > 0.2, below which the probability is one to 1e-12.
double kolmogorov_tail(double x) {
  if (x < 0.2) return 1;
  double sum = 0;
  for (int k = 1; k <= 100; ++k) {
    const double term = std::exp(-2.0 * k * k * x * x);
    sum += k % 2 == 1 ? term : -term;
    if (term < 1e-17) break;
  }
  return std::clamp(2 * sum, 0.0, 1.0);
}

TestResult ljung_box(const Vector& series, int lags, std::string name) {
  const auto n = static_cast<double>(series.size());
  const Vector centred = series.array() - series.mean();
  const double power = centred.squaredNorm();
  double statistic = 0;
  for (Index k = 1; k <= lags; ++k) {
    const double r = centred.head(series.size() - k).dot(centred.tail(series.size() - k)) / power;
    statistic += r * r / (n - static_cast<double>(k));
  }
  statistic *= n * (n + 2);
  return {std::move(name), statistic, lags, chi_square_tail(statistic, lags)};
}

}  // namespace

double transform_by_density(const std::function<double(double)>& log_density, double next, double centre, double scale) {
  check_finite("transform_by_density", "next", next);
  check_finite("transform_by_density", "centre", centre);
  check_positive("transform_by_density", "scale", scale);
  const auto density = [&](double y) {
    const double l = log_density(y);
    return std::isfinite(l) ? std::exp(l) : 0.0;
  };
  // The ends: where the density is e^-40 of its largest value seen, or below the smallest number.
  double top = std::max(log_density(centre), log_density(next));
  for (double z = -4; z <= 4; z += 0.5) top = std::max(top, log_density(centre + scale * z));
  if (!std::isfinite(top)) return std::numeric_limits<double>::quiet_NaN();
  const auto end = [&](double sign) {
    double reach = 4;
    const double from = sign > 0 ? std::max(centre, next) : std::min(centre, next);
    while (reach < 1e6 && log_density(from + sign * reach * scale) > top - 40) reach *= 1.5;
    return from + sign * reach * scale;
  };
  using Rule = boost::math::quadrature::gauss_kronrod<double, 31>;
  double left = 0, right = 0;
  // Cut where the mass is, so that no peak hides between the nodes of a first wide panel.
  std::vector<double> cuts{end(-1), end(1), next};
  for (const double z : {-4.0, -1.0, 1.0, 4.0}) cuts.push_back(centre + z * scale);
  std::sort(cuts.begin(), cuts.end());
  for (std::size_t i = 1; i < cuts.size(); ++i) {
    if (!(cuts[i] > cuts[i - 1])) continue;
    (cuts[i] <= next ? left : right) += Rule::integrate(density, cuts[i - 1], cuts[i], 10, 1e-10);
  }
  return std::abs(left + right - 1) <= 1e-3 ? left / (left + right) : std::numeric_limits<double>::quiet_NaN();
}

Vector transforms(const Panel& panel, const Model& model, Transition transition) {
  if (model.dimension() != 1) throw DomainError("transforms: the model must be one-dimensional");
  std::vector<double> out;
  Panel one{Path{Vector{{0.0, 1.0}}, Matrix(1, 2)}};
  for (const Path& path : panel) {
    path.validate();
    for (Index i = 0; i < path.transitions(); ++i) {
      const double x = path.values(0, i), dt = path.times[i + 1] - path.times[i], s = std::sqrt(2 * dt / model.beta());
      one[0].times[1] = dt;
      one[0].values(0, 0) = x;
      const auto at = [&](double y) {
        one[0].values(0, 1) = y;
        return log_likelihood(one, model, transition).value;
      };
      // log p = c - (y - m)^2/(2v): around x first, then around the mean found, where the differences do not cancel.
      double centre = x, spread = s;
      for (int pass = 0; pass < 2; ++pass) {
        const double left = at(centre - spread), middle = at(centre), right = at(centre + spread);
        const double curvature = (2 * middle - left - right) / (spread * spread), slope = (right - left) / (2 * spread);
        centre += slope / curvature;
        spread = 1 / std::sqrt(curvature);
      }
      out.push_back(0.5 * std::erfc(-(path.values(0, i + 1) - centre) / spread / std::numbers::sqrt2));
    }
  }
  return Eigen::Map<const Vector>(out.data(), static_cast<Index>(out.size()));
}

ResidualDiagnostics diagnose(const ConstVectorRef& transforms, int lags) {
  check_at_least("diagnose", "lags", lags, 1);
  const Index n = transforms.size();
  check_at_least("diagnose", "number of transforms", n, lags + 2);
  const boost::math::normal standard;
  Vector scores(n);
  for (Index i = 0; i < n; ++i) {
    if (!(transforms[i] >= 0 && transforms[i] <= 1)) throw DomainError(fmt::format("diagnose: transform {} is {}, but must lie in [0, 1]", i, transforms[i]));
    // Beyond 1e-300 the normal score is that of the smallest number: the transition was impossible under the model, and the tests say so.
    const double u = std::clamp(transforms[i], 1e-300, 1 - 0x1p-53);
    scores[i] = boost::math::quantile(standard, u);
  }
  ResidualDiagnostics out;
  out.transforms = transforms;
  Vector sorted = transforms;
  std::sort(sorted.begin(), sorted.end());
  double distance = 0;
  const auto size = static_cast<double>(n);
  for (Index i = 0; i < n; ++i) distance = std::max({distance, static_cast<double>(i + 1) / size - sorted[i], sorted[i] - static_cast<double>(i) / size});
  out.kolmogorov = {"Kolmogorov", distance, 0, kolmogorov_tail((std::sqrt(size) + 0.12 + 0.11 / std::sqrt(size)) * distance)};
  out.ljung_box = ljung_box(scores, lags, "Ljung-Box");
  out.ljung_box_squares = ljung_box(scores.array().square(), lags, "Ljung-Box of squares");
  out.mean = scores.mean();
  out.variance = (scores.array() - out.mean).square().mean();
  return out;
}

}  // namespace jko::estimators
