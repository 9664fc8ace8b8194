#pragma once
/// The Wasserstein proximal gradient step: explicit in the potential, implicit in the rest.
#include <jko/steps/gaussian_step.hpp>
#include <jko/steps/particle_step.hpp>
#include <jko/steps/quantile_step.hpp>

#include <functional>

namespace jko {

/// nu = (Id - h grad Psi)#rho, then rho' = argmin H + W2^2(., nu)/(2h), H the energy without its potential ([SalimKorbaLuise2020]), by
/// the step Inner (GaussianStep, QuantileStep, ParticleStep). For an L-smooth Psi with Hess Psi >= kappa, convex H along generalised geodesics and h <= 1/L
///
///   2h (F(rho') - F(p)) <= (1 - h kappa) W2^2(rho, p) - W2^2(rho', p)  for all p,
///
/// so the stationary law of F is a fixed point whatever h: there is no bias, unlike Langevin Monte Carlo. First order in h. It avoids the implicit solve in Psi;
/// with h > 1/L it may diverge, where the JKO step does not.
/// Report: residual, gap and w2_bound are those of the inner minimisation (distance to the exact forward-backward step), energy is F,
/// objective is H + W2^2(., nu)/(2h), w2_moved is from rho. Status order_lost where the forward map is no longer monotone (quantiles) or invertible (Gaussians).
template <class Inner>
class ForwardBackwardStep {
 public:
  using Measure = typename Inner::Measure;
  /// `make` builds the inner step for the energy without its potential (default: Inner's default options). DomainError where the energy has no potential, or, for Gaussians, one
  /// that is not quadratic.
  explicit ForwardBackwardStep(FreeEnergy energy, const std::function<Inner(FreeEnergy)>& make = [](FreeEnergy rest) { return Inner(std::move(rest)); });

  [[nodiscard]] const FreeEnergy& energy() const { return energy_; }
  void set_parameters(const ConstVectorRef& parameters);
  [[nodiscard]] EnergyValue energy_value(const Measure& measure) const;
  [[nodiscard]] StepResult<Measure> advance(const Measure& from, double h);
  [[nodiscard]] Matrix tangent(const ConstMatrixRef& from_tangent, const ConstMatrixRef& parameter_tangent) const;

 private:
  FreeEnergy energy_;
  Inner inner_;
  Measure from_;  // of the last advance
  double h_ = 0;
};

extern template class ForwardBackwardStep<GaussianStep>;
extern template class ForwardBackwardStep<QuantileStep>;
extern template class ForwardBackwardStep<ParticleStep>;

}  // namespace jko
