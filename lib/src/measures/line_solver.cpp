#include "line_solver.hpp"

#include <jko/core/parallel.hpp>

#include "../core/vector_math.hpp"

#include <algorithm>

namespace jko {
namespace {

constexpr Index group = 8;    // contiguous lines solved side by side: with their z 64 B per cell of a line, which stays in the first cache
constexpr Index panel = 256;  // lines of another axis swept side by side: long enough for whole pages, and two panels of 512 cells for two threads

using Four = double __attribute__((vector_size(32)));
typedef double Anywhere __attribute__((vector_size(32), aligned(8), may_alias));  // clang reads the alignment of typedefs only

struct Factors {
  const double* pivot;
  const double* left;
  const double* right;
};

JKO_INLINE void load(const double* from, Four& to) { to = *reinterpret_cast<const Anywhere*>(from); }
JKO_INLINE void store(const Four& from, double* to) { *reinterpret_cast<Anywhere*>(to) = from; }

JKO_INLINE void transpose(Four& a, Four& b, Four& c, Four& d) {
  const Four p = __builtin_shufflevector(a, b, 0, 4, 2, 6), q = __builtin_shufflevector(a, b, 1, 5, 3, 7);
  const Four r = __builtin_shufflevector(c, d, 0, 4, 2, 6), s = __builtin_shufflevector(c, d, 1, 5, 3, 7);
  a = __builtin_shufflevector(p, r, 0, 1, 4, 5), b = __builtin_shufflevector(q, s, 0, 1, 4, 5);
  c = __builtin_shufflevector(p, r, 2, 3, 6, 7), d = __builtin_shufflevector(q, s, 2, 3, 6, 7);
}

/// Factors of cell k for lines 4 q to 4 q + 3 of a group.
template <bool shared>
JKO_INLINE void pick(const double* factors, Index k, Index q, Four& out) {
  if constexpr (shared) out = Four{factors[k], factors[k], factors[k], factors[k]};
  else load(factors + k * group + 4 * q, out);
}

/// z_k = b_k + left z_{k-1} down a group of contiguous lines, then v_k = pivot z_k + right v_{k+1} up; b becomes v or, reflecting, the v of twice the pivot
/// minus b. The field is read and written in tiles of four lines by four cells that are transposed in registers.
template <bool shared, bool reflect>
JKO_INLINE void contiguous(double* __restrict b, Index n, Index pitch, Factors f, double* __restrict z) {
  constexpr Index quads = group / 4;
  const Index whole = n / 4 * 4;
  Four last[quads];
  const auto down = [&](Index k, Index q, Four& x) __attribute__((always_inline)) {
    Four left;
    pick<shared>(f.left, k, q, left);
    x = x + left * last[q];
    last[q] = x;
    store(x, z + k * group + 4 * q);
  };
  const auto up = [&](Index k, Index q, Four& x) __attribute__((always_inline)) {
    Four pivot, right;
    pick<shared>(f.pivot, k, q, pivot);
    pick<shared>(f.right, k, q, right);
    load(z + k * group + 4 * q, x);
    if constexpr (reflect) pivot = pivot + pivot;
    x = pivot * x + right * last[q];
    last[q] = x;
  };
  for (Four& v : last) v = Four{0, 0, 0, 0};
  for (Index k = 0; k < whole; k += 4) {
    for (Index q = 0; q < quads; ++q) {
      const double* const from = b + 4 * q * pitch + k;
      Four x[4];
      for (Index i = 0; i < 4; ++i) load(from + i * pitch, x[i]);
      transpose(x[0], x[1], x[2], x[3]);
      for (Index i = 0; i < 4; ++i) down(k + i, q, x[i]);
    }
  }
  for (Index k = whole; k < n; ++k) {
    for (Index q = 0; q < quads; ++q) {
      const double* const from = b + 4 * q * pitch + k;
      Four x{from[0], from[pitch], from[2 * pitch], from[3 * pitch]};
      down(k, q, x);
    }
  }
  for (Four& v : last) v = Four{0, 0, 0, 0};
  for (Index k = n; k-- > whole;) {
    for (Index q = 0; q < quads; ++q) {
      double* const to = b + 4 * q * pitch + k;
      Four x;
      up(k, q, x);
      for (Index i = 0; i < 4; ++i) to[i * pitch] = reflect ? x[i] - to[i * pitch] : x[i];
    }
  }
  for (Index k = whole; (k -= 4) >= 0;) {
    for (Index q = 0; q < quads; ++q) {
      double* const to = b + 4 * q * pitch + k;
      Four x[4];
      for (Index i = 4; i-- > 0;) up(k + i, q, x[i]);
      transpose(x[0], x[1], x[2], x[3]);
      for (Index i = 0; i < 4; ++i) {
        if constexpr (reflect) {
          Four before;
          load(to + i * pitch, before);
          x[i] = x[i] - before;
        }
        store(x[i], to + i * pitch);
      }
    }
  }
}

/// The same for lines that lie side by side, `pitch` from cell to cell: in place and a row of all of them at a time, which memory likes best. The field
/// holds z between the sweeps, and b_k is z_k - left z_{k-1} again to rounding of z_k <= u_k/pivot_k.
template <bool shared, bool reflect>
JKO_INLINE void strided(double* b, Index n, Index pitch, Index lines, Factors f) {
  for (Index k = 1; k < n; ++k) {
    double* const __restrict z = b + k * pitch;
    const double* const __restrict before = z - pitch;
    const double* const __restrict left = f.left + (shared ? k : k * lines);
    for (Index l = 0; l < lines; ++l) z[l] += left[shared ? 0 : l] * before[l];
  }
  double last[panel];
  for (Index l = 0; l < lines; ++l) last[l] = 0;
  for (Index k = n - 1; k >= 0; --k) {
    double* const __restrict z = b + k * pitch;
    const Index at = shared ? k : k * lines;
    const double *const __restrict left = f.left + at, *const __restrict pivot = f.pivot + at, *const __restrict right = f.right + at;
    if (reflect && k > 0) {
      const double* const __restrict before = z - pitch;
      for (Index l = 0; l < lines; ++l) {
        const Index c = shared ? 0 : l;
        last[l] = 2 * pivot[c] * z[l] + right[c] * last[l];
        z[l] = last[l] - (z[l] - left[c] * before[l]);
      }
    } else {
      for (Index l = 0; l < lines; ++l) {
        const Index c = shared ? 0 : l;
        last[l] = (reflect ? 2 : 1) * pivot[c] * z[l] + right[c] * last[l];
        z[l] = reflect ? last[l] - z[l] : last[l];
      }
    }
  }
}

JKO_VECTOR_CLONES void solve_contiguous(double* b, Index n, Index pitch, Factors f, double* z) { contiguous<false, false>(b, n, pitch, f, z); }
JKO_VECTOR_CLONES void solve_contiguous_shared(double* b, Index n, Index pitch, Factors f, double* z) { contiguous<true, false>(b, n, pitch, f, z); }
JKO_VECTOR_CLONES void reflect_contiguous(double* b, Index n, Index pitch, Factors f, double* z) { contiguous<false, true>(b, n, pitch, f, z); }
JKO_VECTOR_CLONES void reflect_contiguous_shared(double* b, Index n, Index pitch, Factors f, double* z) { contiguous<true, true>(b, n, pitch, f, z); }
JKO_VECTOR_CLONES void solve_strided(double* b, Index n, Index pitch, Index lines, Factors f) { strided<false, false>(b, n, pitch, lines, f); }
JKO_VECTOR_CLONES void solve_strided_shared(double* b, Index n, Index pitch, Index lines, Factors f) { strided<true, false>(b, n, pitch, lines, f); }
JKO_VECTOR_CLONES void reflect_strided(double* b, Index n, Index pitch, Index lines, Factors f) { strided<false, true>(b, n, pitch, lines, f); }
JKO_VECTOR_CLONES void reflect_strided_shared(double* b, Index n, Index pitch, Index lines, Factors f) { strided<true, true>(b, n, pitch, lines, f); }

/// Coefficients at across l + step k for line l, factors at l + pitch k. The pivot of cell k is 1 + s down_k + s up_{k-1} minus what the elimination takes
/// off; with w_k = 1 + s up_{k-1} - (that), w_0 = 1 and w_{k+1} = 1 + s up_k w_k/(w_k + s down_k): no subtraction, no cancellation.
JKO_VECTOR_CLONES void factor_lines(const double* __restrict up, const double* __restrict down, double s, Index n, Index across, Index step, Index lines,
                                    Index pitch, double* __restrict pivot, double* __restrict left, double* __restrict right) {
  double w[panel], carry[panel];  // carry: s down_{k-1}/pivot of k - 1
  for (Index l = 0; l < lines; ++l) w[l] = 1, carry[l] = 0;
  for (Index k = 0; k < n; ++k) {
    const bool last = k + 1 == n;  // its coefficients are not read into the arithmetic: 0 times NaN is NaN
    for (Index l = 0; l < lines; ++l) {
      const double d = last ? 0 : s * down[across * l + step * k], u = last ? 0 : s * up[across * l + step * k];
      const double inverse = 1 / (w[l] + d);
      pivot[l + pitch * k] = inverse;
      left[l + pitch * k] = carry[l];
      right[l + pitch * k] = u * inverse;
      w[l] = 1 + u * w[l] * inverse;
      carry[l] = d * inverse;
    }
  }
}

// Lines in groups of consecutive ones (axis 0) or in panels of neighbours along the inner index (other axes).
struct Groups {
  Index lines, size, per_block, blocks;  // lines of a block; lines of a group; groups of a block
  Groups(Index stride, Index outer)
      : lines(stride == 1 ? outer : stride), size(stride == 1 ? group : panel), per_block((lines + size - 1) / size), blocks(stride == 1 ? 1 : outer) {}
  [[nodiscard]] Index count() const { return per_block * blocks; }
};

struct Part {
  Index lines, field, factors;  // where the first line begins in the field, its factors in theirs
  Part(const Groups& groups, Index g, Index n, Index stride) {
    const Index block = g / groups.per_block, first = g % groups.per_block * groups.size;
    lines = std::min(groups.size, groups.lines - first);
    field = stride == 1 ? first * n : first + block * n * stride;
    factors = (block * groups.lines + first) * n;
  }
};

}  // namespace

LineSolver::LineSolver(const Grid& grid, int axis) : cells_(grid.cells[static_cast<std::size_t>(axis)]), stride_(1) {
  for (int a = 0; a < axis; ++a) stride_ *= grid.cells[static_cast<std::size_t>(a)];
  outer_ = grid.size() / (cells_ * stride_);
}

void LineSolver::factor(const double* up, const double* down, double s, bool shared, int threads) {
  shared_ = shared;
  const Index n = cells_;
  const Groups groups(stride_, outer_);
  // The last group of contiguous lines has factors for all its places.
  const Index count = shared ? n : (stride_ == 1 ? groups.count() * group : stride_ * outer_) * n;
  for (auto* v : {&pivot_, &left_, &right_}) v->resize(static_cast<std::size_t>(count));
  if (shared) {
    factor_lines(up, down, s, n, 0, 1, 1, 1, pivot_.data(), left_.data(), right_.data());
    return;
  }
  parallel_for(groups.count(), threads, [&](Index g) {
    const Part part(groups, g, n, stride_);
    factor_lines(up + part.field, down + part.field, s, n, stride_ == 1 ? n : 1, stride_, part.lines, stride_ == 1 ? group : part.lines,
                 pivot_.data() + part.factors, left_.data() + part.factors, right_.data() + part.factors);
  });
}

void LineSolver::solve(double* field, int threads) const { run(field, false, threads); }
void LineSolver::reflect(double* field, int threads) const { run(field, true, threads); }

void LineSolver::run(double* field, bool reflect, int threads) const {
  const Index n = cells_;
  if (n == 1) return;
  const Groups groups(stride_, outer_);
  const auto contiguous = reflect ? (shared_ ? reflect_contiguous_shared : reflect_contiguous) : (shared_ ? solve_contiguous_shared : solve_contiguous);
  const auto strided = reflect ? (shared_ ? reflect_strided_shared : reflect_strided) : (shared_ ? solve_strided_shared : solve_strided);
  parallel_blocks(groups.count(), std::max<Index>(1, 32768 / (n * groups.size)), threads, [&](Index begin, Index end) {
    thread_local std::vector<double> buffer;
    if (stride_ == 1) buffer.resize(static_cast<std::size_t>(2 * n * group));
    for (Index g = begin; g < end; ++g) {
      const Part part(groups, g, n, stride_);
      const Index offset = shared_ ? 0 : part.factors;
      const Factors f{pivot_.data() + offset, left_.data() + offset, right_.data() + offset};
      double* const b = field + part.field;
      if (stride_ > 1) {
        strided(b, n, stride_, part.lines, f);
      } else if (part.lines == group) {
        contiguous(b, n, n, f, buffer.data());
      } else {
        double* const copy = buffer.data() + n * group;
        std::fill(std::copy(b, b + part.lines * n, copy), copy + group * n, 0.0);
        contiguous(copy, n, n, f, buffer.data());
        std::copy(copy, copy + part.lines * n, b);
      }
    }
  });
}

}  // namespace jko
