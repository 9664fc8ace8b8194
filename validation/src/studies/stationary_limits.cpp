#include "ou_case.hpp"
#include "ou_moments.hpp"
#include "own_case.hpp"
#include "studies.hpp"

#include <jko/analysis/online_limit.hpp>
#include <jko/analysis/stationary_limit.hpp>
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

constexpr Index modes = 3;

/// Linear between the centres, with the derivative of that; constant beyond.
analysis::Functional interpolated(const analysis::Spectrum& s, Index j, bool derivative) {
  return [x0 = s.centres[0], width = s.width, values = Vector(s.eigenfunctions.col(j)), derivative](double x) {
    const double at = (x - x0) / width;
    const Index i = std::clamp<Index>(static_cast<Index>(std::floor(at)), 0, values.size() - 2);
    const double share = std::clamp(at - static_cast<double>(i), 0.0, 1.0);
    if (derivative) return at < 0 || at > static_cast<double>(values.size() - 1) ? 0.0 : (values[i + 1] - values[i]) / width;
    return (1 - share) * values[i] + share * values[i + 1];
  };
}

/// (m/h) Cov of <phi_1>, ..., <phi_3> of the JKO flow at rest, from exact sensitivities to the estimates of the last `steps` steps.
Matrix at_rest(const OwnCase& c, const analysis::Spectrum& s, Index cells, double h, int steps, Status& status) {
  const auto density = [&](double x) {
    return std::exp(-c.grid.model.beta() * c.grid.model.potential().evaluate({0, 0}, Matrix::Constant(1, 1, x), c.grid.model.theta())(0, 0));
  };
  const auto r = Flow<QuantileStep>(QuantileStep(FreeEnergy(c.grid.model)), QuantileFunction::from_density(density, c.grid.lower, c.grid.upper, cells),
                                    {.h = h, .steps = steps, .sensitivity = Sensitivity::per_step, .keep_every = steps})
                     .run();
  status = r.status;
  if (!is_success(status)) return Matrix::Zero(modes, modes);
  Matrix g(modes, r.final_state().tangent.cols());
  for (Index j = 0; j < modes; ++j) g.row(j) = estimators::expectation(r.final_state().measure, interpolated(s, j + 1, false), interpolated(s, j + 1, true)).gradient * r.final_state().tangent;
  Matrix out = Matrix::Zero(modes, modes);
  const Index p = c.covariance.rows();
  for (Index k = 0; k < steps; ++k) out += g.middleCols(k * p, p) * c.covariance * g.middleCols(k * p, p).transpose() / h;
  return out;
}

