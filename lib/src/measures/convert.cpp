#include <jko/measures/convert.hpp>

#include <jko/core/check.hpp>
#include <jko/core/random.hpp>
#include <jko/measures/gaussian_sums.hpp>

#include <Eigen/Cholesky>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace jko {
namespace {

double width_spread(const Grid& grid) {
  double sum = 0;
  for (int k = 0; k < grid.dimension(); ++k) sum += grid.width(k) * grid.width(k) / 12;
  return sum;
}

void need_grid(const std::shared_ptr<const Grid>& grid, int dimension) {
  if (!grid) throw DomainError("convert: the grid is missing");
  grid->validate();
  check_size("convert", "the grid's dimension", grid->dimension(), dimension);
}

}  // namespace

Converted<Particles> to_particles(const GridDensity& density, double smallest_mass) {
  check_nonnegative("to_particles", "the smallest mass", smallest_mass);
  const Grid& grid = density.grid();
  const Matrix centres = grid.points();
  const Vector masses = density.values() * grid.cell_volume();
  std::vector<Index> kept;
  double mass = 0;
  for (Index i = 0; i < masses.size(); ++i) {
    if (!(masses[i] > 0) || masses[i] < smallest_mass) continue;
    kept.push_back(i);
    mass += masses[i];
  }
  if (kept.empty()) throw DomainError(fmt::format("to_particles: no cell has the mass {}", smallest_mass));
  Matrix points(centres.rows(), static_cast<Index>(kept.size()));
  Vector weights(points.cols());
  for (Index i = 0; i < points.cols(); ++i) {
    points.col(i) = centres.col(kept[static_cast<std::size_t>(i)]);
    weights[i] = masses[kept[static_cast<std::size_t>(i)]] / mass;
  }
  const double lost = std::max(0.0, masses.sum() - mass);
  return {Particles(std::move(points), std::move(weights)), std::sqrt((1 - lost) * width_spread(grid) + lost * (grid.upper - grid.lower).squaredNorm())};
}

Converted<Particles> to_particles(const QuantileFunction& q) {
  if (!q.is_monotone()) throw DomainError("to_particles: the quantile function must increase strictly");
  const Vector widths = q.nodes().tail(q.cells()) - q.nodes().head(q.cells());
  return {Particles(q.midpoints().transpose(), q.masses()), std::sqrt(q.masses().dot(widths.cwiseAbs2()) / 12)};
}

Particles sample(const Gaussian& gaussian, Index n, std::uint64_t seed) {
  check_at_least("sample", "the number of points", n, 1);
  const Eigen::LLT<Matrix> cholesky(gaussian.covariance());
  Matrix points(gaussian.dimension(), n);
  for (Index i = 0; i < n; ++i) {
    RandomStream random(seed, "gaussian sample", static_cast<std::uint64_t>(i));
    random.fill_normal(points.col(i));
  }
  return Particles((cholesky.matrixL() * points).colwise() + gaussian.mean());
}

Gaussian to_gaussian(const Particles& particles) { return {particles.mean(), particles.covariance()}; }

Converted<QuantileFunction> to_quantiles(const Particles& p) {
  if (p.dimension() != 1) throw DomainError(fmt::format("to_quantiles: the particles have dimension {}, but quantiles are for one", p.dimension()));
  check_at_least("to_quantiles", "the number of particles", p.size(), 2);
  std::vector<Index> order(static_cast<std::size_t>(p.size()));
  std::iota(order.begin(), order.end(), Index{0});
  std::sort(order.begin(), order.end(), [&](Index a, Index b) { return p.points()(0, a) < p.points()(0, b); });
  Vector nodes(p.size()), weights(p.size());
  for (Index i = 0; i < p.size(); ++i) {
    nodes[i] = p.points()(0, order[static_cast<std::size_t>(i)]);
    weights[i] = p.weights()[order[static_cast<std::size_t>(i)]];
    if (i > 0 && !(nodes[i] > nodes[i - 1])) throw DomainError(fmt::format("to_quantiles: two particles coincide at x = {}", nodes[i]));
  }
  Vector masses = 0.5 * (weights.head(p.size() - 1) + weights.tail(p.size() - 1));
  masses /= masses.sum();
  // The exact distance: walk through the mass, on which one quantile function is constant and the other linear.
  double square = 0, before = 0, to_cell = masses[0], to_point = weights[0];
  Index cell = 0, point = 0;
  while (cell < masses.size() && point < weights.size()) {
    const double end = std::min(to_cell, to_point), start = to_cell - masses[cell];
    const auto at = [&](double mass) { return nodes[cell] + (mass - start) / masses[cell] * (nodes[cell + 1] - nodes[cell]) - nodes[point]; };
    const double a = at(before), b = at(end);
    square += (end - before) * (a * a + a * b + b * b) / 3;
    before = end;
    if (to_cell <= end && ++cell < masses.size()) to_cell += masses[cell];
    if (to_point <= end && ++point < weights.size()) to_point += weights[point];
  }
  return {QuantileFunction(std::make_shared<const Vector>(masses), nodes), std::sqrt(std::max(0.0, square))};
}

