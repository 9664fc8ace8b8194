#include <jko/measures/grid_density.hpp>

#include <jko/core/check.hpp>

#include <Eigen/LU>
#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <numbers>
#include <utility>

namespace jko {

void Grid::validate() const {
  const Index d = lower.size();
  if (d < 1 || d > 3) throw ShapeError(fmt::format("grid: dimension is {}, but must be 1, 2 or 3", d));
  check_size("grid", "upper", upper.size(), d);
  check_size("grid", "cells", static_cast<Index>(cells.size()), d);
  double total = 1;
  for (Index a = 0; a < d; ++a) {
    check_finite("grid", "lower", lower[a]);
    check_finite("grid", "upper", upper[a]);
    if (!(lower[a] < upper[a])) throw DomainError(fmt::format("grid: axis {} runs from {} to {}, which is empty", a + 1, lower[a], upper[a]));
    const Index n = cells[static_cast<std::size_t>(a)];
    check_at_least("grid", fmt::format("cells of axis {}", a + 1), n, 1);
    total *= static_cast<double>(n);
  }
  // A step holds about ten vectors of the grid's size.
  if (total > std::ldexp(1.0, 31)) {
    throw DomainError(fmt::format("grid: {:.3g} cells would take about {:.0f} GiB, but at most 2^31 cells are allowed", total, 80 * total / std::ldexp(1.0, 30)));
  }
}

Index Grid::size() const {
  Index n = 1;
  for (const Index c : cells) n *= c;
  return n;
}

double Grid::width(int axis) const { return (upper[axis] - lower[axis]) / static_cast<double>(cells[static_cast<std::size_t>(axis)]); }

double Grid::cell_volume() const {
  double volume = 1;
  for (int a = 0; a < dimension(); ++a) volume *= width(a);
  return volume;
}

Vector Grid::centres(int axis) const {
  const Index n = cells[static_cast<std::size_t>(axis)];
  const double w = width(axis);
  return (Vector::LinSpaced(n, 0.0, static_cast<double>(n - 1)).array() + 0.5) * w + lower[axis];
}

Matrix Grid::points() const {
  Matrix out(dimension(), size());
  Index repeat = 1;
  for (int a = 0; a < dimension(); ++a) {
    const Vector c = centres(a);
    for (Index i = 0; i < out.cols(); ++i) out(a, i) = c[(i / repeat) % c.size()];
    repeat *= c.size();
  }
  return out;
}

bool Grid::operator==(const Grid& other) const {
  return lower == other.lower && upper == other.upper && cells == other.cells && boundary == other.boundary;
}

GridDensity::GridDensity(std::shared_ptr<const Grid> grid, Vector values) : grid_(std::move(grid)), values_(std::move(values)) {
  if (!grid_) throw DomainError("grid_density: the grid is missing");
  grid_->validate();
  check_size("grid_density", "values", values_.size(), grid_->size());
  check_finite("grid_density", "values", values_);
  if (values_.minCoeff() < 0) throw DomainError(fmt::format("grid_density: the smallest value is {}, but a density must be >= 0", values_.minCoeff()));
  if (!(std::abs(mass() - 1) <= 1e-10)) throw DomainError(fmt::format("grid_density: the mass is {:.12g}, but must be 1", mass()));
}

GridDensity GridDensity::from_density(std::shared_ptr<const Grid> grid, const std::function<Vector(const ConstMatrixRef&)>& density) {
  if (!grid) throw DomainError("grid_density: the grid is missing");
  grid->validate();
  Vector values = density(grid->points());
  check_size("grid_density", "density values", values.size(), grid->size());
  check_finite("grid_density", "density", values);
  if (values.minCoeff() < 0) throw DomainError("grid_density: the density is negative somewhere");
  const double total = values.sum() * grid->cell_volume();
  check_positive("grid_density", "mass of the density", total);
  values /= total;
  return {std::move(grid), std::move(values)};
}

GridDensity GridDensity::gaussian(std::shared_ptr<const Grid> grid, const ConstVectorRef& mean, const ConstMatrixRef& covariance) {
  if (!grid) throw DomainError("grid_density: the grid is missing");
  grid->validate();
  check_size("grid_density", "mean", mean.size(), grid->dimension());
  check_size("grid_density", "covariance", covariance.rows(), grid->dimension());
  check_covariance("grid_density", "covariance", covariance);
  if (!covariance.isDiagonal(0)) {
    const Matrix precision = covariance.inverse();
    return from_density(std::move(grid), [&](const ConstMatrixRef& x) {
      const Matrix centred = x.colwise() - mean;
      return Vector((-0.5 * (centred.array() * (precision * centred).array()).colwise().sum().transpose()).exp());
    });
  }
  Vector values = Vector::Ones(grid->size());
  Index repeat = 1;
  for (int a = 0; a < grid->dimension(); ++a) {
    const Index n = grid->cells[static_cast<std::size_t>(a)];
    const double w = grid->width(a), scale = 1 / std::sqrt(2 * covariance(a, a));
    Vector average(n);
    for (Index i = 0; i < n; ++i) {
      const double left = (grid->lower[a] + static_cast<double>(i) * w - mean[a]) * scale, right = left + w * scale;
      // Differences of the tail that is small keep their digits.
      average[i] = (left > 0 ? std::erfc(left) - std::erfc(right) : std::erfc(-right) - std::erfc(-left)) / (2 * w);
    }
    for (Index i = 0; i < values.size(); ++i) values[i] *= average[(i / repeat) % n];
    repeat *= n;
  }
  const double total = values.sum() * grid->cell_volume();
  check_positive("grid_density", "mass of the Gaussian in the box", total);
  return {std::move(grid), Vector(values / total)};
}

GridDensity GridDensity::with_coordinates(Vector values) const { return {grid_, std::move(values)}; }

double GridDensity::mass() const { return values_.sum() * grid_->cell_volume(); }

Vector GridDensity::mean() const { return grid_->points() * values_ * grid_->cell_volume(); }

Matrix GridDensity::covariance() const {
  const Matrix centred = grid_->points().colwise() - mean();
  Matrix out = centred * (grid_->cell_volume() * values_).asDiagonal() * centred.transpose();
  for (int a = 0; a < dimension(); ++a) out(a, a) += grid_->width(a) * grid_->width(a) / 12;
  return out;
}

double l1_distance(const GridDensity& a, const GridDensity& b) {
  if (!(a.grid() == b.grid())) throw ShapeError("l1_distance: the grids differ");
  return (a.values() - b.values()).cwiseAbs().sum() * a.grid().cell_volume();
}

}  // namespace jko
