#include <jko/transport/c_transform.hpp>

#include <jko/core/check.hpp>

#include "../measures/grid_lines.hpp"
#include "lower_envelope.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

namespace jko {
namespace {

/// Transforms the lines of one axis in place; `where`, if given, receives the minimising cell's number along the axis.
void transform_axis(const Grid& grid, int axis, int threads, double* field, std::int32_t* where) {
  const GridLines lines(grid, axis);
  const Index n = lines.cells;
  const double scale = grid.width(axis) * grid.width(axis), inverse = 1 / scale;
  // On the torus the nearest copy of x lies within half a period of y: the line is continued by that much on either side.
  const Index pad = grid.boundary == Boundary::periodic ? n / 2 : 0;
  lines.for_each_group(threads, [&](Index first, Index count) {
    thread_local LowerEnvelope envelope;
    thread_local std::vector<double> values, scaled;
    thread_local std::vector<std::int32_t> chosen;
    values.resize(static_cast<std::size_t>(count * n));
    chosen.resize(static_cast<std::size_t>(count * n));
    scaled.resize(static_cast<std::size_t>(n + 2 * pad));
    read_lines(field, lines, first, count, n, values.data());
    for (Index l = 0; l < count; ++l) {
      double* const f = values.data() + l * n;
      std::int32_t* const at = chosen.data() + l * n;
      for (Index k = 0; k < n; ++k) scaled[static_cast<std::size_t>(k + pad)] = f[k] * inverse;
      for (Index k = 0; k < pad; ++k) {
        scaled[static_cast<std::size_t>(k)] = f[n - pad + k] * inverse;
        scaled[static_cast<std::size_t>(n + pad + k)] = f[k] * inverse;
      }
      envelope.argmin(scaled.data(), n + 2 * pad, n, static_cast<double>(pad), at);
      if (at[0] < 0) continue;  // the line has no finite cell: it stays +inf and is never chosen
      // The minimum over i is written over the line, whose values it needs: through the scaled copy.
      for (Index j = 0; j < n; ++j) {
        const double distance = static_cast<double>(at[j] - pad - j);
        f[j] = scale * (0.5 * distance * distance + scaled[static_cast<std::size_t>(at[j])]);
        if (pad > 0) at[j] = static_cast<std::int32_t>((at[j] - pad + n) % n);
      }
    }
    write_lines(values.data(), lines, first, count, n, field);
    if (where) write_lines(chosen.data(), lines, first, count, n, where);
  });
}

}  // namespace

CTransform::CTransform(std::shared_ptr<const Grid> grid, int threads) : grid_(std::move(grid)), threads_(threads) {
  if (!grid_) throw DomainError("c_transform: the grid is missing");
  grid_->validate();
  check_at_least("c_transform", "threads", threads, 1);
}

Vector CTransform::operator()(const ConstVectorRef& phi) const { return run(phi, nullptr); }
Vector CTransform::operator()(const ConstVectorRef& phi, std::vector<std::int32_t>& argmin) const { return run(phi, &argmin); }

Vector CTransform::run(const ConstVectorRef& phi, std::vector<std::int32_t>* argmin) const {
  const Grid& grid = *grid_;
  const Index size = grid.size();
  check_size("c_transform", "phi", phi.size(), size);
  Index bad = 0, finite = 0;
  for (Index i = 0; i < size; ++i) {
    bad += !(phi[i] < std::numeric_limits<double>::infinity());
    finite += phi[i] > -std::numeric_limits<double>::infinity();
  }
  if (bad > 0) throw DomainError("c_transform: phi is +inf or NaN somewhere, but must be finite or -inf");
  if (finite == 0) throw DomainError("c_transform: phi is -inf everywhere, but must be finite somewhere");
  Vector field = -phi;
  const int d = grid.dimension();
  std::array<std::vector<std::int32_t>, 3> where;
  for (int a = 0; a < d; ++a) {
    auto& w = where[static_cast<std::size_t>(a)];
    if (argmin) w.resize(static_cast<std::size_t>(size));
    transform_axis(grid, a, threads_, field.data(), argmin ? w.data() : nullptr);
  }
  if (argmin) {
    // Axis a was minimised with the later axes at x and the earlier ones at y: the choices are read off from the last axis down.
    const Index n0 = grid.cells[0], n1 = d > 1 ? grid.cells[1] : 1;
    argmin->resize(static_cast<std::size_t>(size));
    const std::int32_t *const w0 = where[0].data(), *const w1 = where[1].data(), *const w2 = where[2].data();
    std::int32_t* const out = argmin->data();
    parallel_blocks(size / n0, std::max<Index>(1, 32768 / n0), threads_, [&](Index begin, Index end) {
      for (Index row = begin; row < end; ++row) {
        const Index plane = row / n1;  // y_2, and row = y_1 + n1 y_2
        for (Index y0 = 0; y0 < n0; ++y0) {
          const Index x2 = d == 3 ? w2[y0 + n0 * row] : 0;
          const Index y1_x2 = d == 3 ? row - plane * n1 + n1 * x2 : row;
          const Index x1_x2 = d >= 2 ? w1[y0 + n0 * y1_x2] + n1 * x2 : 0;
          out[y0 + n0 * row] = static_cast<std::int32_t>(w0[y0 + n0 * x1_x2] + n0 * x1_x2);
        }
      }
    });
  }
  return field;
}

Vector c_transform(std::shared_ptr<const Grid> grid, const ConstVectorRef& phi) { return CTransform(std::move(grid))(phi); }

double dual_transport_value(const GridDensity& rho, const GridDensity& mu, const ConstVectorRef& phi) {
  if (!(rho.grid() == mu.grid())) throw ShapeError("dual_transport_value: the grids differ");
  check_size("dual_transport_value", "phi", phi.size(), rho.values().size());
  check_finite("dual_transport_value", "phi", phi);
  return (phi.dot(rho.values()) + c_transform(mu.grid_ptr(), phi).dot(mu.values())) * rho.grid().cell_volume();
}

}  // namespace jko
