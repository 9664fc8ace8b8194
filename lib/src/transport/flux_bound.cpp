#include <jko/transport/flux_bound.hpp>

#include <jko/core/check.hpp>

#include "../measures/faces.hpp"
#include "dual_ascent.hpp"

#include <algorithm>
#include <cmath>
#include <queue>
#include <utility>
#include <vector>

namespace jko {
namespace {

/// (b - a)/(log b - log a) for a, b > 0.
double logarithmic_mean(double a, double b) {
  const double ratio = (b - a) / (b + a);
  if (std::abs(ratio) < 1e-4) return 0.5 * (a + b) * (1 - ratio * ratio / 3);
  return (b - a) / (2 * std::atanh(ratio));
}

/// The cells that hold enough of both, in the order in which they join a maximum spanning tree from the densest one.
struct Tree {
  std::vector<Index> order, parent;  // parent: -1 outside and at the root
  std::vector<char> inside;

  Tree(const Grid& grid, const Vector& least, double floor) : parent(static_cast<std::size_t>(least.size()), -1), inside(static_cast<std::size_t>(least.size()), 0) {
    Index root = 0;
    for (Index i = 1; i < least.size(); ++i) root = least[i] > least[root] ? i : root;
    if (!(least[root] > floor)) return;
    struct Edge {
      double weight;
      Index to, from;
      bool operator<(const Edge& other) const { return weight != other.weight ? weight < other.weight : to > other.to; }
    };
    std::priority_queue<Edge> next;
    next.push({least[root], root, -1});
    while (!next.empty()) {
      const Edge edge = next.top();
      next.pop();
      auto& here = inside[static_cast<std::size_t>(edge.to)];
      if (here) continue;
      here = 1;
      parent[static_cast<std::size_t>(edge.to)] = edge.from;
      order.push_back(edge.to);
      for_each_neighbour(grid, edge.to, [&](Index j, double) {
        if (!inside[static_cast<std::size_t>(j)] && least[j] > floor) next.push({least[j], j, edge.to});
      });
    }
  }
};

}  // namespace

FluxBound w2_flux_bound(const GridDensity& from, const GridDensity& to, FluxBoundOptions options) {
  check_at_least("w2_flux_bound", "iterations", options.iterations, 0);
  check_in("w2_flux_bound", "floor", options.floor, std::numeric_limits<double>::min(), 1);
  if (from.dimension() == 0 || to.dimension() == 0) throw DomainError("w2_flux_bound: a density is empty");
  if (!(from.grid() == to.grid())) throw ShapeError("w2_flux_bound: the two densities live on different grids");
  const Grid& grid = from.grid();
  if (grid.boundary != Boundary::no_flux) throw DomainError("w2_flux_bound: the grid is periodic, but only boxes with walls are bounded");
  const Index n = grid.size();
  const int d = grid.dimension();
  const double volume = grid.cell_volume();
  const Vector least = from.values().cwiseMin(to.values());
  const Tree tree(grid, least, options.floor * std::max(from.values().maxCoeff(), to.values().maxCoeff()));
  double first = 0, second = 0, first_outside = 0, second_outside = 0;
  for (Index c = 0; c < n; ++c) {
    const bool inside = tree.inside[static_cast<std::size_t>(c)] != 0;
    (inside ? first : first_outside) += from.values()[c] * volume;
    (inside ? second : second_outside) += to.values()[c] * volume;
  }
  // Of the densities scaled to mass 1, so that nothing is far where nothing is outside.
  const double mass = std::min(first / (first + first_outside), second / (second + second_outside));
  FluxBound out;
  out.far = 1 - mass;
  const double diameter = (grid.upper - grid.lower).norm();
  if (!(mass > 0)) {
    out.w2 = diameter;
    return out;
  }
  // Both inside parts with the same mass; excess per cell, and the mean of the two.
  Vector excess = Vector::Zero(n), mean = Vector::Zero(n);
  for (const Index c : tree.order) {
    const double a = from.values()[c] * (mass / first), b = to.values()[c] * (mass / second);
    excess[c] = a - b;
    mean[c] = logarithmic_mean(a, b);
  }
  // L v = sum over faces theta (v_i - v_j)/width^2, theta the harmonic mean: what |J|^2/mean, lumped on the faces, minimises.
  const auto theta = [&](Index i, Index j) { return mean[i] > 0 && mean[j] > 0 ? 2 / (1 / mean[i] + 1 / mean[j]) : 0.0; };
  const auto laplacian = [&](const Vector& v) {
    Vector r = Vector::Zero(n);
    for_each_face(grid, [&](Index i, Index j, double width) {
      const double flow = theta(i, j) * (v[i] - v[j]) / (width * width);
      r[i] += flow;
      r[j] -= flow;
    });
    return r;
  };
  Vector v = Vector::Zero(n), r = excess;
  if (options.iterations > 0) {
    // The inverse of mean/s - div(mean grad .): waves longer than sqrt(s), 16 cells, are left to the iteration.
    double widest = 0;
    for (int a = 0; a < d; ++a) widest = grid.cells[static_cast<std::size_t>(a)] > 1 ? std::max(widest, grid.width(a)) : widest;
    const Vector weights = mean.cwiseMax(options.floor * mean.maxCoeff());
    WeightedMetric metric(from.grid_ptr(), 1);
    metric.set(weights, weights / std::pow(16 * widest, 2));
    const auto precondition = [&](Vector z) {
      metric.apply(z);
      for (Index c = 0; c < n; ++c) z[c] = tree.inside[static_cast<std::size_t>(c)] ? z[c] : 0.0;
      return z;
    };
    Vector z = precondition(r), p = z;
    double rz = r.dot(z);
    const double enough = 1e-6 * r.cwiseAbs().sum();
    while (out.iterations < options.iterations && r.cwiseAbs().sum() > enough && rz > 0) {
      ++out.iterations;
      const Vector q = laplacian(p);
      const double curvature = p.dot(q);
      if (!(curvature > 0)) break;
      v += rz / curvature * p;
      r -= rz / curvature * q;
      z = precondition(r);
      const double next = r.dot(z);
      p = z + next / rz * p;
      rz = next;
    }
    r = excess - laplacian(v);  // what is really left
  }
  // Flux densities a face: flux[axis][i] between i and its upper neighbour.
  std::vector<Vector> flux(static_cast<std::size_t>(d), Vector::Zero(n));
  std::vector<Index> strides;
  Index stride = 1;
  for (int a = 0; a < d; ++a) {
    strides.push_back(stride);
    stride *= grid.cells[static_cast<std::size_t>(a)];
  }
  for (int a = 0; a < d; ++a) {
    const Index s = strides[static_cast<std::size_t>(a)];
    for (Index i = 0; i + s < n; ++i) {
      if (i / s % grid.cells[static_cast<std::size_t>(a)] + 1 < grid.cells[static_cast<std::size_t>(a)]) flux[static_cast<std::size_t>(a)][i] = theta(i, i + s) * (v[i] - v[i + s]) / grid.width(a);
    }
  }
  for (std::size_t k = tree.order.size(); k-- > 1;) {
    const Index c = tree.order[k], up = tree.parent[static_cast<std::size_t>(c)], lower = std::min(c, up);
    // The axis is that of the stride between the two; strides of axes with one cell repeat, but those have no faces.
    int axis = 0;
    while (strides[static_cast<std::size_t>(axis)] != std::max(c, up) - lower || grid.cells[static_cast<std::size_t>(axis)] == 1) ++axis;
    flux[static_cast<std::size_t>(axis)][lower] += (c == lower ? r[c] : -r[c]) * grid.width(axis);
    r[up] += r[c];
  }
  double square = out.far * diameter * diameter;
  for (const Index c : tree.order) {
    double sum = 0;
    for (int a = 0; a < d; ++a) {
      const Index s = strides[static_cast<std::size_t>(a)];
      const Vector& f = flux[static_cast<std::size_t>(a)];
      const double high = f[c], low = c / s % grid.cells[static_cast<std::size_t>(a)] > 0 ? f[c - s] : 0.0;
      sum += (low * low + low * high + high * high) / 3;
    }
    square += volume * sum / mean[c];
  }
  out.w2 = std::sqrt(square);
  return out;
}

}  // namespace jko
