#include <jko/measures/quantile_function.hpp>

#include <jko/core/check.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>
#include <vector>

namespace jko {
namespace {

void check_window(double lower, double upper, Index cells) {
  check_finite("quantile_function", "lower end", lower);
  check_finite("quantile_function", "upper end", upper);
  if (!(lower < upper)) {
    throw DomainError(fmt::format("quantile_function: lower end {} must lie below upper end {}", lower, upper));
  }
  check_at_least("quantile_function", "cells", cells, 2);
}

/// Normalises by division: the first and last cells would otherwise show the tails as a spike.
QuantileFunction normalised(Vector masses, Vector nodes) {
  masses /= masses.sum();
  masses /= masses.sum();  // once more: the first sum carries its own rounding
  return {std::make_shared<const Vector>(std::move(masses)), std::move(nodes)};
}

void check_same_masses(std::string_view where, const QuantileFunction& a, const QuantileFunction& b) {
  if (a.masses_ptr() == b.masses_ptr()) return;
  if (a.cells() != b.cells() || a.masses() != b.masses()) {
    throw ShapeError(fmt::format("{}: the quantile functions have different cells", where));
  }
}

}  // namespace

QuantileFunction::QuantileFunction(std::shared_ptr<const Vector> masses, Vector nodes)
    : masses_(std::move(masses)), nodes_(std::move(nodes)) {
  if (!masses_ || masses_->size() < 1) throw ShapeError("quantile_function: there must be at least one cell");
  check_size("quantile_function", "the node vector", nodes_.size(), masses_->size() + 1);
  check_finite("quantile_function", "nodes", nodes_);
  check_finite("quantile_function", "masses", *masses_);
  if (!(masses_->minCoeff() > 0)) throw DomainError("quantile_function: every cell must have positive mass");
  const double mass = masses_->sum();
  if (!(std::abs(mass - 1) <= 1e-12)) throw DomainError(fmt::format("quantile_function: mass is {}, but must be 1", mass));
}

QuantileFunction QuantileFunction::from_cdf(const std::function<double(double)>& cdf,
                                            const std::function<double(double)>& complement, double lower, double upper,
                                            Index cells, double max_outside) {
  check_window(lower, upper, cells);
  Vector nodes = Vector::LinSpaced(cells + 1, lower, upper);
  const double outside = cdf(lower) + complement(upper);
  if (!(outside <= max_outside)) {
    throw DomainError(fmt::format("quantile_function: mass {} lies outside [{}, {}], but at most {} may: widen the window", outside,
                                  lower, upper, max_outside));
  }
  Vector masses(cells);
  for (Index i = 0; i < cells; ++i) {
    // Differences of the smaller tail keep their relative accuracy.
    const bool left = cdf(nodes[i + 1]) < 0.5;
    masses[i] = left ? cdf(nodes[i + 1]) - cdf(nodes[i]) : complement(nodes[i]) - complement(nodes[i + 1]);
  }
  return normalised(std::move(masses), std::move(nodes));
}

QuantileFunction QuantileFunction::gaussian(double mean, double variance, Index cells, double width) {
  check_finite("quantile_function", "mean", mean);
  check_positive("quantile_function", "variance", variance);
  check_positive("quantile_function", "width", width);
  const double deviation = std::sqrt(variance);
  const auto tail = [](double z) { return 0.5 * std::erfc(z / std::numbers::sqrt2); };
  return from_cdf([&](double x) { return tail((mean - x) / deviation); }, [&](double x) { return tail((x - mean) / deviation); },
                  mean - width * deviation, mean + width * deviation, cells, 1.0);
}

QuantileFunction QuantileFunction::from_density(const std::function<double(double)>& density, double lower, double upper,
                                                Index cells) {
  check_window(lower, upper, cells);
  Vector nodes = Vector::LinSpaced(cells + 1, lower, upper);
  Vector masses(cells);
  const double half = 0.5 * (upper - lower) / static_cast<double>(cells);
  for (Index i = 0; i < cells; ++i) {
    // Three-point Gauss rule: sixth order in the cell width, as accurate as a smooth density needs.
    const double centre = 0.5 * (nodes[i] + nodes[i + 1]);
    const double offset = half * std::sqrt(0.6);
    const double mass = (5 * density(centre - offset) + 8 * density(centre) + 5 * density(centre + offset)) * half / 9;
    if (!(std::isfinite(mass) && mass > 0)) {
      throw DomainError(fmt::format("quantile_function: the density must be finite and positive, but its mass on [{}, {}] is {}",
                                    nodes[i], nodes[i + 1], mass));
    }
    masses[i] = mass;
  }
  return normalised(std::move(masses), std::move(nodes));
}

QuantileFunction QuantileFunction::with_coordinates(Vector nodes) const { return {masses_, std::move(nodes)}; }

bool QuantileFunction::is_monotone() const {
  for (Index i = 1; i < nodes_.size(); ++i) {
    if (!(nodes_[i] > nodes_[i - 1])) return false;
  }
  return true;
}

Vector QuantileFunction::mean() const { return Vector::Constant(1, masses().dot(midpoints())); }

Matrix QuantileFunction::covariance() const {
  const double centre = mean()[0];
  double sum = 0;
  for (Index i = 0; i < cells(); ++i) {
    const double a = nodes_[i] - centre, b = nodes_[i + 1] - centre;
    sum += masses()[i] * (a * a + a * b + b * b) / 3;
  }
  return Matrix::Constant(1, 1, sum);
}

double QuantileFunction::cdf(double x) const {
  if (std::isnan(x)) throw DomainError("quantile_function: cdf at NaN");
  if (x <= nodes_[0]) return 0;
  if (x >= nodes_[cells()]) return 1;
  const Index i = std::upper_bound(nodes_.data(), nodes_.data() + nodes_.size(), x) - nodes_.data() - 1;
  return masses().head(i).sum() + masses()[i] * (x - nodes_[i]) / (nodes_[i + 1] - nodes_[i]);
}

double QuantileFunction::quantile(double probability) const {
  check_in("quantile_function", "probability", probability, 0, 1);
  double below = 0;
  for (Index i = 0; i < cells(); ++i) {
    const double next = below + masses()[i];
    if (probability <= next) return nodes_[i] + (nodes_[i + 1] - nodes_[i]) * std::clamp((probability - below) / masses()[i], 0.0, 1.0);
    below = next;
  }
  return nodes_[cells()];
}

Vector QuantileFunction::midpoints() const { return 0.5 * (nodes_.head(cells()) + nodes_.tail(cells())); }

Vector QuantileFunction::cell_densities() const {
  return masses().cwiseQuotient(nodes_.tail(cells()) - nodes_.head(cells()));
}

double QuantileFunction::density(double x) const {
  if (!(x >= nodes_[0] && x <= nodes_[cells()])) return 0;
  const auto middle = [&](Index i) { return 0.5 * (nodes_[i] + nodes_[i + 1]); };
  const auto value = [&](Index i) { return masses()[i] / (nodes_[i + 1] - nodes_[i]); };
  const Index above = std::upper_bound(nodes_.data(), nodes_.data() + nodes_.size(), x) - nodes_.data();
  const Index i = std::min(std::max<Index>(above - 1, 0), cells() - 1);
  const Index left = x < middle(i) ? i - 1 : i;
  if (left < 0) return value(0);
  if (left + 1 >= cells()) return value(cells() - 1);
  const double t = (x - middle(left)) / (middle(left + 1) - middle(left));
  return (1 - t) * value(left) + t * value(left + 1);
}

double w2(const QuantileFunction& a, const QuantileFunction& b) {
  check_same_masses("w2", a, b);
  double sum = 0;
  double before = a.nodes()[0] - b.nodes()[0];
  for (Index i = 0; i < a.cells(); ++i) {
    const double after = a.nodes()[i + 1] - b.nodes()[i + 1];
    sum += a.masses()[i] * (before * before + before * after + after * after) / 3;
    before = after;
  }
  return std::sqrt(sum);
}

QuantileFunction geodesic(const QuantileFunction& a, const QuantileFunction& b, double s) {
  check_same_masses("geodesic", a, b);
  return a.with_coordinates((1 - s) * a.nodes() + s * b.nodes());
}

Matrix geodesic_tangent(const QuantileFunction&, const QuantileFunction&, double s, const ConstMatrixRef& da,
                        const ConstMatrixRef& db) {
  return (1 - s) * da + s * db;
}

double l1_distance(const QuantileFunction& a, const QuantileFunction& b) {
  std::vector<double> points;
  for (const QuantileFunction* q : {&a, &b}) {
    const Vector middle = q->midpoints();
    points.insert(points.end(), q->nodes().data(), q->nodes().data() + q->nodes().size());
    points.insert(points.end(), middle.data(), middle.data() + middle.size());
  }
  std::sort(points.begin(), points.end());
  double sum = 0;
  double before = std::abs(a.density(points[0]) - b.density(points[0]));
  for (std::size_t i = 1; i < points.size(); ++i) {
    const double after = std::abs(a.density(points[i]) - b.density(points[i]));
    sum += 0.5 * (before + after) * (points[i] - points[i - 1]);
    before = after;
  }
  return sum;
}

}  // namespace jko
