#pragma once
/// log I_q(z) with its derivatives, for the square-root diffusion.

namespace jko::estimators {

struct LogBessel {
  double value, by_order, by_argument;
};

/// q > -1, z > 0. Power series where q^2 + z^2 < 40^2 (all terms positive for q > -1), else Debye's uniform expansion to twelve terms, whose remainder is of relative size
/// (q^2 + z^2)^{-13/2} times 3e4: both about 1e-14 ([Olver1997], chapter 10).
[[nodiscard]] LogBessel log_bessel_i(double q, double z);

}  // namespace jko::estimators