void add_case(StudyResult& result, const OwnCase& c) {
  const auto limit = analysis::stationary_limit(c.grid.model, c.covariance, c.grid.lower, c.grid.upper, 2 * c.grid.cells, modes), rough = analysis::stationary_limit(c.grid.model, c.covariance, c.grid.lower, c.grid.upper, c.grid.cells, modes);
  const auto s = analysis::generator_spectrum(c.grid.model, c.grid.lower, c.grid.upper, 2 * c.grid.cells, modes + 1);
  const std::string source = "theory.md 2.4";
  Table table{c.name, c.name + ": eigenvalues of the generator; offline variance of <phi_j> (n Var) and online variance ((m/h) Var) by the spectral law; the JKO flow at rest by exact sensitivities, extrapolated in h.", {"j", "lambda_j", "offline", "online = lambda_j/2 offline", "JKO, h to 0", "error"}, {}};
  // Memory exp(-2 lambda_1 T) = 1e-7 after T; the largest step keeps 1 + kappa h > 0 for moderate wells.
  const double memory = 8 / c.gap, h = std::min(0.2, memory / 20);
  const int steps = static_cast<int>(std::ceil(memory / h));
  std::array<Matrix, 3> at;
  Status status = c.gap > 0 && steps <= 120 ? Status::converged : Status::iteration_limit;
  for (std::size_t level = 0; level < 3 && is_success(status); ++level) at[level] = at_rest(c, s, 80, h / (1 << level), steps << level, status);
  Matrix fine, other;
  if (is_success(status)) fine = at_rest(c, s, 160, h, steps, status);
  // The same with eigenfunctions of half the cells: where a variance vanishes by symmetry, their errors are what is left of it.
  if (is_success(status)) other = at_rest(c, analysis::generator_spectrum(c.grid.model, c.grid.lower, c.grid.upper, c.grid.cells, modes + 1), 80, h, steps, status);
  for (Index j = 0; j < modes; ++j) {
    const std::string id = fmt::format("{}-mode-{}", c.name, j + 1), claim = fmt::format("mode {}: (m/h) Var <phi_j, rho^(h,m)> of the flow at rest tends to (lambda_j/2) n Var <phi_j, pi_(theta_n)>", j + 1);
    if (!is_success(status)) {
      result.checks.push_back(analysis::inconclusive(id, claim, source, fmt::format("the flow at rest was not reached: spectral gap {:.3g}, {}", c.gap, describe(status))));
      continue;
    }
    const double once = 2 * at[1](j, j) - at[0](j, j), again = 2 * at[2](j, j) - at[1](j, j), value = (4 * again - once) / 3;
    const double space = std::abs(fine(j, j) - at[0](j, j)), grid = std::abs(limit.online(j, j) - rough.online(j, j)) + std::abs(other(j, j) - at[0](j, j)), error = std::abs(value - again) + space;
    result.checks.push_back(check_equal(id, claim, source, value, limit.online(j, j), 2 * error + grid + 1e-6 * limit.online(j, j) + 1e-9 * limit.online.diagonal().maxCoeff(),
                                        "twice the extrapolation's last change and the change on doubling the quantile cells, the changes of the spectral side and of the eigenfunctions on refinement, 1e-6 for the memory cut at exp(-16), and 1e-9 of the largest mode for the steps' tolerance of 1e-11"));
    table.rows.push_back({fmt::format("{}", j + 1), fmt::format("{:.5f}", limit.rates[j]), fmt::format("{:.6f}", limit.offline(j, j)), fmt::format("{:.6f}", limit.online(j, j)), fmt::format("{:.6f}", value), fmt::format("{:.1e}", error)});
  }
  result.tables.push_back(std::move(table));
  // The costs two ways: as sums over modes, and as integrals of derivatives.
  const analysis::LimitCase& g = c.grid;
  const auto integrals = [&](Index cells) {
    const Vector x = Vector::LinSpaced(cells, g.lower + 0.5 * (g.upper - g.lower) / static_cast<double>(cells), g.upper - 0.5 * (g.upper - g.lower) / static_cast<double>(cells));
    const Matrix points = x.transpose();
    const Potential& psi = g.model.potential();
    const double beta = g.model.beta();
    Vector weight = -beta * psi.evaluate({0, 0}, points, g.model.theta()).row(0).transpose();
    weight = (weight.array() - weight.maxCoeff()).exp();
    weight /= weight.sum();
    const Index p = g.model.theta().size();
    const Matrix first = psi.evaluate({1, 1}, points, g.model.theta()), second = psi.evaluate({2, 1}, points, g.model.theta()), drift = psi.evaluate({1, 0}, points, g.model.theta());
    const Matrix generator = second / beta - first * drift.row(0).asDiagonal();  // L d_theta Psi
    const Matrix sigma = c.covariance.topLeftCorner(p, p);
    return std::pair{0.25 * (sigma * (first * weight.asDiagonal() * first.transpose())).trace(), 0.5 * beta * (sigma * (generator * weight.asDiagonal() * generator.transpose())).trace()};
  };
  const auto [energy, slope] = integrals(4000);
  result.checks.push_back(check_equal(c.name + "-energy-cost", "(m/h)(E F(rho) - F(pi)): the sum over modes (2 beta)^{-1} sum Gamma_on_jj is tr(Sigma E[grad d_theta Psi' grad d_theta Psi])/4", "theory.md 2.5", (4 * limit.free_energy_cost - rough.free_energy_cost) / 3, energy,
                                      std::abs(limit.free_energy_cost - rough.free_energy_cost), "the change on refinement; what is left after the extrapolation is of higher order"));
  result.checks.push_back(check_equal(c.name + "-slope-cost", "(m/h) E|dF|^2: the sum over modes is (beta/2) tr(Sigma E[L d_theta Psi' L d_theta Psi])", "theory.md 2.5", (4 * limit.slope_cost - rough.slope_cost) / 3, slope, std::abs(limit.slope_cost - rough.slope_cost),
                                      "the change on refinement; what is left after the extrapolation is of higher order"));
}

