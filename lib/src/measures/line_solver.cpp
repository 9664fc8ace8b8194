#include "line_solver.hpp"

#include <jko/core/parallel.hpp>

#include "../core/vector_math.hpp"

#include <algorithm>

namespace jko {
namespace {

constexpr Index group = 16;  // lines solved side by side: four vectors of four, enough to hide the latency of the recurrence

struct Factors {
  const double* pivot;
  const double* left;
  const double* right;
};

/// z = pivot b + left z, down the lines of a full group, `pitch` apart in the field and `group` in z.
template <bool shared>
inline __attribute__((always_inline)) void eliminate(const double* __restrict b, Index n, Index pitch, Factors f, double* __restrict z) {
  double last[group];
  for (Index l = 0; l < group; ++l) last[l] = 0;
  for (Index k = 0; k < n; ++k) {
    for (Index l = 0; l < group; ++l) {
      const Index c = shared ? k : k * group + l;
      last[l] = f.pivot[c] * b[k * pitch + l] + f.left[c] * last[l];
      z[k * group + l] = last[l];
    }
  }
}

/// u = z + right u, up the lines; b becomes u, or 2 u - b where reflecting.
template <bool shared, bool reflect>
inline __attribute__((always_inline)) void substitute(const double* __restrict z, Index n, Index pitch, Factors f, double* __restrict b) {
  double last[group];
  for (Index l = 0; l < group; ++l) last[l] = 0;
  for (Index k = n - 1; k >= 0; --k) {
    for (Index l = 0; l < group; ++l) {
      const Index c = shared ? k : k * group + l;
      last[l] = z[k * group + l] + f.right[c] * last[l];
      b[k * pitch + l] = reflect ? 2 * last[l] - b[k * pitch + l] : last[l];
    }
  }
}

JKO_VECTOR_CLONES void solve_group(double* __restrict b, Index n, Index pitch, Factors f, double* __restrict z) {
  eliminate<false>(b, n, pitch, f, z);
  substitute<false, false>(z, n, pitch, f, b);
}
JKO_VECTOR_CLONES void solve_group_shared(double* __restrict b, Index n, Index pitch, Factors f, double* __restrict z) {
  eliminate<true>(b, n, pitch, f, z);
  substitute<true, false>(z, n, pitch, f, b);
}
JKO_VECTOR_CLONES void reflect_group(double* __restrict b, Index n, Index pitch, Factors f, double* __restrict z) {
  eliminate<false>(b, n, pitch, f, z);
  substitute<false, true>(z, n, pitch, f, b);
}
JKO_VECTOR_CLONES void reflect_group_shared(double* __restrict b, Index n, Index pitch, Factors f, double* __restrict z) {
  eliminate<true>(b, n, pitch, f, z);
  substitute<true, true>(z, n, pitch, f, b);
}

/// Coefficients at across l + step k for line l, factors at l + pitch k. The pivot of cell k is 1 + s down_k + s up_{k-1} minus what the elimination takes
/// off; with w_k = 1 + s up_{k-1} - (that), w_0 = 1 and w_{k+1} = 1 + s up_k w_k/(w_k + s down_k): no subtraction, no cancellation.
JKO_VECTOR_CLONES void factor_lines(const double* __restrict up, const double* __restrict down, double s, Index n, Index across, Index step, Index lines,
                                    Index pitch, double* __restrict pivot, double* __restrict left, double* __restrict right) {
  double w[group], flow[group];  // flow: s down_{k-1}
  for (Index l = 0; l < lines; ++l) w[l] = 1, flow[l] = 0;
  for (Index k = 0; k < n; ++k) {
    const bool last = k + 1 == n;  // its coefficients are not read into the arithmetic: 0 times NaN is NaN
    for (Index l = 0; l < lines; ++l) {
      const double d = last ? 0 : s * down[across * l + step * k], u = last ? 0 : s * up[across * l + step * k];
      const double inverse = 1 / (w[l] + d);
      pivot[l + pitch * k] = inverse;
      left[l + pitch * k] = flow[l] * inverse;
      right[l + pitch * k] = u * inverse;
      w[l] = 1 + u * w[l] * inverse;
      flow[l] = d;
    }
  }
}

/// Lines that are contiguous, to and from the interleaved order, in tiles of four by four.
JKO_VECTOR_CLONES void interleave(const double* __restrict field, Index n, Index lines, double* __restrict out) {
  for (Index l = 0; l + 4 <= lines; l += 4) {
    const double *a = field + l * n, *b = a + n, *c = b + n, *d = c + n;
    for (Index k = 0; k < n; ++k) {
      double* o = out + k * group + l;
      o[0] = a[k], o[1] = b[k], o[2] = c[k], o[3] = d[k];
    }
  }
  for (Index l = lines / 4 * 4; l < lines; ++l) {
    for (Index k = 0; k < n; ++k) out[k * group + l] = field[l * n + k];
  }
}

JKO_VECTOR_CLONES void separate(const double* __restrict in, Index n, Index lines, double* __restrict field) {
  for (Index l = 0; l + 4 <= lines; l += 4) {
    double *a = field + l * n, *b = a + n, *c = b + n, *d = c + n;
    for (Index k = 0; k < n; ++k) {
      const double* i = in + k * group + l;
      a[k] = i[0], b[k] = i[1], c[k] = i[2], d[k] = i[3];
    }
  }
  for (Index l = lines / 4 * 4; l < lines; ++l) {
    for (Index k = 0; k < n; ++k) field[l * n + k] = in[k * group + l];
  }
}

}  // namespace

LineSolver::LineSolver(const Grid& grid, int axis) : cells_(grid.cells[static_cast<std::size_t>(axis)]), stride_(1) {
  for (int a = 0; a < axis; ++a) stride_ *= grid.cells[static_cast<std::size_t>(a)];
  outer_ = grid.size() / (cells_ * stride_);
}

// Groups of lines: neighbours along the inner index (axis > 0) or consecutive lines (axis 0). Group g of an outer block begins at line `group` g.
namespace {
struct Groups {
  Index lines, per_block, blocks;  // lines of a block; groups of a block
  Groups(Index stride, Index outer) : lines(stride == 1 ? outer : stride), per_block((lines + group - 1) / group), blocks(stride == 1 ? 1 : outer) {}
  [[nodiscard]] Index count() const { return per_block * blocks; }
};
}  // namespace

void LineSolver::factor(const double* up, const double* down, double s, bool shared, int threads) {
  shared_ = shared;
  const Index n = cells_;
  const Groups groups(stride_, outer_);
  const Index count = shared ? n : groups.count() * group * n;
  for (auto* v : {&pivot_, &left_, &right_}) v->assign(static_cast<std::size_t>(count), 0.0);
  if (shared) {
    factor_lines(up, down, s, n, 0, 1, 1, 1, pivot_.data(), left_.data(), right_.data());
    return;
  }
  parallel_for(groups.count(), threads, [&](Index g) {
    const Index block = g / groups.per_block, first = g % groups.per_block * group, lines = std::min(group, groups.lines - first);
    const Index base = stride_ == 1 ? first * n : first + block * n * stride_, at = g * group * n;
    factor_lines(up + base, down + base, s, n, stride_ == 1 ? n : 1, stride_, lines, group, pivot_.data() + at, left_.data() + at, right_.data() + at);
  });
}

void LineSolver::solve(double* field, int threads) const { run(field, false, threads); }
void LineSolver::reflect(double* field, int threads) const { run(field, true, threads); }

void LineSolver::run(double* field, bool reflect, int threads) const {
  const Index n = cells_;
  if (n == 1) return;
  const Groups groups(stride_, outer_);
  const auto kernel = reflect ? (shared_ ? reflect_group_shared : reflect_group) : (shared_ ? solve_group_shared : solve_group);
  parallel_blocks(groups.count(), std::max<Index>(1, 32768 / (n * group)), threads, [&](Index begin, Index end) {
    thread_local std::vector<double> buffer;
    buffer.resize(static_cast<std::size_t>(2 * n * group));
    double* const z = buffer.data();
    double* const copy = z + n * group;  // of contiguous lines, interleaved, and of groups that are not full
    for (Index g = begin; g < end; ++g) {
      const Index block = g / groups.per_block, first = g % groups.per_block * group, lines = std::min(group, groups.lines - first);
      const Index offset = shared_ ? 0 : g * group * n;
      const Factors f{pivot_.data() + offset, left_.data() + offset, right_.data() + offset};
      if (stride_ == 1) {
        interleave(field + first * n, n, lines, copy);
        kernel(copy, n, group, f, z);
        separate(copy, n, lines, field + first * n);
        continue;
      }
      double* const b = field + first + block * n * stride_;
      if (lines == group) {
        kernel(b, n, stride_, f, z);
      } else {
        for (Index k = 0; k < n; ++k) std::copy(b + k * stride_, b + k * stride_ + lines, copy + k * group);
        kernel(copy, n, group, f, z);
        for (Index k = 0; k < n; ++k) std::copy(copy + k * group, copy + k * group + lines, b + k * stride_);
      }
    }
  });
}

}  // namespace jko
