#pragma once
/// Transition likelihoods of one-dimensional diffusions dX = b dt + sigma dW, with exact gradients.
#include <jko/estimators/likelihood.hpp>
#include <jko/models/diffusion.hpp>

namespace jko::estimators {

/// As for Langevin models (likelihood.hpp), with every scheme of Transition. Derivatives of the coefficients are the family's own, none is a difference. An inadmissible term makes the
/// value -infinity; it is never dropped. Throws where a value lies outside the state space, and where `exact` is asked of a family without a closed law.
/// Fokker-Planck: the basis is refined until value moves by at most 1e-6, or no longer settles (rounding in very unlikely terms), six times at most; `error` is the last move plus
/// the estimated errors of the terms (fokker_planck_density.hpp), which no basis removes.
[[nodiscard]] LikelihoodValue log_likelihood(const Panel& panel, const Diffusion& diffusion, Transition transition, bool with_scores = false);

/// Maximises as for Langevin models. The start's scale of sigma is replaced by that of the quadratic variation; schemes other than Euler begin from the best of that start, the Euler fit and the
/// Shoji-Ozaki fit.
[[nodiscard]] Fit fit(const Panel& panel, const Diffusion& start, Transition transition, const FitOptions& options = {});

/// Is dt too coarse for the pseudo-likelihoods?
struct Recommendation {
  Transition transition = Transition::shoji_ozaki;
  double divergence = 0;   ///< n times the mean relative entropy of the true transition law to Shoji-Ozaki's; infinite where that one does not exist
  std::string reason;      ///< one sentence
};

/// At the model's parameters (a first fit, say), from the 5, 25, 50, 75 and 95 % points of the data, over the median dt: KL(p_FokkerPlanck | p_ShojiOzaki) by quadrature. A pseudo-likelihood with
/// n KL = D can hide a bias of up to sqrt(2 D) standard errors along one parameter (Pinsker-type bound of the log-likelihood ratio's mean); Fokker-Planck is recommended where that exceeds one half, D > 1/8,
/// exact where the family has a closed law, else Shoji-Ozaki.
[[nodiscard]] Recommendation recommend(const Panel& panel, const Diffusion& diffusion);

}  // namespace jko::estimators
