#include "own_case.hpp"
#include "studies.hpp"

#include <jko/analysis/inexact_jko.hpp>
#include <jko/analysis/statistics.hpp>
#include <jko/core/parallel.hpp>
#include <jko/core/random.hpp>
#include <jko/energies/slope.hpp>
#include <jko/models/families.hpp>
#include <jko/steps/gaussian_step.hpp>
#include <jko/steps/quantile_step.hpp>
#include <jko/transport/exact.hpp>

#include <Eigen/LU>
#include <fmt/format.h>

#include <cmath>
#include <numbers>

namespace jko::validation {
namespace {

using namespace analysis;

constexpr double gamma = 0.5;  // the published experiment's step size
const char* const purpose = "inexact-jko";

/// Psi = |x|^2/2, beta = 1: F is the relative entropy to N(0, I) up to a constant, and lambda = 1.
Model standard(int d) { return d == 1 ? Model(ornstein_uhlenbeck(), Vector{{1, 0}}, 1) : Model(ornstein_uhlenbeck(2), Vector{{1, 0, 1, 0, 0}}, 1); }

Gaussian isotropic(double mean) { return {Vector{{mean, mean}}, Matrix::Identity(2, 2)}; }

/// Constant first-order error eps e_1 from N((3,3), I): m' + (m' - m)/gamma = eps e_1.
void add_constant_error(StudyResult& result) {
  Figure figure{"constant-error", "Constant first-order error eps from N((3, 3), I): distance to the target (points) and the bound c2 (lines).", "step n", "W2(p_n, q)", false, true, {}};
  Table table{"steps", "Steps after which W2 <= sqrt(5) eps/lambda: guaranteed, N = 2 log(lambda W2/eps)/log(1 + gamma lambda/2), and observed.", {"eps", "guaranteed N", "observed", "W2 at the end", "eps/lambda"}, {}};
  const GaussianStep step{FreeEnergy(standard(2))};
  const auto q = find_minimiser(step, isotropic(3));
  int colour = 0;
  Vector guaranteed(3);
  for (const double eps : {0.1, 0.01, 0.001}) {
    const double start = w2(isotropic(3), q.measure);
    const int needed = steps_needed(1, gamma, start, eps), steps = needed + 40;
    std::vector<Gaussian> states{isotropic(3)};
    for (int k = 0; k < steps; ++k) states.emplace_back((states.back().mean() + gamma * eps * Vector{{1, 0}}) / (1 + gamma), Matrix::Identity(2, 2));
    const FlowTrace trace = trace_states(step, states, gamma, q);
    for (const Check& c : inexact_jko(trace, fmt::format("constant-{:g}", eps))) result.checks.push_back(c);
    guaranteed[colour] = needed;
    std::size_t observed = 0;
    while (observed < states.size() && trace.points[observed].to_minimiser > std::sqrt(5.0) * eps) ++observed;
    table.rows.push_back({fmt::format("{:g}", eps), fmt::format("{}", needed), fmt::format("{}", observed), fmt::format("{:.6g}", trace.points.back().to_minimiser), fmt::format("{:g}", eps)});
    // The mean's recursion contracts to eps e_1/lambda by 1/(1 + gamma) a step.
    result.checks.push_back(check_equal(fmt::format("fixed-point-{:g}", eps), "with a constant error eps e_1 the mean tends to eps e_1/lambda", "theory.md (c), closed form", states.back().mean()[0], eps,
                                        3 * std::pow(1 + gamma, -steps) + 1e-15, "distance left after the last step, 3 (1 + gamma)^{-n}, and rounding"));
    Series points{fmt::format("eps = {:g}", eps), Series::Style::points, {}, {}, {}, {}, colour}, line{"", Series::Style::line, {}, {}, {}, {}, colour};
    for (int n = 0; n <= std::min(steps, 70); n += 2) {
      points.x.push_back(n), points.y.push_back(trace.points[static_cast<std::size_t>(n)].to_minimiser);
      line.x.push_back(n), line.y.push_back(inexact_bound(1, gamma, start, eps, n));
    }
    figure.series.push_back(std::move(line));
    figure.series.push_back(std::move(points));
    ++colour;
  }
  result.checks.push_back(check_equal("logarithmic", "N grows by the same number of steps for every factor 10 in eps: N is of order log(1/eps)", "Cheng2024, theory.md c2", guaranteed[2] - guaranteed[1], guaranteed[1] - guaranteed[0], 1,
                                      "rounding up to whole steps"));
  result.tables.push_back(std::move(table));
  result.figures.push_back(std::move(figure));
}

/// Quantile flows whose steps are spoiled by random shifts and stretches.
void add_random_errors(StudyResult& result, std::uint64_t seed) {
  QuantileStep step{FreeEnergy(Model(quadratic_cosine(), Vector{{1, 0, 0.3, 1.5}}, 2))};
  std::vector<QuantileFunction> states{QuantileFunction::gaussian(2, 0.5, 200, 6)};
  RandomStream random(seed, purpose, 1u << 20);
  for (int k = 0; k < 60; ++k) {
    const auto exact = step.advance(states.back(), gamma).measure;
    const double shift = 0.01 * random.normal(), stretch = 1 + 0.01 * random.normal();
    states.push_back(exact.with_coordinates(stretch * exact.nodes().array() + shift));
  }
  for (const Check& c : inexact_jko(trace_states(step, states, gamma, find_minimiser(step, states[0])), "random-cosine")) result.checks.push_back(c);
}

/// The user's own model (--set): steps spoiled in the same way, by a hundredth of the start's standard deviation.
StudyResult own_inexact(const StudyOptions& options) {
  const OwnCase own = own_cases(options, {}).front();
  const FreeEnergy energy = own.energy();
  StudyResult result;
  result.description = own.text + fmt::format(": steps of gamma = {:g}, each spoiled by a random shift and stretch; the recursion c1 and the bound c2 with the first-order errors measured.", gamma);
  QuantileStep step(energy);
  std::vector<QuantileFunction> states{QuantileFunction::gaussian(own.mean, own.variance, own.grid.cells, 6)};
  RandomStream random(options.seed, purpose, 1u << 20);
  for (int k = 0; k < 60; ++k) {
    const auto exact = step.advance(states.back(), gamma);
    if (!is_success(exact.status) && exact.status != Status::stalled) {
      result.checks.push_back(inconclusive("own-steps", "the recursion c1 and the bound c2", "Cheng2024, theory.md (c)", "a step failed: " + std::string(describe(exact.status))));
      return result;
    }
    const double shift = 0.01 * std::sqrt(own.variance) * random.normal(), stretch = 1 + 0.01 * random.normal(), mean = exact.measure.mean()[0];
    states.push_back(exact.measure.with_coordinates(stretch * (exact.measure.nodes().array() - mean) + mean + shift));
  }
  const FlowTrace trace = trace_states(step, states, gamma, find_minimiser(step, states[0]));
  result.checks = inexact_jko(trace, "own");
  Figure figure{"own-errors", "First-order errors of the spoiled steps.", "step n", "eps_n", false, true, {}};
  Series points{"eps_n", Series::Style::points, {}, {}, {}, {}, 0};
  for (std::size_t k = 0; k < trace.steps.size(); ++k) points.x.push_back(static_cast<double>(k + 1)), points.y.push_back(trace.steps[k].residual);
  figure.series = {std::move(points)};
  result.figures.push_back(std::move(figure));
  return result;
}

/// c3 and c4 on a flow in the plane.
void add_inversion(StudyResult& result) {
  const Model model(ornstein_uhlenbeck(2), Vector{{2, 0.3, 1, 0.1, -0.2}}, 1.5);
  GaussianStep step{FreeEnergy(model)};
  std::vector<Gaussian> states{Gaussian(Vector{{1, -1}}, Matrix{{1.2, 0.4}, {0.4, 0.7}})};
  for (int k = 0; k < 10; ++k) states.push_back(step.advance(states.back(), 0.2).measure);
  const Gaussian q = find_minimiser(step, states.back()).measure;
  result.checks.push_back(exact_inversion(states, q, "plane"));
  Figure figure{"inversion", "Generating from the target by perturbed inverses of ten steps: distance of the generated law to the one of exact inverses (points), and the bound c4 (line).", "error δ of one inverse", "W2", true, true, {}};
  Series points{"measured", Series::Style::points, {}, {}, {}, {}, 0}, line{"bound", Series::Style::line, {}, {}, {}, {}, 1};
  for (const double size : {1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 1e-4}) {
    std::vector<AffineMap> inverses;
    for (std::size_t n = 1; n < states.size(); ++n) {
      AffineMap s = optimal_map(states[n - 1], states[n]).inverse();
      s.to += size * Vector{{0.7, 0.7}};
      s.linear(0, 1) += 0.3 * size;
      inverses.push_back(std::move(s));
    }
    Check c = inexact_inversion(states, q, inverses, fmt::format("plane-{:g}", size));
    points.x.push_back(size), points.y.push_back(c.statistic);
    line.x.push_back(size), line.y.push_back(c.bound);
    result.checks.push_back(std::move(c));
  }
  figure.series = {line, points};
  result.figures.push_back(std::move(figure));
}

Matrix normals(std::uint64_t seed, std::uint64_t index, Index n, double mean) {
  Matrix x(2, n);
  RandomStream(seed, purpose, index).fill_normal(x.reshaped());
  x.array() += mean;
  return x;
}

struct Fit {
  Gaussian law;
  explicit Fit(const Matrix& x) {
    const Vector mean = x.rowwise().mean();
    const Matrix centred = x.colwise() - mean;
    Matrix covariance = centred * centred.transpose() / static_cast<double>(x.cols());
    law = Gaussian(mean, 0.5 * (covariance + covariance.transpose()));
  }
  [[nodiscard]] Matrix score(const Matrix& x) const {
    const Eigen::Matrix2d inverse = Eigen::Matrix2d(law.covariance()).inverse();
    return -inverse * (x.colwise() - law.mean());
  }
};

/// The images of the points x under the exact optimal plan between the two samples: a permutation for equal weights.
Matrix assigned(const Matrix& x, const Matrix& other) {
  const ExactTransport plan = exact_transport(Particles(x), Particles(other));
  require(plan.status, "inexact-jko: the assignment");
  Matrix images(x.rows(), x.cols());
  for (const TransportEntry& entry : plan.plan) images.col(entry.from) = other.col(entry.to);
  return images;
}

/// Means over replications.
struct Replicated {
  Vector square, published;
  explicit Replicated(int n) : square(n), published(n) {}
  [[nodiscard]] double mean() const { return square.mean(); }
  [[nodiscard]] double error() const { return std::sqrt((square.array() - mean()).square().sum() / static_cast<double>(square.size() - 1) / static_cast<double>(square.size())); }
};

/// The published one-block experiment: N((3,3), I) -> N((2,2), I), one step of size 1/2 towards N(0, I).
void add_block(StudyResult& result, const StudyOptions& options) {
  const bool quick = options.scale == Scale::quick;
  const Index n = quick ? 1000 : 4000;
  const int repeats = quick ? 4 : 20, cheap = 400;
  const double bandwidth = 0.1;
  const Model model = standard(2);
  const auto exact_score = [](const Matrix& x) { return Matrix(-(x.array() - 2)); };
  const auto exact_images = [](const Matrix& x) { return Matrix(x.array() + 1); };
  Table table{"block", fmt::format("One block, N((3,3), I) to N((2,2), I): first-order error from {} points, mean over replications with its standard error. The published code prints the last column, mean sqrt(sum xi_j^4), under "
                                   "the title of a squared norm.", n),
              {"map to the start", "score", "mean |xi|^2", "s.e.", "replications", "published norm"}, {}};
  const auto row = [&](const char* map, const char* score, const Replicated& r) {
    table.rows.push_back({map, score, fmt::format("{:.5g}", r.mean()), fmt::format("{:.1e}", r.error()), fmt::format("{}", r.square.size()), fmt::format("{:.5g}", r.published.mean())});
  };
  const auto run = [&](int count, std::uint64_t first, auto&& body) {
    Replicated out(count);
    parallel_for(count, options.threads, [&](Index r) {
      const SampledError e = body(normals(options.seed, first + 2 * static_cast<std::uint64_t>(r), n, 2), normals(options.seed, first + 2 * static_cast<std::uint64_t>(r) + 1, n, 3));
      out.square[r] = e.mean_square, out.published[r] = e.published_norm;
    });
    return out;
  };
  std::vector<Check> family;
  const auto z_test = [&](const std::string& id, const std::string& claim, const Replicated& r, double expected) {
    const double z = (r.mean() - expected) / r.error();
    family.push_back(check_test(id, claim, "theory.md (c)", {z, std::erfc(std::abs(z) / std::numbers::sqrt2), r.mean() / expected - 1, fmt::format("two-sided normal test of {} independent replications' mean {:.6g} against {:.6g}", r.square.size(), r.mean(), expected)}));
  };

  // Before any step T = Id and xi = x + score is (3, 3) at every point.
  const Matrix before = normals(options.seed, 1u << 21, n, 3);
  const auto none = sampled_first_order_error(model, before, before, Matrix(-(before.array() - 3)), gamma);
  table.rows.push_back({"none: the start itself", "exact", fmt::format("{:.5g}", none.mean_square), "0", "", fmt::format("{:.5g}", none.published_norm)});
  result.checks.push_back(check_equal("block-start", "without a step |xi|^2 = 18, and the published norm is sqrt(162) = 12.73 instead", "closed form; Cheng2024's code", none.mean_square, 18, 1e-12 * 18, "rounding"));
  result.checks.push_back(check_equal("block-start-published", "mean sqrt(sum xi_j^4) = sqrt(162) without a step", "closed form; Cheng2024's code", none.published_norm, std::sqrt(162.0), 1e-12 * 18, "rounding"));

  const auto exact = run(repeats, 0, [&](const Matrix& x, const Matrix&) { return sampled_first_order_error(model, x, exact_images(x), exact_score(x), gamma); });
  row("exact", "exact", exact);
  result.checks.push_back(check_at_most("block-exact", "the exact step has first-order error 0", "closed form", exact.square.maxCoeff(), 0, 1e-26, "rounding: (a few epsilon times |x| <= 10)^2"));
  result.checks.push_back(check_equal("block-exact-measure", "|xi| of the exact step by the closed forms of Gaussians", "closed form", first_order_error(FreeEnergy(model), isotropic(3), isotropic(2), gamma), 0, 1e-14, "rounding"));

  // A random map: images displaced by s times normal vectors give E |xi|^2 = 2 s^2/gamma^2; a displaced result, the constant field (1 + 1/gamma) delta.
  const auto noisy = run(cheap, 100000, [&](const Matrix& x, const Matrix& other) { return sampled_first_order_error(model, x, exact_images(x) + 0.1 * (other.array() - 3).matrix(), exact_score(x), gamma); });
  row("exact + 0.1 normal", "exact", noisy);
  z_test("block-noise", "normal errors of size s in the map's images give E|xi|^2 = d s^2/gamma^2", noisy, 2 * 0.01 / (gamma * gamma));
  const Matrix at = normals(options.seed, 1u << 22, n, 2.1);
  const auto shifted = sampled_first_order_error(model, at, at.array() + 0.9, -(at.array() - 2.1).matrix(), gamma);
  table.rows.push_back({"exact, for the displaced result N((2.1, 2.1), I)", "exact", fmt::format("{:.5g}", shifted.mean_square), "0", "", fmt::format("{:.5g}", shifted.published_norm)});
  result.checks.push_back(check_equal("block-displaced", "a result displaced by delta has xi = (lambda + 1/gamma) delta: measured on points and by the closed form", "theory.md (c)", shifted.mean_square,
                                      std::pow(first_order_error(FreeEnergy(model), isotropic(3), isotropic(2.1), gamma), 2), 1e-12, "rounding"));

  // Affine map and score both estimated from the samples, which are independent: to leading order xi = 3 e_1 - 2 e_0 + (2 S_1 - S_0 - I)(x - m_1), the e being the errors of the
  // two sample means and S the sample covariances, so n E|xi|^2 -> 2 (9 + 4) + (4 + 1)(2 * 2 + 2) = 56.
  const auto fitted = run(cheap, 200000, [&](const Matrix& x, const Matrix& other) {
    const Fit p1(x), p0(other);
    return sampled_first_order_error(model, x, optimal_map(p1.law, p0.law)(x), p1.score(x), gamma);
  });
  row("affine, estimated", "of the fitted Gaussian", fitted);
  z_test("block-fitted", "with affine map and Gaussian score estimated from n independent points each, n E|xi|^2 -> 56", fitted, 56.0 / static_cast<double>(n));

  Figure figure{"block", "One block: estimated first-order error of the exact step against the number of points. Kernel score (variance 0.1) with the exact map and with the estimated affine map; exact score with the optimal assignment of two samples; dashed: the kernel's bias 2 (0.1/1.1)². With sampled ingredients the floor is the estimator's, not the step's.", "points n", "mean |ξ|²", true, true, {}};
  Series kernel_series{"kernel score, exact map", Series::Style::points, {}, {}, {}, {}, 0}, both_series{"kernel score, estimated affine map", Series::Style::points, {}, {}, {}, {}, 1}, matched_series{"exact score, assigned samples", Series::Style::points, {}, {}, {}, {}, 2};
  for (Index size = n / 8; size <= n; size *= 2) {
    const auto part = [&](const Matrix& x) { return Matrix(x.leftCols(size)); };
    const auto kernel = run(repeats, 300000, [&](const Matrix& x, const Matrix&) { return sampled_first_order_error(model, part(x), exact_images(part(x)), kernel_score(part(x), bandwidth), gamma); });
    const auto both = run(repeats, 300000, [&](const Matrix& x, const Matrix& other) {
      return sampled_first_order_error(model, part(x), optimal_map(Fit(part(x)).law, Fit(part(other)).law)(part(x)), kernel_score(part(x), bandwidth), gamma);
    });
    const double m = static_cast<double>(size);
    const auto matched = run(repeats, 300000, [&](const Matrix& x, const Matrix& other) { return sampled_first_order_error(model, part(x), assigned(part(x), part(other)), exact_score(part(x)), gamma); });
    matched_series.x.push_back(m), matched_series.y.push_back(matched.mean()), matched_series.error.push_back(matched.error());
    kernel_series.x.push_back(m), kernel_series.y.push_back(kernel.mean()), kernel_series.error.push_back(kernel.error());
    both_series.x.push_back(m), both_series.y.push_back(both.mean()), both_series.error.push_back(both.error());
    if (size * 2 > n) {
      row("exact", "kernel, variance 0.1", kernel);
      row("affine, estimated", "kernel, variance 0.1", both);
      row("exact assignment of the samples", "exact", matched);
      row("exact assignment of the samples", "kernel, variance 0.1", run(repeats, 300000, [&](const Matrix& x, const Matrix& other) {
            return sampled_first_order_error(model, part(x), assigned(part(x), part(other)), kernel_score(part(x), bandwidth), gamma);
          }));
    }
  }
  const double bias = 2 * std::pow(bandwidth / (1 + bandwidth), 2);
  Series dashed{"kernel bias", Series::Style::dashed, {kernel_series.x.front(), kernel_series.x.back()}, {bias, bias}, {}, {}, 6};
  figure.series = {dashed, kernel_series, both_series, matched_series};
  result.figures.push_back(std::move(figure));
  decide_family(family);
  for (Check& c : family) result.checks.push_back(std::move(c));
  result.tables.push_back(std::move(table));
}

}  // namespace

StudyResult inexact_jko(const StudyOptions& options) {
  if (!options.settings.empty()) return own_inexact(options);
  StudyResult result;
  result.description =
      "JKO steps with a first-order error eps_n = |grad mu[p_{n+1}] + (Id - T)/gamma| (Cheng, Lu, Tan and Xie): the recursion and the bound W2^2(p_n, q) <= (1 + gamma lambda/2)^{-n} W2^2(p_0, q) + 4 eps^2/lambda^2 with "
      "constant and random errors; the identity of exact inversion and the bound of inexact inversion; and the published experiment on one block, N((3,3), I) to N((2,2), I) with gamma = 1/2 towards N(0, I), where eps is "
      "estimated from samples. There the exact step has error 0, and what an estimate shows above 0 is the error of its score and of its map; both are predicted. The published code reports mean sqrt(sum_j xi_j^4) as a squared norm; "
      "the table has both.";
  add_constant_error(result);
  add_random_errors(result, options.seed);
  add_inversion(result);
  add_block(result, options);
  return result;
}

}  // namespace jko::validation
