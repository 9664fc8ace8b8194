#include <jko/measures/quantile_function.hpp>

#include <jko/core/check.hpp>

#include "../core/vector_math.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>
#include <vector>

namespace jko {
namespace {

constexpr int lanes = 8;  // sums run over eight interleaved accumulators, whatever the vector width

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

/// Nodes whose spacing follows the density rho: their own density is proportional to 0.8 rho^{1/3} + 0.2 of a uniform one (both with mass 1). The error of
/// a piecewise-constant density is spacing^2 |rho''|, whose L1 norm is least where the nodes' density is like |rho''|^{1/3}; the uniform
/// part keeps the tails resolved. `density` is sampled at the midpoints of a fine uniform table and taken constant there.
Vector graded_nodes(const Vector& density, double lower, double upper, Index cells) {
  const Vector cube_root = density.unaryExpr([](double rho) { return std::cbrt(std::max(rho, 0.0)); });
  const double sum = cube_root.sum();
  const Index table = density.size();
  const double bin = (upper - lower) / static_cast<double>(table);
  Vector nodes(cells + 1);
  nodes[0] = lower;
  nodes[cells] = upper;
  double below = 0;  // of the nodes' distribution, up to bin j
  Index j = 0;
  const auto weight = [&](Index k) { return (sum > 0 ? 0.8 * cube_root[k] / sum : 0.0) + (sum > 0 ? 0.2 : 1.0) / static_cast<double>(table); };
  for (Index i = 1; i < cells; ++i) {
    const double goal = static_cast<double>(i) / static_cast<double>(cells);
    while (j + 1 < table && below + weight(j) < goal) below += weight(j++);
    nodes[i] = lower + bin * (static_cast<double>(j) + std::clamp((goal - below) / weight(j), 0.0, 1.0));
  }
  return nodes;
}

Index table_size(Index cells) { return std::clamp<Index>(2 * cells, 2000, 200000); }

void check_same_masses(std::string_view where, const QuantileFunction& a, const QuantileFunction& b) {
  if (a.masses_ptr() == b.masses_ptr()) return;
  if (a.cells() != b.cells() || a.masses() != b.masses()) {
    throw ShapeError(fmt::format("{}: the quantile functions have different cells", where));
  }
}

struct Moments {
  double mean, variance;
};

/// Of the piecewise-constant density, from sums about `centre`, in one pass.
JKO_VECTOR_CLONES void add_moments(const double* __restrict w, const double* __restrict x, Index n, double centre, double* __restrict first, double* __restrict second) {
  const auto add = [&](Index i, int l) {
    const double a = x[i] - centre, b = x[i + 1] - centre;
    first[l] += w[i] * (a + b);
    second[l] += w[i] * (a * a + a * b + b * b);
  };
  Index i = 0;
  for (; i + lanes <= n; i += lanes) {
    for (int l = 0; l < lanes; ++l) add(i + l, l);
  }
  for (; i < n; ++i) add(i, 0);
}

Moments moments(const Vector& masses, const Vector& nodes, double centre) {
  double first[lanes]{}, second[lanes]{};
  add_moments(masses.data(), nodes.data(), masses.size(), centre, first, second);
  double shift = 0, square = 0;
  for (int l = 0; l < lanes; ++l) shift += first[l], square += second[l];
  return {centre + 0.5 * shift, square / 3 - 0.25 * shift * shift};
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
  const double outside = cdf(lower) + complement(upper);
  if (!(outside <= max_outside)) {
    throw DomainError(fmt::format("quantile_function: mass {} lies outside [{}, {}], but at most {} may: widen the window", outside,
                                  lower, upper, max_outside));
  }
  // Differences of the smaller tail keep their relative accuracy.
  const auto cell_masses = [&](const Vector& nodes) {
    Vector masses(nodes.size() - 1);
    double before = cdf(nodes[0]), before_complement = complement(nodes[0]);
    for (Index i = 0; i < masses.size(); ++i) {
      const double after = cdf(nodes[i + 1]), after_complement = complement(nodes[i + 1]);
      masses[i] = after < 0.5 ? after - before : before_complement - after_complement;
      before = after;
      before_complement = after_complement;
    }
    return masses;
  };
  Vector nodes = graded_nodes(cell_masses(Vector::LinSpaced(table_size(cells) + 1, lower, upper)), lower, upper, cells);
  Vector masses = cell_masses(nodes);
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
  Vector table(table_size(cells));
  const double bin = (upper - lower) / static_cast<double>(table.size());
  for (Index i = 0; i < table.size(); ++i) table[i] = density(lower + bin * (static_cast<double>(i) + 0.5));
  if (!table.allFinite()) throw DomainError("quantile_function: the density must be finite");
  Vector nodes = graded_nodes(table, lower, upper, cells);
  Vector masses(cells);
  for (Index i = 0; i < cells; ++i) {
    // Three-point Gauss rule: sixth order in the cell width, as accurate as a smooth density needs.
    const double half = 0.5 * (nodes[i + 1] - nodes[i]);
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

QuantileFunction QuantileFunction::with_coordinates(Vector nodes) const {
  check_size("quantile_function", "the node vector", nodes.size(), nodes_.size());
  check_finite("quantile_function", "nodes", nodes);
  QuantileFunction out;  // the masses were checked before
  out.masses_ = masses_;
  out.nodes_ = std::move(nodes);
  return out;
}

bool QuantileFunction::is_monotone() const {
  for (Index i = 1; i < nodes_.size(); ++i) {
    if (!(nodes_[i] > nodes_[i - 1])) return false;
  }
  return true;
}

Vector QuantileFunction::mean() const { return Vector::Constant(1, moments(masses(), nodes_, nodes_[cells() / 2]).mean); }

Matrix QuantileFunction::covariance() const {
  const Moments rough = moments(masses(), nodes_, nodes_[cells() / 2]);
  // The variance about another centre c is that plus (mean - c)^2: within ten standard deviations the difference keeps all but two digits.
  const double offset = rough.mean - nodes_[cells() / 2];
  if (offset * offset <= 100 * rough.variance) return Matrix::Constant(1, 1, rough.variance);
  return Matrix::Constant(1, 1, moments(masses(), nodes_, rough.mean).variance);
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

QuantileFunction::LocalDensity QuantileFunction::local_density(double x) const {
  LocalDensity out;
  const Index n = cells();
  if (!(x >= nodes_[0] && x <= nodes_[n])) return out;
  const Index above = std::upper_bound(nodes_.data(), nodes_.data() + nodes_.size(), x) - nodes_.data();
  const Index cell = std::min(std::max<Index>(above - 1, 0), n - 1);

  // Linear between the midpoints of the cells, constant in the outer half cells.
  const auto middle = [&](Index i) { return 0.5 * (nodes_[i] + nodes_[i + 1]); };
  const auto value = [&](Index i) { return masses()[i] / (nodes_[i + 1] - nodes_[i]); };
  const Index left = std::clamp<Index>(x < middle(cell) ? cell - 1 : cell, 0, std::max<Index>(n - 2, 0));
  const double gap = n > 1 ? middle(left + 1) - middle(left) : 1;
  const double t = n > 1 ? std::clamp((x - middle(left)) / gap, 0.0, 1.0) : 0;
  const double linear = n > 1 ? (1 - t) * value(left) + t * value(left + 1) : value(0);

  if (n >= 3) {
    // Derivative of the cubic through four values of the distribution function, which is known exactly at the nodes.
    const Index first = std::clamp<Index>(cell - 1, 0, n - 3);
    std::array<double, 4> z{}, mass{}, slope{};
    for (Index k = 0; k < 4; ++k) z[static_cast<std::size_t>(k)] = nodes_[first + k];
    for (std::size_t k = 1; k < 4; ++k) mass[k] = mass[k - 1] + masses()[first + static_cast<Index>(k) - 1];
    const auto basis_slope = [&](std::size_t j, double at) {  // l_j'(at)
      double sum = 0;
      for (std::size_t k = 0; k < 4; ++k) {
        if (k == j) continue;
        double product = 1 / (z[j] - z[k]);
        for (std::size_t l = 0; l < 4; ++l) {
          if (l != j && l != k) product *= (at - z[l]) / (z[j] - z[l]);
        }
        sum += product;
      }
      return sum;
    };
    double cubic = 0;
    for (std::size_t j = 0; j < 4; ++j) {
      slope[j] = basis_slope(j, x);
      cubic += mass[j] * slope[j];
    }
    // Where the two differ much the density is not smooth on this scale, and the cubic may even be negative.
    if (std::abs(cubic - linear) <= 0.25 * linear) {
      out.value = cubic;
      out.first = first;
      for (std::size_t j = 0; j < 4; ++j) {
        double there = 0;  // of the cubic at node j: moving the node at fixed mass lowers the cubic by that times l_j
        for (std::size_t k = 0; k < 4; ++k) there += mass[k] * basis_slope(k, z[j]);
        out.gradient[j] = -there * slope[j];
      }
      return out;
    }
  }
  out.value = linear;
  out.first = left;
  const auto add_cell = [&](std::size_t i, double weight) {  // d(w/width)
    const double change = weight * value(left + static_cast<Index>(i)) / (nodes_[left + static_cast<Index>(i) + 1] - nodes_[left + static_cast<Index>(i)]);
    out.gradient[i] += change;
    out.gradient[i + 1] -= change;
  };
  add_cell(0, 1 - t);
  if (n > 1) {
    add_cell(1, t);
    if (t > 0 && t < 1) {  // moving the midpoints moves x relative to them
      const double change = -(value(left + 1) - value(left)) / gap;
      out.gradient[0] += 0.5 * change * (1 - t);
      out.gradient[1] += 0.5 * change;
      out.gradient[2] += 0.5 * change * t;
    }
  }
  return out;
}

double QuantileFunction::density(double x) const { return local_density(x).value; }

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
