#include "own_case.hpp"
#include "stationary_sampler.hpp"
#include "studies.hpp"

#include <jko/analysis/corrector.hpp>
#include <jko/analysis/offline_limit.hpp>
#include <jko/estimators/bands.hpp>
#include <jko/estimators/stationary.hpp>
#include <jko/flows/flow.hpp>
#include <jko/steps/quantile_step.hpp>

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <memory>

namespace jko::validation {
namespace {

using analysis::check_equal;
using analysis::check_sampled;

const std::vector<analysis::Functional> phi{[](double x) { return x; }, [](double x) { return x * x; }, [](double x) { return std::cos(x); }};
const std::vector<analysis::Functional> slope{[](double) { return 1.0; }, [](double x) { return 2 * x; }, [](double x) { return -std::sin(x); }};
constexpr std::array names{"x", "x^2", "cos x"};
constexpr std::array ids{"mean", "square", "cos"};

FlowResult<QuantileFunction> quantile_flow(const OwnCase& c, const Model& model, Index cells, double h, int steps, Sensitivity sensitivity) {
  return Flow<QuantileStep>(QuantileStep(FreeEnergy(model)), QuantileFunction::gaussian(c.mean, c.variance, cells, 6), {.h = h, .steps = steps, .sensitivity = sensitivity, .keep_every = steps}).run();
}

Vector expectations(const QuantileFunction& law) {
  Vector out(static_cast<Index>(phi.size()));
  for (std::size_t i = 0; i < phi.size(); ++i) out[static_cast<Index>(i)] = estimators::expectation(law, phi[i], slope[i]).value[0];
  return out;
}
Matrix responses(const FlowState<QuantileFunction>& state) {
  Matrix out(static_cast<Index>(phi.size()), state.tangent.cols());
  for (std::size_t i = 0; i < phi.size(); ++i) out.row(static_cast<Index>(i)) = estimators::expectation(state.measure, phi[i], slope[i]).gradient * state.tangent;
  return out;
}

/// The limit of values of a first-order method at h, h/2, h/4, and the last change of the extrapolation.
struct Limit {
  Matrix value, error;
};
Limit extrapolate(const std::array<Matrix, 3>& at) {
  const Matrix once = 2 * at[1] - at[0], again = 2 * at[2] - at[1], value = (4 * again - once) / 3;
  return {value, (value - again).cwiseAbs()};
}

constexpr double coarse_steps = 20;
constexpr Index replication_cells = 100;
constexpr int replication_steps = 20;

void deterministic(StudyResult& result, const OwnCase& c, const analysis::OfflineLimit& limit) {
  const std::string source = "theory.md 2.2, Theorem OFF";
  const auto coarse = analysis::offline_limit({c.grid.model, c.grid.start, c.grid.lower, c.grid.upper, c.grid.cells / 2, c.grid.t, c.grid.steps / 2});
  const Matrix pde = limit.covariance(phi, c.covariance), pde_error = (pde - coarse.covariance(phi, c.covariance)).cwiseAbs() / 3;
  std::array<Matrix, 3> at, rough;
  for (std::size_t level = 0; level < 3; ++level) {
    const int steps = static_cast<int>(coarse_steps) << level;
    const auto run = quantile_flow(c, c.grid.model, 240, c.grid.t / steps, steps, Sensitivity::shared), half = quantile_flow(c, c.grid.model, 120, c.grid.t / steps, steps, Sensitivity::shared);
    if (!is_success(run.status) || !is_success(half.status)) {
      result.checks.push_back(analysis::inconclusive(c.name + "-pde", "the forced linear equation and the JKO flow's sensitivities have the same law", source, fmt::format("a step did not converge: {}", describe(run.status))));
      return;
    }
    const Matrix j = responses(run.final_state()), k = responses(half.final_state());
    at[level] = j * c.covariance * j.transpose();
    rough[level] = k * c.covariance * k.transpose();
  }
  const Limit flow = extrapolate(at), flow_rough = extrapolate(rough);
  Table table{c.name + "-variance", c.name + ": variance of <phi, V_t> for estimates from independent stationary draws. JKO flows on quantiles by exact sensitivities, extrapolated in h, and the forced Fokker-Planck equation.",
              {"phi", fmt::format("JKO, h = {:.3g}", c.grid.t / coarse_steps), "JKO, h to 0", "error", "forced equation", "error"}, {}};
  for (Index i = 0; i < 3; ++i) {
    const auto k = static_cast<std::size_t>(i);
    const double space = std::abs(flow.value(i, i) - flow_rough.value(i, i)) / 3, error = flow.error(i, i) + space;
    table.rows.push_back({names[k], fmt::format("{:.5f}", at[0](i, i)), fmt::format("{:.6f}", flow.value(i, i)), fmt::format("{:.1e}", error), fmt::format("{:.6f}", pde(i, i)), fmt::format("{:.1e}", pde_error(i, i))});
    result.checks.push_back(check_equal(fmt::format("{}-pde-{}", c.name, ids[k]), fmt::format("Var <phi, V_t>, phi = {}: the JKO flow's exact sensitivities tend to the forced linear equation as h to 0", names[k]), source,
                                        flow.value(i, i), pde(i, i), 2 * (error + pde_error(i, i)) + 1e-9 * pde.diagonal().maxCoeff(), "twice the sum of the last change of the extrapolation in h and both discretisations' errors by refinement; 1e-9 of the largest variance for the steps' tolerance of 1e-11"));
  }
  result.tables.push_back(std::move(table));

  // n to infinity and t to infinity: the stationary law does not depend on h.
  const std::string id = c.name + "-interchange", claim = "at fixed h = 0.3 the JKO flow's law for k to infinity is V_infinity = -beta pi (d_theta Psi - E d_theta Psi).Z: n and t to infinity commute",
                    where = "theory.md 2.2 (c)";
  constexpr double h = 0.3;
  const double needed = std::log(1e-10) / -std::log1p(c.gap * h);
  if (!(c.gap > 0) || needed > 3000) {
    result.checks.push_back(analysis::inconclusive(id, claim, where, fmt::format("relaxation is too slow to reach the fixed point: the spectral gap is {:.2g}", c.gap)));
    return;
  }
  const int steps = static_cast<int>(needed) + 1;
  const auto fine = quantile_flow(c, c.grid.model, 240, h, steps, Sensitivity::shared), half = quantile_flow(c, c.grid.model, 120, h, steps, Sensitivity::shared);
  if (!is_success(fine.status) || !is_success(half.status)) {
    result.checks.push_back(analysis::inconclusive(id, claim, where, fmt::format("a step of h = 0.3 did not converge: {}", describe(fine.status))));
    return;
  }
  const Matrix theory = analysis::stationary_offline_limit(c.grid.model, c.grid.lower, c.grid.upper, 4 * c.grid.cells).covariance(phi, c.covariance);
  const Matrix j = responses(fine.final_state()), k = responses(half.final_state());
  const double measured = (j * c.covariance * j.transpose())(1, 1), space = std::abs(measured - (k * c.covariance * k.transpose())(1, 1));
  const double grid = std::abs(theory(1, 1) - analysis::stationary_offline_limit(c.grid.model, c.grid.lower, c.grid.upper, 2 * c.grid.cells).covariance(phi, c.covariance)(1, 1));
  result.checks.push_back(check_equal(id, claim + ", phi = x^2", where, measured, theory(1, 1), space + grid + 1e-8 * std::abs(theory(1, 1)),
                                      "the changes on halving the quantile cells and the finite volumes, which bound the errors of the finer ones (second order: a third); 1e-8 for what is left of the start, 1e-10 with its factor k"));
}

void replications(StudyResult& result, const OwnCase& c, const analysis::OfflineLimit& limit, const StudyOptions& options) {
  const std::array<Index, 2> sizes{300, 1200};
  const double h = c.grid.t / replication_steps;
  const auto truth = quantile_flow(c, c.grid.model, replication_cells, h, replication_steps, Sensitivity::shared);
  if (!is_success(truth.status)) return;  // said above
  const Vector at_truth = expectations(truth.final_state().measure);
  const Matrix j = responses(truth.final_state());
  const auto sampler = std::make_shared<StationarySampler>(c.grid.model, c.grid.lower, c.grid.upper);
  estimators::FitOptions fit_options;
  fit_options.fixed.assign(static_cast<std::size_t>(c.grid.model.theta().size()) + 1, false);
  fit_options.fixed.back() = true;
  analysis::Design design{.name = "offline-limits " + c.name,
                          .recipe = fmt::format("{}; sizes {}; {} steps, {} cells", c.text, fmt::join(sizes, ","), replication_steps, replication_cells),
                          .cells = {fmt::format("n = {}", sizes[0]), fmt::format("n = {}", sizes[1])},
                          .dimension = 7,
                          .replications = options.scale == Scale::quick ? 320 : 10000,
                          .blocks = 40,
                          .seed = options.seed,
                          .worker = {}};
  design.worker = [&, sampler](Index cell) -> analysis::Replicate {
    const Index n = sizes[static_cast<std::size_t>(cell)];
    return [&, sampler, n, sample = Vector(n)](RandomStream& random, VectorRef out) mutable {
      sampler->fill(random, sample);
      const auto fit = estimators::fit_stationary(sample, c.grid.model, fit_options);
      if (!is_success(fit.status)) return false;
      const auto run = quantile_flow(c, c.grid.model.with_parameters(fit.estimate), replication_cells, h, replication_steps, Sensitivity::none);
      if (!is_success(run.status)) return false;
      const double distance = w2(run.final_state().measure, truth.final_state().measure), root = std::sqrt(static_cast<double>(n));
      out << root * (expectations(run.final_state().measure) - at_truth), root * j * (fit.estimate - c.grid.model.parameters()), static_cast<double>(n) * distance * distance;
      return true;
    };
  };
  const auto cells = analysis::summarise(analysis::run_design(design, {.threads = options.threads, .observer = options.observer}));
  const auto &small = cells[0], &large = cells[1];
  const double failed = static_cast<double>(small.failed + large.failed) / (2 * static_cast<double>(design.replications));
  if (failed > 0.01) {
    result.checks.push_back(analysis::inconclusive(c.name + "-replications", "replications have the limit law", "theory.md 2.2", fmt::format("{:.1f} % of the replications have no estimate: what is left is a selection", 100 * failed)));
    return;
  }
  // At this h and these cells the law is J Z with the flow's own exact sensitivity J: no error of discretisation in the comparison.
  const Matrix theory = j * c.covariance * j.transpose();
  const double degrees = static_cast<double>(design.blocks - 1);
  const std::string what = fmt::format("s.e. of the extrapolation in 1/n from n = {} and {}, by the scatter of {} blocks of {} replications in all", sizes[0], sizes[1], design.blocks, design.replications);
  Table table{c.name + "-replications", fmt::format("{}: maximum likelihood from n independent stationary draws, {} JKO steps of h = {:.3g}, {} replications a size. Brackets: one s.e.", c.name, replication_steps, h, design.replications),
              {"quantity", fmt::format("n = {}", sizes[0]), fmt::format("n = {}", sizes[1]), "extrapolated", "theory"}, {}};
  const auto row = [&](const std::string& name, double a, double ea, double b, double eb, double exact) {
    table.rows.push_back({name, fmt::format("{:.4f} ({:.4f})", a, ea), fmt::format("{:.4f} ({:.4f})", b, eb), fmt::format("{:.4f} ({:.4f})", (4 * b - a) / 3, std::hypot(4 * eb, ea) / 3), fmt::format("{:.4f}", exact)});
  };
  for (Index i = 0; i < 3; ++i) {
    const auto k = static_cast<std::size_t>(i);
    const double a = small.moments.covariance()(i, i), b = large.moments.covariance()(i, i), ea = small.covariance_error(i, i), eb = large.covariance_error(i, i);
    row(fmt::format("n Var <{}>", names[k]), a, ea, b, eb, theory(i, i));
    // Sharper: against the linearisation at the same estimates, whose noise is common.
    const auto difference = [i](const Matrix& v) { return v(i, i) - v(i + 3, i + 3); };
    const double da = a - small.moments.covariance()(i + 3, i + 3), db = b - large.moments.covariance()(i + 3, i + 3);
    const double la = analysis::scatter_error(small, difference), lb = analysis::scatter_error(large, difference);
    row(fmt::format("n Var <{}> less that of J (theta_n - theta)", names[k]), da, la, db, lb, 0);
    result.checks.push_back(check_sampled(fmt::format("{}-linear-{}", c.name, ids[k]), fmt::format("n (Var <phi, rho^h(theta_n)> - Var J (theta_n - theta)), phi = {}, tends to 0: the flow hands the estimate's law on by its exact sensitivity", names[k]), "theory.md 2.2, Theorem OFF",
                                          (4 * db - da) / 3, 0, {.standard_error = std::hypot(4 * lb, la) / 3, .degrees = degrees, .what = what}));
    result.checks.push_back(check_sampled(fmt::format("{}-replications-{}", c.name, ids[k]), fmt::format("n Var <phi, rho^h(theta_n)>, phi = {}, over replications tends to J Sigma J'", names[k]), "theory.md 2.2, Theorem OFF", (4 * b - a) / 3, theory(i, i),
                                          {.standard_error = std::hypot(4 * eb, ea) / 3, .degrees = degrees, .what = what}));
  }
  // n W2^2: in the coordinates of the quantile function the limit is the mass-matrix norm of J Z.
  const Matrix& tangent = truth.final_state().tangent;
  const Vector& mass = truth.final_state().measure.masses();
  double expected = 0;
  for (Index i = 0; i < mass.size(); ++i) {
    const Matrix d = tangent.middleRows(i, 2), s = d * c.covariance * d.transpose();
    expected += mass[i] * (s(0, 0) + s(0, 1) + s(1, 1)) / 3;
  }
  const double a = small.moments.mean()[6], b = large.moments.mean()[6], ea = small.moments.mean_error()[6], eb = large.moments.mean_error()[6];
  row("n E W2^2", a, ea, b, eb, expected);
  result.checks.push_back(check_sampled(c.name + "-w2", "n E W2^2(rho^h(theta_n), rho^h(theta)) tends to E |V_t|^2 in H^{-1}(rho_t)", "theory.md 2.2 (d)", (4 * b - a) / 3, expected,
                                        {.standard_error = std::hypot(4 * eb, ea) / 3, .what = fmt::format("s.e. of the extrapolation in 1/n over {} replications", design.replications)}));
  // The shift: n^{1/2}(rho^h(theta_n) - rho_t) has mean r eta + O(h^2 sqrt n) + O(n^{-1/2}), r = sqrt(n) h. In units of the parameters' error:
  const auto corrector = analysis::first_order_corrector(c.grid.model, c.grid.start, c.grid.lower, c.grid.upper, c.grid.cells, c.grid.t, c.grid.steps);
  Figure figure{"offline-limits-" + c.name, fmt::format("{}: standard deviation of sqrt(n) times the error of the density at t = {:g}. Line: the forced equation. Points: JKO flows at h = {:.3g} with exact sensitivities.", c.name, c.grid.t, h), "x",
                "s.d. of sqrt(n) error", false, false, {}};
  Series line{"V_t by the forced equation", Series::Style::line, {}, {}, {}, {}, 0}, points{"JKO, exact sensitivities", Series::Style::points, {}, {}, {}, {}, 1};
  const double peak = limit.density.maxCoeff();
  for (Index i = 0; i < limit.centres.size(); ++i) {
    if (limit.density[i] < 1e-3 * peak) continue;
    line.x.push_back(limit.centres[i]);
    line.y.push_back(std::sqrt(limit.response.row(i).dot(c.covariance * limit.response.row(i).transpose())));
  }
  const Vector abscissae = Vector::LinSpaced(25, line.x.front(), line.x.back());
  const auto density = estimators::density(truth.final_state().measure, abscissae);
  const Matrix response = density.gradient * tangent;
  for (Index i = 0; i < abscissae.size(); ++i) points.x.push_back(abscissae[i]), points.y.push_back(std::sqrt(std::max(0.0, response.row(i).dot(c.covariance * response.row(i).transpose()))));
  figure.series = {std::move(line), std::move(points)};
  result.figures.push_back(std::move(figure));
  std::array<Vector, 3> scaled;
  for (std::size_t level = 0; level < 3; ++level) {
    const int steps = replication_steps << level;
    scaled[level] = expectations(quantile_flow(c, c.grid.model, 240, c.grid.t / steps, steps, Sensitivity::none).final_state().measure);
  }
  // eta from differences: (E_h - E_{h/2}) 2/h, extrapolated once; the spatial error cancels in the difference.
  const Vector first = (scaled[0] - scaled[1]) * 2 / h, second = (scaled[1] - scaled[2]) * 4 / h, eta = 2 * second - first;
  for (Index i = 0; i < 3; ++i) {
    const auto k = static_cast<std::size_t>(i);
    const double pde = corrector.pairing(phi[k]);
    const auto rough = analysis::first_order_corrector(c.grid.model, c.grid.start, c.grid.lower, c.grid.upper, c.grid.cells / 2, c.grid.t, c.grid.steps / 2);
    const double pde_error = std::abs(pde - rough.pairing(phi[k])) / 3;
    result.checks.push_back(check_equal(fmt::format("{}-shift-{}", c.name, ids[k]), fmt::format("sqrt(n)(rho^h(theta_n) - rho_t) is shifted by r eta at sqrt(n) h = r: (<phi, rho^h> - <phi, rho_t>)/h tends to <phi, eta_t>, phi = {}", names[k]),
                                        "theory.md 2.2 (b), 2.1", eta[i], pde, std::abs(eta[i] - second[i]) + 2 * pde_error + 8 * replication_steps * 1e-11 * 8 / h,
                                        "the last change of the extrapolation in h, twice the equation's error by refinement, and the steps' tolerance of 1e-11 over the step size"));
  }
  result.tables.push_back(std::move(table));
}

}  // namespace

StudyResult offline_limits(const StudyOptions& options) {
  StudyResult result;
  result.description =
      "One estimate, sqrt(n)(theta_n - theta) => Z, is used in all steps. The limit V_t of sqrt(n)(rho(theta_n) - rho) solves the Fokker-Planck equation forced by div(rho grad(d_theta Psi . Z)). It is solved by "
      "finite volumes and compared with JKO flows on quantile functions, by exact sensitivities (extrapolated in h) and by replications with maximum-likelihood estimates from independent stationary draws (extrapolated in 1/n).";
  for (const OwnCase& c : own_cases(options, {"ou", "double-well"})) {
    result.notes.push_back(fmt::format("{}: {}; spectral gap {:.4g}", c.name, c.text, c.gap));
    if (!c.failed.empty()) {
      result.checks.push_back(analysis::inconclusive(c.name + "-assumptions", "the limit law of offline statistical JKO", "theory.md 2.2", c.why()));
      continue;
    }
    const auto limit = analysis::offline_limit(c.grid);
    deterministic(result, c, limit);
    replications(result, c, limit, options);
  }
  return result;
}

}  // namespace jko::validation
