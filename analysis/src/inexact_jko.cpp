#include <jko/analysis/inexact_jko.hpp>

#include <jko/core/check.hpp>
#include <jko/core/parallel.hpp>

#include "worst.hpp"

#include <Eigen/Eigenvalues>

#include <algorithm>
#include <cmath>

namespace jko::analysis {
namespace {

constexpr double epsilon_machine = std::numeric_limits<double>::epsilon();

void check_constants(std::string_view where, double lambda, double gamma, double w2_start) {
  check_positive(where, "convexity lambda", lambda);
  check_positive(where, "step size gamma", gamma);
  check_nonnegative(where, "start distance", w2_start);
}

double condition(const Gaussian& g) {
  const Vector values = Eigen::SelfAdjointEigenSolver<Matrix>(g.covariance(), Eigen::EigenvaluesOnly).eigenvalues();
  return values.maxCoeff() / values.minCoeff();
}

double inversion_rounding(const std::vector<Gaussian>& states, const Gaussian& q) {
  double worst = condition(q);
  for (const Gaussian& g : states) worst = std::max(worst, condition(g));
  return static_cast<double>(states.size()) * q.dimension() * q.dimension() * epsilon_machine * worst;
}

/// |A - B| in L2(measure) of two affine maps.
double map_distance(const AffineMap& a, const AffineMap& b, const Gaussian& measure) {
  const Matrix difference = a.linear - b.linear;
  const Vector at_mean = (a(measure.mean()) - b(measure.mean())).col(0);
  return std::sqrt(at_mean.squaredNorm() + std::max(0.0, (difference * measure.covariance() * difference.transpose()).trace()));
}

}  // namespace

double inexact_bound(double lambda, double gamma, double w2_start, double epsilon, int n) {
  check_constants("inexact_bound", lambda, gamma, w2_start);
  check_nonnegative("inexact_bound", "first-order error", epsilon);
  check_at_least("inexact_bound", "steps", n, 0);
  return std::sqrt(w2_start * w2_start * std::pow(1 + 0.5 * gamma * lambda, -n) + 4 * epsilon * epsilon / (lambda * lambda));
}

int steps_needed(double lambda, double gamma, double w2_start, double epsilon) {
  check_constants("steps_needed", lambda, gamma, w2_start);
  check_positive("steps_needed", "first-order error", epsilon);
  const double ratio = lambda * w2_start / epsilon;
  return ratio <= 1 ? 0 : static_cast<int>(std::ceil(2 * std::log(ratio) / std::log1p(0.5 * gamma * lambda)));
}

std::vector<Check> inexact_jko(const FlowTrace& trace, const std::string& prefix) {
  const char* claims[3] = {"(1 + gamma lambda/2) W2^2(p_{k+1}, q) + 2 gamma (F(p_{k+1}) - min F) <= W2^2(p_k, q) + (2 gamma/lambda) eps_k^2",
                           "W2^2(p_k, q) <= (1 + gamma lambda/2)^{-k} W2^2(p_0, q) + 4 eps^2/lambda^2",
                           "F(p_{k+1}) - min F <= (5/(2 gamma lambda^2) + 1/lambda) eps^2 from N = 2 log(lambda W2(p_0, q)/eps)/log(1 + gamma lambda/2) on"};
  const std::string ids[3] = {prefix + "-recursion", prefix + "-bound", prefix + "-entropy"};
  const char* sources[3] = {"theory.md c1", "Cheng2024, theory.md c2", "Cheng2024, theory.md c2"};
  std::vector<Check> out;
  std::string why;
  if (trace.status != Status::converged) why = "a step did not converge: " + std::string(describe(trace.status));
  else if (!trace.convexity || !(trace.convexity->kappa > 0)) why = "the energy is not known to be lambda-convex with lambda > 0";
  else if (!std::isfinite(trace.minimum)) why = "the minimiser of the energy has no certificate";
  if (!why.empty()) {
    for (int i = 0; i < 3; ++i) out.push_back(inconclusive(ids[i], claims[i], sources[i], why));
    return out;
  }
  const double lambda = trace.convexity->kappa, gamma = trace.steps.front().h, q = 1 + 0.5 * gamma * lambda;
  double eps = 0;
  for (const auto& step : trace.steps) eps = std::max(eps, step.residual);
  const double distance = trace.minimiser_error + trace.distance_error, energy = trace.minimum_error + 2 * trace.energy_error;
  const std::string reason = fmt::format("certificate of q and rounding; eps = {:.3g}, lambda = {:.4g}, gamma = {:.4g}", eps, lambda, gamma);
  Worst recursion, bound, entropy;
  const double start = trace.points[0].to_minimiser;
  const int needed = eps > 0 ? steps_needed(lambda, gamma, start, eps) : static_cast<int>(trace.steps.size());
  bool reached = false;
  for (std::size_t k = 0; k < trace.steps.size(); ++k) {
    const double before = trace.points[k].to_minimiser, after = trace.points[k + 1].to_minimiser, excess = trace.points[k + 1].energy - trace.minimum;
    const double e = trace.steps[k].residual + trace.slope_error;
    recursion.add(q * after * after + 2 * gamma * excess, before * before + 2 * gamma / lambda * e * e, 2 * (q * after + before + distance) * distance + 2 * gamma * energy, k + 1);
    const double limit = inexact_bound(lambda, gamma, start, eps + trace.slope_error, static_cast<int>(k) + 1);
    bound.add(after * after, limit * limit, 2 * (after + start + distance) * distance, k + 1);
    if (static_cast<int>(k) >= needed) {
      reached = true;
      entropy.add(excess, (5 / (2 * gamma * lambda * lambda) + 1 / lambda) * std::pow(eps + trace.slope_error, 2), energy + distance * (2 * start + distance) / (2 * gamma), k + 1);
    }
  }
  out.push_back(recursion.check(ids[0], claims[0], sources[0], reason));
  out.push_back(bound.check(ids[1], claims[1], sources[1], reason));
  if (reached) out.push_back(entropy.check(ids[2], claims[2], sources[2], reason + fmt::format(", N = {}", needed)));
  else out.push_back(inconclusive(ids[2], claims[2], sources[2], fmt::format("the flow has {} steps, but the bound starts after N = {}", trace.steps.size(), needed)));
  return out;
}

Check exact_inversion(const std::vector<Gaussian>& states, const Gaussian& q, const std::string& prefix) {
  check_at_least("exact_inversion", "the number of states", static_cast<long long>(states.size()), 2);
  Gaussian back = q;
  for (std::size_t n = states.size() - 1; n > 0; --n) back = optimal_map(states[n - 1], states[n]).inverse().push(back);
  const double left = relative_entropy(states.front(), back), right = relative_entropy(states.back(), q);
  return check_equal(prefix + "-inversion", "KL(p_0 | q_0) = KL(p_N | q), q_0 the image of q under the exact inverse maps", "theory.md c3", left, right,
                     inversion_rounding(states, q) * (1 + right), "rounding: states d^2 epsilon times the largest condition number times (1 + KL)");
}

Check inexact_inversion(const std::vector<Gaussian>& states, const Gaussian& q, const std::vector<AffineMap>& inverses, const std::string& prefix) {
  check_at_least("inexact_inversion", "the number of states", static_cast<long long>(states.size()), 2);
  check_size("inexact_inversion", "the inverses", static_cast<Index>(inverses.size()), static_cast<Index>(states.size()) - 1);
  Gaussian exact = q, computed = q;
  double delta = 0, lipschitz = 1;
  for (std::size_t n = states.size() - 1; n > 0; --n) {
    const AffineMap inverse = optimal_map(states[n - 1], states[n]).inverse();
    delta = std::max(delta, map_distance(inverses[n - 1], inverse, computed));
    lipschitz = std::max(lipschitz, Eigen::SelfAdjointEigenSolver<Matrix>(Matrix(inverse.linear.transpose() * inverse.linear), Eigen::EigenvaluesOnly).eigenvalues().maxCoeff());
    exact = inverse.push(exact);
    computed = inverses[n - 1].push(computed);
  }
  lipschitz = std::sqrt(lipschitz);
  const double steps = static_cast<double>(inverses.size());
  const double growth = lipschitz > 1 ? std::expm1(steps * std::log(lipschitz)) / (lipschitz - 1) : steps;
  const double scale = std::sqrt(computed.covariance().trace() + exact.covariance().trace() + computed.mean().squaredNorm() + exact.mean().squaredNorm());
  return check_at_most(prefix + "-inexact-inversion", "W2(q~_0, q_0) <= delta (L^N - 1)/(L - 1)", "theory.md c4", w2(computed, exact), delta * growth,
                       inversion_rounding(states, q) * (scale + growth), fmt::format("rounding of the maps; delta = {:.3g}, L = {:.4g}, N = {}", delta, lipschitz, inverses.size()));
}

SampledError sampled_first_order_error(const Model& model, const ConstMatrixRef& points, const ConstMatrixRef& images, const ConstMatrixRef& scores, double gamma) {
  check_positive("sampled_first_order_error", "step size gamma", gamma);
  check_size("sampled_first_order_error", "the points' dimension", points.rows(), model.dimension());
  check_at_least("sampled_first_order_error", "the number of points", points.cols(), 2);
  if (images.rows() != points.rows() || images.cols() != points.cols() || scores.rows() != points.rows() || scores.cols() != points.cols()) {
    throw ShapeError("sampled_first_order_error: points, images and scores must have the same shape");
  }
  const Matrix xi = scores / model.beta() - model.drift(points) - (images - points) / gamma;
  const Vector squares = xi.colwise().squaredNorm();
  const double n = static_cast<double>(points.cols());
  SampledError out;
  out.mean_square = squares.mean();
  out.standard_error = std::sqrt((squares.array() - out.mean_square).square().sum() / (n - 1) / n);
  out.published_norm = xi.array().square().matrix().colwise().norm().mean();
  return out;
}

Matrix kernel_score(const ConstMatrixRef& points, double bandwidth, int threads) {
  check_positive("kernel_score", "bandwidth", bandwidth);
  check_at_least("kernel_score", "the number of points", points.cols(), 1);
  check_finite("kernel_score", "the points", points);
  const Matrix all = points;
  Matrix out(all.rows(), all.cols());
  parallel_for(all.cols(), threads, [&](Index i) {
    const Matrix offset = all.colwise() - all.col(i);
    const Vector weight = (-offset.colwise().squaredNorm().array() / (2 * bandwidth)).exp();  // the point itself contributes 1: the sum cannot vanish
    out.col(i) = offset * weight / (bandwidth * weight.sum());
  });
  return out;
}

}  // namespace jko::analysis
