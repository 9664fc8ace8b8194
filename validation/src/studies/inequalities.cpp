#include "ou_case.hpp"
#include "flow_figures.hpp"
#include "own_case.hpp"
#include "studies.hpp"

#include <jko/analysis/flow_inequalities.hpp>
#include <jko/analysis/step_inequalities.hpp>
#include <jko/core/random.hpp>
#include <jko/energies/slope.hpp>
#include <jko/flows/richardson.hpp>
#include <jko/reference/ornstein_uhlenbeck.hpp>
#include <jko/measures/convert.hpp>
#include <jko/steps/gaussian_step.hpp>
#include <jko/steps/particle_step.hpp>
#include <jko/steps/quantile_step.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace jko::validation {
using namespace analysis;

void add_claimed(StudyResult& result, const std::vector<Check>& checks) {
  std::string left_out, reason;
  for (const auto& check : checks) {
    if (check.verdict == Verdict::inconclusive) {
      left_out += (left_out.empty() ? "" : ", ") + check.id;
      reason = check.reason;
    } else {
      result.checks.push_back(check);
    }
  }
  if (!left_out.empty()) result.notes.push_back(fmt::format("Not claimed: {} ({}).", left_out, reason));
}

void add_trace_row(Table& table, const std::string& what, const FlowTrace& trace) {
  double residual = 0, certificate = 0;
  for (const auto& step : trace.steps) residual = std::max(residual, step.residual), certificate = std::max(certificate, step.w2_bound);
  table.rows.push_back({what, trace.measure, fmt::format("{:.4g}", trace.convexity->kappa), fmt::format("{:g}", trace.steps.front().h), fmt::format("{}", trace.steps.size()), fmt::format("{:.1e}", residual),
                        fmt::format("{:.1e}", certificate), std::isfinite(trace.minimiser_error) ? fmt::format("{:.1e}", trace.minimiser_error) : "none"});
}

Figure decay_figure(const std::string& id, const std::string& caption, const FlowTrace& trace) {
  Figure figure{id, caption, "step k", "relative to k = 0", false, true, {}};
  const double q = 1 + trace.convexity->kappa * trace.steps.front().h;
  Series distance{"W2 to the minimiser", Series::Style::points, {}, {}, {}, {}, 0}, slope{"slope |dF|", Series::Style::points, {}, {}, {}, {}, 1}, energy{"F - min F", Series::Style::points, {}, {}, {}, {}, 2};
  Series once{"rate 1/q, q = 1 + κh", Series::Style::line, {}, {}, {}, {}, 6}, twice{"rate 1/q²", Series::Style::dashed, {}, {}, {}, {}, 6};
  for (std::size_t k = 0; k < trace.points.size(); ++k) {
    const double x = static_cast<double>(k);
    once.x.push_back(x), once.y.push_back(std::pow(q, -x));
    twice.x.push_back(x), twice.y.push_back(std::pow(q, -2 * x));
    const auto& p = trace.points[k];
    distance.x.push_back(x), distance.y.push_back(p.to_minimiser / trace.points[0].to_minimiser);
    slope.x.push_back(x), slope.y.push_back(p.slope / trace.points[0].slope);
    energy.x.push_back(x), energy.y.push_back((p.energy - trace.minimum) / (trace.points[0].energy - trace.minimum));
  }
  figure.series = {once, twice, distance, slope, energy};
  return figure;
}

