#pragma once
/// The Lamperti coordinate y(x) = int dx/sigma: a one-dimensional diffusion becomes a Langevin model of unit diffusion, which a JKO flow can run.
#include <jko/core/antiderivative.hpp>
#include <jko/measures/quantile_function.hpp>
#include <jko/models/diffusion.hpp>

namespace jko {

/// y(x), zero at the middle of a range of x, and its inverse.
class LampertiMap {
 public:
  /// Covers [lower, upper] and `margin` in y beyond it, or less where the state space ends before that.
  LampertiMap(const Diffusion& diffusion, double lower, double upper, double margin);
  [[nodiscard]] bool ok() const { return ok_; }  ///< false where sigma is not positive and finite in the range
  [[nodiscard]] double first() const { return first_; }  ///< the range in y
  [[nodiscard]] double last() const { return last_; }
  [[nodiscard]] Vector forward(const ConstVectorRef& x) const;
  [[nodiscard]] Vector inverse(const ConstVectorRef& y) const;  ///< y inside [first, last]

 private:
  bool ok_ = true;
  double centre_ = 0, scale_ = 0;  ///< scale: the constant sigma, else 0
  double first_ = 0, last_ = 0, shift_ = 0;
  Antiderivative integral_;
};

/// dX = b dt + sigma dW in the coordinate Y = y(X): dY = mu(Y) dt + dW with mu = b/sigma - sigma'/2, a Langevin model with beta = 2 and Psi' = -mu. Its flow, mapped back, is the law of X:
/// quantiles go through the map as they are, p_X(x) = p_Y(y(x))/sigma(x).
///
/// Psi' is a piecewise Chebyshev series in y on the range of x given, with the integral (Psi) and the derivatives up to the fourth from the series; Psi = +infinity beyond the range. So the range must hold the
/// flow: choose it as wide as the state space and the tails need; no derivative in the parameters is offered (theta is frozen: the coordinate itself depends on it).
/// Wrong choice: an end of the state space that the process reaches (CIR with 2 kappa mu < sigma^2): Psi falls to -infinity there, and the flow of Y would need a boundary condition.
class Lamperti {
 public:
  /// lower < upper, both inside the state space. Throws DomainError where sigma is not positive and finite, or the coefficients are not finite, in the range.
  Lamperti(const Diffusion& diffusion, double lower, double upper);

  [[nodiscard]] const Diffusion& diffusion() const { return diffusion_; }
  [[nodiscard]] const Model& model() const { return model_; }     ///< of Y; it has no parameters but beta = 2
  [[nodiscard]] double first() const { return map_.first(); }     ///< the range in y
  [[nodiscard]] double last() const { return map_.last(); }
  [[nodiscard]] double error() const { return error_; }           ///< of Psi', the largest |Psi' + mu|/(1 + |mu|) seen at 400 points that are no nodes

  [[nodiscard]] Vector forward(const ConstVectorRef& x) const;    ///< throws DomainError for points outside the range
  [[nodiscard]] Vector inverse(const ConstVectorRef& y) const;    ///< likewise
  [[nodiscard]] QuantileFunction forward(const QuantileFunction& law) const;  ///< of X to that of Y: node by node, the masses stay
  [[nodiscard]] QuantileFunction inverse(const QuantileFunction& law) const;
  /// p_X at x from the values of p_Y at forward(x).
  [[nodiscard]] Vector density(const ConstVectorRef& x, const ConstVectorRef& density_of_y) const;

 private:
  Diffusion diffusion_;
  LampertiMap map_;
  double error_ = 0;
  double lower_, upper_;
  Model model_;
};

}  // namespace jko
