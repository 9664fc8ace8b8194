#pragma once
/// Gaussian variational inference: the best Gaussian for a density, by steps in the Bures-Wasserstein geometry.
#include <jko/core/progress.hpp>
#include <jko/core/status.hpp>
#include <jko/measures/gaussian.hpp>
#include <jko/models/model.hpp>

#include <cstdint>
#include <functional>
#include <vector>

namespace jko {

/// A target exp(-V)/Z, Z unknown, in batches of points (d x n).
struct Target {
  int dimension = 0;
  std::function<Vector(const ConstMatrixRef&)> value;     ///< V at n points
  std::function<Matrix(const ConstMatrixRef&)> gradient;  ///< d x n
  /// d^2 x n, columns in column-major order; may be empty: E Hess V then comes from Stein's identity, L'^{-1} E[z grad V'], z standard normal, LL' = Sigma.
  std::function<Matrix(const ConstMatrixRef&)> hessian;
  static Target of(const Model& model);                   ///< V = beta Psi: the stationary law of the model
  void validate() const;
};

/// Where expectations over the Gaussian come from.
enum class GaussianRule {
  hermite,      ///< tensor Gauss-Hermite with `nodes` a coordinate: exact for polynomials of degree 2 nodes - 1; nodes^d points
  monte_carlo,  ///< `samples` fresh draws a step, in pairs +-z
};

struct BuresWassersteinOptions {
  double step = 0.1;        ///< eta > 0; the forward-backward theory asks for eta <= 1/L, L the largest eigenvalue of Hess V
  int max_steps = 1000;     ///< >= 1
  /// Hermite: stops when (|E grad V|^2 + tr(R Sigma R))^{1/2} <= tolerance, R = E Hess V - Sigma^{-1}: the Bures-Wasserstein gradient of KL(. | target).
  /// Monte Carlo runs all steps (status converged), since its gradient is noise at the end.
  double tolerance = 1e-9;
  GaussianRule rule = GaussianRule::hermite;
  int nodes = 12;           ///< in [1, 64], with at most 1e6 points together
  int samples = 64;         ///< >= 2
  std::uint64_t seed = 1;
  double largest_variance = 1e300;  ///< stochastic descent: eigenvalues of the covariance are cut to it (1/alpha for an alpha-convex V)
  void validate() const;
};

struct BuresWassersteinRecord {
  int k = 0;
  double objective = 0;      ///< E V + E log density: KL(. | target) - log Z
  double gradient_norm = 0;  ///< as in the tolerance; both by the rule
};

struct BuresWassersteinResult {
  Status status = Status::not_run;  ///< converged, iteration_limit, not_finite, order_lost (a covariance lost its rank: eta is too large), cancelled
  Gaussian gaussian;
  std::vector<BuresWassersteinRecord> records;
};

/// Forward-backward Gaussian variational inference ([DiaoBalasubramanianChewiSalim2023]):
///   m' = m - eta E grad V, S = (I - eta E Hess V) Sigma (I - eta E Hess V), Sigma' = (S + 2 eta I + (S (S + 4 eta I))^{1/2})/2.
/// For convex V the objective falls like W2^2/(2 eta k), for alpha-convex V the distance to the best Gaussian like (1 - alpha eta)^{k/2}; fixed points are exactly the
/// stationary ones, E grad V = 0 and E Hess V = Sigma^{-1}. Several modes: it finds one of the local optima. Cost: nodes^d evaluations a step, so Hermite is for d <= 5.
[[nodiscard]] BuresWassersteinResult forward_backward_inference(const Target& target, const Gaussian& start, const BuresWassersteinOptions& options = {},
                                                                Observer* observer = nullptr);

/// Stochastic gradient descent ([LambertChewiBachBonnabelRigollet2022]): one draw x a step (`rule`, `nodes` and `samples` do not matter, a Hessian is needed),
///   m' = m - eta grad V(x), M = I - eta (Hess V(x) - Sigma^{-1}), Sigma' = cut(M Sigma M).
/// It stays at a distance of order sqrt(eta) from the optimum. Records every step's noisy objective V(x) + log density(x).
[[nodiscard]] BuresWassersteinResult stochastic_inference(const Target& target, const Gaussian& start, const BuresWassersteinOptions& options = {},
                                                          Observer* observer = nullptr);

}  // namespace jko
