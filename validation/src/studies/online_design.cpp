#include "ou_case.hpp"
#include "ou_moments.hpp"
#include "studies.hpp"
#include "worst.hpp"

#include <jko/analysis/offline_limit.hpp>
#include <jko/analysis/online_limit.hpp>
#include <jko/analysis/stationary_limit.hpp>
#include <jko/estimators/bands.hpp>
#include <jko/flows/flow.hpp>
#include <jko/reference/ornstein_uhlenbeck.hpp>
#include <jko/steps/quantile_step.hpp>
#include <jko/validation/design_study.hpp>

#include <Eigen/Cholesky>
#include <Eigen/LU>
#include <fmt/format.h>

#include <cmath>

namespace jko::validation {
namespace {

constexpr double horizon = 0.8;
constexpr int levels = 10;  // step sizes, and batch sizes
constexpr int first_batch = 10;

const std::vector<int>& ou_steps() {
  static const std::vector<int> out{10, 20, 40, 80, 160, 320, 640, 1280, 2560, 5120};
  return out;
}

/// E f(kappa m/X), X ~ chi^2 with m - 1 degrees of freedom: the law of the batch estimate of kappa; trapezoidal rule in log X, exponentially accurate.
template <class F>
double batch_expectation(int m, const F& f) {
  const double shape = 0.5 * (m - 1), centre = std::log(2 * shape), width = 12 / std::sqrt(shape);
  double sum = 0, mass = 0;
  constexpr int n = 2000;
  for (int i = 0; i <= n; ++i) {
    const double u = centre + width * (2.0 * i / n - 1), w = std::exp(shape * (u - centre) - 0.5 * (std::exp(u) - 2 * shape));
    sum += w * f(ou_case::kappa * m * std::exp(-u));
    mass += w;
  }
  return sum / mass;
}

/// Covariance of mean and variance of the Ornstein-Uhlenbeck flow over h, to first order in noise of variance q_kappa and q_mu (times 1/m) fresh in every step:
/// dm' = (dm - h (m' - mu) dkappa + h kappa dmu)/(1 + h kappa), ds' = (s' ds - h s'^2 dkappa)/(2 (1 + h kappa) s' - s).
Matrix ou_linearised(int steps, double q_kappa, double q_mu) {
  using namespace ou_case;
  const double h = horizon / steps;
  OuMoments law{m0, std::sqrt(v0)};
  Matrix c = Matrix::Zero(2, 2);
  for (int k = 0; k < steps; ++k) {
    const double before = law.deviation;
    law.step(kappa, mu, beta, h);
    const double s = law.deviation, pivot = 2 * (1 + h * kappa) * s - before;
    const Vector a{{1 / (1 + h * kappa), s / pivot}}, from_kappa{{-h * (law.mean - mu) / (1 + h * kappa), -h * s * s / pivot}}, from_mu{{h * kappa / (1 + h * kappa), 0}};
    c = Matrix(a.asDiagonal() * c * a.asDiagonal()) + q_kappa * from_kappa * from_kappa.transpose() + q_mu * from_mu * from_mu.transpose();
  }
  const Vector to_variance{{1, 2 * law.deviation}};
  return to_variance.asDiagonal() * c * to_variance.asDiagonal() / h;
}

void add_ou(StudyResult& result, const StudyOptions& options) {
  using namespace ou_case;
  const Index replications = options.scale == Scale::quick ? 60 : 10000, blocks = options.scale == Scale::quick ? 20 : 50;
  const double tau2 = 1 / (beta * kappa);
  const Vector limit = OrnsteinUhlenbeck(model()).law(start(), horizon).coordinates(), eta = OrnsteinUhlenbeck(model()).corrector(start(), horizon);
  analysis::Design design{.name = "online design ou", .recipe = fmt::format("fresh batches of stationary draws by their sufficient statistics, maximum likelihood of kappa and mu, raw and bias-corrected; steps {}; t = {}", fmt::join(ou_steps(), ","), horizon), .cells = {},
                          .dimension = 4 * levels, .replications = replications, .blocks = blocks, .seed = options.seed, .worker = {}};
  std::vector<int> batch;
  for (int i = 0; i < levels; ++i) {
    batch.push_back(first_batch << i);
    design.cells.push_back(fmt::format("m = {}", batch.back()));
  }
  design.worker = [&](Index cell) -> analysis::Replicate {
    const int m = batch[static_cast<std::size_t>(cell)];
    return [&, m](RandomStream& random, VectorRef out) {
      for (int level = 0; level < levels; ++level) {
        const int steps = ou_steps()[static_cast<std::size_t>(level)];
        const double h = horizon / steps, scale = std::sqrt(m / h), deviation = std::sqrt(tau2 / m);
        OuMoments raw{m0, std::sqrt(v0)}, corrected = raw;
        for (int k = 0; k < steps; ++k) {
          // The batch's mean and sum of squares about it: independent, N(mu, tau2/m) and tau2 chi^2_{m-1}.
          const double mean = mu + deviation * random.normal(), estimate = kappa * m / (2 * random.gamma(0.5 * (m - 1)));
          raw.step(estimate, mean, beta, h);
          corrected.step(estimate * (m - 3) / m, mean, beta, h);
        }
        out.segment<4>(4 * level) << scale * (raw.mean - limit[0]), scale * (raw.variance() - limit[1]), scale * (corrected.mean - limit[0]), scale * (corrected.variance() - limit[1]);
      }
      return true;
    };
  };
  const auto done = run_design_study(design, options, result);
  if (!done) return;
  const std::vector<analysis::CellSummary>& cells = *done;
  // The mean is affine in the state, with factors independent of it: E m_k is known exactly at every m and h.
  Worst mean;
  std::array<Worst, 3> spread;
  for (std::size_t c = 0; c < cells.size(); ++c) {
    for (int level = 0; level < levels; ++level) {
      const int m = batch[c], steps = ou_steps()[static_cast<std::size_t>(level)];
      const double h = horizon / steps;
      for (const int which : {0, 1}) {
        const double share = which == 0 ? 1.0 : (m - 3.0) / m;
        const double factor = batch_expectation(m, [&](double k) { return 1 / (1 + h * share * k); });
        const double exact = std::sqrt(m / h) * (mu + (m0 - mu) * std::pow(factor, steps) - limit[0]);
        mean.add(fmt::format("m = {}, {} steps, {}", m, steps, which == 0 ? "raw" : "corrected"), cells[c].moments.mean()[4 * level + 2 * which], exact, cells[c].moments.mean_error()[4 * level + 2 * which]);
      }
    }
  }
  const std::array<std::pair<Index, Index>, 3> entries{{{0, 0}, {0, 1}, {1, 1}}};
  const analysis::CellSummary &large = cells[levels - 1], &half = cells[levels - 2];
  Table table{"ou", fmt::format("Ornstein-Uhlenbeck, m = {}: (m/h) covariance of mean and variance at t = {} for the bias-corrected estimator, {} replications; theory by the linearised step at that h, and its limit as h to 0. Brackets: one s.e.", batch.back(), horizon, replications),
              {"steps", "a = mh", "Var mean", "theory", "Cov", "theory", "Var variance", "theory"}, {}};
  for (int level = 0; level < levels; ++level) {
    const int steps = ou_steps()[static_cast<std::size_t>(level)];
    const Matrix theory = ou_linearised(steps, 2 * kappa * kappa, tau2);
    std::vector<std::string> row{fmt::format("{}", steps), fmt::format("{:.3f}", batch.back() * horizon / steps)};
    for (std::size_t e = 0; e < 3; ++e) {
      const Index i = 4 * level + 2 + entries[e].first, j = 4 * level + 2 + entries[e].second;
      const double b = large.moments.covariance()(i, j), a = half.moments.covariance()(i, j);
      spread[e].add(fmt::format("{} steps", steps), 2 * b - a, theory(entries[e].first, entries[e].second), std::hypot(2 * large.covariance_error(i, j), half.covariance_error(i, j)));
      row.push_back(fmt::format("{:.4f} ({:.4f})", b, large.covariance_error(i, j)));
      row.push_back(fmt::format("{:.4f}", theory(entries[e].first, entries[e].second)));
    }
    table.rows.push_back(std::move(row));
  }
  const Matrix brownian = analysis::gaussian_online_limit(model(), start(), horizon, Vector{{2 * kappa * kappa, tau2, 0}}.asDiagonal().toDenseMatrix());
  table.rows.push_back({"infinity", "0", "", fmt::format("{:.4f}", brownian(0, 0)), "", fmt::format("{:.4f}", brownian(0, 1)), "", fmt::format("{:.4f}", brownian(1, 1))});
  const std::string source = "theory.md 2.3, 2.6";
  result.checks.push_back(mean.check("ou-mean", "E (m/h)^{1/2}(m_k - m(t)) has its exact value at every m and h, raw and bias-corrected", source, std::numeric_limits<double>::infinity(), fmt::format("s.e. over {} replications; the exact side is a product of E 1/(1 + h kappa_m)", replications)));
  const char* ids[] = {"ou-var-mean", "ou-cov", "ou-var-variance"};
  const char* what[] = {"Var of the mean", "Cov of mean and variance", "Var of the variance"};
  for (std::size_t e = 0; e < 3; ++e) {
    result.checks.push_back(spread[e].check(ids[e], fmt::format("(m/h) {} tends to that of the linearised step as m grows, at every h", what[e]), source, static_cast<double>(blocks - 1), fmt::format("s.e. of 2 S(m) - S(m/2), m = {}, by the scatter of {} blocks", batch.back(), blocks)));
  }
  // The regimes: shift over standard deviation against a = mh.
  const double deviation = std::sqrt(brownian(0, 0));
  const Vector bias = OrnsteinUhlenbeck(model()).sensitivity(start(), horizon).col(0) * 3 * kappa;
  Figure figure{"online-design-regimes", fmt::format("Ornstein-Uhlenbeck: mean of (m/h)^(1/2)(m_k - m(t)) over its standard deviation, against a = mh (points: designs with m >= 80 and at least 40 steps, one s.e.; lines: sqrt(a) eta + b/sqrt(a)). The central limit theorem needs 0: the raw batch estimate has it nowhere but where its two errors cancel by accident."),
                "a = mh", "mean / standard deviation", true, false, {}};
  for (const int which : {0, 1}) {
    Series line{which == 0 ? "raw: theory" : "corrected: theory", Series::Style::line, {}, {}, {}, {}, which}, points{which == 0 ? "raw: measured" : "corrected: measured", Series::Style::points, {}, {}, {}, {}, which};
    for (double a = 0.01; a < 12; a *= 1.1) {
      line.x.push_back(a);
      line.y.push_back((std::sqrt(a) * eta[0] + (which == 0 ? bias[0] / std::sqrt(a) : 0)) / deviation);
    }
    for (std::size_t c = 3; c < cells.size(); ++c) {
      for (int level = 2; level < levels; ++level) {
        const double a = batch[c] * horizon / ou_steps()[static_cast<std::size_t>(level)];
        if (a < 0.01 || a > 12 || (c + static_cast<std::size_t>(level)) % 2 == 1) continue;  // every other one: the diagonals lie on each other
        points.x.push_back(a);
        points.y.push_back(cells[c].moments.mean()[4 * level + 2 * which] / deviation);
        points.error.push_back(cells[c].moments.mean_error()[4 * level + 2 * which] / deviation);
      }
    }
    figure.series.push_back(std::move(line));
    figure.series.push_back(std::move(points));
  }
  double cpu = 0;
  for (const auto& c : cells) cpu += c.cpu_per_replication;
  result.notes.push_back(fmt::format("ou: {:.3g} ms of one processor for a replication at all {} batch sizes and step sizes ({} steps of two flows at each batch size)", 1e3 * cpu, levels, 10230));
  result.tables.push_back(std::move(table));
  result.figures.push_back(std::move(figure));
}

void add_double_well(StudyResult& result, const StudyOptions& options) {
  const Model model(double_well(), Vector{{1, 1, 0}}, 2);
  constexpr double mean = 0.5, variance = 0.3;
  constexpr Index cells = 60;
  const std::vector<int> steps{10, 14, 20, 28, 40, 57, 80, 113, 160, 226};
  const Index replications = options.scale == Scale::quick ? 20 : 1000, blocks = options.scale == Scale::quick ? 10 : 20;
  // The theorem's hypothesis instead of an estimator: normal errors of (b, c) with the covariance of maximum likelihood at known a. (A normal a could be negative.)
  Matrix covariance = Matrix::Zero(4, 4);
  covariance.block(1, 1, 2, 2) = analysis::stationary_information(model, -3.6, 3.6, 1000).block(1, 1, 2, 2).inverse();
  const Matrix root = covariance.block(1, 1, 2, 2).llt().matrixL();
  const auto flow = [&](std::size_t level, Sensitivity sensitivity, const std::function<Vector(int)>& parameters) {
    return Flow<QuantileStep>(QuantileStep(FreeEnergy(model)), QuantileFunction::gaussian(mean, variance, cells, 6),
                              {.h = horizon / steps[level], .steps = steps[level], .sensitivity = sensitivity, .keep_every = steps[level], .parameters_at = parameters})
        .run();
  };
  std::vector<Vector> truth;
  for (std::size_t level = 0; level < steps.size(); ++level) truth.push_back(estimators::moments(flow(level, Sensitivity::none, {}).final_state().measure).value);
  std::vector<int> batch;
  analysis::Design design{.name = "online design double-well", .recipe = fmt::format("normal errors of (b, c) with the information's covariance; quantile steps on {} cells; steps {}; t = {}", cells, fmt::join(steps, ","), horizon), .cells = {}, .dimension = 2 * levels,
                          .replications = replications, .blocks = blocks, .seed = options.seed, .worker = {}};
  for (int i = 0; i < levels; ++i) {
    batch.push_back(50 << i);
    design.cells.push_back(fmt::format("m = {}", batch.back()));
  }
  design.worker = [&](Index cell) -> analysis::Replicate {
    const double m = batch[static_cast<std::size_t>(cell)];
    return [&, m](RandomStream& random, VectorRef out) {
      Vector parameters = model.parameters(), noise(2);
      for (std::size_t level = 0; level < steps.size(); ++level) {
        const auto run = flow(level, Sensitivity::none, [&](int) {
          random.fill_normal(noise);
          parameters.segment(1, 2) = model.theta().tail(2) + root * noise / std::sqrt(m);
          return parameters;
        });
        if (!is_success(run.status)) return false;
        out.segment<2>(2 * static_cast<Index>(level)) = std::sqrt(m * steps[level] / horizon) * (estimators::moments(run.final_state().measure).value - truth[level]);
      }
      return true;
    };
  };
  const auto done = run_design_study(design, options, result);
  if (!done) return;
  const analysis::CellSummary &large = (*done)[levels - 1], &half = (*done)[levels - 2];
  std::array<Worst, 2> spread;
  Table table{"double-well", fmt::format("Double well, m = {}: (m/h) variance of mean and variance at t = {}, {} replications, centred at the flow at the true parameters; theory by the flow's exact sensitivities at that h. Brackets: one s.e.", batch.back(), horizon, replications), {"steps", "Var mean", "theory", "Var variance", "theory"}, {}};
  for (std::size_t level = 0; level < steps.size(); ++level) {
    const auto run = flow(level, Sensitivity::per_step, {});
    const Matrix g = estimators::moments(run.final_state().measure).gradient * run.final_state().tangent;
    std::vector<std::string> row{fmt::format("{}", steps[level])};
    for (Index i = 0; i < 2; ++i) {
      double theory = 0;
      for (Index k = 0; k < steps[level]; ++k) theory += g.row(i).segment(4 * k, 4).dot(covariance * g.row(i).segment(4 * k, 4).transpose()) * steps[level] / horizon;
      const Index at = 2 * static_cast<Index>(level) + i;
      const double b = large.moments.covariance()(at, at), a = half.moments.covariance()(at, at);
      spread[static_cast<std::size_t>(i)].add(fmt::format("{} steps", steps[level]), 2 * b - a, theory, std::hypot(2 * large.covariance_error(at, at), half.covariance_error(at, at)));
      row.push_back(fmt::format("{:.4f} ({:.4f})", b, large.covariance_error(at, at)));
      row.push_back(fmt::format("{:.4f}", theory));
    }
    table.rows.push_back(std::move(row));
  }
  for (std::size_t i = 0; i < 2; ++i) {
    result.checks.push_back(spread[i].check(i == 0 ? "double-well-mean" : "double-well-variance", fmt::format("(m/h) Var of the {} tends to that of the flow's exact sensitivities as m grows, at every h", i == 0 ? "mean" : "variance"), "theory.md 2.3, Theorem ON",
                                            static_cast<double>(blocks - 1), fmt::format("s.e. of 2 S(m) - S(m/2), m = {}, by the scatter of {} blocks", batch.back(), blocks)));
  }
  double cpu = 0;
  Index failed = 0;
  for (const auto& c : *done) cpu += c.cpu_per_replication, failed += c.failed;
  result.notes.push_back(fmt::format("double well: {} of {} replications failed; {:.3g} ms of one processor for a replication at all {} batch sizes and step sizes (748 steps of {} cells at each batch size)", failed, levels * replications, 1e3 * cpu, levels, cells));
  result.tables.push_back(std::move(table));
}

}  // namespace

StudyResult online_design(const StudyOptions& options) {
  StudyResult result;
  result.description =
      "Ten batch sizes times ten step sizes as one work list: a fresh estimate in every step. Ornstein-Uhlenbeck (kappa = 1.3, mu = 0.4, beta = 2, from N(2, 2.89)) with maximum likelihood of kappa and mu from m stationary draws, raw "
      "(bias 3 kappa/m) and bias-corrected; the double well (a = b = 1, c = 0, beta = 2, from N(0.5, 0.3)) with normal errors of (b, c). The raw estimate has no central limit theorem about the law in any regime: a -> 0 leaves b/sqrt(a), a -> infinity "
      "leaves sqrt(a) eta. Each check is the worst of its comparisons, its false-alarm probability divided among them.";
  add_ou(result, options);
  if (options.observer && options.observer->stop_requested()) return result;
  add_double_well(result, options);
  return result;
}

}  // namespace jko::validation
