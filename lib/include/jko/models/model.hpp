#pragma once
/// The Langevin model dX = -grad Psi(X; theta) dt + sqrt(2/beta) dW.
#include <jko/models/potential.hpp>

namespace jko {

/// A value: a shared potential, its parameters and the inverse temperature. The full parameter vector is (theta, beta).
class Model {
 public:
  Model(PotentialPtr potential, Vector theta, double beta);  ///< throws when theta or beta is inadmissible

  [[nodiscard]] const Potential& potential() const { return *potential_; }
  [[nodiscard]] const PotentialPtr& potential_ptr() const { return potential_; }
  [[nodiscard]] const Vector& theta() const { return theta_; }
  [[nodiscard]] double beta() const { return beta_; }
  [[nodiscard]] int dimension() const { return potential_->dimension(); }

  [[nodiscard]] Vector parameters() const;                         ///< (theta, beta), size p + 1
  [[nodiscard]] std::vector<Parameter> parameter_list() const;     ///< names and bounds; the last is "beta" > 0
  [[nodiscard]] Model with_parameters(const ConstVectorRef& full) const;  ///< full = (theta, beta)
  /// -grad Psi at each column of points.
  [[nodiscard]] Matrix drift(const ConstMatrixRef& points) const;

 private:
  PotentialPtr potential_;
  Vector theta_;
  double beta_;
};

}  // namespace jko
