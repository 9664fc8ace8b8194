#include <jko/estimators/data_summary.hpp>

#include <jko/core/check.hpp>

#include <Eigen/Cholesky>
#include <boost/math/special_functions/bessel.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace jko::estimators {
namespace {

TestResult kpss(const Vector& x) {
  const auto n = static_cast<double>(x.size());
  const Vector e = x.array() - x.mean();
  const auto lags = static_cast<Index>(12 * std::pow(n / 100, 0.25));
  double variance = e.squaredNorm() / n, sum = 0, squares = 0;
  for (Index k = 1; k <= std::min(lags, x.size() - 1); ++k) {
    variance += 2 * (1 - static_cast<double>(k) / static_cast<double>(lags + 1)) * e.head(x.size() - k).dot(e.tail(x.size() - k)) / n;
  }
  for (const double v : e) {
    sum += v;
    squares += sum * sum;
  }
  const double statistic = squares / (n * n * variance);
  return {"KPSS", statistic, 0, cramer_von_mises_tail(statistic)};
}

double dickey_fuller(const Vector& x) {
  const Index n = x.size() - 1;
  const Vector level = x.head(n).array() - x.head(n).mean(), step = x.tail(n) - x.head(n);
  const double power = level.squaredNorm(), slope = level.dot(step) / power;
  const double residual = (step.array() - step.mean() - slope * level.array()).square().sum() / static_cast<double>(n - 2);
  return slope / std::sqrt(residual / power);
}

TestResult constancy(const Vector& level, const Vector& rate) {
  const Index n = level.size();
  const double centre = level.mean(), scale = std::sqrt((level.array() - centre).square().mean());
  TestResult out{"constant diffusion", 0, 2, 1};
  if (!(scale > 0) || n < 30) return out;
  Matrix design(n, 3);
  design.col(0).setOnes();
  design.col(1) = (level.array() - centre) / scale;
  design.col(2) = design.col(1).array().square();
  const Vector fitted = design * (design.transpose() * design).ldlt().solve(design.transpose() * rate);
  const double total = (rate.array() - rate.mean()).square().sum();
  if (!(total > 0)) return out;
  out.statistic = static_cast<double>(n) * (fitted.array() - rate.mean()).square().sum() / total;
  out.p_value = chi_square_tail(out.statistic, 2);
  return out;
}

}  // namespace

double cramer_von_mises_tail(double x) {
  if (std::isnan(x)) throw DomainError("cramer_von_mises_tail: the statistic is NaN");
  if (x <= 1e-3) return 1;  // P(W <= x) is about e^{-1/(8x)}
  if (x > 50) return 0;
  // Anderson and Darling's series; its terms fall like exp(-(4j+1)^2/(8x)).
  double sum = 0, binomial = 1;  // (-1)^j binom(-1/2, j)
  for (int j = 0; j < 200; ++j) {
    const double a = (4.0 * j + 1) * (4.0 * j + 1) / (16 * x);
    const double term = binomial * std::sqrt(4.0 * j + 1) * std::exp(-a) * boost::math::cyl_bessel_k(0.25, a);
    sum += term;
    if (term < 1e-17 * (sum + 1e-300) || a > 350) break;
    binomial *= (j + 0.5) / (j + 1);
  }
  return std::clamp(1 - sum / (std::numbers::pi * std::sqrt(x)), 0.0, 1.0);
}

