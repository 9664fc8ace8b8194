#include <jko/estimators/residuals.hpp>

#include <jko/core/check.hpp>
#include <jko/estimators/diffusion_likelihood.hpp>
#include <jko/estimators/fokker_planck_density.hpp>

#include <boost/math/distributions/normal.hpp>
#include <boost/math/quadrature/gauss_kronrod.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>
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

/// For a scheme whose transition law is Gaussian: log p = c - (y - m)^2/(2v) around x first, then around the mean found, where the differences do not cancel.
template <class LogDensity, class Scale>
Vector gaussian_transforms(const Panel& panel, const LogDensity& log_density, const Scale& scale, DiffusionFamily::Interval space) {
  std::vector<double> out;
  Panel one{Path{Vector{{0.0, 1.0}}, Matrix(1, 2)}};
  for (const Path& path : panel) {
    path.validate();
    for (Index i = 0; i < path.transitions(); ++i) {
      const double x = path.values(0, i), dt = path.times[i + 1] - path.times[i];
      one[0].times[1] = dt;
      one[0].values(0, 0) = x;
      const auto at = [&](double y) {
        one[0].values(0, 1) = y;
        return log_density(one);
      };
      double centre = x, spread = std::min({scale(x, dt), 0.4 * (x - space.lower), 0.4 * (space.upper - x)}), mean = x, deviation = spread;
      for (int pass = 0; pass < 2 && centre - spread > space.lower && centre + spread < space.upper; ++pass) {
        const double left = at(centre - spread), middle = at(centre), right = at(centre + spread);
        const double curvature = (2 * middle - left - right) / (spread * spread), slope = (right - left) / (2 * spread);
        mean = centre + slope / curvature;
        deviation = 1 / std::sqrt(curvature);
        centre = mean;
        spread = deviation;
      }
      out.push_back(0.5 * std::erfc(-(path.values(0, i + 1) - mean) / deviation / std::numbers::sqrt2));
    }
  }
  return Eigen::Map<const Vector>(out.data(), static_cast<Index>(out.size()));
}

/// Whether the scheme's transition law is Gaussian.
bool is_gaussian(Transition transition, const Diffusion& diffusion) {
  switch (transition) {
    case Transition::euler:
    case Transition::kessler_1:
    case Transition::kessler_2:
    case Transition::kessler_3:
    case Transition::kessler_4:
    case Transition::ozaki:
    case Transition::shoji_ozaki: return true;
    case Transition::exact: return diffusion.family().law() == DiffusionFamily::Law::vasicek;
    case Transition::elerian: return diffusion.family().constant_diffusion();
    default: return false;
  }
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
  if (transition != Transition::exact) return transforms(panel, as_diffusion(model), transition);
  const auto log_density = [&](const Panel& one) { return log_likelihood(one, model, transition).value; };
  const auto scale = [&](double, double dt) { return std::sqrt(2 * dt / model.beta()); };
  return gaussian_transforms(panel, log_density, scale, {});
}

Vector transforms(const Panel& panel, const Diffusion& diffusion, Transition transition) {
  const auto scale = [&](double x, double dt) { return diffusion.diffusion(x) * std::sqrt(dt); };
  if (is_gaussian(transition, diffusion)) {
    return gaussian_transforms(panel, [&](const Panel& one) { return log_likelihood(one, diffusion, transition).value; }, scale, diffusion.family().state_space());
  }
  // The nodes of every transition, then their densities, in one batch for each spacing.
  constexpr Index intervals = 64, nodes = intervals + 1;
  const DiffusionFamily::Interval space = diffusion.family().state_space();
  struct Cell {
    double x, dt, lower, next, upper;
  };
  std::vector<Cell> cells;
  for (const Path& path : panel) {
    path.validate();
    for (Index i = 0; i < path.transitions(); ++i) {
      const double x = path.values(0, i), next = path.values(0, i + 1), dt = path.times[i + 1] - path.times[i];
      const double reach = 10 * scale(x, dt) + std::abs(diffusion.drift(x)) * dt;
      const auto within = [&](double y) { return std::clamp(y, std::nextafter(space.lower + 1e-12 * std::abs(x), x), std::nextafter(space.upper - 1e-12 * std::abs(x), x)); };
      cells.push_back({x, dt, within(std::min(x, next) - reach), next, within(std::max(x, next) + reach)});
    }
  }
  const auto count = static_cast<Index>(cells.size());
  Matrix y(2 * nodes, count), density(2 * nodes, count);
  for (Index c = 0; c < count; ++c) {
    const Cell& cell = cells[static_cast<std::size_t>(c)];
    y.col(c).head(nodes).setLinSpaced(cell.lower, cell.next);
    y.col(c).tail(nodes).setLinSpaced(cell.next, cell.upper);
  }
  if (transition == Transition::fokker_planck) {
    // Spacings that agree to rounding share a batch.
    std::vector<Index> order(static_cast<std::size_t>(count));
    std::iota(order.begin(), order.end(), Index{0});
    std::stable_sort(order.begin(), order.end(), [&](Index a, Index b) { return cells[static_cast<std::size_t>(a)].dt < cells[static_cast<std::size_t>(b)].dt; });
    for (std::size_t begin = 0; begin < order.size();) {
      const double dt = cells[static_cast<std::size_t>(order[begin])].dt;
      std::size_t end = begin;
      while (end < order.size() && cells[static_cast<std::size_t>(order[end])].dt <= dt * (1 + 1e-9)) ++end;
      const auto size = static_cast<Index>(end - begin);
      Vector from(2 * nodes * size), to(2 * nodes * size);
      for (Index k = 0; k < size; ++k) {
        const Index c = order[begin + static_cast<std::size_t>(k)];
        from.segment(2 * nodes * k, 2 * nodes).setConstant(cells[static_cast<std::size_t>(c)].x);
        to.segment(2 * nodes * k, 2 * nodes) = y.col(c);
      }
      const Vector found = fokker_planck_density(diffusion, from, to, dt, 1).log_density;
      for (Index k = 0; k < size; ++k) density.col(order[begin + static_cast<std::size_t>(k)]) = found.segment(2 * nodes * k, 2 * nodes).array().exp();
      begin = end;
    }
  } else {
    Panel one{Path{Vector{{0.0, 1.0}}, Matrix(1, 2)}};
    for (Index c = 0; c < count; ++c) {
      one[0].times[1] = cells[static_cast<std::size_t>(c)].dt;
      one[0].values(0, 0) = cells[static_cast<std::size_t>(c)].x;
      for (Index k = 0; k < 2 * nodes; ++k) {
        one[0].values(0, 1) = y(k, c);
        density(k, c) = std::exp(log_likelihood(one, diffusion, transition).value);
      }
    }
  }
  const auto simpson = [&](Index c, Index first) {
    double sum = density(first, c) + density(first + intervals, c);
    for (Index k = 1; k < intervals; ++k) sum += (k % 2 == 1 ? 4 : 2) * density(first + k, c);
    return sum * (y(first + intervals, c) - y(first, c)) / (3.0 * intervals);
  };
  Vector out(count);
  for (Index c = 0; c < count; ++c) {
    const double left = simpson(c, 0), right = simpson(c, nodes);
    out[c] = std::abs(left + right - 1) <= 1e-2 ? std::clamp(left / (left + right), 0.0, 1.0) : std::numeric_limits<double>::quiet_NaN();
  }
  return out;
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
