#include <jko/transport/separable_kernel.hpp>

#include <jko/core/check.hpp>
#include <jko/core/parallel.hpp>

#include "../core/vector_math.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

namespace jko {
namespace {

// A tile is 64 cells along axis 0 (eight vectors of eight), and 32 and 8 along the others: with 22 taps to a side one column of tiles and its
// margins fill 39 kB, the first-level cache.
constexpr Index tile_shape[3] = {64, 32, 8}, narrow_shape[3] = {16, 16, 8};

using Lanes = double __attribute__((vector_size(64)));
struct __attribute__((packed, may_alias)) Unaligned {
  Lanes lanes;
};

// References, not values: a function that returns wide vectors has another calling convention in each instruction set.
JKO_INLINE const Unaligned& at(const double* p) { return *reinterpret_cast<const Unaligned*>(p); }
JKO_INLINE void store(double* p, const Lanes& v) { reinterpret_cast<Unaligned*>(p)->lanes = v; }

/// out[i] = w[0] p[i] + sum_r w[r] (p[i + r stride] + p[i - r stride]) for i < 64, or for i < 16; p the centre of the buffer.
JKO_INLINE void sum_taps(const double* p, Index stride, const double* w, Index taps, double* out) {
  for (int half = 0; half < 2; ++half, p += 32, out += 32) {
    Lanes s0 = w[0] * at(p).lanes, s1 = w[0] * at(p + 8).lanes, s2 = w[0] * at(p + 16).lanes, s3 = w[0] * at(p + 24).lanes;
    const double *up = p, *down = p;
    for (Index r = 1; r <= taps; ++r) {
      up += stride;
      down -= stride;
      const double weight = w[r];
      s0 += weight * (at(up).lanes + at(down).lanes);
      s1 += weight * (at(up + 8).lanes + at(down + 8).lanes);
      s2 += weight * (at(up + 16).lanes + at(down + 16).lanes);
      s3 += weight * (at(up + 24).lanes + at(down + 24).lanes);
    }
    store(out, s0);
    store(out + 8, s1);
    store(out + 16, s2);
    store(out + 24, s3);
  }
}

JKO_INLINE void sum_taps_narrow(const double* p, Index stride, const double* w, Index taps, double* out) {
  Lanes s0 = w[0] * at(p).lanes, s1 = w[0] * at(p + 8).lanes;
  const double *up = p, *down = p;
  for (Index r = 1; r <= taps; ++r) {
    up += stride;
    down -= stride;
    s0 += w[r] * (at(up).lanes + at(down).lanes);
    s1 += w[r] * (at(up + 8).lanes + at(down + 8).lanes);
  }
  store(out, s0);
  store(out + 8, s1);
}

/// `rows` rows of 64 outputs (narrow: 16); consecutive rows are out_stride apart, those of the buffer buffer_stride. The row stride of the taps is `stride`.
JKO_VECTOR_CLONES void convolve_narrow(const double* buffer, Index buffer_stride, Index stride, const double* w, Index taps, Index rows, double* out, Index out_stride) {
  for (Index j = 0; j < rows; ++j) sum_taps_narrow(buffer + j * buffer_stride, stride, w, taps, out + j * out_stride);
}
JKO_VECTOR_CLONES void convolve(const double* buffer, Index buffer_stride, Index stride, const double* w, Index taps, Index rows, double* out, Index out_stride) {
  for (Index j = 0; j < rows; ++j) sum_taps(buffer + j * buffer_stride, stride, w, taps, out + j * out_stride);
}

JKO_VECTOR_CLONES void scale_copy(const double* in, Index n, double factor, double* out) {
  for (Index i = 0; i < n; ++i) out[i] = factor * in[i];
}

/// 2^e for e <= 0; 0 where double has no normal number.
double power_of_two(int e) { return e < -1022 ? 0.0 : std::bit_cast<double>(static_cast<std::uint64_t>(1023 + e) << 52); }

}  // namespace

SeparableKernel::SeparableKernel(std::shared_ptr<const Grid> grid, double variance, double radius, int threads, KernelTiles tiles) : grid_(std::move(grid)), variance_(variance), threads_(threads) {
  if (!grid_) throw DomainError("separable_kernel: the grid is missing");
  grid_->validate();
  check_positive("separable_kernel", "variance", variance);
  check_positive("separable_kernel", "radius", radius);
  check_at_least("separable_kernel", "threads", threads, 1);
  for (int a = 0; a < grid_->dimension(); ++a) {
    cells_[a] = grid_->cells[static_cast<std::size_t>(a)];
    const double width = grid_->width(a), spread = std::sqrt(variance) / width;
    if (!(radius * spread < 1e6)) throw DomainError(fmt::format("separable_kernel: the kernel reaches {:.3g} cells along axis {}, but at most 1e6 are allowed", radius * spread, a + 1));
    // Along one cell the kernel is the identity.
    const Index taps = cells_[a] == 1 ? 0 : static_cast<Index>(std::ceil(radius * spread));
    Vector w(taps + 1);
    double sum = 0;
    for (Index r = taps; r >= 0; --r) {
      w[r] = std::exp(-0.5 * std::pow(static_cast<double>(r) / spread, 2));
      sum += r > 0 ? 2 * w[r] : w[r];
    }
    weights_.push_back(w / sum);
  }
  for (int a = 0; a < 3; ++a) {
    tile_[a] = tiles == KernelTiles::narrow ? narrow_shape[a] : tile_shape[a];
    tiles_[a] = (cells_[a] + tile_[a] - 1) / tile_[a];
  }
}

Index SeparableKernel::tiles() const { return tiles_[0] * tiles_[1] * tiles_[2]; }

SeparableKernel::Box SeparableKernel::tile_box(Index tile) const {
  const Index at[3] = {tile % tiles_[0], tile / tiles_[0] % tiles_[1], tile / tiles_[0] / tiles_[1]};
  Box box{};
  for (int a = 0; a < 3; ++a) {
    box.begin[a] = at[a] * tile_[a];
    box.end[a] = std::min(cells_[a], box.begin[a] + tile_[a]);
  }
  return box;
}

Index SeparableKernel::source(int axis, Index cell) const {
  const Index n = cells_[axis];
  if (cell >= 0 && cell < n) return cell;
  if (grid_->boundary == Boundary::periodic) return (cell % n + n) % n;
  const Index folded = (cell % (2 * n) + 2 * n) % (2 * n);
  return folded < n ? folded : 2 * n - 1 - folded;
}

void SeparableKernel::pass(int axis, const double* in, const std::vector<int>& in_exponent, double* out, std::vector<int>& out_exponent) const {
  const Vector& w = weights_[static_cast<std::size_t>(axis)];
  const Index taps = w.size() - 1, n = cells_[axis];
  const Index row_stride[3] = {1, cells_[0], cells_[0] * cells_[1]}, tile_stride[3] = {1, tiles_[0], tiles_[0] * tiles_[1]};
  out_exponent.resize(in_exponent.size());
  parallel_for(tiles(), threads_, [&](Index tile) {
    const Box box = tile_box(tile);
    const Index at = tile / tile_stride[axis] % tiles_[axis], line = tile - at * tile_stride[axis];
    const Index begin = box.begin[axis], end = box.end[axis];
    const auto exponent_of = [&](Index cell) { return in_exponent[static_cast<std::size_t>(line + cell / tile_[axis] * tile_stride[axis])]; };
    // Tiles within reach: those of the cells begin - taps, ..., end - 1 + taps, at every tile's width.
    int reference = empty_tile;
    for (Index c = begin - taps; c < end + taps; c += tile_[axis]) reference = std::max(reference, exponent_of(source(axis, c)));
    reference = std::max(reference, exponent_of(source(axis, end - 1 + taps)));
    reference = std::max(reference, in_exponent[static_cast<std::size_t>(tile)]);
    out_exponent[static_cast<std::size_t>(tile)] = reference;
    const Index width = box.end[0] - box.begin[0];
    if (reference == empty_tile) {
      for_each_run(tile, [&](Index first, Index count) { std::fill(out + first, out + first + count, 0.0); });
      return;
    }
    thread_local Vector buffer, results;  // aligned to cache lines
    // Lanes beyond a narrow tile are computed and dropped; they must be numbers.
    const bool whole = width == tile_[0];
    const auto sums = tile_[0] == tile_shape[0] ? convolve : convolve_narrow;
    if (axis == 0) {
      if (whole) buffer.resize(tile_[0] + 2 * taps);
      else buffer.setZero(tile_[0] + 2 * taps);
      results.resize(tile_[0]);
      for_each_run(tile, [&](Index first, Index count) {
        const double* row = in + (first - box.begin[0]);
        for (Index c = begin - taps; c < end + taps;) {
          const Index from = source(0, c);
          const double factor = power_of_two(exponent_of(from) - reference);
          double* const target = buffer.data() + (c - begin + taps);
          if (c >= 0 && c < n) {  // to the end of the tile
            const Index run = std::min({(c / tile_[0] + 1) * tile_[0], n, end + taps}) - c;
            scale_copy(row + c, run, factor, target);
            c += run;
          } else {
            *target = factor * row[from];
            ++c;
          }
        }
        sums(buffer.data() + taps, 0, 1, w.data(), taps, 1, whole ? out + first : results.data(), 0);
        if (!whole) std::copy_n(results.data(), count, out + first);
      });
      return;
    }
    const Index rows = end - begin;
    if (whole) buffer.resize(tile_[0] * (rows + 2 * taps));
    else buffer.setZero(tile_[0] * (rows + 2 * taps));
    results.resize(tile_[0] * rows);
    const int other = 3 - axis;  // axis is 1 or 2
    for (Index o = box.begin[other]; o < box.end[other]; ++o) {
      const Index base = box.begin[0] + o * row_stride[other];
      for (Index c = begin - taps; c < end + taps; ++c) {
        const Index from = source(axis, c);
        scale_copy(in + base + from * row_stride[axis], width, power_of_two(exponent_of(from) - reference), buffer.data() + (c - begin + taps) * tile_[0]);
      }
      double* const target = out + base + begin * row_stride[axis];
      sums(buffer.data() + taps * tile_[0], tile_[0], tile_[0], w.data(), taps, rows, whole ? target : results.data(), whole ? row_stride[axis] : tile_[0]);
      for (Index j = 0; j < rows && !whole; ++j) std::copy_n(results.data() + j * tile_[0], width, target + j * row_stride[axis]);
    }
  });
}

void SeparableKernel::apply(const ScaledField& in, ScaledField& out) const {
  const int d = grid_->dimension();
  const Index n = grid_->size();
  check_size("separable_kernel", "the input", in.mantissa.size(), n);
  check_size("separable_kernel", "the input's exponents", static_cast<Index>(in.exponent.size()), tiles());
  out.mantissa.resize(n);
  for (int i = 0; i + 1 < d && i < 2; ++i) buffer_[i].resize(n);
  const double* from = in.mantissa.data();
  const std::vector<int>* from_exponent = &in.exponent;
  for (int a = 0; a < d; ++a) {
    double* to = a + 1 == d ? out.mantissa.data() : buffer_[a].data();
    std::vector<int>& to_exponent = a + 1 == d ? out.exponent : exponents_[a];
    pass(a, from, *from_exponent, to, to_exponent);
    from = to;
    from_exponent = &to_exponent;
  }
}

void SeparableKernel::apply(const ConstVectorRef& in, VectorRef out) const {
  check_size("separable_kernel", "the output", out.size(), grid_->size());
  ScaledField field{in, std::vector<int>(static_cast<std::size_t>(tiles()), 0)}, result;
  apply(field, result);
  out = result.mantissa;
}

}  // namespace jko
