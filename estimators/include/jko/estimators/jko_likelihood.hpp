#pragma once
/// The JKO likelihood: transition densities of one-dimensional Langevin models from JKO steps.
#include <jko/estimators/likelihood.hpp>
#include <jko/models/diffusion.hpp>

namespace jko::estimators {

struct JkoLikelihoodOptions {
  Index cells = 100;      ///< of the coarse flow's quantile function, >= 8
  double start = 1.0 / 32;  ///< the first law is the local linearisation's after start * dt; in (0, 1)
  double growth = 0.25;   ///< the coarse flow's step over the time reached, in (0, 1]: steps grow with the law's width
  int threads = 1;        ///< >= 1; the bits do not depend on it
  void validate() const;
};

/// p(x' | x; dt) as the density at x' of a flow of variational implicit midpoint steps (two JKO half steps and an extrapolation, second order) from the Gaussian of the local linearisation at x after start * dt. Steps grow
/// geometrically, since a law of age t changes over times of order t. The same with twice the cells and twice the steps; log p is extrapolated from both (Richardson, order two in cells and steps together), and
/// `error` is the sum of |extrapolated - fine|. Gradients are those of the two flows (tangents of the steps), extrapolated alike.
///
/// Transition::jko is this with the default options. Cost: some 40 JKO steps of 100 to 200 cells a transition, about a millisecond. Right only as a check of JKO as a numerical method, and of the
/// Fokker-Planck likelihood, which is a thousand times faster: their errors have nothing in common. Beyond five standard deviations the cells are too wide for more than a digit; beyond eight there are
/// none (density zero).
[[nodiscard]] LikelihoodValue jko_log_likelihood(const Panel& panel, const Model& model, const JkoLikelihoodOptions& options = {}, bool with_scores = false);

/// A diffusion that is no Langevin model runs in y = int dx/sigma (models/lamperti.hpp), where it is one: log p(x' | x) = log p(y' | y) - log sigma(x'). y moves with the parameters of sigma; the gradient has that motion in it.
/// Some twenty times slower, since each node's x is found from its y.
[[nodiscard]] LikelihoodValue jko_log_likelihood(const Panel& panel, const Diffusion& diffusion, const JkoLikelihoodOptions& options = {}, bool with_scores = false);

}  // namespace jko::estimators
