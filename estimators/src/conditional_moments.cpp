#include <jko/estimators/conditional_moments.hpp>

#include <jko/core/check.hpp>

#include "dual.hpp"
#include "numerical_moments.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>
#include <utility>

namespace jko::estimators {
namespace {

using Coefficient = DiffusionFamily::Coefficient;
constexpr int most = 8;
using Number = Dual<5>;  // in b_0, b_1, s_0, s_1, s_2
using Row = std::array<Number, most + 1>;

constexpr double same_step = 1e-7;  // steps this close, relatively, are one step and a first-order correction: error of order 1e-14

/// Row 0 of exp(dt A), in units of `scale`^k, and its derivative in dt.
std::pair<Row, Row> transition_row(const std::array<double, 5>& c, double dt, int order, double scale) {
  const Number b0 = Number::input(c[0], 0) * (1 / scale), b1 = Number::input(c[1], 1);
  const Number s0 = Number::input(c[2], 2) * (1 / (scale * scale)), s1 = Number::input(c[3], 3) * (1 / scale), s2 = Number::input(c[4], 4);
  double fastest = 0;
  for (int k = 1; k <= order; ++k) fastest = std::max(fastest, std::abs(k * b1.v + 0.5 * k * (k - 1) * s2.v));
  const int pieces = std::max(1, static_cast<int>(std::ceil(fastest * dt)));
  const double step = dt / pieces;
  std::array<Number, most + 1> down2, down1, same;  // what z^{k-2}, z^{k-1}, z^k contribute to z^k
  for (int k = 1; k <= order; ++k) {
    const double pairs = 0.5 * k * (k - 1);
    const auto i = static_cast<std::size_t>(k);
    down2[i] = s0 * (pairs * step);
    down1[i] = (b0 * static_cast<double>(k) + s1 * pairs) * step;
    same[i] = (b1 * static_cast<double>(k) + s2 * pairs) * step;
  }
  Row row{};
  row[0] = 1;
  const auto size = static_cast<std::size_t>(order);
  for (int piece = 0; piece < pieces; ++piece) {
    Row term = row;
    for (int j = 1; j < 200; ++j) {
      const double factor = 1.0 / j;
      bool small = j > order;
      for (std::size_t k = size; k >= 1; --k) {  // downwards: term[k-1], term[k-2] are still the old ones
        Number next = term[k] * same[k];
        next += term[k - 1] * down1[k];
        if (k >= 2) next += term[k - 2] * down2[k];
        term[k] = next * factor;
        row[k] += term[k];
        small = small && std::abs(term[k].v) <= 1e-18 * std::abs(row[k].v);
      }
      term[0] = 0;
      if (small) break;
    }
  }
  Row slope{};
  for (std::size_t k = 1; k <= size; ++k) {
    slope[k] = row[k] * same[k] + row[k - 1] * down1[k];
    if (k >= 2) slope[k] += row[k - 2] * down2[k];
    slope[k] *= 1 / step;
  }
  return {row, slope};
}

/// Columns: the moments at a point, then their derivatives in each parameter; `slopes` is d/d dt of all.
struct Table {
  Matrix values, slopes;
};

Table direct(const Diffusion& diffusion, const Vector& x, const Vector& dt, int order) {
  const DiffusionFamily& family = diffusion.family();
  const Matrix points = x.transpose();
  const Vector& theta = diffusion.parameters();
  std::array<Vector, 2> b;
  std::array<Matrix, 2> db;
  std::array<Vector, 3> s;
  std::array<Matrix, 3> ds;
  for (std::size_t k = 0; k < 2; ++k) {
    b[k] = family.evaluate(Coefficient::drift, {static_cast<int>(k), 0}, points, theta).row(0).transpose();
    db[k] = family.evaluate(Coefficient::drift, {static_cast<int>(k), 1}, points, theta);
  }
  for (std::size_t k = 0; k < 3; ++k) {
    s[k] = family.evaluate(Coefficient::diffusion, {static_cast<int>(k), 0}, points, theta).row(0).transpose();
    ds[k] = family.evaluate(Coefficient::diffusion, {static_cast<int>(k), 1}, points, theta);
  }
  const Index n = x.size(), count = theta.size();
  Table out{Matrix(order * (count + 1), n), Matrix(order * (count + 1), n)};
  for (Index i = 0; i < n; ++i) {
    const double s0 = s[0][i], s1 = s[1][i], s2 = s[2][i];
    // sigma^2 = s^2 and its Taylor coefficients: 2 s s', s'^2 + s s''.
    const std::array<double, 5> c{b[0][i], b[1][i], s0 * s0, 2 * s0 * s1, s1 * s1 + s0 * s2};
    const double scale = std::sqrt(c[2] * dt[i]) + std::abs(c[0]) * dt[i];
    if (!(scale > 0) || !std::isfinite(scale)) {
      out.values.col(i).setConstant(std::numeric_limits<double>::quiet_NaN());
      out.slopes.col(i).setConstant(std::numeric_limits<double>::quiet_NaN());
      continue;
    }
    const auto [row, slope] = transition_row(c, dt[i], order, scale);
    double unit = 1;
    for (int k = 1; k <= order; ++k) {
      unit *= scale;
      const Number &m = row[static_cast<std::size_t>(k)], &rate = slope[static_cast<std::size_t>(k)];
      out.values(k - 1, i) = unit * m.v;
      out.slopes(k - 1, i) = unit * rate.v;
      for (Index j = 0; j < count; ++j) {
        const double d0 = ds[0](j, i), d1 = ds[1](j, i), d2 = ds[2](j, i);
        const std::array<double, 5> by{db[0](j, i), db[1](j, i), 2 * s0 * d0, 2 * (d0 * s1 + s0 * d1), 2 * s1 * d1 + d0 * s2 + s0 * d2};
        double value = 0, speed = 0;
        for (std::size_t q = 0; q < 5; ++q) value += m.d[q] * by[q], speed += rate.d[q] * by[q];
        out.values(order * (j + 1) + k - 1, i) = unit * value;
        out.slopes(order * (j + 1) + k - 1, i) = unit * speed;
      }
    }
  }
  return out;
}

}  // namespace

bool has_closed_moments(const Diffusion& diffusion, const ConstVectorRef& points) {
  const DiffusionFamily& family = diffusion.family();
  // The extremes and up to thirty others.
  const Index n = points.size(), some = std::min<Index>(n, 30);
  Matrix x(1, some + 2);
  for (Index i = 0; i < some; ++i) x(0, i) = points[i * n / some];
  x(0, some) = points.minCoeff();
  x(0, some + 1) = points.maxCoeff();
  const double spread = std::max(x(0, some + 1) - x(0, some), 1e-300);
  // At the parameters and near them: sigma x^gamma at gamma = 1/2 is closed by accident.
  Vector near = diffusion.parameters();
  for (Index j = 0; j < near.size(); ++j) {
    const double shift = 1e-3 * (1 + std::abs(near[j]));
    near[j] += near[j] + shift < diffusion.parameter_list()[static_cast<std::size_t>(j)].upper ? shift : -shift;
  }
  for (const Vector& theta : {diffusion.parameters(), near}) {
    const auto get = [&](Coefficient coefficient, int order) { return Vector(family.evaluate(coefficient, {order, 0}, x, theta).row(0).transpose()); };
    const Vector drift = get(Coefficient::drift, 0), bend = get(Coefficient::drift, 2);
    if (!(bend.cwiseAbs().maxCoeff() * spread * spread <= 1e-9 * std::max(drift.cwiseAbs().maxCoeff(), 1e-300))) return false;
    if (family.constant_diffusion()) continue;
    const Vector s = get(Coefficient::diffusion, 0), ds = get(Coefficient::diffusion, 1), d2s = get(Coefficient::diffusion, 2), d3s = get(Coefficient::diffusion, 3);
    // (sigma^2)''' = 2 (s s''' + 3 s' s'').
    const Vector one = s.cwiseProduct(d3s), two = 3 * ds.cwiseProduct(d2s);
    const double summand = std::max(one.cwiseAbs().maxCoeff(), two.cwiseAbs().maxCoeff());
    if (!((one + two).cwiseAbs().maxCoeff() <= 1e-9 * std::max(summand, 1e-300))) return false;
  }
  return true;
}

ConditionalMoments conditional_moments(const Diffusion& diffusion, const ConstVectorRef& x, const ConstVectorRef& dt, int order) {
  check_in("conditional_moments", "order", order, 1, most);
  check_size("conditional_moments", "the time steps", dt.size(), x.size());
  diffusion.check_values("conditional_moments", x);
  check_at_least("conditional_moments", "number of points", x.size(), 1);
  if (!(dt.minCoeff() > 0)) throw DomainError(fmt::format("conditional_moments: a time step is {}, but must be positive", dt.minCoeff()));
  if (!has_closed_moments(diffusion, x)) return numerical_moments(diffusion, x, dt, order);
  const Index n = x.size(), count = diffusion.parameters().size(), nodes = order + 1;
  ConditionalMoments out{Matrix(order, n), std::vector<Matrix>(static_cast<std::size_t>(count), Matrix(order, n)), 0};
  std::vector<Index> by_step(static_cast<std::size_t>(n));
  std::iota(by_step.begin(), by_step.end(), Index{0});
  std::stable_sort(by_step.begin(), by_step.end(), [&](Index i, Index j) { return dt[i] < dt[j]; });
  for (std::size_t begin = 0, end = 0; begin < by_step.size(); begin = end) {
    const double first = dt[by_step[begin]];
    while (end < by_step.size() && dt[by_step[end]] <= first * (1 + same_step)) ++end;
    const std::vector<Index> group(by_step.begin() + static_cast<std::ptrdiff_t>(begin), by_step.begin() + static_cast<std::ptrdiff_t>(end));
    const Vector points = x(group);
    const double low = points.minCoeff(), high = points.maxCoeff();
    if (static_cast<Index>(group.size()) <= 2 * nodes || !(high > low)) {  // too few to gain
      const Table t = direct(diffusion, points, dt(group), order);
      for (std::size_t k = 0; k < group.size(); ++k) {
        for (Index r = 0; r < order; ++r) {
          out.value(r, group[k]) = t.values(r, static_cast<Index>(k));
          for (Index j = 0; j < count; ++j) out.by_theta[static_cast<std::size_t>(j)](r, group[k]) = t.values(order * (j + 1) + r, static_cast<Index>(k));
        }
      }
      continue;
    }
    // Moments and derivatives are polynomials in x of degree at most `order`: Chebyshev points of the data's range and the barycentric formula.
    Vector node(nodes), weight(nodes);
    for (Index j = 0; j < nodes; ++j) {
      const double angle = std::numbers::pi * (static_cast<double>(j) + 0.5) / static_cast<double>(nodes);
      node[j] = 0.5 * (low + high) + 0.5 * (high - low) * std::cos(angle);
      weight[j] = (j % 2 == 0 ? 1 : -1) * std::sin(angle);
    }
    const Table t = direct(diffusion, node, Vector::Constant(nodes, first), order);
    Vector basis(nodes), values(t.values.rows());
    for (const Index i : group) {
      double sum = 0;
      Index at = -1;
      for (Index j = 0; j < nodes; ++j) {
        const double difference = x[i] - node[j];
        if (difference == 0) at = j;
        sum += basis[j] = weight[j] / difference;
      }
      if (at >= 0) basis = Vector::Unit(nodes, at);
      else basis /= sum;
      values.noalias() = t.values * basis;
      const double late = dt[i] - first;
      if (late != 0) values.noalias() += late * (t.slopes * basis);
      out.value.col(i) = values.head(order);
      for (Index j = 0; j < count; ++j) out.by_theta[static_cast<std::size_t>(j)].col(i) = values.segment(order * (j + 1), order);
    }
  }
  return out;
}

}  // namespace jko::estimators