DataSummary summarise(const Panel& panel) {
  if (panel.empty()) throw ShapeError("summarise: there are no paths");
  DataSummary out;
  out.paths = static_cast<Index>(panel.size());
  out.dimension = panel.front().values.rows();
  std::vector<double> spacings;
  const Path* longest = &panel.front();
  for (const Path& path : panel) {
    path.validate();
    check_size("summarise", "dimension of a path", path.values.rows(), out.dimension);
    out.transitions += path.transitions();
    out.duration += path.times[path.transitions()] - path.times[0];
    for (Index i = 0; i < path.transitions(); ++i) spacings.push_back(path.times[i + 1] - path.times[i]);
    if (path.transitions() > longest->transitions()) longest = &path;
  }
  std::sort(spacings.begin(), spacings.end());
  out.min_spacing = spacings.front();
  out.median_spacing = spacings[spacings.size() / 2];
  out.max_spacing = spacings.back();
  // Times are differences of numbers up to T: their rounding, not the spacing's, is what evenness must allow for.
  out.even = out.max_spacing - out.min_spacing <= 1e-9 * out.median_spacing + 4e-16 * std::abs(longest->times[longest->transitions()]);
  out.gaps = spacings.end() - std::upper_bound(spacings.begin(), spacings.end(), 1.5 * out.median_spacing);

  for (Index c = 0; c < out.dimension; ++c) {
    CoordinateSummary s;
    s.minimum = std::numeric_limits<double>::infinity();
    s.maximum = -s.minimum;
    double sum = 0, count = 0, square = 0, product = 0;
    for (const Path& path : panel) {
      s.minimum = std::min(s.minimum, path.values.row(c).minCoeff());
      s.maximum = std::max(s.maximum, path.values.row(c).maxCoeff());
      sum += path.values.row(c).sum();
      count += static_cast<double>(path.times.size());
    }
    s.mean = sum / count;
    Vector level(out.transitions), rate(out.transitions);
    Index at = 0;
    for (const Path& path : panel) {
      const Index n = path.transitions();
      const Vector centred = path.values.row(c).transpose().array() - s.mean;
      square += centred.squaredNorm();
      product += centred.head(n).dot(centred.tail(n));
      for (Index i = 0; i < n; ++i, ++at) {
        const double step = centred[i + 1] - centred[i];
        level[at] = centred[i];
        rate[at] = step * step / (path.times[i + 1] - path.times[i]);
        s.quadratic_variation += step * step / out.duration;
      }
    }
    s.deviation = std::sqrt(square / count);
    s.autocorrelation = square > 0 ? product / square * count / static_cast<double>(out.transitions) : 0;
    s.constancy = constancy(level, rate);
    s.kpss = {"KPSS", 0, 0, 1};
    const Vector x = longest->values.row(c).transpose();
    if (x.size() >= 30 && !(x.array() == x[0]).all()) {
      s.dickey_fuller = dickey_fuller(x);
      s.kpss = kpss(x);
      std::vector<double> ratios;
      double finest = 0;
      for (Index stride = 1; stride <= 8 && x.size() / stride >= 8; stride *= 2) {
        double variation = 0;
        Index last = 0;
        for (Index i = stride; i < x.size(); i += stride, last += stride) variation += (x[i] - x[i - stride]) * (x[i] - x[i - stride]);
        variation /= longest->times[last] - longest->times[0];
        if (stride == 1) finest = variation;
        ratios.push_back(variation / finest);
      }
      s.signature = Eigen::Map<const Vector>(ratios.data(), static_cast<Index>(ratios.size()));
    }
    out.coordinates.push_back(std::move(s));
  }
  return out;
}

std::string DataSummary::text() const {
  std::string out = fmt::format("{} path{}, {} transition{}, T = {:.6g}, {}\n", paths, paths == 1 ? "" : "s", transitions, transitions == 1 ? "" : "s", duration,
                                even ? fmt::format("even spacing {:.6g}", median_spacing)
                                     : fmt::format("spacing {:.6g} to {:.6g}, median {:.6g}, {} gap{}", min_spacing, max_spacing, median_spacing, gaps, gaps == 1 ? "" : "s"));
  for (std::size_t c = 0; c < coordinates.size(); ++c) {
    const CoordinateSummary& s = coordinates[c];
    if (coordinates.size() > 1) out += fmt::format("coordinate {}\n", c + 1);
    out += fmt::format("range [{:.6g}, {:.6g}], mean {:.6g}, deviation {:.6g}, autocorrelation {:.4f}\n", s.minimum, s.maximum, s.mean, s.deviation, s.autocorrelation);
    if (s.signature.size() == 0) continue;
    out += fmt::format("Dickey-Fuller t = {:.3f} (unit root rejected at 5 % below -2.86); KPSS {:.3f}, p = {:.3g} (small: not stationary)\n", s.dickey_fuller, s.kpss.statistic, s.kpss.p_value);
    out += fmt::format("sum dX^2/T = {:.6g}; relative to it from every 2nd, 4th, 8th observation:", s.quadratic_variation);
    for (Index k = 1; k < s.signature.size(); ++k) out += fmt::format(" {:.3f}", s.signature[k]);
    out += fmt::format("\nconstant diffusion coefficient: chi-square(2) = {:.3f}, p = {:.3g}\n", s.constancy.statistic, s.constancy.p_value);
  }
  return out;
}

}  // namespace jko::estimators
