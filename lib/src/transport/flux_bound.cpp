#include <jko/transport/flux_bound.hpp>

#include <jko/core/check.hpp>

#include "../measures/faces.hpp"
#include "dual_ascent.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace jko {
namespace {

/// (b - a)/log(b/a), 0 where either is.
double logarithmic_mean(double a, double b) {
  if (!(std::min(a, b) > 0)) return 0;
  const double x = (b - a) / (a + b);
  // atanh(x)/x = 1 + x^2/3 + ...; below 1e-4 the next term is 1e-17.
  const double ratio = std::abs(x) < 1e-4 ? 1 + x * x / 3 : std::atanh(x) / x;
  return 0.5 * (a + b) / ratio;
}

}  // namespace

void FluxBoundOptions::validate() const {
  check_at_least("flux_bound", "max_iterations", max_iterations, 1);
  check_at_least("flux_bound", "threads", threads, 1);
}

FluxBound flux_bound(const GridDensity& a, const GridDensity& b, const FluxBoundOptions& options) {
  options.validate();
  if (a.dimension() == 0 || b.dimension() == 0) throw DomainError("flux_bound: a density is empty");
  if (!(a.grid() == b.grid())) throw ShapeError("flux_bound: the two densities live on different grids");
  const Grid& grid = a.grid();
  const Index size = grid.size();
  const double volume = grid.cell_volume(), epsilon = std::numeric_limits<double>::epsilon();
  double square = 0;
  for (int k = 0; k < grid.dimension(); ++k) square += (grid.upper[k] - grid.lower[k]) * (grid.upper[k] - grid.lower[k]);
  const double diameter = std::sqrt(square);

  // Cells below the closing height hold at most epsilon of the mass together: the bound's part left over is sqrt(epsilon) diameters, as from rounding anyway.
  const double closing = epsilon / (volume * static_cast<double>(size));
  Vector inverse(size);  // 1/Lambda; 0 closes the cell
  for (Index i = 0; i < size; ++i) {
    const double mean = logarithmic_mean(a.values()[i], b.values()[i]);
    inverse[i] = mean > closing ? 1 / mean : 0;
  }
  const auto faces = [&](const auto& visit) {  // visit(i, j, weight/width, width)
    for_each_face(grid, [&](Index i, Index j, double width) {
      if (inverse[i] > 0 && inverse[j] > 0) visit(i, j, 2 / ((inverse[i] + inverse[j]) * width), width);
    });
  };
  const auto divergence = [&](const Vector& psi) {
    Vector out = Vector::Zero(size);
    faces([&](Index i, Index j, double weight, double width) {
      const double flow = weight / width * (psi[i] - psi[j]);
      out[i] += flow;
      out[j] -= flow;
    });
    return out;
  };

  // The preconditioner is the inverse of D - div(Lambda grad), D = Lambda/s. Eigenvalues of the quotient run from about (pi/l)^2 s, l the width of what moves, to 1 and, by the splitting's error,
  // to (s/dx^2)^{-1/2}: they balance at s = l dx. l^2 is the larger variance.
  FluxBound out;
  Vector right = a.values() - b.values();
  Vector weights(size);
  for (Index i = 0; i < size; ++i) {
    right[i] = inverse[i] > 0 ? right[i] : 0;
    weights[i] = inverse[i] > 0 ? 1 / inverse[i] : 0;
  }
  // Solvable only if it sums to zero: what closed cells and rounding lack is spread over the open ones, and left over in the end.
  if (const double all = weights.sum(); all > 0) right -= right.sum() / all * weights;
  double width = 0;
  for (int k = 0; k < grid.dimension(); ++k) width = std::max(width, grid.width(k));
  const double s = width * std::sqrt(std::max(a.covariance().trace(), b.covariance().trace()));
  WeightedMetric metric(a.grid_ptr(), options.threads);
  weights = weights.cwiseMax(closing);
  metric.set(weights, weights / s);
  Vector psi = Vector::Zero(size), r = right, z = r;
  metric.apply(z);
  Vector direction = z;
  double product = r.dot(z);
  // The densities' own rounding is epsilon of their mass: a residual of that size ends the iteration, and so does rounding, seen by ten iterations without a smaller residual.
  Vector best = psi;
  double least = r.cwiseAbs().sum() * volume;
  for (int since = 0; least > epsilon && since < 10 && out.iterations < options.max_iterations; ++out.iterations) {
    const Vector image = divergence(direction);
    const double bends = direction.dot(image);
    if (!(bends > 0) || !std::isfinite(bends)) break;
    psi += product / bends * direction;
    r -= product / bends * image;
    if (const double residual = r.cwiseAbs().sum() * volume; residual < least) {
      best = psi;
      least = residual;
      since = 0;
    } else {
      ++since;
    }
    z = r;
    metric.apply(z);
    const double next = r.dot(z);
    direction = z + next / product * direction;
    product = next;
  }
  psi = best;

  // Cost of the flux between the face values of each cell and axis: (f^2 + f g + g^2)/3 is the mean of the square of what is linear between f and g.
  Vector moved = Vector::Zero(size), cost = Vector::Zero(size);
  Index stride = 1;
  for (int k = 0; k < grid.dimension(); ++k) {
    Vector lower = Vector::Zero(size), upper = lower;
    const Index n = grid.cells[static_cast<std::size_t>(k)];
    const double dx = grid.width(k);
    const auto face = [&](Index i, Index j) {
      if (!(inverse[i] > 0 && inverse[j] > 0)) return;
      const double flux = 2 / ((inverse[i] + inverse[j]) * dx) * (psi[i] - psi[j]);
      upper[i] = lower[j] = flux;
      moved[i] += flux / dx;
      moved[j] -= flux / dx;
    };
    for (Index i = 0; i < size; ++i) {
      const Index at = i / stride % n;
      if (at + 1 < n) face(i, i + stride);
      else if (grid.boundary == Boundary::periodic && n > 1) face(i, i - at * stride);
    }
    cost += ((lower.array().square() + lower.array() * upper.array() + upper.array().square()) / 3).matrix();
    stride *= n;
  }
  out.carried = std::sqrt(cost.dot(inverse) * volume);
  out.left_over = diameter * std::sqrt(0.5 * (a.values() - b.values() - moved).cwiseAbs().sum() * volume);
  out.value = out.carried + out.left_over;
  out.status = out.left_over <= out.carried || out.value == 0 ? Status::converged : out.iterations >= options.max_iterations ? Status::iteration_limit : Status::stalled;
  return out;
}

}  // namespace jko
