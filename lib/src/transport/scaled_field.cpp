#include "scaled_field.hpp"

#include "../core/vector_math.hpp"

#include <jko/core/parallel.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

namespace jko {
namespace {

namespace vm = vector_math;
constexpr double infinity = std::numeric_limits<double>::infinity();

/// out = e^{log - shift}.
JKO_VECTOR_CLONES void exponentials(const double* log, double shift, Index n, double* __restrict out) {
  for (Index i = 0; i < n; ++i) out[i] = vm::exp(log[i] - shift);
}

JKO_VECTOR_CLONES void logarithms(const double* x, double shift, Index n, double* __restrict out) {
  for (Index i = 0; i < n; ++i) out[i] = vm::log(x[i]) + shift;
}

JKO_VECTOR_CLONES double largest(const double* x, Index n) {
  constexpr int lanes = 8;
  double top[lanes];
  std::fill_n(top, lanes, -infinity);
  Index i = 0;
  for (; i + lanes <= n; i += lanes) {
    for (int l = 0; l < lanes; ++l) top[l] = x[i + l] > top[l] ? x[i + l] : top[l];
  }
  for (; i < n; ++i) top[0] = x[i] > top[0] ? x[i] : top[0];
  return *std::max_element(top, top + lanes);
}

}  // namespace

void from_logarithms(const SeparableKernel& kernel, const Vector& logarithm, ScaledField& out, int threads, int headroom) {
  out.mantissa.resize(logarithm.size());
  out.exponent.resize(static_cast<std::size_t>(kernel.tiles()));
  parallel_for(kernel.tiles(), threads, [&](Index tile) {
    double top = -infinity;
    kernel.for_each_run(tile, [&](Index i, Index n) { top = std::max(top, largest(logarithm.data() + i, n)); });
    // Beyond 1e8 in the exponent the logarithms themselves have lost their digits.
    const bool empty = !(top > -5e7);
    const int e = empty ? SeparableKernel::empty_tile : static_cast<int>(std::ceil(std::min(top, 5e7) / vm::ln2)) - headroom;
    out.exponent[static_cast<std::size_t>(tile)] = e;
    kernel.for_each_run(tile, [&](Index i, Index n) {
      if (empty) std::fill_n(out.mantissa.data() + i, n, 0.0);
      else exponentials(logarithm.data() + i, e * vm::ln2, n, out.mantissa.data() + i);
    });
  });
}

void to_logarithms(const SeparableKernel& kernel, const ScaledField& in, Vector& out, int threads) {
  out.resize(in.mantissa.size());
  parallel_for(kernel.tiles(), threads, [&](Index tile) {
    const double shift = static_cast<double>(in.exponent[static_cast<std::size_t>(tile)]) * vm::ln2;
    kernel.for_each_run(tile, [&](Index i, Index n) { logarithms(in.mantissa.data() + i, shift, n, out.data() + i); });
  });
}

}  // namespace jko
