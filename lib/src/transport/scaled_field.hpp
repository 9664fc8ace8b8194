#pragma once
/// Scaled fields from logarithms and back.
#include <jko/transport/separable_kernel.hpp>

namespace jko {

/// The field e^{logarithm} (entries -infinity allowed) with each tile's largest mantissa in [1/2, 1] 2^headroom. Up to 860 uses double's range on both sides of one: sums of
/// a kernel stay finite, products of two such mantissas need not.
void from_logarithms(const SeparableKernel& kernel, const Vector& logarithm, ScaledField& out, int threads, int headroom = 0);
/// log of a field; -infinity where it is zero.
void to_logarithms(const SeparableKernel& kernel, const ScaledField& in, Vector& out, int threads);

/// One thread for grids whose fields take less than a tenth of a millisecond a pass (about 3 ns a cell): waking and joining a second one costs as much, and on a busy machine it may
/// be waited for much longer.
[[nodiscard]] inline int useful_threads(const Grid& grid, int threads) { return grid.size() < (Index{1} << 15) ? 1 : threads; }

}  // namespace jko
