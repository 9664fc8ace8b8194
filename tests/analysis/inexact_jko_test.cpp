#include <jko/analysis/inexact_jko.hpp>
#include <jko/core/error.hpp>
#include <jko/core/random.hpp>
#include <jko/energies/slope.hpp>
#include <jko/models/families.hpp>
#include <jko/steps/gaussian_step.hpp>
#include <jko/steps/quantile_step.hpp>

#include <doctest/doctest.h>

#include <cmath>

using namespace jko;
using namespace jko::analysis;

namespace {

Model standard(int d) {
  if (d == 1) return {ornstein_uhlenbeck(), Vector{{1, 0}}, 1};
  return {ornstein_uhlenbeck(2), Vector{{1, 0, 1, 0, 0}}, 1};
}

/// States with the constant first-order error eps e_1: the mean solves m' + (m' - m)/h = eps.
std::vector<Gaussian> drifting(double eps, double h, int n) {
  std::vector<Gaussian> states{Gaussian(Vector{{3, 3}}, Matrix::Identity(2, 2))};
  for (int k = 0; k < n; ++k) states.emplace_back((states.back().mean() + h * eps * Vector{{1, 0}}) / (1 + h), Matrix::Identity(2, 2));
  return states;
}

}  // namespace

TEST_CASE("a constant first-order error is measured as such, and the mean tends to eps/lambda") {
  const double eps = 0.05, h = 0.5;
  const GaussianStep step{FreeEnergy(standard(2))};
  const auto states = drifting(eps, h, 60);
  CHECK(std::abs(first_order_error(step.energy(), states[0], states[1], h) - eps) < 1e-14);
  const auto q = find_minimiser(step, states[0]);
  CHECK(std::abs(states.back().mean()[0] - eps) < 1e-9);  // 3 * 1.5^-60 = 8e-11
  const FlowTrace trace = trace_states(step, states, h, q);
  const auto checks = inexact_jko(trace, "d");
  for (const Check& c : checks) {
    INFO(c.id << " " << c.statistic << " " << c.bound << " " << c.tolerance << c.reason);
    CHECK(c.verdict == Verdict::pass);
    CHECK(c.tolerance < 1e-9);
  }
  // The bound is twice the truth in this case (4 eps^2/lambda^2 against eps^2/lambda^2), not vacuous.
  CHECK(trace.points.back().to_minimiser > 0.49 * inexact_bound(1, h, trace.points[0].to_minimiser, eps, 60));
  // Told a smaller error than the true one, the recursion is violated at the fixed point:
  // (1 + gamma lambda/2) W^2 + 2 gamma W^2/2 = W^2 + (3/2) gamma W^2 > W^2 + 2 gamma (W/2)^2... with eps/2 the right side gains only gamma W^2/2.
  FlowTrace forged = trace;
  for (auto& s : forged.steps) s.residual = eps / 2;
  CHECK(inexact_jko(forged, "f")[0].verdict == Verdict::fail);
}

TEST_CASE("the number of steps is logarithmic, and the bound is reached there") {
  const int n1 = steps_needed(1, 0.5, 4, 1e-2), n2 = steps_needed(1, 0.5, 4, 1e-4), n3 = steps_needed(1, 0.5, 4, 1e-6);
  CHECK(std::abs((n3 - n2) - (n2 - n1)) <= 1);
  CHECK(inexact_bound(1, 0.5, 4, 1e-4, n2) <= std::sqrt(5.0) * 1e-4);
  CHECK(inexact_bound(1, 0.5, 4, 1e-4, n2 - 1) > std::sqrt(5.0) * 1e-4);
  CHECK(steps_needed(1, 0.5, 1e-5, 1e-4) == 0);
  CHECK_THROWS_AS((void)steps_needed(-1, 0.5, 1, 0.1), DomainError);
}

TEST_CASE("quantile flows with random perturbations obey the recursion") {
  const QuantileStep step{FreeEnergy(standard(1))};
  QuantileStep solver{FreeEnergy(standard(1))};
  std::vector<QuantileFunction> states{QuantileFunction::gaussian(2, 0.5, 50, 5)};
  RandomStream random(3, "perturbation");
  for (int k = 0; k < 30; ++k) {
    const auto exact = solver.advance(states.back(), 0.4).measure;
    const double shift = 0.02 * random.normal(), stretch = 1 + 0.01 * random.normal();
    states.push_back(exact.with_coordinates(stretch * exact.nodes().array() + shift));
  }
  for (const Check& c : inexact_jko(trace_states(step, states, 0.4, find_minimiser(step, states[0])), "q")) CHECK(c.verdict == Verdict::pass);
}

