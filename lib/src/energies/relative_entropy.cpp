#include <jko/energies/relative_entropy.hpp>

#include <jko/core/error.hpp>

#include <cmath>

namespace jko {

RelativeEntropy relative_entropy(const QuantileFunction& a, const QuantileFunction& b) {
  if (!a.is_monotone() || !b.is_monotone()) throw DomainError("relative_entropy: the nodes of both quantile functions must increase");
  RelativeEntropy out;
  const Vector middle = a.midpoints();
  for (Index i = 0; i < a.cells(); ++i) {
    const double of_a = a.density(middle[i]), of_b = b.density(middle[i]);
    if (!(of_a > 0 && of_b > 0)) {
      out.left_out += a.masses()[i];
      continue;
    }
    const double excess = (of_b - of_a) / of_a;
    // e - log(1 + e); for small e by its series, whose next term is below rounding.
    const double term = std::abs(excess) < 1e-4 ? excess * excess * (0.5 - excess * (1.0 / 3 - excess * (0.25 - excess / 5))) : excess - std::log1p(excess);
    out.value += a.masses()[i] * term;
  }
  return out;
}

}  // namespace jko
