#pragma once
/// Online estimates that see each transition once: stochastic gradient descent in continuous time, and recursive maximum likelihood.
#include <jko/estimators/likelihood.hpp>

#include <vector>

namespace jko::estimators {

enum class OnlineMethod {
  stochastic_gradient,   ///< of the drift ([SirignanoSpiliopoulos2017]): theta += alpha_t (beta_0/2) (db/dtheta)' (dX - b dt), alpha_t = rate/(1 + t/offset)^exponent, beta_0 the start's
  recursive_likelihood,  ///< theta += A_k^{-1} score_k, A_k = A_{k-1} + information_k: natural gradient with step 1/k, from a batch fit of the first transitions
};

struct OnlineGradientOptions {
  OnlineMethod method = OnlineMethod::recursive_likelihood;
  std::vector<bool> fixed{};                  ///< by parameter in the order (theta, beta); empty = none
  // Of the recursive likelihood:
  Transition transition = Transition::euler;  ///< exact, euler or shoji_ozaki
  Index warm_up = 100;                        ///< transitions of the batch fit, >= 2; doubled until it succeeds
  // Of the stochastic gradient:
  double rate = 1;                            ///< C > 0, in units of the inverse information per unit time
  double offset = 1;                          ///< time, > 0
  double exponent = 0.75;                     ///< gamma in (1/2, 1]
  double burn_in = 0;                         ///< time, >= 0, before which nothing is averaged
};

/// The state after any number of transitions: O(P^2) numbers (and the warm-up's transitions before its fit).
///
/// Stochastic gradient, gamma < 1: the estimate is the time average of the iterates since burn_in (Polyak, Ruppert), with covariance H^{-1} J H^{-1}/t of the drift's least squares, H = (beta/2) E (db)'(db) per unit time: the rate
/// matters for the transient only, whose bias is about that of an estimate from a stretch of length 1/(alpha_t h), h the information per unit time (2 alpha_t h for an OU process's kappa). gamma = 1: the last iterate, covariance by the Lyapunov equation of the limit ([SirignanoSpiliopoulos2020]): with c = rate offset and the eigenvalues h of H the variance is
/// c^2 h/((2 c h - 1) t) along each, least for c = 1/h, and infinite (status singular_information) where 2 c h <= 1. beta by the quadratic variation. Rates as for the Euler contrast: dt -> 0.
///
/// Recursive likelihood: asymptotically as efficient as the likelihood's maximum, covariance A^{-1}, sandwich A^{-1} (sum of scores' squares) A^{-1}. Where the score is linear and beta fixed (Euler, drift linear in theta) it *is* the batch maximum.
///
/// Fit::status is converged where the estimate and its covariance are finite: an online estimate has no stopping inequality. Steps that would cross a bound stop at it, at nine tenths of the way where it is open.
class OnlineGradient {
 public:
  explicit OnlineGradient(Model start, OnlineGradientOptions options = {});
  void update(const ConstVectorRef& from, const ConstVectorRef& to, double dt);
  void update(const Path& path);  ///< its transitions in order
  [[nodiscard]] const Vector& iterate() const { return x_; }  ///< (theta, beta); the start's during the warm-up
  [[nodiscard]] Fit fit() const;  ///< the estimate so far; not_run before there is one

 private:
  void gradient_step(const ConstVectorRef& from, const ConstVectorRef& to, double dt);
  void likelihood_step(const Path& path);
  void move(const Vector& step);

  Model start_;
  OnlineGradientOptions options_;
  std::vector<bool> fixed_;
  Vector x_, average_;
  Matrix information_, outer_;   ///< sums
  Panel waiting_;                ///< warm-up
  Index next_fit_ = 0;
  bool ready_ = false;
  double time_ = 0, averaged_ = 0, speed_ = 0;
  Index n_ = 0;
};

/// One pass over the batches, a fit after each: what online_covariance(fits, steps, OnlineData::accumulated) and with_estimates (online.hpp) take, since Cov(k, l) of estimates that add information is that of the later. Throws NotConverged naming the
/// first batch after which there is no estimate.
[[nodiscard]] std::vector<Fit> online_gradient_fits(const std::vector<Panel>& batches, const Model& start, const OnlineGradientOptions& options = {});

}  // namespace jko::estimators
