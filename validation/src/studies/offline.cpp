#include "ou_case.hpp"
#include "studies.hpp"

#include <jko/core/parallel.hpp>
#include <jko/core/random.hpp>
#include <jko/estimators/bands.hpp>
#include <jko/estimators/ornstein_uhlenbeck.hpp>
#include <jko/flows/flow.hpp>
#include <jko/reference/simulate.hpp>
#include <jko/steps/gaussian_step.hpp>
#include <jko/steps/quantile_step.hpp>

#include <fmt/format.h>

#include <cmath>

namespace jko::validation {
namespace {

constexpr double spacing = 0.5;  // of the observations, time
constexpr double h = 0.01;
constexpr int steps = 80;

/// Mean and variance at step 80 of the flow with parameters (kappa, mu, beta), and their standard errors for n observations.
struct FlowMoments {
  Vector value;  // (m, v)
  Vector error;
  Matrix jacobian;
};

FlowMoments flow_moments(double kappa, double mu, double beta, Index n) {
  const Model model(ornstein_uhlenbeck(), (Vector(2) << kappa, mu).finished(), beta);
  const auto result = Flow<GaussianStep>(GaussianStep(FreeEnergy(model)), ou_case::start(),
                                         {.h = h, .steps = steps, .sensitivity = Sensitivity::shared, .keep_every = steps})
                          .run();
  FlowMoments out;
  out.value = result.final_state().measure.coordinates();
  out.jacobian = result.final_state().tangent;
  const Matrix covariance = estimators::exact_ou_covariance(kappa, beta, spacing) / static_cast<double>(n);
  out.error = (out.jacobian * covariance * out.jacobian.transpose()).diagonal().cwiseSqrt();
  return out;
}

struct Replications {
  Matrix covariance;     // n cov(m, v)
  double coverage[2]{};  // of the 95 % intervals
  int used = 0;
};

Replications replicate(Index n, int replications, const StudyOptions& options, const Vector& truth) {
  Matrix scaled(2, replications);
  Matrix inside(2, replications);
  std::vector<char> ok(static_cast<std::size_t>(replications), 0);
  const double phi = std::exp(-ou_case::kappa * spacing), deviation = std::sqrt(1 / (ou_case::beta * ou_case::kappa));
  const double innovation = deviation * std::sqrt(1 - phi * phi);
  parallel_blocks(replications, 16, options.threads, [&](Index begin, Index end) {
    Vector path(n + 1);
    for (Index r = begin; r < end; ++r) {
      RandomStream random(options.seed, n == 400 ? "offline 400" : "offline 1600", static_cast<std::uint64_t>(r));
      path[0] = ou_case::mu + deviation * random.normal();
      for (Index i = 0; i < n; ++i) path[i + 1] = ou_case::mu + phi * (path[i] - ou_case::mu) + innovation * random.normal();
      const auto estimate = estimators::exact_ou_estimate(path, spacing);
      if (!estimate.ok) continue;
      const FlowMoments m = flow_moments(estimate.kappa, estimate.mu, estimate.beta, n);
      scaled.col(r) = std::sqrt(static_cast<double>(n)) * (m.value - truth);
      inside.col(r) = ((m.value - truth).cwiseAbs().array() <= 1.959964 * m.error.array()).cast<double>();
      ok[static_cast<std::size_t>(r)] = 1;
    }
  });
  Replications out;
  Vector mean = Vector::Zero(2);
  for (int r = 0; r < replications; ++r) {
    if (!ok[static_cast<std::size_t>(r)]) continue;
    ++out.used;
    mean += scaled.col(r);
    for (Index i = 0; i < 2; ++i) out.coverage[i] += inside(i, r);
  }
  mean /= out.used;
  out.covariance = Matrix::Zero(2, 2);
  for (int r = 0; r < replications; ++r) {
    if (ok[static_cast<std::size_t>(r)]) out.covariance += (scaled.col(r) - mean) * (scaled.col(r) - mean).transpose() / (out.used - 1);
  }
  for (double& c : out.coverage) c /= out.used;
  return out;
}

/// Coverage of the quantile flow's 95 % bands, computed in each replication from its own path: pointwise at each level, and simultaneous.
struct BandCoverage {
  Vector pointwise;
  double simultaneous = 0;
  int used = 0;
};

const Vector band_levels{{0.05, 0.25, 0.5, 0.75, 0.95}};

FlowState<QuantileFunction> quantile_flow(const Model& model) {
  return Flow<QuantileStep>(QuantileStep(FreeEnergy(model)), QuantileFunction::gaussian(ou_case::m0, ou_case::v0, 80), {.h = h, .steps = steps, .sensitivity = Sensitivity::shared, .keep_every = steps})
      .run()
      .final_state();
}

BandCoverage band_coverage(Index n, int replications, const StudyOptions& options) {
  const Vector truth = estimators::quantiles(quantile_flow(ou_case::model()).measure, band_levels).value;
  Matrix inside = Matrix::Zero(band_levels.size() + 1, replications);
  std::vector<char> ok(static_cast<std::size_t>(replications), 0);
  const Vector times = Vector::LinSpaced(n + 1, 0, spacing * static_cast<double>(n));
  parallel_for(replications, options.threads, [&](Index r) {
    RandomStream random(options.seed, "offline bands start", static_cast<std::uint64_t>(r));
    const Vector x0{{ou_case::mu + random.normal() / std::sqrt(ou_case::beta * ou_case::kappa)}};
    const Matrix path = simulate_path(ou_case::model(), x0, times, static_cast<std::uint64_t>(r), {.seed = options.seed});
    const auto estimate = estimators::exact_ou_estimate(path.row(0).transpose(), spacing);
    if (!estimate.ok) return;
    const auto state = quantile_flow(Model(ornstein_uhlenbeck(), Vector{{estimate.kappa, estimate.mu}}, estimate.beta));
    const Matrix covariance = estimators::exact_ou_covariance(estimate.kappa, estimate.beta, spacing) / static_cast<double>(n);
    const auto band = estimators::band(estimators::quantiles(state.measure, band_levels), band_levels, state.tangent, covariance, {.draws = 4000, .seed = options.seed});
    const auto between = [&](const Vector& lower, const Vector& upper) { return (truth.array() >= lower.array() && truth.array() <= upper.array()).eval(); };
    inside.col(r).head(band_levels.size()) = between(band.lower, band.upper).cast<double>().matrix();
    inside(band_levels.size(), r) = between(band.simultaneous_lower, band.simultaneous_upper).all() ? 1 : 0;
    ok[static_cast<std::size_t>(r)] = 1;
  });
  BandCoverage out;
  Vector sum = Vector::Zero(band_levels.size() + 1);
  for (int r = 0; r < replications; ++r) {
    if (!ok[static_cast<std::size_t>(r)]) continue;
    ++out.used;
    sum += inside.col(r);
  }
  sum /= out.used;
  out.pointwise = sum.head(band_levels.size());
  out.simultaneous = sum[band_levels.size()];
  return out;
}

void add_bands(StudyResult& result, const StudyOptions& options) {
  const int replications = options.scale == Scale::quick ? 1000 : 10000;
  const auto small = band_coverage(400, replications, options), large = band_coverage(1600, replications, options);
  const double binomial = std::sqrt(0.95 * 0.05 / replications);
  Table table{"band-coverage", fmt::format("Coverage of the quantile flow's 95 % bands at t = 0.8 (80 cells, {} replications); the bracket is one binomial s.e.", replications), {"band", "n = 400", "n = 1600", "nominal"}, {}};
  const auto add = [&](const std::string& id, const std::string& what, double at_small, double at_large) {
    table.rows.push_back({what, fmt::format("{:.4f} ({:.4f})", at_small, binomial), fmt::format("{:.4f} ({:.4f})", at_large, binomial), "0.95"});
    result.checks.push_back(analysis::check_sampled("band-" + id, what + ": 95 % bands cover 95 % as n grows", "theory.md 2.2", (4 * at_large - at_small) / 3, 0.95,
                                                    {.standard_error = binomial * std::sqrt(17.0) / 3, .what = fmt::format("binomial s.e. of the extrapolation in 1/n over {} replications", replications)}));
  };
  for (Index q = 0; q < band_levels.size(); ++q) add(fmt::format("{:02.0f}", 100 * band_levels[q]), fmt::format("quantile {:.2f}", band_levels[q]), small.pointwise[q], large.pointwise[q]);
  add("simultaneous", "all five together", small.simultaneous, large.simultaneous);
  result.tables.push_back(std::move(table));
}

}  // namespace

StudyResult offline(const StudyOptions& options) {
  if (!options.settings.empty()) return offline_limits(options);  // the same claims for any potential
  const int replications = options.scale == Scale::quick ? 4000 : 10000;
  StudyResult result;
  result.description = fmt::format(
      "In each of {} replications an exact Ornstein-Uhlenbeck path of n observations (spacing 0.5, stationary start) gives the exact maximum-likelihood "
      "estimate of (kappa, mu, beta), and 80 JKO steps of h = 0.01 carry N(2, 2.89) to t = 0.8 at the estimate. The covariance of sqrt(n) (m - m0, v - v0) about the "
      "flow at the truth is compared with J S J', J the exact sensitivity through the JKO steps and S the asymptotic covariance at fixed spacing. The covariance at finite "
      "n differs from its limit by a term of order 1/n: it is removed by extrapolating n = 400 and n = 1600. The same for the coverage of 95 % intervals and of the quantile flow's bands, "
      "pointwise and simultaneous.",
      replications);
  const FlowMoments truth = flow_moments(ou_case::kappa, ou_case::mu, ou_case::beta, 400);
  const Matrix sigma = estimators::exact_ou_covariance(ou_case::kappa, ou_case::beta, spacing);
  const Matrix theory = truth.jacobian * sigma * truth.jacobian.transpose();
  const Replications small = replicate(400, replications, options, truth.value);
  const Replications large = replicate(1600, replications, options, truth.value);
  const Matrix limit = (4 * large.covariance - small.covariance) / 3;
  Table table{"covariance", "n cov of (mean, variance) at t = 0.8; the bracket is one Monte-Carlo standard error.",
              {"entry", "n = 400", "n = 1600", "extrapolated", "theory J S J'"}, {}};
  Figure figure{"offline-covariance", "Ratio of the replications' covariance to theory, with one standard error. The line is theory.", "1/n",
                "ratio to theory", false, false, {}};
  figure.series.push_back({"theory", Series::Style::line, {0, 0.0027}, {1, 1}, {}, {}, 6});
  const char* entries[] = {"var mean", "cov", "var variance"};
  int k = 0;
  for (const auto& [i, j] : {std::pair<Index, Index>{0, 0}, {0, 1}, {1, 1}}) {
    const double se = std::sqrt((theory(i, i) * theory(j, j) + theory(i, j) * theory(i, j)) / replications);
    const double limit_error = se * std::sqrt(17.0) / 3;
    table.rows.push_back({entries[k], fmt::format("{:.4f} ({:.4f})", small.covariance(i, j), se),
                          fmt::format("{:.4f} ({:.4f})", large.covariance(i, j), se), fmt::format("{:.4f} ({:.4f})", limit(i, j), limit_error),
                          fmt::format("{:.4f}", theory(i, j))});
    result.checks.push_back(analysis::check_sampled(
        fmt::format("covariance-{}{}", i + 1, j + 1), fmt::format("{} of sqrt(n)(m - m0, v - v0) tends to that of J Z, Z ~ N(0, S)", entries[k]),
        "theory.md 2.2, Theorem OFF", limit(i, j), theory(i, j),
        {.standard_error = limit_error, .what = fmt::format("s.e. of the extrapolation in 1/n over {} replications", replications)}));
    const double unit = theory(i, j);
    // Slightly shifted abscissae keep the error bars apart.
    figure.series.push_back({entries[k], Series::Style::points, {0.00001 * k, 1.0 / 1600 + 0.00001 * k, 1.0 / 400 + 0.00001 * k},
                             {limit(i, j) / unit, large.covariance(i, j) / unit, small.covariance(i, j) / unit}, {},
                             {limit_error / std::abs(unit), se / std::abs(unit), se / std::abs(unit)}, k});
    ++k;
  }
  Table coverage{"coverage", "Coverage of the 95 % intervals computed in each replication from its own estimate.", {"functional", "n = 400", "n = 1600", "nominal"}, {}};
  const double binomial = std::sqrt(0.95 * 0.05 / replications);
  for (int i = 0; i < 2; ++i) {
    const char* what = i == 0 ? "mean" : "variance";
    coverage.rows.push_back({what, fmt::format("{:.4f} ({:.4f})", small.coverage[i], binomial), fmt::format("{:.4f} ({:.4f})", large.coverage[i], binomial), "0.95"});
    const double extrapolated = (4 * large.coverage[i] - small.coverage[i]) / 3;
    result.checks.push_back(analysis::check_sampled(fmt::format("coverage-{}", what), fmt::format("95 % intervals for the {} cover 95 % as n grows", what), "theory.md 2.2", extrapolated, 0.95,
                                                    {.standard_error = binomial * std::sqrt(17.0) / 3, .what = fmt::format("binomial s.e. of the extrapolation in 1/n over {} replications", replications)}));
  }
  result.notes.push_back(fmt::format("{} of {} replications used at n = 400 and {} at n = 1600 (the others have no OU estimate)", small.used, replications, large.used));
  result.tables = {std::move(table), std::move(coverage)};
  add_bands(result, options);
  result.figures = {std::move(figure)};
  return result;
}

}  // namespace jko::validation
