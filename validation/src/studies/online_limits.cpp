#include "ou_moments.hpp"
#include "own_case.hpp"
#include "studies.hpp"

#include <jko/analysis/online_limit.hpp>
#include <jko/estimators/bands.hpp>
#include <jko/flows/flow.hpp>
#include <jko/steps/quantile_step.hpp>

#include <fmt/format.h>

#include <array>
#include <cmath>

namespace jko::validation {
namespace {

using analysis::check_equal;
using analysis::check_sampled;
using estimators::OnlineData;

const std::vector<analysis::Functional> phi{[](double x) { return x; }, [](double x) { return x * x; }, [](double x) { return std::cos(x); }};
const std::vector<analysis::Functional> slope{[](double) { return 1.0; }, [](double x) { return 2 * x; }, [](double x) { return -std::sin(x); }};
constexpr std::array names{"x", "x^2", "cos x"};
constexpr std::array ids{"mean", "square", "cos"};

/// (m/h) variance of <phi, rho^h> from the flow's exact sensitivities to the estimate of each step.
Vector by_sensitivities(const OwnCase& c, Index cells, int steps, OnlineData data, Status& status) {
  const auto r = Flow<QuantileStep>(QuantileStep(FreeEnergy(c.grid.model)), QuantileFunction::gaussian(c.mean, c.variance, cells, 6),
                                    {.h = c.grid.t / steps, .steps = steps, .sensitivity = Sensitivity::per_step, .keep_every = steps})
                     .run();
  status = r.status;
  if (!is_success(status)) return Vector::Zero(3);
  const Matrix covariance = estimators::online_covariance(c.covariance, steps, data);
  Vector out(3);
  for (std::size_t i = 0; i < 3; ++i) {
    const Matrix g = estimators::expectation(r.final_state().measure, phi[i], slope[i]).gradient * r.final_state().tangent;
    out[static_cast<Index>(i)] = (g * covariance * g.transpose())(0, 0) * steps / c.grid.t;
  }
  return out;
}

void add_case(StudyResult& result, const OwnCase& c, const StudyOptions& options) {
  const auto limit = analysis::online_limit(c.grid);
  const analysis::LimitCase rough_grid{c.grid.model, c.grid.start, c.grid.lower, c.grid.upper, c.grid.cells / 2, c.grid.t, c.grid.steps / 2};
  const auto rough = analysis::online_limit(rough_grid);
  Table table{c.name, c.name + ": variance of <phi, U_t>. JKO flows on quantiles by their exact sensitivities to each step's estimate, extrapolated in h; the Lyapunov recursion of the discretised stochastic PDE; draws of that PDE (one s.e. in brackets).",
              {"data", "phi", "JKO, h to 0", "error", "Lyapunov", "error", "simulated PDE"}, {}};
  const int replications = options.scale == Scale::quick ? 500 : 20000;
  const Matrix draws = analysis::simulate_online_limit(rough_grid, c.covariance, phi, {.replications = replications, .seed = options.seed, .threads = options.threads});
  for (const OnlineData data : {OnlineData::fresh, OnlineData::accumulated}) {
    const char* label = data == OnlineData::fresh ? "fresh" : "accumulated";
    const Matrix fine = limit.covariance(phi, c.covariance, data), coarse = rough.covariance(phi, c.covariance, data);
    std::array<Vector, 4> at;
    Status status = Status::converged;
    for (std::size_t level = 0; level < 4 && is_success(status); ++level) at[level] = by_sensitivities(c, 120, 10 << level, data, status);
    Status status_half = status;
    const Vector half = is_success(status) ? by_sensitivities(c, 60, 20, data, status_half) : Vector();
    for (Index i = 0; i < 3; ++i) {
      const auto k = static_cast<std::size_t>(i);
      const std::string id = fmt::format("{}-{}-{}", c.name, label, ids[k]);
      const std::string claim = data == OnlineData::fresh ? fmt::format("(m/h) Var <phi, rho^(h,m)>, phi = {}: sensitivities of JKO flows with a fresh batch a step tend to the Brownian-forced stochastic PDE", names[k])
                                                          : fmt::format("the same with all data so far in every step, phi = {}: forcing B_t/t", names[k]);
      if (!is_success(status) || !is_success(status_half)) {
        result.checks.push_back(analysis::inconclusive(id, claim, "theory.md 2.3", fmt::format("a step did not converge: {}", describe(status))));
        continue;
      }
      // Fresh: an expansion in powers of h. Accumulated: the forcing's singularity adds h log h; two differences estimate what is left.
      const double once = 2 * at[2][i] - at[1][i], again = 2 * at[3][i] - at[2][i], before = 2 * at[1][i] - at[0][i];
      const double value = data == OnlineData::fresh ? (4 * again - once) / 3 : again;
      const double error = data == OnlineData::fresh ? std::abs(value - again) : 2 * std::abs(again - once) + std::abs(once - before) / 2;
      const double space = std::abs(at[1][i] - half[i]) / 3, grid = std::abs(fine(i, i) - coarse(i, i)) / 3;
      result.checks.push_back(check_equal(id, claim, "theory.md 2.3, Theorem ON", value, fine(i, i), 2 * (error + space + grid) + 1e-9 * fine.diagonal().maxCoeff(),
                                          data == OnlineData::fresh ? "twice the sum of the extrapolation's last change and both discretisations' errors by refinement"
                                                                    : "twice the sum of the extrapolation's last two changes (the error is h log h) and both discretisations' errors by refinement"));
      std::string simulated = "";
      if (data == OnlineData::fresh) {
        const double variance = draws.row(i).squaredNorm() / replications, se = coarse(i, i) * std::sqrt(2.0 / replications);
        simulated = fmt::format("{:.4f} ({:.4f})", variance, se);
        result.checks.push_back(check_sampled(fmt::format("{}-spde-{}", c.name, ids[k]), fmt::format("draws of the discretised stochastic PDE have the variance of its Lyapunov recursion, phi = {}", names[k]), "theory.md 2.3", variance, coarse(i, i),
                                              {.standard_error = se, .what = fmt::format("s.e. of a normal variance with known mean over {} draws on the same grid", replications)}));
      }
      table.rows.push_back({label, names[k], fmt::format("{:.5f}", value), fmt::format("{:.1e}", error + space), fmt::format("{:.5f}", fine(i, i)), fmt::format("{:.1e}", grid), simulated});
    }
  }
  result.tables.push_back(std::move(table));
  // Variance against time for E x: the Lyapunov recursion at its own intermediate times and flows.
  Figure figure{"online-limits-" + c.name, fmt::format("{}: variance of <x, U_t> against time, fresh batches and all data so far. Lines: the stochastic PDE. Points: JKO flows by exact sensitivities, 40 steps.", c.name), "time t", "(m/h) Var of the mean", false, false, {}};
  for (const OnlineData data : {OnlineData::fresh, OnlineData::accumulated}) {
    const int colour = data == OnlineData::fresh ? 0 : 1;
    const std::string label = data == OnlineData::fresh ? "fresh" : "accumulated";
    Series line{label + ", stochastic PDE", Series::Style::line, {0}, {0}, {}, {}, colour}, points{label + ", JKO", Series::Style::points, {}, {}, {}, {}, colour};
    for (int k = 1; k <= 8; ++k) {
      analysis::LimitCase part = rough_grid;
      part.t = c.grid.t * k / 8;
      line.x.push_back(part.t), line.y.push_back(analysis::online_limit(part).covariance({phi[0]}, c.covariance, data)(0, 0));
      OwnCase shorter = c;
      shorter.grid.t = part.t;
      Status status = Status::not_run;
      const Vector at = by_sensitivities(shorter, 60, 5 * k, data, status);
      if (is_success(status)) points.x.push_back(part.t), points.y.push_back(at[0]);
    }
    figure.series.push_back(std::move(line));
    figure.series.push_back(std::move(points));
  }
  result.figures.push_back(std::move(figure));
}

/// m fixed, h to 0: the flow follows the averaged potential, fluctuations of order h^{1/2} with Cov(theta_m) (theory.md 2.3, last variant). kappa_m = kappa m/X, X ~ chi^2_m, the maximum likelihood
/// of kappa from m stationary draws with mu known: E = kappa m/(m-2), Var = 2 kappa^2 m^2/((m-2)^2 (m-4)).
void add_fixed_batch(StudyResult& result, const StudyOptions& options) {
  constexpr double kappa = 1.3, mu = 0.4, beta = 2, m0 = 2, v0 = 1.2, t = 0.8;
  constexpr int m = 20;
  const double average = kappa * m / (m - 2.0), variance = 2 * kappa * kappa * m * m / ((m - 2.0) * (m - 2.0) * (m - 4.0));
  const double mean = mu + (m0 - mu) * std::exp(-average * t), limit = variance * (m0 - mu) * (m0 - mu) * std::exp(-2 * average * t) * t;
  const int replications = options.scale == Scale::quick ? 4000 : 100000;
  std::array<analysis::CellSummary, 2> at;
  analysis::Design design{.name = "fixed batch", .recipe = "m = 20", .cells = {"64 steps", "128 steps"}, .dimension = 1, .replications = replications, .blocks = 50, .seed = options.seed, .worker = {}};
  design.worker = [&](Index cell) -> analysis::Replicate {
    const int steps = cell == 0 ? 64 : 128;
    return [=](RandomStream& random, VectorRef out) {
      OuMoments law{m0, std::sqrt(v0)};
      for (int k = 0; k < steps; ++k) law.step(kappa * m / (2 * random.gamma(0.5 * m)), mu, beta, t / steps);
      out[0] = law.mean;
      return true;
    };
  };
  const auto cells = analysis::summarise(analysis::run_design(design, {.threads = options.threads, .observer = options.observer}));
  const auto scaled = [&](std::size_t i) { return cells[i].moments.covariance()(0, 0) * (i == 0 ? 64 : 128) / t; };
  const auto error = [&](std::size_t i) { return cells[i].covariance_error(0, 0) * (i == 0 ? 64 : 128) / t; };
  // The expansion in h: the mean and h^{-1} Var are smooth in h; 2 f(h/2) - f(h) leaves O(h^2), bounded by the first-order change squared over the value.
  const double first = std::abs(scaled(1) - scaled(0)), rest = std::pow(first / limit, 2) * limit;
  result.checks.push_back(check_sampled("fixed-batch-mean", "m = 20 fixed, h to 0: the mean follows the averaged potential, kappa replaced by E kappa_m = kappa m/(m - 2)", "theory.md 2.3, m fixed", 2 * cells[1].moments.mean()[0] - cells[0].moments.mean()[0], mean,
                                        {.standard_error = std::hypot(2 * cells[1].moments.mean_error()[0], cells[0].moments.mean_error()[0]), .allowance = std::pow(cells[1].moments.mean()[0] - cells[0].moments.mean()[0], 2) / std::abs(mean - mu),
                                         .what = fmt::format("s.e. of the extrapolation in h over {} replications; the square of the relative first-order change for O(h^2)", replications)}));
  result.checks.push_back(check_sampled("fixed-batch-variance", "m = 20 fixed, h to 0: h^{-1} Var m_k tends to Var(kappa_m) (m0 - mu)^2 t exp(-2 E kappa_m t)", "theory.md 2.3, m fixed", 2 * scaled(1) - scaled(0), limit,
                                        {.standard_error = std::hypot(2 * error(1), error(0)), .degrees = 49, .allowance = rest, .what = fmt::format("s.e. of the extrapolation in h by the scatter of 50 blocks of {} replications; the square of the relative first-order change for O(h^2)", replications)}));
}

}  // namespace

StudyResult online_limits(const StudyOptions& options) {
  StudyResult result;
  result.description =
      "A new estimate in every step, from a fresh batch of m or from all data so far. (m/h)^{1/2}(rho^{h,m} - rho) tends to the solution U of a stochastic PDE with Brownian forcing (fresh) or forcing B_t/t (accumulated). Its covariance is computed by the Lyapunov "
      "recursion of the discretised equation, and compared with JKO flows on quantile functions by their exact sensitivities (the law of any estimator with that covariance, to first order in its error) and with draws of the stochastic PDE.";
  for (const OwnCase& c : own_cases(options, {"ou", "double-well"})) {
    result.notes.push_back(fmt::format("{}: {}", c.name, c.text));
    if (!c.failed.empty()) {
      result.checks.push_back(analysis::inconclusive(c.name + "-assumptions", "the limit law of online statistical JKO", "theory.md 2.3", c.why()));
      continue;
    }
    add_case(result, c, options);
  }
  if (options.settings.empty()) add_fixed_batch(result, options);
  return result;
}

}  // namespace jko::validation
