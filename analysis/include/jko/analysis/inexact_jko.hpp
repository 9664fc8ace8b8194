#pragma once
/// JKO with inexact steps, and flow models run backwards (theory.md (c); Cheng, Lu, Tan and Xie [Cheng2024]).
///
/// The setting: F is lambda-convex along generalised geodesics, lambda > 0, gamma the step size, and each computed step p_n -> p_{n+1} leaves a
/// first-order error eps_n = |grad mu[p_{n+1}] + (Id - T)/gamma| in L2(p_{n+1}) (first_order_error in energies/slope.hpp), whatever solver made it.
#include <jko/analysis/flow_trace.hpp>
#include <jko/analysis/verdict.hpp>
#include <jko/models/model.hpp>
#include <jko/transport/gaussian_map.hpp>

namespace jko::analysis {

/// c2: W2(p_n, q) <= sqrt((1 + gamma lambda/2)^{-n} W2^2(p_0, q) + 4 eps^2/lambda^2). eps >= 0, the others > 0, n >= 0.
[[nodiscard]] double inexact_bound(double lambda, double gamma, double w2_start, double epsilon, int n);
/// The least n with (1 + gamma lambda/2)^{-n} W2^2(p_0, q) <= eps^2/lambda^2, so that W2(p_n, q) <= sqrt(5) eps/lambda: N of order log(1/eps). eps > 0.
[[nodiscard]] int steps_needed(double lambda, double gamma, double w2_start, double epsilon);

/// Three checks of a trace (flow_trace.hpp, trace_states for states of any solver), eps the largest eps_k:
///   recursion   (1 + gamma lambda/2) W2^2(p_{k+1}, q) + 2 gamma (F(p_{k+1}) - min F) <= W2^2(p_k, q) + (2 gamma/lambda) eps_k^2     c1
///   bound       W2^2(p_k, q) <= (1 + gamma lambda/2)^{-k} W2^2(p_0, q) + 4 eps^2/lambda^2                                           c2
///   entropy     F(p_{k+1}) - min F <= (5/(2 gamma lambda^2) + 1/lambda) eps^2 for k >= steps_needed                                 c2
/// (for beta = 1, F - min F is the relative entropy KL(p | q)). Tolerances: the certificate of q and rounding only; the solver's error is eps itself. Inconclusive
/// without lambda > 0 and a certified q, and the last one where no k is large enough.
[[nodiscard]] std::vector<Check> inexact_jko(const FlowTrace& trace, const std::string& prefix);

/// c3: transporting q back through the exact inverses of the maps p_0 -> p_1 -> ... -> p_N gives q_0 with KL(p_0 | q_0) = KL(p_N | q). Tolerance: rounding, (N + 1) d^2
/// epsilon times the largest condition number of a covariance times (1 + KL).
[[nodiscard]] Check exact_inversion(const std::vector<Gaussian>& states, const Gaussian& q, const std::string& prefix);

/// c4: with computed inverses S_n in place of T_n^{-1} (n = 1, ..., N, S_n maps p_n's space to p_{n-1}'s),
///   W2(q~_0, q_0) <= delta (L^N - 1)/(L - 1),  L = max(1, max_n Lip(T_n^{-1})),  delta = max_n |S_n - T_n^{-1}| in L2(q~_n),
/// where q~_{n-1} = S_n # q~_n, q~_N = q: the error of one inversion is carried through the exact inverses that follow. delta and L are computed exactly for affine maps.
[[nodiscard]] Check inexact_inversion(const std::vector<Gaussian>& states, const Gaussian& q, const std::vector<AffineMap>& inverses, const std::string& prefix);

/// The first-order error estimated from points x_i of p_{n+1} (d x n): xi_i = grad Psi(x_i) + score(x_i)/beta - (T(x_i) - x_i)/gamma, T(x_i) the given images.
struct SampledError {
  double mean_square = 0;         ///< mean |xi|^2, an estimate of eps^2 (with the errors of score and map in it)
  double standard_error = 0;      ///< of that mean, over the points taken as independent
  double published_norm = 0;      ///< mean sqrt(sum_j xi_j^4): what the code behind the paper prints under the title of a squared norm; between 1/sqrt(d) and 1 times the correct one
};
[[nodiscard]] SampledError sampled_first_order_error(const Model& model, const ConstMatrixRef& points, const ConstMatrixRef& images, const ConstMatrixRef& scores, double gamma);

/// grad log of the Gaussian kernel density estimate (variance `bandwidth` a coordinate) of `points`, at those points, the point itself included. Biased: for points of
/// N(m, I) it tends to -(x - m)/(1 + bandwidth). Cost O(n^2 d).
[[nodiscard]] Matrix kernel_score(const ConstMatrixRef& points, double bandwidth, int threads = 1);

}  // namespace jko::analysis