/// E F(rho_infinity) - F(pi) of online Ornstein-Uhlenbeck flows, by simulation to equilibrium: (m/h) times it tends to (kappa^2 tau^2 + sigma^2 v)/4.
void add_free_energy(StudyResult& result, const StudyOptions& options) {
  using namespace ou_case;
  constexpr double tau2 = 0.5, sigma2 = 0.6, v = 1 / (beta * kappa);
  constexpr int batch = 400;
  const std::array<double, 3> h{0.2, 0.1, 0.05};
  analysis::Design design{.name = "free energy cost", .recipe = "normal errors of kappa and mu, m = 400 and 1600, to t = 12 and over 40 more", .cells = {}, .dimension = 1, .replications = options.scale == Scale::quick ? 300 : 10000, .blocks = 50, .seed = options.seed, .worker = {}};
  for (const double step : h) {
    for (const int m : {batch, 4 * batch}) design.cells.push_back(fmt::format("h = {}, m = {}", step, m));
  }
  design.worker = [&](Index cell) -> analysis::Replicate {
    const double step = h[static_cast<std::size_t>(cell / 2)], m = cell % 2 == 0 ? batch : 4 * batch;
    return [=](RandomStream& random, VectorRef out) {
      OuMoments law{mu, std::sqrt(v)};
      double sum = 0;
      const int burn = static_cast<int>(12 / step), kept = static_cast<int>(40 / step);
      for (int k = 0; k < burn + kept; ++k) {
        law.step(kappa + std::sqrt(sigma2 / m) * random.normal(), mu + std::sqrt(tau2 / m) * random.normal(), beta, step);
        const double ratio = law.variance() / v;
        // KL(N(m, s^2) | N(mu, v))/beta
        if (k >= burn) sum += 0.5 / beta * (ratio - 1 - std::log(ratio) + (law.mean - mu) * (law.mean - mu) / v);
      }
      out[0] = m / step * sum / kept;
      return true;
    };
  };
  const auto cells = analysis::summarise(analysis::run_design(design, {.threads = options.threads, .observer = options.observer}));
  // The term of order 1/m is removed at each h, then that of order h.
  std::array<double, 3> value{}, error{};
  for (std::size_t i = 0; i < 3; ++i) {
    value[i] = (4 * cells[2 * i + 1].moments.mean()[0] - cells[2 * i].moments.mean()[0]) / 3;
    error[i] = std::hypot(4 * cells[2 * i + 1].moments.mean_error()[0], cells[2 * i].moments.mean_error()[0]) / 3;
  }
  const double once = 2 * value[1] - value[0], again = 2 * value[2] - value[1], limit = 0.25 * (kappa * kappa * tau2 + sigma2 * v);
  // Weights of value[2], value[1], value[0] in (4 again - once)/3.
  const double se = std::sqrt(std::pow(8 * error[2], 2) + std::pow(6 * error[1], 2) + std::pow(error[0], 2)) / 3;
  result.checks.push_back(check_sampled("ou-free-energy", "Ornstein-Uhlenbeck: (m/h)(E F(rho_infinity) - F(pi)) tends to (kappa^2 tau^2 + sigma^2 v)/4: what learning online costs", "theory.md 2.5", (4 * again - once) / 3, limit,
                                        {.standard_error = se, .allowance = 0.02 * std::abs(again - once), .what = fmt::format("s.e. of the extrapolation in 1/m and h over {} chains a cell; a fiftieth of its last step for O(h^3)", design.replications)}));
  Figure figure{"stationary-free-energy", "Ornstein-Uhlenbeck, online flow at rest: (m/h)(E F - F(pi)) against h (points, one s.e., the term of order 1/m removed) and its limit (dashed).", "step size h", "(m/h) (E F - F(pi))", false, false, {}};
  figure.series.push_back({"limit", Series::Style::dashed, {0, 0.21}, {limit, limit}, {}, {}, 0});
  figure.series.push_back({"replications", Series::Style::points, {h.begin(), h.end()}, {value.begin(), value.end()}, {}, {error.begin(), error.end()}, 1});
  result.figures.push_back(std::move(figure));
}

}  // namespace

StudyResult stationary_limits(const StudyOptions& options) {
  StudyResult result;
  result.description =
      "At t = infinity in the eigenfunctions of the generator, L phi_j = -lambda_j phi_j: offline and online covariances are tied by Gamma_on_ij = lambda_i lambda_j/(lambda_i + lambda_j) Gamma_off_ij. The JKO side is a quantile flow at rest with exact sensitivities to every "
      "step's estimate, the other the finite-volume eigenproblem. Online learning keeps the law away from pi: (m/h)(E F - F(pi)) tends to tr(Sigma E[grad d_theta Psi' grad d_theta Psi])/4.";
  for (const OwnCase& c : own_cases(options, {"ou", "double-well"})) {
    result.notes.push_back(fmt::format("{}: {}; spectral gap {:.4g}", c.name, c.text, c.gap));
    if (c.failed.empty() && c.gap > 0) add_case(result, c);
    else result.checks.push_back(analysis::inconclusive(c.name + "-assumptions", "the spectral law", "theory.md 2.4", c.failed.empty() ? "exp(-beta Psi) underflows in the box: no spectral gap could be computed; choose a smaller box" : c.why()));
  }
  if (options.settings.empty()) add_free_energy(result, options);
  return result;
}

}  // namespace jko::validation
