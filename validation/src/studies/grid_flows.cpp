#include "flow_figures.hpp"
#include "studies.hpp"

#include <jko/analysis/flow_inequalities.hpp>
#include <jko/analysis/grid_trace.hpp>
#include <jko/analysis/step_inequalities.hpp>
#include <jko/core/random.hpp>
#include <jko/energies/grid_energy.hpp>
#include <jko/models/convexity.hpp>
#include <jko/models/families.hpp>
#include <jko/models/formula.hpp>
#include <jko/problems/ornstein_uhlenbeck_flow.hpp>
#include <jko/problems/self_similar.hpp>
#include <jko/reference/ornstein_uhlenbeck.hpp>
#include <jko/steps/back_and_forth_step.hpp>
#include <jko/steps/entropic_step.hpp>
#include <jko/steps/gaussian_step.hpp>
#include <jko/steps/particle_step.hpp>
#include <jko/transport/grid_w2.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace jko::validation {
namespace {

using namespace analysis;

std::shared_ptr<const Grid> square(double half, Index cells) { return std::make_shared<const Grid>(Grid{Vector{{-half, -half}}, Vector{{half, half}}, {cells, cells}}); }

/// A computed flow, its trace, and the closed-form stand-ins of its states with bounds of their W2 distance.
template <class Proxy>
struct GridFlow {
  FlowTrace trace;
  std::vector<GridDensity> states;
  std::vector<Proxy> proxies;
};

Table error_table() {
  return {"errors", "The grid flows' numbers along the flow (largest) and their errors by comparison with half the cells and twice the epsilon.",
          {"flow", "measure", "F - min F at k = 0", "error of F", "W2 moved", "error of W2", "slope", "error of the slope", "solver"}, {}};
}

void add_error_row(Table& table, const std::string& what, const FlowTrace& t, const std::string& solver) {
  table.rows.push_back({what, t.measure, std::isfinite(t.minimum) ? fmt::format("{:.4g}", t.points[0].energy - t.minimum) : "", fmt::format("{:.1e}", t.energy_error), fmt::format("{:.4g}", t.steps[0].moved),
                        fmt::format("{:.1e}", t.distance_error), fmt::format("{:.4g}", t.points[0].slope), fmt::format("{:.1e}", t.slope_error), solver});
}

/// One-step ratios left/right of a1, a2 and b4 with the error bars of their numbers.
Figure ratio_figure(const std::string& id, const std::string& caption, const FlowTrace& t) {
  Figure figure{id, caption, "step k", "left/right", false, false, {}};
  const double h = t.steps.front().h, kappa = t.convexity->kappa, q = 1 + kappa * h;
  Series one{"", Series::Style::dashed, {1, static_cast<double>(t.steps.size())}, {1, 1}, {}, {}, 6};
  Series descent{"descent a1", Series::Style::points, {}, {}, {}, {}, 0}, sharp{"descent a2", Series::Style::points, {}, {}, {}, {}, 1}, before{"slope before, b4", Series::Style::points, {}, {}, {}, {}, 2};
  for (std::size_t k = 1; k < t.points.size(); ++k) {
    const double x = static_cast<double>(k), moved = t.steps[k - 1].moved, drop = t.points[k - 1].energy - t.points[k].energy;
    const double relative = 2 * t.distance_error / moved + 2 * t.energy_error / drop;
    const auto put = [&](Series& s, double ratio, double error) { s.x.push_back(x), s.y.push_back(ratio), s.error.push_back(error); };
    put(descent, moved * moved / (2 * h) / drop, moved * moved / (2 * h) / drop * relative);
    put(sharp, (1 / h + kappa / 2) * moved * moved / drop, (1 / h + kappa / 2) * moved * moved / drop * relative);
    const double slope = t.points[k - 1].slope;
    put(before, moved / h * q / slope, moved / h * q / slope * (t.distance_error / moved + t.slope_error / slope));
  }
  figure.series = {one, descent, sharp, before};
  return figure;
}

/// The Euler-Lagrange estimate on grids (a3): zeta = cos(a . x + b), all integrals by the midpoint rule; the entropy and the porous medium through their pressure. `flow` must not
/// reach the walls.
struct EulerLagrangeSide {
  double value = 0, hessian = 0;
};
EulerLagrangeSide euler_lagrange_side(const GridEnergy& energy, const Vector& from, const Vector& to, double h, const Vector& a, double b) {
  const Grid& grid = energy.grid();
  const Matrix points = grid.points();
  const auto* part = energy.energy().potential();
  const Matrix force = part->potential->evaluate({1, 0}, points, part->theta);
  double value = 0;
  for (Index i = 0; i < grid.size(); ++i) {
    const double angle = a.dot(points.col(i)) + b, cosine = std::cos(angle);
    double pressure = 0;
    if (const auto* e = energy.energy().entropy()) pressure += to[i] / e->beta;
    if (const auto* pm = energy.energy().porous_medium()) pressure += pm->coefficient * std::pow(to[i], pm->exponent);
    value += cosine * (to[i] - from[i]) / h - std::sin(angle) * a.dot(force.col(i)) * to[i] + a.squaredNorm() * cosine * pressure;
  }
  return {value * grid.cell_volume(), a.squaredNorm()};
}

template <class Proxy>
Check grid_euler_lagrange(const FreeEnergy& energy, const GridFlow<Proxy>& fine, const std::vector<const GridFlow<Proxy>*>& others, const FlowTrace& refined, const Matrix& functions, const std::string& prefix) {
  const double h = refined.steps.front().h;
  const GridEnergy at(energy, fine.states[0].grid_ptr());
  Check worst;
  double excess = -std::numeric_limits<double>::infinity();
  int instances = 0;
  for (std::size_t k = 1; k < fine.states.size(); k += 3) {
    for (Index j = 0; j < functions.cols(); ++j, ++instances) {
      const Vector a = functions.col(j).head(2);
      const auto side = [&](const GridEnergy& e, const GridFlow<Proxy>& f) { return euler_lagrange_side(e, f.states[k - 1].values(), f.states[k].values(), h, a, functions(2, j)); };
      const auto here = side(at, fine);
      double error = 0;
      for (const auto* other : others) error += std::abs(side(GridEnergy(energy, other->states[0].grid_ptr()), *other).value - here.value);
      const double moved = refined.steps[k - 1].moved, d = refined.distance_error;
      error += here.hessian * (2 * moved + d) * d / (2 * h);
      const Check c = check_at_most(prefix + "-euler-lagrange", "|int zeta (rho' - rho)/h + int (grad Psi . grad zeta rho' - Lap zeta p(rho'))| <= sup|Hess zeta| W2^2(rho, rho')/(2h), zeta = cos(a . x + b), p the pressure", "JKO1998, theory.md a3",
                                    std::abs(here.value), here.hessian * moved * moved / (2 * h), error, "change of the left side, and of W2 on the right, under the comparisons");
      if (c.statistic - c.bound - c.tolerance > excess) excess = c.statistic - c.bound - c.tolerance, worst = c;
    }
  }
  worst.tolerance_reason += fmt::format("; the least favourable of {} functions and steps", instances);
  if (worst.tolerance >= std::max(worst.statistic, worst.bound)) return inconclusive(worst.id, worst.claim, worst.source, fmt::format("the sides' errors, {:.2g}, exceed them", worst.tolerance));
  return worst;
}

/// Ornstein-Uhlenbeck in the plane, K and the start's covariance do not commute; entropic steps; W2 between Gaussian stand-ins.
void add_plane(StudyResult& result, Table& table, const StudyOptions& options) {
  const bool quick = options.scale == Scale::quick;
  const auto problem = problems::non_commuting();
  const double h = 0.1, half = 5.5;
  const int steps = quick ? 8 : 20;
  const Index cells = quick ? 192 : 256;
  const FreeEnergy energy(problem.model());
  const Gaussian pi = OrnsteinUhlenbeck(problem.model()).stationary();
  const auto run = [&](Index n, double times) {
    const auto grid = square(half, n);
    GridFlow<GaussianProxy> out;
    // epsilon = the square of the width is the least that the kernel resolves.
    out.trace = trace_grid_flow(EntropicStep(energy, {.epsilon = times * std::pow(grid->width(0), 2)}), problem.on_grid(grid, 0), h, steps, &out.states);
    const GridEnergy on_grid(energy, grid);
    const Vector weights = (-problem.model().beta() * (on_grid.potential().array() - on_grid.potential().minCoeff())).exp();
    out.trace.minimum = on_grid.value(weights / (weights.sum() * grid->cell_volume())).total;
    out.trace.minimum_error = out.trace.minimiser_error = 0;  // exact on the grid; pi is known
    double bound = 0;
    for (const auto& state : out.states) out.proxies.push_back(gaussian_proxy(state)), bound = std::max(bound, out.proxies.back().bound);
    out.trace.distance_error = 2 * bound;
    for (std::size_t k = 0; k < out.states.size(); ++k) {
      out.trace.points[k].to_minimiser = w2(out.proxies[k].gaussian, pi);
      if (k > 0) out.trace.steps[k - 1].moved = w2(out.proxies[k - 1].gaussian, out.proxies[k].gaussian);
    }
    return out;
  };
  const auto fine = run(cells, 1), coarse = run(cells / 2, 1), blurred = run(cells, 2);
  FlowTrace t = trace_refined(fine.trace, {coarse.trace, blurred.trace}, SolverErrors::compared);
  if (t.status != Status::converged) {
    result.checks.push_back(inconclusive("plane", "the entropic flow in the plane", "", std::string(describe(t.status))));
    return;
  }
  add_error_row(table, "Ornstein-Uhlenbeck, entropic", t, "in the comparison");
  add_claimed(result, flow_inequalities(t, "plane"));
  // The exact iterate in closed form: the comparison's errors must cover the truth.
  double largest = 0;
  for (int k = 1; k <= steps; ++k) largest = std::max(largest, w2(fine.proxies[static_cast<std::size_t>(k)].gaussian, problem.jko(h, k)));
  double allowed = t.distance_error;
  for (std::size_t k = 0; k < fine.proxies.size(); ++k) allowed = std::max(allowed, w2(fine.proxies[k].gaussian, coarse.proxies[k].gaussian) + w2(fine.proxies[k].gaussian, blurred.proxies[k].gaussian) + t.distance_error);
  result.checks.push_back(check_at_most("plane-exact", "max_k W2(computed rho_k, exact JKO iterate) is within the error found by comparison", "theory.md 2.1", largest, 0, allowed, "W2 to the flows with half the cells and with twice the epsilon, and Talagrand bounds of the stand-ins"));
  const auto exact = OrnsteinUhlenbeck(problem.model()).law(problem.jko(h, 0), h * steps);
  add_claimed(result, a_priori_error(t, w2(fine.proxies.back().gaussian, exact), fine.proxies.back().bound, "plane"));
  // EVI against random Gaussians, whose energy is a closed form up to the grid's constant.
  const GaussianStep closed(energy);
  std::vector<EviInstance> instances;
  for (int i = 0; i < (quick ? 60 : 1000); ++i) {
    RandomStream random(options.seed, "grid-flows-plane", static_cast<std::uint64_t>(i));
    Matrix root(2, 2);
    for (double& x : root.reshaped()) x = random.normal();
    const Gaussian nu(Vector{{1.5 * random.normal(), 1.5 * random.normal()}}, root * root.transpose() + 0.05 * Matrix::Identity(2, 2));
    const std::size_t k = 1 + static_cast<std::size_t>(i % steps);
    instances.push_back({t.points[k].energy, closed.energy_value(nu).total, t.steps[k - 1].moved, w2(fine.proxies[k - 1].gaussian, nu), w2(fine.proxies[k].gaussian, nu), 0, t.energy_error, t.distance_error});
  }
  result.checks.push_back(evolution_variational_inequality(t.convexity, h, instances, "plane", "errors of energies and distances by comparison with half the cells and twice the epsilon, and the stand-ins' Talagrand bounds"));
  // And against mixtures of two Gaussians, whose W2 to the flow has no closed form: by debiased entropic transport on the grid, with its own error estimate.
  std::vector<EviInstance> mixtures;
  const GridEnergy on_grid(energy, fine.states[0].grid_ptr());
  for (int i = 0; i < (quick ? 4 : 40); ++i) {
    RandomStream random(options.seed, "grid-flows-mixtures", static_cast<std::uint64_t>(i));
    const Vector left{{-0.8 + 0.4 * random.normal(), 0.4 * random.normal()}}, right{{1.2 + 0.4 * random.normal(), 0.4 * random.normal()}};
    const double share = 0.3 + 0.4 * random.uniform(), a = 0.3 + 0.2 * random.uniform(), b = 0.3 + 0.2 * random.uniform();
    const auto nu = GridDensity::from_density(fine.states[0].grid_ptr(), [&](const ConstMatrixRef& x) {
      return Vector((share / a * (-(x.colwise() - left).colwise().squaredNorm().array() / (2 * a)).exp() + (1 - share) / b * (-(x.colwise() - right).colwise().squaredNorm().array() / (2 * b)).exp()).transpose());
    });
    const std::size_t k = 1 + static_cast<std::size_t>(i % steps);
    const GridW2 before = grid_w2(fine.states[k - 1], nu), after = grid_w2(fine.states[k], nu);
    if (!is_success(before.status) || !is_success(after.status)) {
      result.notes.push_back(fmt::format("A mixture of the EVI on the grid is left out: {}.", describe(is_success(before.status) ? after.status : before.status)));
      continue;
    }
    mixtures.push_back({t.points[k].energy, on_grid.value(nu.values()).total, t.steps[k - 1].moved, before.value, after.value, 0, t.energy_error, std::max({t.distance_error, before.error, after.error})});
  }
  if (!mixtures.empty()) {
    result.checks.push_back(evolution_variational_inequality(t.convexity, h, mixtures, "plane-mixtures", "errors of energies and of W2 moved by comparison with half the cells and twice the epsilon, and the estimated errors of debiased entropic transport"));
  }
  result.checks.push_back(grid_euler_lagrange<GaussianProxy>(energy, fine, {&coarse, &blurred}, t, Matrix{{1, 0.3, -2, 0}, {0.5, 2, 1, 0.7}, {0, 1, 0.4, 2}}, "plane"));
  result.figures.push_back(decay_figure("decay-plane", fmt::format("Ornstein-Uhlenbeck in the plane on {} x {} cells, entropic steps of h = 0.1: decay of distance, slope and energy (points) and the theorem's rates with kappa = {:.3f} (lines).", cells, cells, t.convexity->kappa), t));
  result.figures.push_back(ratio_figure("ratios-plane", "The same flow: left over right side of the one-step inequalities, with the errors of the numbers. At most 1.", t));
}

/// A porous-medium stand-in: the Barenblatt profile with the density's mean and second moment.
struct Ball {
  Vector mean;
  double scale = 0, bound = 0;
};

/// The porous medium (m = 2) in a quadratic potential; back-and-forth steps; all W2 between dilated and translated Barenblatt profiles.
void add_porous_medium(StudyResult& result, Table& table, const StudyOptions& options) {
  const bool quick = options.scale == Scale::quick;
  const double c = 0.05, kappa = 1, h = 0.1, half = 1.1, start_scale = 0.4;
  const int steps = quick ? 6 : 15;
  const Index cells = quick ? 144 : 288;
  const auto problem = problems::barenblatt(2, 2, c, kappa);
  const Vector shift{{0.25, -0.15}};
  FreeEnergy energy;
  energy.add_potential(ornstein_uhlenbeck(2), Vector{{kappa, 0, kappa, 0, 0}}).add_porous_medium(c, 2);
  const auto translated = [&](const std::shared_ptr<const Grid>& grid, double scale, const Vector& mean) {
    return GridDensity::from_density(grid, [&](const ConstMatrixRef& x) {
      constexpr int samples = 4;  // midpoints an axis and cell
      Vector out = Vector::Zero(x.cols());
      for (int i = 0; i < samples * samples; ++i) {
        const Vector offset{{((i % samples) + 0.5) / samples - 0.5, ((i / samples) + 0.5) / samples - 0.5}};
        for (Index j = 0; j < x.cols(); ++j) out[j] += problem.density((x.col(j) + offset.cwiseProduct(Vector{{grid->width(0), grid->width(1)}}) - mean).norm(), scale);
      }
      return out;
    });
  };
  const auto w2_between = [&](const Ball& a, const Ball& b) { return std::hypot((a.mean - b.mean).norm(), problem.w2(a.scale, b.scale)); };
  const Ball rest{Vector::Zero(2), problem.stationary(), 0};
  const auto run = [&](Index n) {
    const auto grid = square(half, n);
    GridFlow<Ball> out;
    out.trace = trace_grid_flow(BackAndForthStep(energy, {.tolerance = 1e-3}), translated(grid, start_scale, shift), h, steps, &out.states);
    out.trace.minimum = GridEnergy(energy, grid).value(translated(grid, rest.scale, rest.mean).values()).total;
    out.trace.minimum_error = out.trace.minimiser_error = 0;  // pi is known; the energy's error is found by comparison
    double bound = 0;
    for (const auto& state : out.states) {
      // The scale whose profile on this grid has the state's second moment: what the grid adds to it cancels.
      const double second = state.covariance().trace(), m2 = problem.second_moment();
      double scale = std::sqrt(second / m2);
      for (int i = 0; i < 2; ++i) scale = std::sqrt(scale * scale + (second - translated(grid, scale, state.mean()).covariance().trace()) / m2);
      // The profile minimises c int rho^2 + kappa_l int |x - mean|^2 rho/2 with kappa_l = A l^{-q-1}, a kappa_l-convex energy: its excess bounds W2^2. The second moments agree.
      const double excess = c * (state.values().squaredNorm() - translated(grid, scale, state.mean()).values().squaredNorm()) * grid->cell_volume();
      out.proxies.push_back({state.mean(), scale, std::sqrt(2 / (problem.strength() * std::pow(scale, -problem.exponent() - 1)) * std::abs(excess))});
      bound = std::max(bound, out.proxies.back().bound);
    }
    out.trace.distance_error = 2 * bound;
    for (std::size_t k = 0; k < out.states.size(); ++k) {
      out.trace.points[k].to_minimiser = w2_between(out.proxies[k], rest);
      if (k > 0) out.trace.steps[k - 1].moved = w2_between(out.proxies[k - 1], out.proxies[k]);
    }
    return out;
  };
  const auto fine = run(cells), coarse = run(cells / 2);
  const FlowTrace t = trace_refined(fine.trace, {coarse.trace});
  if (t.status != Status::converged) {
    result.checks.push_back(inconclusive("porous", "the back-and-forth flow of the porous medium", "", std::string(describe(t.status))));
    return;
  }
  double gap = 0, certificate = 0;
  for (const auto& step : t.steps) gap = std::max(gap, step.gap), certificate = std::max(certificate, step.w2_bound);
  add_error_row(table, "porous medium, back-and-forth", t, fmt::format("duality gap {:.1e}, W2 {:.1e}", gap, certificate));
  add_claimed(result, flow_inequalities(t, "porous"));
  Ball exact{shift, start_scale, 0};
  double largest = 0;
  for (const auto& state : fine.proxies) {
    largest = std::max(largest, w2_between(state, exact));
    exact = {exact.mean / (1 + h * kappa), problem.jko(exact.scale, h), 0};
  }
  double allowed = t.distance_error, solver = 0;
  for (std::size_t k = 0; k < fine.proxies.size(); ++k) {
    if (k > 0) solver = solver / (1 + h * kappa) + t.steps[k - 1].w2_bound;
    allowed = std::max(allowed, w2_between(fine.proxies[k], coarse.proxies[k]) + solver + t.distance_error);
  }
  result.checks.push_back(check_at_most("porous-exact", "max_k W2(computed rho_k, exact JKO iterate) is within the error found by refinement and the certificates", "Barenblatt1952, docs/methods/problems.md", largest, 0, allowed,
                                        "W2 to the flow with half the cells, the steps' certificates, and the transport bounds of the stand-ins"));
  add_claimed(result, a_priori_error(t, w2_between(fine.proxies.back(), {std::exp(-kappa * h * steps) * shift, problem.flow(start_scale, h * steps), 0}), fine.proxies.back().bound, "porous"));
  std::vector<EviInstance> instances;
  for (int i = 0; i < (quick ? 60 : 1000); ++i) {
    RandomStream random(options.seed, "grid-flows-porous", static_cast<std::uint64_t>(i));
    const Ball nu{Vector{{0.5 * random.normal(), 0.5 * random.normal()}}, rest.scale * std::exp(0.5 * random.normal()), 0};
    const std::size_t k = 1 + static_cast<std::size_t>(i % steps);
    const double to_nu = w2_between(fine.proxies[k], nu), q = 1 + kappa * h;
    instances.push_back({t.points[k].energy, problem.energy(nu.scale) + 0.5 * kappa * nu.mean.squaredNorm(), t.steps[k - 1].moved, w2_between(fine.proxies[k - 1], nu), to_nu,
                         t.steps[k - 1].gap + q / h * t.steps[k - 1].w2_bound * to_nu, t.energy_error, t.distance_error});
  }
  result.checks.push_back(evolution_variational_inequality(t.convexity, h, instances, "porous", "duality gap and its certificate, errors of energies and distances by comparison with half the cells, and the stand-ins' transport bounds"));
  result.checks.push_back(grid_euler_lagrange<Ball>(energy, fine, {&coarse}, t, Matrix{{2, 0.6, -3, 0}, {1, 4, 2, 1.5}, {0, 1, 0.4, 2}}, "porous"));
  Figure section{"porous-section", "Porous medium (m = 2) in a quadratic potential, a row of cells through the plane: computed densities (points) and the exact JKO iterates (lines) after 0, 1, 3 and 6 steps of h = 0.1.", "x", "density", false, false, {}};
  exact = {shift, start_scale, 0};
  for (int k = 0, colour = 0; k <= 6; ++k) {
    if (k == 0 || k == 1 || k == 3 || k == 6) {
      Series line{fmt::format("k = {}", k), Series::Style::line, {}, {}, {}, {}, colour}, points{"", Series::Style::points, {}, {}, {}, {}, colour};
      const Grid& grid = fine.states[0].grid();
      const Index row = static_cast<Index>((half - 0.1) / grid.width(1));
      const double y = grid.centres(1)[row];
      for (double x = -half; x <= half; x += 0.01) line.x.push_back(x), line.y.push_back(problem.density((Vector{{x, y}} - exact.mean).norm(), exact.scale));
      for (Index i = 0; i < grid.cells[0]; i += 2) points.x.push_back(grid.centres(0)[i]), points.y.push_back(fine.states[static_cast<std::size_t>(k)].values()[i + grid.cells[0] * row]);
      section.series.push_back(std::move(line)), section.series.push_back(std::move(points));
      ++colour;
    }
    exact = {exact.mean / (1 + h * kappa), problem.jko(exact.scale, h), 0};
  }
  result.figures.push_back(std::move(section));
  result.figures.push_back(ratio_figure("ratios-porous", "Porous medium: left over right side of the one-step inequalities, with the errors of the numbers. At most 1.", t));
}

/// The Lipschitz estimate where its theorem stands: a box with walls that the density feels.
void add_box(StudyResult& result, Table& table, const StudyOptions& options) {
  const bool quick = options.scale == Scale::quick;
  const Index cells = quick ? 128 : 256;
  const double h = 0.05;
  const int steps = 5;
  const Model model(ornstein_uhlenbeck(2), Vector{{2, 0.5, 1, 0.3, 0.6}}, 1);
  const auto run = [&](Index n, double times) {
    const auto grid = std::make_shared<const Grid>(Grid{Vector::Zero(2), Vector::Ones(2), {n, n}});
    const auto start = GridDensity::from_density(grid, [&](const ConstMatrixRef& x) {
      const Vector psi = model.potential().evaluate({0, 0}, x, model.theta()).row(0).transpose();
      return Vector((-psi.array() + 0.5 * (std::numbers::pi * x.row(0).transpose().array()).cos() * (1 + 0.5 * (std::numbers::pi * x.row(1).transpose().array()).cos())).exp());
    });
    return trace_grid_flow(EntropicStep(FreeEnergy(model), {.epsilon = times * std::pow(2.0 / static_cast<double>(cells), 2)}), start, h, steps);
  };
  // The coarse grid's least epsilon on both grids: at a quarter of it mass has to move too many standard deviations of the kernel.
  const FlowTrace t = trace_refined(run(cells, 1), {run(cells / 2, 1), run(cells, 2)}, SolverErrors::compared);
  if (t.status != Status::converged) {
    result.checks.push_back(lipschitz_estimate(t, "box"));
    return;
  }
  add_error_row(table, "box with walls, entropic", t, "in the comparison");
  result.checks.push_back(lipschitz_estimate(t, "box"));
  Figure figure{"lipschitz-box", fmt::format("Quadratic potential in the unit square with walls, h = 0.05: sup|grad(Psi + log rho)| along the flow with its error (points) and the estimate's bound (1 + kappa h)^(-k) (line), kappa = {:.3f}.", t.convexity->kappa), "step k", "sup|grad dF/drho|", false, true, {}};
  Series measured{"measured", Series::Style::points, {}, {}, {}, {}, 0}, bound{"bound", Series::Style::line, {}, {}, {}, {}, 1};
  for (std::size_t k = 0; k < t.points.size(); ++k) {
    measured.x.push_back(static_cast<double>(k)), measured.y.push_back(t.points[k].lipschitz), measured.error.push_back(t.lipschitz_error);
    bound.x.push_back(static_cast<double>(k)), bound.y.push_back(t.points[0].lipschitz * std::pow(1 + h * t.convexity->kappa, -static_cast<double>(k)));
  }
  figure.series = {bound, measured};
  result.figures.push_back(std::move(figure));
}

/// Labelled particles: theorems of their own Hilbert space.
void add_particles(StudyResult& result, Table& table, const StudyOptions& options) {
  const bool quick = options.scale == Scale::quick;
  const int targets = quick ? 40 : 500;
  RandomStream random(options.seed, "grid-flows-particles");
  // The line: entropy by spacing, attraction, a convex potential.
  FreeEnergy line(Model(quadratic_cosine(), Vector{{1, 0, 0.3, 1.5}}, 2));
  line.add_interaction(ornstein_uhlenbeck(), Vector{{0.8, 0}});
  const ParticleStep on_line(line, {.energy = {.entropy = ParticleEntropy::spacing}, .tolerance = 1e-12});
  const Index n = quick ? 60 : 300;
  const auto rest = find_minimiser(on_line, Particles(Vector::LinSpaced(n, -1.5, 1.5).transpose()));
  const Particles moved(rest.measure.points().unaryExpr([](double x) { return 1.4 * x + 1.2 + 0.2 * std::sin(2 * x); }));
  std::vector<Particles> states, nu;
  const FlowTrace of_line = trace_flow(on_line, moved, 0.2, 15, rest, &states);
  add_claimed(result, flow_inequalities(of_line, "line"));
  result.checks.push_back(lipschitz_estimate(of_line, "line"));
  for (int i = 0; i < targets; ++i) {
    Matrix points(1, n);
    points(0, 0) = -2 + random.normal();
    const double scale = std::exp(0.5 * random.normal()) * 4 / static_cast<double>(n);
    for (Index j = 1; j < n; ++j) points(0, j) = points(0, j - 1) + scale * (0.1 + random.exponential());
    nu.emplace_back(points);
  }
  result.checks.push_back(evolution_variational_inequality(on_line, {states[0], states[5]}, 0.2, nu, "line"));
  result.checks.push_back(euler_lagrange(on_line, {states[0], states[5]}, 0.2, Matrix{{0.5, 1, 2, 4}, {0, 1, 2, 3}}, "line"));
  add_trace_row(table, "line: spacing entropy, attraction", of_line);

  // The plane: an anisotropic quartic potential (kappa found numerically) and attraction, no entropy.
  const auto quartic = formula("x1^2/2 + x2^2 + 0.02*x1^4 + 0.03*(x1+x2)^4", 2);
  FreeEnergy plane;
  plane.add_potential(quartic, Vector()).add_interaction(ornstein_uhlenbeck(2), Vector{{0.6, 0, 0.6, 0, 0}});
  plane.assume_convexity(convexity_on(*quartic, Vector(), Vector{{-3, -3}}, Vector{{3, 3}}, 401));
  const ParticleStep in_plane(plane, {.tolerance = 1e-12});
  const auto cloud = [&](double spread) {
    Matrix points(2, quick ? 40 : 200);
    const double x = random.normal(), y = random.normal();
    for (Index j = 0; j < points.cols(); ++j) points(0, j) = 0.5 * x + spread * random.normal(), points(1, j) = 0.5 * y + spread * random.normal();
    return Particles(points);
  };
  const Particles start = cloud(0.8);
  const auto centre = find_minimiser(in_plane, start);
  const FlowTrace of_plane = trace_flow(in_plane, start, 0.2, 15, centre, &states);
  add_claimed(result, flow_inequalities(of_plane, "swarm"));
  nu.clear();
  for (int i = 0; i < targets; ++i) nu.push_back(cloud(std::exp(0.3 * random.normal())));
  result.checks.push_back(evolution_variational_inequality(in_plane, {states[0], states[5]}, 0.2, nu, "swarm"));
  const Matrix functions{{1, 0.3, -2, 0}, {0.5, 2, 1, 0.7}, {0, 1, 0.4, 2}};
  result.checks.push_back(euler_lagrange(in_plane, {states[0], states[5]}, 0.2, functions, "swarm"));
  add_trace_row(table, "plane: quartic potential, attraction", of_plane);

  // The blob entropy is not convex in the positions: a1 and a3 hold all the same, the rest is not claimed.
  const Model gaussian(ornstein_uhlenbeck(2), Vector{{2, 0.3, 1, 0.1, -0.2}}, 1.5);
  const ParticleStep blob(FreeEnergy(gaussian), {.energy = {.bandwidth = 0.4}, .tolerance = 1e-10});
  const FlowTrace of_blob = trace_flow(blob, cloud(1.0), 0.1, quick ? 8 : 20, {}, &states);
  add_claimed(result, flow_inequalities(of_blob, "blob"));
  result.checks.push_back(euler_lagrange(blob, {states[0], states[3]}, 0.1, functions, "blob"));
  result.figures.push_back(decay_figure("decay-line", "Labelled particles on the line (spacing entropy, cosine potential, attraction), h = 0.2: decay of distance, slope and energy (points) and the theorem's rates (lines).", of_line));
}

}  // namespace

