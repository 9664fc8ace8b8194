#include "ou_case.hpp"
#include "own_case.hpp"
#include "stationary_sampler.hpp"
#include "studies.hpp"

#include <jko/core/parallel.hpp>
#include <jko/core/random.hpp>
#include <jko/estimators/bias.hpp>
#include <jko/estimators/first_order_conditions.hpp>
#include <jko/estimators/likelihood.hpp>
#include <jko/estimators/ornstein_uhlenbeck.hpp>
#include <jko/estimators/score_matching.hpp>
#include <jko/estimators/snapshot_flow.hpp>
#include <jko/estimators/stationary.hpp>
#include <jko/flows/flow.hpp>
#include <jko/models/families.hpp>
#include <jko/reference/ornstein_uhlenbeck.hpp>
#include <jko/steps/gaussian_step.hpp>

#include <Eigen/Cholesky>
#include <Eigen/LU>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <optional>

namespace jko::validation {
namespace {

using namespace estimators;

/// Replications of an estimator: draws are columns of `rows` numbers; the rest had no estimate.
struct Replications {
  Matrix draws;
  int failed = 0;
  [[nodiscard]] Vector mean() const { return draws.rowwise().mean(); }
  [[nodiscard]] Matrix covariance() const {
    const Matrix centred = draws.colwise() - mean();
    return centred * centred.transpose() / static_cast<double>(draws.cols() - 1);
  }
};

constexpr double four_errors = 6.334e-5;  // P(|N(0, 1)| > 4)

Replications replicate(int replications, const StudyOptions& options, const std::function<std::optional<Vector>(std::uint64_t)>& estimate) {
  std::vector<std::optional<Vector>> results(static_cast<std::size_t>(replications));
  parallel_for(replications, options.threads, [&](Index r) { results[static_cast<std::size_t>(r)] = estimate(static_cast<std::uint64_t>(r)); });
  Replications out;
  std::vector<const Vector*> kept;
  for (const auto& r : results) {
    if (r) kept.push_back(&*r);
    else ++out.failed;
  }
  out.draws.resize(kept.front()->size(), static_cast<Index>(kept.size()));
  for (std::size_t k = 0; k < kept.size(); ++k) out.draws.col(static_cast<Index>(k)) = *kept[k];
  return out;
}

/// A path of n transitions from the stationary law.
Vector ou_path(Index n, double dt, const StudyOptions& options, std::string_view purpose, std::uint64_t index) {
  RandomStream random(options.seed, purpose, index);
  Vector path(n + 1);
  const double phi = std::exp(-ou_case::kappa * dt), deviation = std::sqrt(1 / (ou_case::beta * ou_case::kappa)), innovation = deviation * std::sqrt(1 - phi * phi);
  path[0] = ou_case::mu + deviation * random.normal();
  for (Index i = 0; i < n; ++i) path[i + 1] = ou_case::mu + phi * (path[i] - ou_case::mu) + innovation * random.normal();
  return path;
}

/// Standard error of entry (i, j) of a covariance from R draws with covariance c, for Gaussian draws.
double covariance_error(const Matrix& c, Index i, Index j, double replications) { return std::sqrt((c(i, i) * c(j, j) + c(i, j) * c(i, j)) / replications); }

/// One estimator's covariance against theory: extrapolated in 1/n from n and 4n where `large` is given. The test is of n times the covariance.
void compare(StudyResult& result, Table& table, const std::string& id, const std::string& what, const std::string& source, const std::vector<std::string>& names, const Replications& small, Index n,
             const Replications* large, const Matrix& theory, double slack, const std::string& slack_reason) {
  const Matrix at_small = static_cast<double>(n) * small.covariance();
  const Matrix limit = large ? Matrix((4 * (4.0 * static_cast<double>(n)) * large->covariance() - at_small) / 3) : at_small;
  for (Index i = 0; i < theory.rows(); ++i) {
    for (Index j = 0; j <= i; ++j) {
      const double se = covariance_error(theory, i, j, static_cast<double>(small.draws.cols())), error = large ? se * std::sqrt(17.0) / 3 : se;
      const double unit = std::sqrt(theory(i, i) * theory(j, j));
      const std::string entry = i == j ? "var " + names[static_cast<std::size_t>(i)] : fmt::format("cov {} {}", names[static_cast<std::size_t>(j)], names[static_cast<std::size_t>(i)]);
      table.rows.push_back({what, entry, fmt::format("{:.4g} ({:.2g})", at_small(i, j), se), large ? fmt::format("{:.4g} ({:.2g})", limit(i, j), error) : "", fmt::format("{:.4g}", theory(i, j))});
      result.checks.push_back(analysis::check_sampled(fmt::format("{}-{}{}", id, j + 1, i + 1), fmt::format("{}: n {} tends to that of theory", what, entry), source, limit(i, j), theory(i, j),
                                                      {.standard_error = error, .allowance = slack * unit, .false_alarm = four_errors, .what = fmt::format("Monte-Carlo over {} replications{}", small.draws.cols(), slack_reason)}));
    }
  }
}

Snapshots snapshots(const std::vector<Gaussian>& laws, const Vector& times, Index n, const StudyOptions& options, std::uint64_t index) {
  RandomStream random(options.seed, "estimators snapshots", index);
  Snapshots out{times, {}};
  for (const Gaussian& law : laws) {
    Matrix x(1, n);
    for (double& v : x.reshaped()) v = law.mean()[0] + std::sqrt(law.covariance()(0, 0)) * random.normal();
    out.samples.push_back(std::move(x));
  }
  return out;
}

/// Five parameters of a quadratic potential in the plane that does not commute with the laws, beta known, from three independent snapshots of its JKO scheme: estimates, then reported variances.
Replications plane_conditions(int replications, Index n, const StudyOptions& options) {
  const Model truth(ornstein_uhlenbeck(2), Vector{{1.3, 0.4, 0.8, 0.5, -0.2}}, 2);
  const auto flow = Flow<GaussianStep>(GaussianStep(FreeEnergy(truth)), Gaussian(Vector{{2.0, -1.0}}, Matrix{{0.3, -0.15}, {-0.15, 0.9}}), {.h = 0.5, .steps = 2}).run();
  return replicate(replications, options, [&](std::uint64_t r) -> std::optional<Vector> {
    RandomStream random(options.seed, "estimators plane snapshots", r);
    Snapshots data{Vector{{0.0, 0.5, 1.0}}, {}};
    for (const auto& state : flow.states) {
      const Matrix root = state.measure.covariance().llt().matrixL();
      Matrix z(2, n);
      for (double& v : z.reshaped()) v = random.normal();
      data.samples.push_back((root * z).colwise() + state.measure.mean());
    }
    const Fit fit = fit_first_order(data, FreeEnergy(truth), {.fixed = {false, false, false, false, false, true}, .tolerance = 1e-4}).fit;
    if (!is_success(fit.status)) return std::nullopt;
    Vector out(10);
    out << fit.estimate.head(5), fit.sandwich.diagonal().head(5);
    return out;
  });
}

/// The user's own model: estimates from independent draws of its stationary law, beta known.
StudyResult own_estimators(const StudyOptions& options) {
  StudyResult result;
  result.description =
      "Covariances of the estimates from independent draws of the model's own stationary law, beta known, over replications: maximum likelihood against the inverse information, score matching against the sandwich that it "
      "reports. The terms of order 1/n are removed by extrapolating n and 4n. Every check allows 4 Monte-Carlo standard errors: false alarm 6e-5 each.";
  const int replications = options.scale == Scale::quick ? 500 : 5000;
  const Index n = 400;
  Table table{"covariances", fmt::format("n times the covariance of the estimates ({} replications); brackets are one Monte-Carlo s.e.", replications), {"estimator", "entry", "at n", "limit from n and 4n", "theory"}, {}};
  for (const OwnCase& c : own_cases(options, {})) {
    result.notes.push_back(c.name + ": " + c.text);
    const Model& model = c.grid.model;
    const Index count = model.theta().size();
    const char* claim = "the estimates' covariance over replications is that of theory";
    if (!c.failed.empty() || c.covariance.size() == 0 || count == 0) {
      result.checks.push_back(analysis::inconclusive(c.name + "-assumptions", claim, "theory.md 3(e)", count == 0 ? "the potential has no parameters to estimate" : c.why()));
      continue;
    }
    std::vector<std::string> names;
    FitOptions fit;
    for (const Parameter& parameter : model.parameter_list()) {
      names.push_back(parameter.name);
      fit.fixed.push_back(parameter.name == "beta");
    }
    const StationarySampler sampler(model, c.grid.lower, c.grid.upper);
    for (const bool matching : {false, true}) {
      std::array<Matrix, 2> reported{Matrix::Zero(count, count), Matrix::Zero(count, count)}, squared = reported;
      const auto run = [&](int level) {
        const Index size = n << (2 * level);
        std::vector<Matrix> each(static_cast<std::size_t>(replications), Matrix::Zero(count, count));
        Replications out = replicate(replications, options, [&](std::uint64_t r) -> std::optional<Vector> {
          RandomStream random(options.seed, level == 0 ? "estimators own" : "estimators own 4n", r);
          Vector x(size);
          sampler.fill(random, x);
          const Fit one = matching ? fit_score_matching(x.transpose(), model, {.fit = fit}) : fit_stationary(x, model, fit);
          if (!is_success(one.status)) return std::nullopt;
          each[r] = static_cast<double>(size) * one.sandwich.topLeftCorner(count, count);
          return Vector(one.estimate.head(count));
        });
        const auto k = static_cast<std::size_t>(level);
        for (const Matrix& m : each) reported[k] += m / static_cast<double>(out.draws.cols()), squared[k] += m.cwiseAbs2() / static_cast<double>(out.draws.cols());
        return out;
      };
      const std::string id = c.name + (matching ? "-score-matching" : "-stationary"), what = matching ? "score matching" : "stationary likelihood";
      const Replications small = run(0), large = run(1);
      if (small.failed + large.failed > replications / 50) {
        result.checks.push_back(analysis::inconclusive(id, claim, "theory.md 3(e)", fmt::format("{} and {} of {} fits did not converge", small.failed, large.failed, replications)));
        continue;
      }
      if (!matching) {
        compare(result, table, id, c.name + ", " + what, "theory.md 3(e)", names, small, n, &large, c.covariance.topLeftCorner(count, count), 0, "");
        continue;
      }
      // The sandwich's mean, extrapolated alike; four of its own Monte-Carlo errors are allowed for.
      const Matrix theory = (4 * reported[1] - reported[0]) / 3;
      double slack = 0;
      for (Index i = 0; i < count; ++i) {
        const double spread = std::sqrt((16 * (squared[1](i, i) - reported[1](i, i) * reported[1](i, i)) + squared[0](i, i) - reported[0](i, i) * reported[0](i, i)) / 9 / replications);
        slack = std::max(slack, 4 * spread / theory(i, i));
      }
      compare(result, table, id, c.name + ", " + what, "Hyvarinen2005", names, small, n, &large, theory, slack, fmt::format("; and {:.2g} of the variances for four standard errors of the mean sandwich", slack));
    }
  }
  result.tables = {std::move(table)};
  return result;
}

}  // namespace

StudyResult estimators(const StudyOptions& options) {
  if (!options.settings.empty()) return own_estimators(options);
  const bool quick = options.scale == Scale::quick;
  const int replications = quick ? 2000 : 20000;
  const Model truth = ou_case::model();
  const double kappa = ou_case::kappa, beta = ou_case::beta, stationary = 1 / (beta * kappa);
  StudyResult result;
  result.description =
      "Covariances that the estimators report, against those over replications, for the Ornstein-Uhlenbeck process with kappa, mu, beta free where the data determine them: exact and Euler likelihoods of a path at "
      "fixed spacing, maximum likelihood and score matching of independent stationary draws, first-order conditions of the JKO step, W2 and likelihood fits of a whole flow to unpaired snapshots. Closed forms: theory.md 3(e), "
      "and the information of Gaussian snapshots. The terms of order 1/n are removed by extrapolating n and 4n where that is cheap; elsewhere the tolerance says what is allowed for them. Every check allows 4 Monte-Carlo standard "
      "errors: false alarm 6e-5 each, below 3e-3 for the whole study.";
  Table table{"covariances", fmt::format("n times the covariance of the estimates ({} replications, fewer for snapshots); brackets are one Monte-Carlo s.e.", replications), {"estimator", "entry", "at n", "limit from n and 4n", "theory"}, {}};
  Table biases{"bias", "n times the expected error of the exact OU estimate, extrapolated from n and 4n, against the expansion to order 1/n.", {"parameter", "measured", "theory"}, {}};

  // Exact likelihood of a path at spacing 0.5, n = 200 and 800, and its bias.
  const double dt = 0.5;
  const Index n = 200;
  const auto exact = [&](Index size, std::string_view purpose) {
    const Matrix weight = exact_ou_covariance(kappa, beta, dt) / static_cast<double>(size);
    return replicate(replications, options, [&, size, purpose](std::uint64_t r) -> std::optional<Vector> {
      const Vector path = ou_path(size, dt, options, purpose, r);
      const auto e = exact_ou_estimate(path, dt);
      if (!e.ok) return std::nullopt;
      // The score at the truth, for the bias: its first-order effect has mean zero and nearly all of the variance.
      const Panel panel{Path{Vector::LinSpaced(size + 1, 0, dt * static_cast<double>(size)), path.transpose()}};
      const Vector first_order = weight * log_likelihood(panel, truth, Transition::exact).gradient;
      const Vector estimate{{e.kappa, e.mu, e.beta}};
      return (Vector(6) << estimate, estimate - truth.parameters() - first_order).finished();
    });
  };
  const Replications at_n = exact(n, "estimators exact"), at_4n = exact(4 * n, "estimators exact 4n");
  const auto head = [](const Replications& r, Index first, Index count) { return Replications{Matrix(r.draws.middleRows(first, count)), r.failed}; };
  const Replications small = head(at_n, 0, 3), large = head(at_4n, 0, 3);
  compare(result, table, "exact", "exact likelihood, dt = 0.5", "theory.md 3(e)", {"kappa", "mu", "beta"}, small, n, &large, exact_ou_covariance(kappa, beta, dt), 0, "");
  {
    const Replications rest = head(at_n, 3, 3), rest_4n = head(at_4n, 3, 3);
    const double size = static_cast<double>(n);
    const Vector limit = size * (16 * rest_4n.mean() - rest.mean()) / 3, theory = exact_ou_bias(kappa, beta, dt, 1);
    const Vector error = size * ((256 * rest_4n.covariance().diagonal() + rest.covariance().diagonal()) / replications).cwiseSqrt() / 3;
    const char* names[] = {"kappa", "mu", "beta"};
    for (Index i = 0; i < 3; ++i) {
      biases.rows.push_back({names[i], fmt::format("{:.3f} ({:.3f})", limit[i], error[i]), fmt::format("{:.3f}", theory[i])});
      result.checks.push_back(analysis::check_sampled(fmt::format("bias-{}", names[i]), fmt::format("exact likelihood: n E({} - truth) tends to the expansion", names[i]), "TangChen2009", limit[i], theory[i], {.standard_error = error[i], .false_alarm = four_errors, .what = "Monte-Carlo, of the extrapolation in 1/n"}));
    }
  }

  // Euler's estimate is a function of the exact one: kappa_E = (1 - e^{-kappa dt})/dt, the same mu; dt times variance (1 - phi^2)/dt, not that of kappa.
  const auto euler = [&](const Replications& r) {
    Replications out{Matrix(1, r.draws.cols()), r.failed};
    for (Index k = 0; k < r.draws.cols(); ++k) out.draws(0, k) = -std::expm1(-r.draws(0, k) * dt) / dt;
    return out;
  };
  const Replications euler_small = euler(small), euler_large = euler(large);
  compare(result, table, "euler", "Euler, dt = 0.5", "theory.md 3(e)", {"kappa"}, euler_small, n, &euler_large, Matrix{{-std::expm1(-2 * kappa * dt) / (dt * dt)}}, 0, "");

  // Independent stationary draws, beta known: maximum likelihood (closed form) and score matching are the same for a Gaussian; checked once, and score matching of a double well against its sandwich.
  const auto draws = [&](Index size, std::string_view purpose) {
    return replicate(replications, options, [&, size, purpose](std::uint64_t r) -> std::optional<Vector> {
      RandomStream random(options.seed, purpose, r);
      Matrix x(1, size);
      for (double& v : x.reshaped()) v = ou_case::mu + std::sqrt(stationary) * random.normal();
      const Fit fit = fit_score_matching(x, truth, {.fit = {.fixed = {false, false, true}}});
      if (!is_success(fit.status)) return std::nullopt;
      return Vector(fit.estimate.head(2));
    });
  };
  const Replications matched = draws(100, "estimators draws"), matched_4n = draws(400, "estimators draws 4n");
  compare(result, table, "score-matching", "score matching, independent draws", "theory.md 3(e)", {"kappa", "mu"}, matched, 100, &matched_4n, Matrix{{2 * kappa * kappa, 0}, {0, stationary}}, 0, "");

  // Snapshots at 0, 0.4, 0.8, 1.2 from N(2, 0.09). First-order conditions on laws of the JKO scheme, for which they hold; flows on the exact laws.
  const int fewer = quick ? 400 : 4000;
  const Index points = 1000;
  const Vector times = Vector::LinSpaced(4, 0, 1.2);
  const Gaussian first(Vector{{2.0}}, Matrix{{0.09}});
  const auto scheme = Flow<GaussianStep>(GaussianStep(FreeEnergy(truth)), first, {.h = 0.4, .steps = 3}).run();
  std::vector<Gaussian> of_scheme, of_process;
  for (Index k = 0; k < 4; ++k) {
    of_scheme.push_back(scheme.states[static_cast<std::size_t>(k)].measure);
    of_process.push_back(OrnsteinUhlenbeck(truth).law(first, times[k]));
  }
  Matrix reported = Matrix::Zero(3, 3);
  std::vector<Matrix> each(static_cast<std::size_t>(fewer), Matrix::Zero(3, 3));
  const auto reporting = [&](const std::function<Fit(const Snapshots&)>& estimator, const std::vector<Gaussian>& laws) {
    const Replications out = replicate(fewer, options, [&](std::uint64_t r) -> std::optional<Vector> {
      const Fit fit = estimator(snapshots(laws, times, points, options, r));
      if (!is_success(fit.status)) return std::nullopt;
      each[r] = fit.sandwich;
      return fit.estimate;
    });
    reported.setZero();
    for (const Matrix& c : each) reported += static_cast<double>(points) * c / fewer;
    return out;
  };
  const std::vector<std::string> names{"kappa", "mu", "beta"};
  const std::string allowed = "; and 10 % for n = 1000 points a snapshot not being infinite";
  const auto conditions = reporting([&](const Snapshots& s) { return fit_first_order(s, FreeEnergy(truth), {.degree = 2, .tolerance = 1e-4}).fit; }, of_scheme);
  compare(result, table, "first-order", "first-order conditions, reported", "Terpin2024", names, conditions, points, nullptr, reported, 0.1, allowed);
  // In the plane. The variance over replications against the mean of the reported ones, and how often the 95 % intervals hold the truth.
  const Index plane_points = options.scale == Scale::quick ? 150 : 1000;
  const int plane_sets = options.scale == Scale::quick ? 120 : 400;
  const Replications plane = plane_conditions(plane_sets, plane_points, options);
  const std::vector<std::string> plane_names{"k_1_1", "k_2_1", "k_2_2", "mu_1", "mu_2"};
  const Vector plane_truth{{1.3, 0.4, 0.8, 0.5, -0.2}};
  const auto sets = static_cast<double>(plane.draws.cols());
  Table coverage{"plane", fmt::format("First-order conditions in the plane: {} sets of three snapshots of {} points, tau = 0.5, beta known", plane_sets, plane_points), {"parameter", "bias / s.d.", "s.d. / reported s.e.", "coverage of 95 % intervals (s.e. 1.1 % at 400)"}, {}};
  const Matrix plane_covariance = plane.covariance();
  for (Index i = 0; i < 5; ++i) {
    const double mean_reported = plane.draws.row(i + 5).mean(), variance = plane_covariance(i, i);
    double inside = 0;
    for (Index r = 0; r < plane.draws.cols(); ++r) inside += std::abs(plane.draws(i, r) - plane_truth[i]) < 1.96 * std::sqrt(plane.draws(i + 5, r)) ? 1 / sets : 0;
    coverage.rows.push_back({plane_names[static_cast<std::size_t>(i)], fmt::format("{:.2f}", (plane.mean()[i] - plane_truth[i]) / std::sqrt(variance)), fmt::format("{:.3f}", std::sqrt(variance / mean_reported)), fmt::format("{:.3f}", inside)});
    result.checks.push_back(analysis::check_sampled(fmt::format("first-order-plane-{}", plane_names[static_cast<std::size_t>(i)]), fmt::format("first-order conditions in the plane: the variance of {} over replications is the reported one", plane_names[static_cast<std::size_t>(i)]), "Terpin2024",
                                                    variance / mean_reported, 1, {.standard_error = std::sqrt(2 / sets), .allowance = 0.15, .false_alarm = four_errors, .what = fmt::format("Monte-Carlo over {} replications; and 15 % for n = {} not being infinite", plane.draws.cols(), plane_points)}));
  }
  const auto w2 = reporting([&](const Snapshots& s) { return fit_snapshot_flow(s, FreeEnergy(truth), QuantileFunction::gaussian(2, 0.09, 30), {.steps = 4, .tolerance = 1e-4}).fit; }, of_process);
  compare(result, table, "snapshot-w2", "W2 fit of the flow, reported", "Hansen1982", names, w2, points, nullptr, reported, 0.1, allowed);
  Matrix information = Matrix::Zero(3, 3);
  for (Index k = 1; k < 4; ++k) {
    const Matrix s = OrnsteinUhlenbeck(truth).sensitivity(first, times[k]);
    const double v = of_process[static_cast<std::size_t>(k)].covariance()(0, 0);
    information += s.row(0).transpose() * s.row(0) / v + s.row(1).transpose() * s.row(1) / (2 * v * v);
  }
  const auto likelihood = reporting([&](const Snapshots& s) { return fit_snapshot_gaussian(s, truth, first, {.steps = 6, .tolerance = 1e-6}); }, of_process);
  compare(result, table, "snapshot-likelihood", "Gaussian likelihood of the flow", "theory.md 2.2", names, likelihood, points, nullptr, information.inverse(), 0.1, allowed);

  result.notes.push_back(fmt::format("without an estimate: {} and {} paths of {} and {}, {} + {} + {} snapshot sets of {}", at_n.failed, at_4n.failed, n, 4 * n, conditions.failed, w2.failed, likelihood.failed, fewer));
  result.tables = {std::move(table), std::move(biases), std::move(coverage)};
  return result;
}

}  // namespace jko::validation
