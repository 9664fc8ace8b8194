#pragma once
/// Linear systems in d dimensions observed exactly or with measurement noise: the Kalman likelihood.
#include <jko/estimators/likelihood.hpp>

namespace jko::estimators {

/// dX = (A X + a) dt + S dW, S lower triangular; observations Y = X + e, e ~ N(0, R^2 I), R >= 0 the noise's standard deviation. A need not be symmetric nor stable.
/// Parameters: a_i_j (A by rows), c_i (a), s_i_j (S's lower triangle by rows, the diagonal positive), noise (R).
struct LinearSystem {
  Matrix matrix;       ///< A, d x d
  Vector constant;     ///< a
  Matrix diffusion;    ///< S, lower triangular, positive diagonal
  double noise = 0;    ///< R

  void validate() const;
  [[nodiscard]] int dimension() const { return static_cast<int>(matrix.rows()); }
  [[nodiscard]] Vector parameters() const;
  [[nodiscard]] std::vector<Parameter> parameter_list() const;
  [[nodiscard]] LinearSystem with_parameters(const ConstVectorRef& parameters) const;
  /// X_{t+dt} | X_t = x is N(flow x + shift, covariance); by one exponential of a block matrix ([VanLoan1978]), exact.
  struct Law {
    Matrix flow, covariance;
    Vector shift;
  };
  [[nodiscard]] Law law(double dt) const;
};

/// Log-likelihood with its exact gradient (tangent filter). R = 0 is the exact transition likelihood. With noise each path begins from N(y_0, R^2 I), the flat prior's posterior given its first
/// observation, so that n is the number of transitions in either case. Cost: O(d^3 P) a transition; equal times share one matrix exponential.
[[nodiscard]] LikelihoodValue log_likelihood(const Panel& panel, const LinearSystem& system, bool with_scores = false);

/// Maximum likelihood; fix the last parameter (FitOptions::fixed) where the noise is known, or absent (0). sigma and the noise are told apart only by the correlation of successive increments: dense
/// data determine them, few data do not (singular_information, or noise at its bound 0). Begin with a positive noise: at 0 its score vanishes.
[[nodiscard]] Fit fit(const Panel& panel, const LinearSystem& start, const FitOptions& options = {});

}  // namespace jko::estimators