StudyResult grid_flows(const StudyOptions& options) {
  StudyResult result;
  result.description =
      "The inequalities of JKO flows where densities live on grids of the plane and measures are particles. Grids: every number (F, slope, W2) has an error found by comparison with half the cells and, for the entropic step, twice the epsilon "
      "(the whole difference is taken); the back-and-forth step adds its duality gap. W2 is taken between stand-ins with closed forms: the Gaussian with the density's moments, whose distance to the density Talagrand's "
      "inequality bounds by relative entropy, and the Barenblatt profile, through the transport inequality of the energy it minimises. An instance both of whose sides lie below their errors decides nothing. Particles with labels form a Hilbert space: "
      "everything holds exactly for the discrete energy where it is convex, and only residuals and rounding are in the tolerances.";
  Table errors = error_table();
  Table cases{"cases", "The particle flows: largest residual eps_k of a step, largest W2 certificate h eps/(1 + kappa h), certificate of the minimiser.", {"case", "measure", "kappa", "h", "steps", "residual", "W2 certificate", "minimiser"}, {}};
  add_plane(result, errors, options);
  add_porous_medium(result, errors, options);
  add_box(result, errors, options);
  add_particles(result, cases, options);
  result.tables = {std::move(errors), std::move(cases)};
  return result;
}

}  // namespace jko::validation
