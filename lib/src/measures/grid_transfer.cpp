#include "grid_transfer.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

namespace jko {
namespace {

/// Calls line(in, out, stride) for every line along `axis`; the axes before it have the cells `inner`, those after it `outer` altogether.
template <class Line>
Vector along(Index inner, Index from, Index to, const Vector& field, const Line& line) {
  const Index outer = field.size() / (inner * from);
  Vector out(inner * to * outer);
  for (Index o = 0; o < outer; ++o) {
    for (Index i = 0; i < inner; ++i) line(field.data() + i + o * inner * from, out.data() + i + o * inner * to, inner);
  }
  return out;
}

}  // namespace

Vector averaged(const Grid& from, const Grid& to, const Vector& field) {
  Vector out = field;
  Index inner = 1;
  for (int a = 0; a < from.dimension(); ++a) {
    const Index n = from.cells[static_cast<std::size_t>(a)], m = to.cells[static_cast<std::size_t>(a)];
    const double ratio = static_cast<double>(n) / static_cast<double>(m);
    if (n != m) {
      out = along(inner, n, m, out, [&](const double* in, double* result, Index stride) {
        for (Index j = 0; j < m; ++j) {
          const double begin = static_cast<double>(j) * ratio, end = begin + ratio;
          const Index first = std::min(static_cast<Index>(begin), n - 1), last = std::min(static_cast<Index>(std::ceil(end)), n);
          double sum = 0, weight = 0;
          for (Index k = first; k < last; ++k) {
            const double share = std::min(end, static_cast<double>(k + 1)) - std::max(begin, static_cast<double>(k));
            const double value = in[k * stride];
            if (std::isinf(value) || !(share > 0)) continue;
            sum += share * value;
            weight += share;
          }
          result[j * stride] = weight > 0 ? sum / weight : in[first * stride];
        }
      });
    }
    inner *= m;
  }
  return out;
}

Vector sampled(const Grid& from, const Grid& to, const Vector& density) {
  bool divides = true;
  for (std::size_t a = 0; a < to.cells.size(); ++a) divides = divides && from.cells[a] % to.cells[a] == 0;
  if (!divides) {
    // Cells cut apart would ripple with the two widths' beat, which is far rougher than the density.
    Vector out = interpolated(from, to, density).cwiseMax(0.0);
    return out * (density.sum() * from.cell_volume() / (out.sum() * to.cell_volume()));
  }
  Vector out = averaged(from, to, density);
  const Vector average = out;
  Index stride = 1;
  for (int a = 0; a < to.dimension(); ++a) {
    const Index n = to.cells[static_cast<std::size_t>(a)];
    const double ratio = static_cast<double>(n) / static_cast<double>(from.cells[static_cast<std::size_t>(a)]), share = (1 - ratio * ratio) / 24;
    for (Index i = 0; i < out.size(); ++i) {
      if (!(average[i] > 0)) continue;
      const Index k = i / stride % n;
      const double left = average[k > 0 ? i - stride : (to.boundary == Boundary::periodic ? i + (n - 1) * stride : i)];
      const double right = average[k + 1 < n ? i + stride : (to.boundary == Boundary::periodic ? i - (n - 1) * stride : i)];
      // Where a cell holds most of the curvature (fronts) the expansion is void.
      out[i] *= 1 - std::clamp(share * (left - 2 * average[i] + right) / average[i], -0.25, 0.25);
    }
    stride *= n;
  }
  return out * (average.sum() / out.sum());
}

Vector interpolated(const Grid& from, const Grid& to, const Vector& field) {
  Vector out = field;
  Index inner = 1;
  for (int a = 0; a < from.dimension(); ++a) {
    const Index n = from.cells[static_cast<std::size_t>(a)], m = to.cells[static_cast<std::size_t>(a)];
    if (n != m) {
      struct Stencil {
        Index cell[4];
        double weight[4];
        bool right;  // the nearer of the middle two
      };
      std::vector<Stencil> stencils(static_cast<std::size_t>(m));
      const bool periodic = from.boundary == Boundary::periodic;
      for (Index j = 0; j < m; ++j) {
        const double x = (static_cast<double>(j) + 0.5) * static_cast<double>(n) / static_cast<double>(m) - 0.5, low = std::floor(x), t = x - low;
        Stencil& s = stencils[static_cast<std::size_t>(j)];
        const double w[4] = {-t * (1 - t) * (2 - t) / 6, (1 + t) * (1 - t) * (2 - t) / 2, (1 + t) * t * (2 - t) / 2, -(1 + t) * t * (1 - t) / 6};
        for (int k = 0; k < 4; ++k) {
          Index c = static_cast<Index>(low) - 1 + k;
          if (periodic) c = (c % n + n) % n;
          else c = std::clamp<Index>(c < 0 ? -1 - c : (c >= n ? 2 * n - 1 - c : c), 0, n - 1);
          s.cell[k] = c;
          s.weight[k] = w[k];
        }
        s.right = t > 0.5;
      }
      out = along(inner, n, m, out, [&](const double* in, double* result, Index stride) {
        for (Index j = 0; j < m; ++j) {
          const Stencil& s = stencils[static_cast<std::size_t>(j)];
          const double v0 = in[s.cell[0] * stride], v1 = in[s.cell[1] * stride], v2 = in[s.cell[2] * stride], v3 = in[s.cell[3] * stride];
          double value = (s.weight[0] * v0 + s.weight[3] * v3) + (s.weight[1] * v1 + s.weight[2] * v2);
          if (!std::isfinite(value)) {
            value = s.right ? v2 : v1;
            if (!std::isfinite(value)) value = s.right ? v1 : v2;
          }
          result[j * stride] = value;
        }
      });
    }
    inner *= m;
  }
  return out;
}

}  // namespace jko
