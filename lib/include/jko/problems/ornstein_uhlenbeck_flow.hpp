#pragma once
/// Ornstein-Uhlenbeck flows of Gaussians and Gaussian mixtures in d dimensions, with the Fokker-Planck solution and the JKO iterate in closed form.
#include <jko/measures/gaussian.hpp>
#include <jko/measures/grid_density.hpp>
#include <jko/models/model.hpp>

#include <vector>

namespace jko::problems {

/// Psi = (x - mu)' K (x - mu)/2, beta, started from sum_j weights_j N(m_j, Sigma_j). The equation is linear, so each component moves as if alone:
/// m_j(t) = mu + e^{-Kt}(m_j - mu), Sigma_j(t) = e^{-Kt}(Sigma_j - (beta K)^{-1})e^{-Kt} + (beta K)^{-1} (reference/ornstein_uhlenbeck.hpp). The JKO step is
/// nonlinear: its closed form (steps/gaussian_step.hpp) is for one component.
class OrnsteinUhlenbeckFlow {
 public:
  /// Throws unless the potential is quadratic, the sizes fit, and the weights are positive with sum 1 to 1e-12.
  OrnsteinUhlenbeckFlow(Model model, std::vector<double> weights, std::vector<Gaussian> components);

  [[nodiscard]] const Model& model() const { return model_; }
  [[nodiscard]] const std::vector<double>& weights() const { return weights_; }
  [[nodiscard]] double kappa() const;                       ///< lambda_min(K); the log-Sobolev constant of the stationary law is beta kappa
  [[nodiscard]] std::vector<Gaussian> at(double t) const;   ///< the components at time t >= 0
  [[nodiscard]] Vector density(const ConstMatrixRef& points, double t) const;
  [[nodiscard]] GridDensity on_grid(std::shared_ptr<const Grid> grid, double t) const;  ///< from the values at the centres
  /// The JKO iterate after `steps` steps of h; throws DomainError for more than one component.
  [[nodiscard]] Gaussian jko(double h, int steps) const;

 private:
  Model model_;
  std::vector<double> weights_;
  std::vector<Gaussian> components_;
};

/// K = [1.5 0.6; 0.6 0.8], mu = (0.2, -0.1), beta = 1.5 from N((0.5, 0.4), [0.3 -0.1; -0.1 0.5]), which does not commute with K.
[[nodiscard]] OrnsteinUhlenbeckFlow non_commuting();
/// K = I, mu = 0, beta = 1 in d = 1, 2, 3 from two Gaussians of variance 0.2 at +-1.2 on the first axis with weights 0.4, 0.6.
[[nodiscard]] OrnsteinUhlenbeckFlow two_bumps(int dimension);

}  // namespace jko::problems