Converted<QuantileFunction> to_quantiles(const GridDensity& density) {
  const Grid& grid = density.grid();
  if (grid.dimension() != 1) throw DomainError(fmt::format("to_quantiles: the grid has dimension {}, but quantiles are for one", grid.dimension()));
  const Vector& rho = density.values();
  Index first = 0, last = rho.size();
  while (rho[first] == 0) ++first;
  while (rho[last - 1] == 0) --last;
  for (Index i = first; i < last; ++i) {
    if (rho[i] == 0) throw DomainError(fmt::format("to_quantiles: cell {} between positive ones is empty, where the quantile function would jump", i));
  }
  Vector masses = rho.segment(first, last - first) * grid.cell_volume(), nodes(last - first + 1);
  masses /= masses.sum();
  for (Index i = 0; i < nodes.size(); ++i) nodes[i] = grid.lower[0] + static_cast<double>(first + i) * grid.width(0);
  return {QuantileFunction(std::make_shared<const Vector>(masses), nodes), 0};
}

Converted<GridDensity> to_grid(const Particles& p, std::shared_ptr<const Grid> grid) {
  need_grid(grid, p.dimension());
  Vector values = Vector::Zero(grid->size());
  double square = 0;
  for (Index i = 0; i < p.size(); ++i) {
    Index cell = 0, stride = 1;
    for (int k = 0; k < grid->dimension(); ++k) {
      const double width = grid->width(k), length = grid->upper[k] - grid->lower[k];
      double x = p.points()(k, i) - grid->lower[k];
      if (grid->boundary == Boundary::periodic) x -= length * std::floor(x / length);
      if (!(x >= 0 && x <= length)) throw DomainError(fmt::format("to_grid: particle {} lies outside the box: coordinate {} is {}", i, k + 1, p.points()(k, i)));
      const Index n = grid->cells[static_cast<std::size_t>(k)], j = std::min(n - 1, static_cast<Index>(x / width));
      const double offset = x - (static_cast<double>(j) + 0.5) * width;
      square += p.weights()[i] * (width * width / 12 + offset * offset);
      cell += stride * j;
      stride *= n;
    }
    values[cell] += p.weights()[i];
  }
  values /= grid->cell_volume();
  return {GridDensity(std::move(grid), std::move(values)), std::sqrt(square)};
}

Converted<GridDensity> to_grid(const QuantileFunction& q, std::shared_ptr<const Grid> grid) {
  need_grid(grid, 1);
  if (!q.is_monotone()) throw DomainError("to_grid: the quantile function must increase strictly");
  if (q.nodes()[0] < grid->lower[0] || q.nodes()[q.cells()] > grid->upper[0]) {
    throw DomainError(fmt::format("to_grid: the measure lives on [{}, {}], outside the box [{}, {}]", q.nodes()[0], q.nodes()[q.cells()], grid->lower[0], grid->upper[0]));
  }
  const Index n = grid->size();
  const double width = grid->width(0);
  Vector values(n);
  double before = 0;
  for (Index i = 0; i < n; ++i) {
    const double after = i + 1 == n ? 1.0 : q.cdf(grid->lower[0] + static_cast<double>(i + 1) * width);
    values[i] = std::max(0.0, after - before) / width;
    before = after;
  }
  return {GridDensity(std::move(grid), std::move(values)), width};
}

DensityEstimate density_estimate(const Particles& p, std::shared_ptr<const Grid> grid, double bandwidth, int threads) {
  need_grid(grid, p.dimension());
  if (grid->boundary == Boundary::periodic) throw DomainError("density_estimate: the box must be no_flux, not periodic");
  Vector values = GaussianSums(grid->points(), p.points(), bandwidth, {.threads = threads}).value(p.weights());
  const double mass = values.sum() * grid->cell_volume();
  if (!(mass > 0)) throw DomainError("density_estimate: no mass falls into the box");
  values /= mass;
  return {GridDensity(std::move(grid), std::move(values)), 1 - mass};
}

}  // namespace jko