namespace {

/// Left over right side of the one-step inequalities along a flow: at most 1, and how far below says what the theorem gives away.
Figure ratio_figure(const FlowTrace& trace) {
  Figure figure{"one-step-ratios", "Left side over right side of the one-step inequalities along the flow (in the report's own cases: the double well, h = 0.1). At most 1; the distance to 1 is what the theorem gives away.", "step k", "left/right", false, false, {}};
  const double h = trace.steps.front().h, kappa = trace.convexity->kappa, q = 1 + kappa * h;
  Series one{"", Series::Style::dashed, {1, static_cast<double>(trace.steps.size())}, {1, 1}, {}, {}, 6};
  Series descent{"descent a1", Series::Style::line, {}, {}, {}, {}, 0}, sharp{"descent a2, kappa", Series::Style::line, {}, {}, {}, {}, 1}, after{"slope after, b4", Series::Style::line, {}, {}, {}, {}, 2},
      before{"slope before, b4", Series::Style::line, {}, {}, {}, {}, 3}, envelope{"envelope, b4", Series::Style::line, {}, {}, {}, {}, 4};
  for (std::size_t k = 1; k < trace.points.size(); ++k) {
    const auto &p = trace.points[k], &p0 = trace.points[k - 1];
    const double moved = trace.steps[k - 1].moved, drop = p0.energy - p.energy;
    const auto put = [&](Series& s, double left, double right) { s.x.push_back(static_cast<double>(k)), s.y.push_back(left / right); };
    put(descent, moved * moved / (2 * h), drop);
    put(sharp, (1 / h + kappa / 2) * moved * moved, drop);
    put(after, p.slope, moved / h);
    put(before, moved / h, p0.slope / q);
    put(envelope, drop - moved * moved / (2 * h), h * p0.slope * p0.slope / (2 * q));
  }
  figure.series = {one, descent, sharp, after, before, envelope};
  return figure;
}

/// b3 on Ornstein-Uhlenbeck at t = 1.
void add_a_priori(StudyResult& result) {
  Figure figure{"a-priori", "Ornstein-Uhlenbeck, W2 distance of JKO to the exact law at t = 1: measured, and the a-priori bounds h |dF|(rho_0)/sqrt 2 (by the slope) and sqrt(h (F(rho_0) - min J)) (by the energy).", "step size h", "W2(rho^h, rho_t)", true, true, {}};
  Series measured{"measured", Series::Style::points, {}, {}, {}, {}, 0}, slope{"bound by the slope", Series::Style::line, {}, {}, {}, {}, 1}, energy{"bound by the energy", Series::Style::dashed, {}, {}, {}, {}, 2};
  const GaussianStep step{FreeEnergy(ou_case::model())};
  const Gaussian exact = OrnsteinUhlenbeck(ou_case::model()).law(ou_case::start(), 1);
  for (int steps = 1; steps <= 256; steps *= 4) {
    std::vector<Gaussian> states;
    const double h = 1.0 / steps;
    const FlowTrace trace = trace_flow(step, ou_case::start(), h, steps, {}, &states);
    const double error = w2(states.back(), exact);
    // The closed form of the law: a few roundings of quantities of size 2.
    for (auto& check : a_priori_error(trace, error, 32 * std::numeric_limits<double>::epsilon(), fmt::format("ou-h{}", steps))) {
      if (steps == 1 || steps == 256) result.checks.push_back(std::move(check));
      else if (check.verdict != Verdict::pass) result.checks.push_back(std::move(check));
    }
    measured.x.push_back(h), measured.y.push_back(error);
    slope.x.push_back(h), slope.y.push_back(h / std::sqrt(2.0) * trace.points[0].slope);
    energy.x.push_back(h), energy.y.push_back(std::sqrt(h * (trace.points[0].energy - trace.points[1].energy - std::pow(trace.steps[0].moved, 2) / (2 * h))));
  }
  figure.series = {slope, energy, measured};
  result.figures.push_back(std::move(figure));
}

/// Random increasing nodes around the start's: measures with the same masses.
std::vector<QuantileFunction> random_quantiles(const QuantileFunction& start, int count, std::uint64_t seed) {
  std::vector<QuantileFunction> out;
  for (int i = 0; i < count; ++i) {
    RandomStream random(seed, "inequalities", static_cast<std::uint64_t>(i));
    const double shift = 2 * random.normal(), scale = std::exp(0.7 * random.normal());
    Vector nodes = shift + scale * start.nodes().array();
    for (Index j = 1; j < nodes.size(); ++j) nodes[j] = nodes[j - 1] + (0.2 + 0.8 * random.uniform()) * scale * (start.nodes()[j] - start.nodes()[j - 1]);
    out.push_back(start.with_coordinates(nodes));
  }
  return out;
}

/// F(nu) minus the left side of the EVI, against W2(rho', nu).
Figure evi_figure(const QuantileStep& step, const QuantileFunction& from, double h, const std::vector<QuantileFunction>& nu) {
  Figure figure{"evi", "Double well (kappa = -1), one step of h = 0.2: right minus left side of the discrete EVI against random measures nu; never negative.", "W2(rho', nu)", "F(nu) - left side", true, true, {}};
  QuantileStep solver = step;
  const auto after = solver.advance(from, h).measure;
  const double kappa = step.energy().convexity()->kappa, value = step.energy_value(after).total, moved = w2(from, after);
  Series slack{"one nu", Series::Style::points, {}, {}, {}, {}, 0};
  for (const auto& target : nu) {
    const double to = w2(after, target), from_nu = w2(from, target);
    const double left = (to * to - from_nu * from_nu + moved * moved) / (2 * h) + 0.5 * kappa * to * to + value;
    slack.x.push_back(to), slack.y.push_back(step.energy_value(target).total - left);
  }
  figure.series = {slack};
  return figure;
}

/// The user's own model (--set): every inequality, with those that its assumptions do not allow as inconclusive.
StudyResult own_inequalities(const StudyOptions& options) {
  const OwnCase own = own_cases(options, {}).front();
  const int steps = 30;
  const double h = own.grid.t / steps;
  const FreeEnergy energy = own.energy();
  const QuantileStep step(energy);
  const auto start = QuantileFunction::gaussian(own.mean, own.variance, own.grid.cells, 6);
  const auto minimum = find_minimiser(step, start);
  std::vector<QuantileFunction> states;
  const FlowTrace trace = trace_flow(step, start, h, steps, minimum, &states);
  StudyResult result;
  result.description = own.text + fmt::format(": {} JKO steps of h = {:g} by quantile functions on {} cells, and every inequality of the page docs/methods/inequalities.md. Inconclusive checks say which assumption failed.", steps, h, own.grid.cells);
  result.checks = flow_inequalities(trace, "own");
  result.checks.push_back(evolution_variational_inequality(step, {states.front(), states.back()}, h, random_quantiles(start, 100, options.seed), "own"));
  {
    // The Lipschitz estimate needs the maximum principle of labelled particles with the spacing entropy: the same energy, the start's cells as particles.
    const ParticleStep particles(energy, {.energy = {.entropy = ParticleEntropy::spacing}, .tolerance = 1e-11});
    result.checks.push_back(lipschitz_estimate(trace_flow(particles, to_particles(start).measure, h, steps), "own"));
  }
  const double unit = 1 / std::sqrt(own.variance);
  result.checks.push_back(euler_lagrange(step, {states.front(), states.back()}, h, Matrix{{0.5 * unit, unit, 2 * unit}, {0, 1, 2}}, "own"));
  Table table{"cases", "The flow: largest residual eps_k of a step, largest W2 certificate h eps/(1 + kappa h), certificate of the minimiser.", {"case", "measure", "kappa", "h", "steps", "residual", "W2 certificate", "minimiser"}, {}};
  if (trace.status == Status::converged) {
    add_trace_row(table, own.name, trace);
    if (is_success(minimum.status)) result.figures.push_back(decay_figure("decay", "Decay of distance, slope and energy (points) and the theorem's rates (lines).", trace));
    result.figures.push_back(ratio_figure(trace));
  }
  result.tables = {std::move(table)};
  for (const std::string& failed : own.failed) result.notes.push_back("Beside the point here, but worth knowing: " + failed + ".");
  return result;
}

}  // namespace

