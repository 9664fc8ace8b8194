#pragma once
/// Functional inequalities of a Langevin model's stationary law pi ~ exp(-beta Psi) and what they imply for JKO (theory.md d1, d2, d3, d5).
///
/// Constants here are rates (1/time): lambda is a log-Sobolev rate where |dF|^2(rho) >= 2 lambda (F(rho) - min F) for every rho. In the words of probability, KL(rho | pi) =
/// beta (F(rho) - min F), the Fisher information FI(rho | pi) = beta^2 |dF|^2(rho), and KL <= FI/(2 alpha) with alpha = beta lambda.
#include <jko/analysis/flow_trace.hpp>
#include <jko/analysis/verdict.hpp>
#include <jko/models/model.hpp>

#include <functional>

namespace jko::analysis {

/// Three checks, each the worst over `measures`, with kappa = the energy's convexity constant (> 0):
///   log-sobolev  F - min F <= |dF|^2/(2 kappa)                              d1
///   talagrand    (kappa/2) W2^2(rho, pi) <= F - min F                       d2
///   hwi          F - min F <= W2(rho, pi) |dF| - (kappa/2) W2^2(rho, pi)    d3
/// All three are equalities when rho is a translate of pi and Psi is quadratic. On quantile functions they are exact for the discrete energy and its minimiser (flow_inequalities.hpp
/// says why). Tolerances: the minimiser's certificate and rounding. Inconclusive without kappa > 0.
template <class Step>
[[nodiscard]] std::vector<Check> functional_inequalities(const Step& step, const std::vector<typename Step::Measure>& measures,
                                                         const Minimiser<typename Step::Measure>& minimiser, const std::string& prefix);

/// A number with a bound (or, by refinement, an estimate) of its error.
struct Bounded {
  double value = 0;
  double error = 0;
};

/// The spectral gap of -L = -beta^{-1} d_xx + Psi' d_x on [lower, upper] with reflecting ends: the second eigenvalue of the symmetrised Scharfetter-Gummel matrix on 2 `cells`
/// cells by Sturm sequences; error: the change from `cells` to 2 `cells` (second order: about three times the true error), plus rounding epsilon |matrix|. Truncation to the
/// interval is the caller's: widen it until the value stays. Ornstein-Uhlenbeck: kappa. One dimension.
[[nodiscard]] Bounded spectral_gap(const Model& model, double lower, double upper, Index cells = 1000);

/// Two-sided bounds of the best rates by Hardy-type constants: with m the median of pi on [lower, upper], T(x) = pi([x, upper]), G(x) = int_m^x dy/pi(y), and their mirror images,
///   Poincare:     B = max sup_x T G,                       lambda_1 in [1/(4 beta B), 2/(beta B)]           Muckenhoupt; [BobkovGoetze1999]
///   log-Sobolev:  b = max sup_x T G log(1 + 1/(2T)),  b' = max sup_x T G log(1 + e^2/T),   lambda in [1/(2 beta b'), 2/(beta b)]  [BartheRoberto2003]
/// (their C in Ent(f^2) <= C int f'^2 is 2/(beta lambda)). Psi is interpolated linearly between cells + 1 points; the integrals are then exact, the median is that of
/// the nearest point: first order in the width. Wide by design (a factor near 8); no convexity is needed.
struct HardyBounds {
  double poincare_lower = 0, poincare_upper = 0;
  double log_sobolev_lower = 0, log_sobolev_upper = 0;
};
[[nodiscard]] HardyBounds hardy_bounds(const Model& model, double lower, double upper, Index cells = 4000);

/// Holley-Stroock: Psi = Psi_0 + U with Psi_0 of log-Sobolev rate `rate` and oscillation sup U - inf U: rate e^{-beta oscillation}.
[[nodiscard]] double holley_stroock(double rate, double beta, double oscillation);

/// What each assumption implies for one JKO step: F(rho') - min F <= factor (F(rho) - min F).
enum class DecayAssumption {
  log_sobolev,         ///< the rate alone: 1/(1 + lambda h)
  log_sobolev_convex,  ///< and F convex: 1/(1 + 2 lambda h)
  convex,              ///< F lambda-convex: 1/(1 + lambda h)^2
};
[[nodiscard]] double decay_factor(DecayAssumption assumption, double rate, double h);

/// Relative entropy and Fisher information along the Fokker-Planck equation, by finite volumes (reference/fokker_planck.hpp) at t = 0, t_end/steps, ..., t_end:
/// what Bakry-Emery's KL(rho_t | pi) <= e^{-2 kappa t} KL(rho_0 | pi) and d/dt KL = -FI/beta are checked with. FI = int rho (d_x log(rho/pi))^2, by differences between cells.
struct EntropyDecay {
  Vector t, relative_entropy, fisher_information;
};
[[nodiscard]] EntropyDecay entropy_decay(const Model& model, const std::function<double(double)>& start, double lower, double upper, Index cells, double t_end, int steps);

}  // namespace jko::analysis
