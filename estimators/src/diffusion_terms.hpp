#pragma once
/// log p of one-dimensional transitions under each scheme.
#include "transitions.hpp"

namespace jko::estimators {

/// x-derivatives of b and sigma at the starting points, and their derivatives in theta.
struct Jets {
  std::vector<Vector> b, s;    ///< [k]: the k-th derivative
  std::vector<Matrix> db, ds;  ///< P x n each
  Jets(const Diffusion& diffusion, const ConstVectorRef& x, int drift_order, int diffusion_order);
};

// A file each.
[[nodiscard]] Terms exact_terms(const Transitions& data, const Diffusion& diffusion);
[[nodiscard]] Terms local_terms(const Transitions& data, const Diffusion& diffusion, Transition scheme);    ///< Euler, Elerian, Ozaki, Shoji-Ozaki
[[nodiscard]] Terms kessler_terms(const Transitions& data, const Diffusion& diffusion, int order);
[[nodiscard]] Terms hermite_terms(const Transitions& data, const Diffusion& diffusion, int order);
/// In y = int dx/sigma unless sigma is constant; the nonlinear half steps take 2^{level + 1} Runge-Kutta steps each.
[[nodiscard]] Terms strang_terms(const Transitions& data, const Diffusion& diffusion, int level);
[[nodiscard]] Terms strang_terms(const Panel& panel, const Model& model, int level);  ///< any dimension

}  // namespace jko::estimators
