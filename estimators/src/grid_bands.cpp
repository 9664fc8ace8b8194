#include <jko/estimators/grid_bands.hpp>

#include <jko/core/check.hpp>

#include "response_band.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace jko::estimators {
namespace {

void check_line(const char* where, const GridDensity& line) {
  if (line.dimension() != 1) throw ShapeError(fmt::format("{}: the density has dimension {}, but must be a line's; take a marginal", where, line.dimension()));
}

/// visit(cell, cell along the axis) for all cells.
template <class Visit>
void for_each_cell(const Grid& grid, int axis, const Visit& visit) {
  Index stride = 1;
  for (int a = 0; a < axis; ++a) stride *= grid.cells[static_cast<std::size_t>(a)];
  const Index n = grid.cells[static_cast<std::size_t>(axis)], size = grid.size();
  for (Index i = 0; i < size; ++i) visit(i, i / stride % n);
}

}  // namespace

Matrix marginal_tangent(const GridDensity& measure, const ConstMatrixRef& tangent, int axis) {
  check_in("marginal", "axis", axis, 0, measure.dimension() - 1);
  const Grid& grid = measure.grid();
  Matrix out = Matrix::Zero(grid.cells[static_cast<std::size_t>(axis)], tangent.cols());
  if (tangent.cols() == 0) return out;
  check_size("marginal", "the tangent's rows", tangent.rows(), grid.size());
  const double across = grid.cell_volume() / grid.width(axis);
  for (Index j = 0; j < tangent.cols(); ++j) for_each_cell(grid, axis, [&](Index i, Index k) { out(k, j) += across * tangent(i, j); });
  return out;
}

GridDensity marginal(const GridDensity& measure, int axis) {
  const Vector values = marginal_tangent(measure, measure.values(), axis).col(0);
  const Grid& grid = measure.grid();
  const Grid line{Vector::Constant(1, grid.lower[axis]), Vector::Constant(1, grid.upper[axis]), {grid.cells[static_cast<std::size_t>(axis)]}, grid.boundary};
  return {std::make_shared<const Grid>(line), values};
}

Functionals distribution(const GridDensity& line, const ConstVectorRef& points) {
  check_line("distribution", line);
  const double width = line.grid().width(0), lower = line.grid().lower[0];
  const Index n = line.values().size();
  Functionals out{Vector(points.size()), Matrix::Zero(points.size(), n)};
  for (Index k = 0; k < points.size(); ++k) {
    const double at = std::clamp((points[k] - lower) / width, 0.0, static_cast<double>(n));
    const Index whole = std::min(static_cast<Index>(at), n - 1);
    out.gradient.row(k).head(whole).setConstant(width);
    out.gradient(k, whole) = width * (at - static_cast<double>(whole));
    out.value[k] = out.gradient.row(k).dot(line.values());
  }
  return out;
}

Functionals quantiles(const GridDensity& line, const ConstVectorRef& levels) {
  check_line("quantiles", line);
  const double width = line.grid().width(0), lower = line.grid().lower[0];
  const Vector& values = line.values();
  Vector points(levels.size()), slopes(levels.size());
  for (Index k = 0; k < levels.size(); ++k) {
    if (!(levels[k] > 0 && levels[k] < 1)) throw DomainError("quantiles: a level must lie in (0, 1)");
    double below = 0;
    Index i = 0;
    while (i + 1 < values.size() && below + width * values[i] < levels[k]) below += width * values[i++];
    while (i > 0 && !(values[i] > 0)) --i;  // rounding at the end of the support
    points[k] = lower + width * static_cast<double>(i) + std::clamp((levels[k] - below) / values[i], 0.0, width);
    slopes[k] = values[i];
  }
  // F(q) = p: dq = -dF(q)/f(q).
  Functionals out = distribution(line, points);
  out.value = points;
  out.gradient.array().colwise() /= -slopes.array();
  return out;
}

Functionals density(const GridDensity& line, const ConstVectorRef& points) {
  check_line("density", line);
  const Grid& grid = line.grid();
  const Index n = line.values().size();
  Functionals out{Vector::Zero(points.size()), Matrix::Zero(points.size(), n)};
  for (Index k = 0; k < points.size(); ++k) {
    if (!(points[k] >= grid.lower[0] && points[k] <= grid.upper[0])) continue;
    const double at = std::clamp((points[k] - grid.lower[0]) / grid.width(0) - 0.5, 0.0, static_cast<double>(n - 1));
    const Index i = std::min(static_cast<Index>(at), std::max<Index>(n - 2, 0));
    const double t = at - static_cast<double>(i);
    out.gradient(k, i) = 1 - t;
    if (i + 1 < n) out.gradient(k, i + 1) = t;
    out.value[k] = out.gradient.row(k).dot(line.values());
  }
  return out;
}

Functionals moments(const GridDensity& measure) {
  const int d = measure.dimension();
  const Index count = d + d * (d + 1) / 2;
  const double volume = measure.grid().cell_volume();
  const Matrix x = measure.grid().points(), covariance = measure.covariance();
  const Matrix centred = x.colwise() - measure.mean();
  Functionals out{Vector(count), Matrix(count, measure.values().size())};
  out.value.head(d) = measure.mean();
  out.gradient.topRows(d) = volume * x;
  Index at = d;
  for (int j = 0; j < d; ++j) {
    for (int i = j; i < d; ++i, ++at) {
      out.value[at] = covariance(i, j);
      // At fixed mass the mean's change drops out.
      out.gradient.row(at) = volume * centred.row(i).cwiseProduct(centred.row(j));
    }
  }
  return out;
}

Functionals expectation(const GridDensity& measure, const std::function<Vector(const ConstMatrixRef&)>& phi) {
  const Vector values = phi(measure.grid().points());
  check_size("expectation", "phi's values", values.size(), measure.values().size());
  check_finite("expectation", "phi", values);
  Functionals out{Vector(1), measure.grid().cell_volume() * values.transpose()};
  out.value[0] = out.gradient.row(0).dot(measure.values());
  return out;
}

Band density_band(const GridDensity& measure, const ConstMatrixRef& tangent, const ConstMatrixRef& covariance, const BandOptions& options) {
  validate(options);
  const Index n = measure.values().size();
  check_size("density_band", "the tangent's rows", tangent.rows(), n);
  check_size("density_band", "the covariance", covariance.rows(), tangent.cols());
  constexpr Index most = Index{1} << 14;
  return response_band(measure.values(), Vector::LinSpaced(n, 0, static_cast<double>(n - 1)), tangent * covariance_root(covariance), (n + most - 1) / most, options);
}

}  // namespace jko::estimators
