#pragma once
/// Relative entropy between quantile functions.
#include <jko/measures/quantile_function.hpp>

namespace jko {

struct RelativeEntropy {
  double value = 0;
  double left_out = 0;  ///< mass of a where b's density vanishes (its outer cells): there the relative entropy would be infinite
};
/// KL(a | b) of the reconstructed densities, as sum_i w_i (r_i - 1 - log r_i), r_i = density_b/density_a at the middle of a's cell i. That form equals int rho_a log(rho_a/rho_b)
/// for normalised densities, is nonnegative term by term and does not cancel, so entropies far below machine epsilon of the two integrals stay accurate. Second order in the
/// cells. Cost O(cells log cells).
[[nodiscard]] RelativeEntropy relative_entropy(const QuantileFunction& a, const QuantileFunction& b);

}  // namespace jko