StudyResult inequalities(const StudyOptions& options) {
  if (!options.settings.empty()) return own_inequalities(options);
  const bool quick = options.scale == Scale::quick;
  const int steps = 30, targets = quick ? 60 : 1000;
  const Index cells = quick ? 200 : 1000;
  StudyResult result;
  result.description = fmt::format(
      "Energy descent (a1, a2), Euler-Lagrange (a3), discrete EVI (b1), a-priori error (b3), slopes (b4), contraction (b5), decay (d5), regularisation (d6) and the Lipschitz estimate (b9) along JKO flows of {} steps: Ornstein-Uhlenbeck (Gaussian, "
      "also a translate of the stationary law, where most inequalities are equalities), Ornstein-Uhlenbeck in the plane with a covariance that does not commute, x^2/2 + 0.3 cos(1.5 x) (kappa = 0.325) and the double "
      "well (kappa = -1) by quantile functions on {} cells. On quantile functions the inequalities hold exactly for the discrete problem, whose measures form a convex cone of a Hilbert space; so no "
      "tolerance contains a discretisation error, except in the Euler-Lagrange estimate. Tolerances are the steps' residuals, propagated through the proofs, the certificate of the minimiser, and rounding.", steps, cells);
  Table table{"cases", "The flows: largest residual eps_k of a step, largest W2 certificate h eps/(1 + kappa h), certificate of the minimiser.", {"case", "measure", "kappa", "h", "steps", "residual", "W2 certificate", "minimiser"}, {}};

  const GaussianStep ou{FreeEnergy(ou_case::model())};
  const auto ou_minimum = find_minimiser(ou, ou_case::start());
  const Gaussian translate(Vector{{ou_case::m0}}, Matrix{{1 / (ou_case::beta * ou_case::kappa)}});
  const FlowTrace of_ou = trace_flow(ou, ou_case::start(), 0.1, steps, ou_minimum), of_translate = trace_flow(ou, translate, 0.1, steps, ou_minimum);
  add_claimed(result, flow_inequalities(of_ou, "ou"));
  add_claimed(result, flow_inequalities(of_translate, "ou-translate"));
  result.checks.push_back(lipschitz_estimate(of_translate, "ou-translate"));
  add_trace_row(table, "Ornstein-Uhlenbeck", of_ou);
  add_trace_row(table, "Ornstein-Uhlenbeck, translate", of_translate);

  const Model plane_model(ornstein_uhlenbeck(2), Vector{{2, 0.3, 1, 0.1, -0.2}}, 1.5);
  const GaussianStep plane{FreeEnergy(plane_model)};
  const Gaussian plane_start(Vector{{1, -1}}, Matrix{{1.2, 0.4}, {0.4, 0.7}});
  std::vector<Gaussian> plane_states, plane_nu;
  const FlowTrace of_plane = trace_flow(plane, plane_start, 0.1, steps, find_minimiser(plane, plane_start), &plane_states);
  add_claimed(result, flow_inequalities(of_plane, "ou-plane"));
  add_trace_row(table, "Ornstein-Uhlenbeck, plane", of_plane);
  for (int i = 0; i < targets; ++i) {
    RandomStream random(options.seed, "inequalities-plane", static_cast<std::uint64_t>(i));
    Matrix root(2, 2);
    for (double& x : root.reshaped()) x = random.normal();
    plane_nu.emplace_back(Vector{{2 * random.normal(), 2 * random.normal()}}, root * root.transpose() + 0.05 * Matrix::Identity(2, 2));
  }
  const std::vector<Gaussian> plane_from{plane_states[0], plane_states[5], plane_states[20]};
  result.checks.push_back(evolution_variational_inequality(plane, plane_from, 0.1, plane_nu, "ou-plane"));
  result.checks.push_back(euler_lagrange(plane, plane_from, 0.1, Matrix{{1, 0.3, -2, 0}, {0.5, 2, 1, 0.7}, {0, 1, 0.4, 2}}, "ou-plane"));

  const Model cosine_model(quadratic_cosine(), Vector{{1, 0, 0.3, 1.5}}, 2);
  const QuantileStep cosine{FreeEnergy(cosine_model)};
  const auto cosine_start = QuantileFunction::gaussian(1.5, 0.4, cells, 6);
  std::vector<QuantileFunction> cosine_states, other_states;
  const auto cosine_minimum = find_minimiser(cosine, cosine_start);
  const FlowTrace of_cosine = trace_flow(cosine, cosine_start, 0.2, steps, cosine_minimum, &cosine_states);
  add_claimed(result, flow_inequalities(of_cosine, "cosine"));
  add_trace_row(table, "quadratic plus cosine", of_cosine);
  const FlowTrace of_other = trace_flow(cosine, cosine_start.with_coordinates(2 * cosine_start.nodes().array() - 5), 0.2, steps, cosine_minimum, &other_states);
  Vector distances(steps + 1);
  for (Index k = 0; k <= steps; ++k) distances[k] = w2(cosine_states[static_cast<std::size_t>(k)], other_states[static_cast<std::size_t>(k)]);
  result.checks.push_back(contraction_between(of_cosine, of_other, distances, "cosine"));
  {
    // b3 for the discrete problem: its exact gradient flow by extrapolated implicit midpoint flows, whose error estimate is the reference's error.
    const auto r = richardson(cosine, cosine_start, {.scheme = Scheme::vim, .h = 0.05, .steps = 4 * steps, .keep_every = 4 * steps}, {.levels = 3}, options.observer);
    if (is_success(r.status)) add_claimed(result, a_priori_error(of_cosine, w2(cosine_states.back(), r.states.back().measure), r.states.back().error, "cosine"));
    else result.notes.push_back("The reference flow of the a-priori bound on quadratic plus cosine failed: " + std::string(describe(r.status)));
  }
  const auto cosine_nu = random_quantiles(cosine_start, targets, options.seed);
  result.checks.push_back(evolution_variational_inequality(cosine, {cosine_states[0], cosine_states[10]}, 0.2, cosine_nu, "cosine"));

  {
    // b9: labelled particles with the spacing entropy, whose discrete energy has the maximum principle, from the minimiser moved by a bounded field.
    const ParticleStep spacing(FreeEnergy(cosine_model), {.energy = {.entropy = ParticleEntropy::spacing}, .tolerance = 1e-12});
    const auto rest = find_minimiser(spacing, to_particles(QuantileFunction::gaussian(0, 0.5, 100, 6)).measure);
    const Particles start = rest.measure.with_coordinates(rest.measure.coordinates().unaryExpr([](double x) { return x + 0.8 + 0.3 * std::sin(1.3 * x); }));
    const FlowTrace of_spacing = trace_flow(spacing, start, 0.2, steps, rest);
    result.checks.push_back(lipschitz_estimate(of_spacing, "cosine"));
    add_trace_row(table, "quadratic plus cosine, for b9", of_spacing);
    Figure figure{"lipschitz", "Quadratic plus cosine, labelled particles, h = 0.2: sup|grad dF/drho| along the flow (points) and the Lipschitz estimate's bound with kappa = 0.325 (line).", "step k", "sup|grad dF/drho|", false, true, {}};
    Series measured{"measured", Series::Style::points, {}, {}, {}, {}, 0}, bound{"bound", Series::Style::line, {}, {}, {}, {}, 1};
    for (std::size_t k = 0; k < of_spacing.points.size(); ++k) {
      measured.x.push_back(static_cast<double>(k)), measured.y.push_back(of_spacing.points[k].lipschitz);
      bound.x.push_back(static_cast<double>(k)), bound.y.push_back(of_spacing.points[0].lipschitz * std::pow(1 + 0.2 * of_spacing.convexity->kappa, -static_cast<double>(k)));
    }
    figure.series = {bound, measured};
    result.figures.push_back(std::move(figure));
  }
  const Model well_model(double_well(), Vector{{1, 1, 0}}, 2);
  const QuantileStep well{FreeEnergy(well_model)};
  const auto well_start = QuantileFunction::gaussian(0.5, 0.3, cells, 6);
  std::vector<QuantileFunction> well_states;
  const FlowTrace of_well = trace_flow(well, well_start, 0.1, steps, {}, &well_states);
  add_claimed(result, flow_inequalities(of_well, "double-well"));
  add_trace_row(table, "double well", of_well);
  const auto well_nu = random_quantiles(well_start, targets, options.seed + 1);
  result.checks.push_back(evolution_variational_inequality(well, {well_states[0], well_states[10]}, 0.2, well_nu, "double-well"));
  result.checks.push_back(euler_lagrange(well, {well_states[0], well_states[3], well_states[10]}, 0.1, Matrix{{0.5, 1, 2, 4}, {0, 1, 2, 3}}, "double-well"));

  result.figures.push_back(decay_figure("decay-cosine", "Quadratic plus cosine, h = 0.2: decay of distance, slope and energy (points) and the theorem's rates with kappa = 0.325 (lines). The true rate is the spectral gap, which exceeds kappa.", of_cosine));
  result.figures.push_back(decay_figure("decay-translate", "A translate of the Ornstein-Uhlenbeck stationary law, h = 0.1: equality in all three.", of_translate));
  result.figures.push_back(ratio_figure(of_well));
  result.figures.push_back(evi_figure(well, well_states[0], 0.2, well_nu));
  add_a_priori(result);
  Figure contraction{"contraction-between", "Two JKO flows of quadratic plus cosine in one dimension, h = 0.2: their W2 distance (points) and the bound (line).", "step k", "W2(rho_k, nu_k)", false, true, {}};
  Series measured{"measured", Series::Style::points, {}, {}, {}, {}, 0}, bound{"bound, rate 1/(1 + κh)", Series::Style::line, {}, {}, {}, {}, 1};
  for (Index k = 0; k <= steps; ++k) {
    measured.x.push_back(static_cast<double>(k)), measured.y.push_back(distances[k]);
    bound.x.push_back(static_cast<double>(k)), bound.y.push_back(distances[0] * std::pow(1 + 0.2 * of_cosine.convexity->kappa, -static_cast<double>(k)));
  }
  contraction.series = {bound, measured};
  result.figures.push_back(std::move(contraction));
  result.notes.push_back("Contraction between two flows is claimed in one dimension only: in the plane no theorem says so.");
  result.tables = {std::move(table)};
  return result;
}

}  // namespace jko::validation