TEST_CASE("exact and inexact inversion") {
  const Model model(ornstein_uhlenbeck(2), Vector{{2, 0.3, 1, 0.1, -0.2}}, 1.5);
  GaussianStep step{FreeEnergy(model)};
  std::vector<Gaussian> states{Gaussian(Vector{{1, -1}}, Matrix{{1.2, 0.4}, {0.4, 0.7}})};
  for (int k = 0; k < 8; ++k) states.push_back(step.advance(states.back(), 0.2).measure);
  const Gaussian q = find_minimiser(step, states.back()).measure;
  const Check c3 = exact_inversion(states, q, "g");
  CHECK(c3.verdict == Verdict::pass);
  CHECK(c3.bound > 1e-3);  // there is something to preserve
  CHECK(c3.tolerance < 1e-10);
  std::vector<AffineMap> inverses;
  for (std::size_t n = 1; n < states.size(); ++n) {
    AffineMap s = optimal_map(states[n - 1], states[n]).inverse();
    s.to += 1e-3 * Vector{{1, 1}};
    s.linear(0, 1) += 1e-3;
    inverses.push_back(s);
  }
  const Check c4 = inexact_inversion(states, q, inverses, "g");
  CHECK(c4.verdict == Verdict::pass);
  CHECK(c4.statistic > 0.2 * c4.bound);  // not vacuous
  // Pure translations with unit Lipschitz constants: errors add up exactly.
  std::vector<Gaussian> shifts;
  std::vector<AffineMap> shifted;
  for (int n = 0; n <= 5; ++n) shifts.emplace_back(Vector{{3.0 - 0.5 * n, 0}}, Matrix::Identity(2, 2));
  for (std::size_t n = 1; n < shifts.size(); ++n) {
    shifted.push_back(optimal_map(shifts[n - 1], shifts[n]).inverse());
    shifted.back().to += 0.01 * Vector{{1, 0}};
  }
  const Check sum = inexact_inversion(shifts, Gaussian(Vector{{0, 0}}, Matrix::Identity(2, 2)), shifted, "s");
  CHECK(std::abs(sum.statistic - 0.05) < 1e-12);
  CHECK(std::abs(sum.bound - 0.05) < 1e-12);
}

TEST_CASE("sampled first-order error: exact ingredients give zero; kernel bias is as predicted") {
  const Model model = standard(2);
  const Index n = 1500;
  Matrix x(2, n);
  RandomStream(1, "block").fill_normal(x.reshaped());
  x.array() += 2;  // N((2,2), I), the exact step from N((3,3), I) with gamma = 1/2
  const Matrix images = x.array() + 1;
  const Matrix score = -(x.array() - 2).matrix();
  const auto zero = sampled_first_order_error(model, x, images, score, 0.5);
  CHECK(zero.mean_square < 1e-25);
  // Without any transport the error is |grad Psi + score|^2 = |(2, 2)|^2 = 8 at every point, and sqrt(4^2 + 4^2) in the published norm.
  const auto still = sampled_first_order_error(model, x, x, score, 0.5);
  CHECK(std::abs(still.mean_square - 8) < 1e-12);
  CHECK(std::abs(still.published_norm - std::sqrt(32.0)) < 1e-12);
  // The kernel score of a single pair, by hand.
  const Matrix pair{{0, 1}, {0, 0}};
  const double w = std::exp(-1 / (2 * 0.5));
  CHECK(std::abs(kernel_score(pair, 0.5)(0, 0) - w / (0.5 * (1 + w))) < 1e-15);
  // Mean over the sample of -(x-m) . score: tends to d/(1 + b) for a kernel of variance b (the smoothed law's score at its own centre of mass scale), up to the self
  // term, which adds to the shrinkage by O(1/(n b)); 4.4 standard errors of a mean of squares of 2-d normals, sqrt(4/n), plus that.
  const Matrix kernel = kernel_score(x, 0.5);
  const double projection = -((x.array() - 2) * kernel.array()).colwise().sum().mean();
  CHECK(std::abs(projection - 2 / 1.5) < 4.4 * std::sqrt(4.0 / n) + 2.0 / (n * 0.5));
  CHECK(kernel_score(x.leftCols(100), 0.5, 2) == kernel_score(x.leftCols(100), 0.5, 1));
}
