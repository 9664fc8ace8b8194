#include "ou_case.hpp"
#include "own_case.hpp"
#include "studies.hpp"

#include <jko/analysis/functional_inequalities.hpp>
#include <jko/core/random.hpp>
#include <jko/energies/slope.hpp>
#include <jko/steps/gaussian_step.hpp>
#include <jko/steps/quantile_step.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace jko::validation {
namespace {

using namespace analysis;

/// A one-dimensional model with the interval on which its stationary law is cut (mass outside below 1e-12).
struct Case {
  std::string id, label;
  Model model;
  double lower, upper;
  double convexity;        // proven kappa, or the numerical one of the user's own model
  double holley_stroock;   // rate, 0 where the split is not obvious
  double mean = 0.8, variance = 0.3;  // of the start
};

std::vector<Case> cases() {
  // quadratic plus cosine: Psi_0 = x^2/2 of rate 1 and U = 0.3 cos(1.5 x) of oscillation 0.6.
  return {{"ou", "Ornstein-Uhlenbeck", ou_case::model(), ou_case::mu - 5, ou_case::mu + 5, ou_case::kappa, ou_case::kappa},
          {"cosine", "quadratic plus cosine", Model(quadratic_cosine(), Vector{{1, 0, 0.3, 1.5}}, 2), -6, 6, 0.325, analysis::holley_stroock(1, 2, 0.6)},
          {"double-well", "double well", Model(double_well(), Vector{{1, 1, 0}}, 2), -4, 4, -1, 0}};
}

/// d1, d2, d3 on random Gaussians in the plane, a translate, and random quantile functions.
void add_three(StudyResult& result, int count, std::uint64_t seed) {
  const GaussianStep plane{FreeEnergy(Model(ornstein_uhlenbeck(2), Vector{{2, 0.3, 1, 0.1, -0.2}}, 1.5))};
  const auto minimum = find_minimiser(plane, Gaussian(Vector{{0, 0}}, Matrix::Identity(2, 2)));
  std::vector<Gaussian> gaussians;
  std::vector<QuantileFunction> quantiles;
  const QuantileStep cosine{FreeEnergy(cases()[1].model)};
  const auto start = QuantileFunction::gaussian(0, 0.5, 200, 6);
  const auto cosine_minimum = find_minimiser(cosine, start);
  Figure figure{"three-inequalities", "Quadratic plus cosine, random measures: W2 and slope against the energy excess, each with the line the inequality puts as a bound.", "F - min F", "value", true, true, {}};
  Series talagrand{"κ W²/2", Series::Style::points, {}, {}, {}, {}, 0}, log_sobolev{"slope²/(2κ)", Series::Style::points, {}, {}, {}, {}, 1}, hwi{"W slope − κW²/2", Series::Style::points, {}, {}, {}, {}, 2};
  const double kappa = cases()[1].convexity;
  for (int i = 0; i < count; ++i) {
    RandomStream random(seed, "functional-inequalities", static_cast<std::uint64_t>(i));
    Matrix root(2, 2);
    for (double& x : root.reshaped()) x = random.normal();
    gaussians.emplace_back(Vector{{random.normal(), random.normal()}}, root * root.transpose() + 0.01 * Matrix::Identity(2, 2));
    quantiles.push_back(start.with_coordinates(random.normal() + std::exp(0.5 * random.normal()) * start.nodes().array()));
    const auto& q = quantiles.back();
    const double excess = cosine.energy_value(q).total - cosine_minimum.energy, gradient = slope(cosine.energy(), q), distance = w2(q, cosine_minimum.measure);
    for (Series* s : {&talagrand, &log_sobolev, &hwi}) s->x.push_back(excess);
    talagrand.y.push_back(0.5 * kappa * distance * distance);
    log_sobolev.y.push_back(gradient * gradient / (2 * kappa));
    hwi.y.push_back(distance * gradient - 0.5 * kappa * distance * distance);
  }
  const auto [low, high] = std::minmax_element(talagrand.x.begin(), talagrand.x.end());
  Series diagonal{"F − min F", Series::Style::line, {*low, *high}, {*low, *high}, {}, {}, 6};
  figure.caption = "Quadratic plus cosine, random measures: the Talagrand side κW²/2 lies below the energy excess (the diagonal), the log-Sobolev and HWI sides above it.";
  figure.series = {diagonal, talagrand, log_sobolev, hwi};
  result.figures.push_back(std::move(figure));
  for (auto&& checks : {functional_inequalities(plane, gaussians, minimum, "plane"), functional_inequalities(cosine, quantiles, cosine_minimum, "cosine")}) {
    for (const Check& c : checks) result.checks.push_back(c);
  }
  // Equality: one check a side more, that the two sides agree.
  const GaussianStep ou{FreeEnergy(ou_case::model())};
  const auto ou_minimum = find_minimiser(ou, ou_case::start());
  const Gaussian translate(ou_minimum.measure.mean() + Vector{{1.0}}, ou_minimum.measure.covariance());
  for (const Check& c : functional_inequalities(ou, std::vector<Gaussian>{translate}, ou_minimum, "translate")) {
    result.checks.push_back(check_equal(c.id, c.claim + ": equality for a translate of a Gaussian pi", c.source + ", test T14", c.statistic, c.bound, c.tolerance, c.tolerance_reason));
  }
}

/// The observed decay of F - min F along a JKO flow, step by step, with the slowest mode's asymptote.
struct Decay {
  std::vector<double> excess;
  double last_factor = 0;  // of the last step at which the distance to pi is resolved
  double left = 0;         // that distance relative to the start's
};
Decay observe(const Case& which, Index cells, double h, int steps) {
  QuantileStep step{FreeEnergy(which.model)};
  auto rho = QuantileFunction::gaussian(which.mean, which.variance, cells, 6);
  std::vector<QuantileFunction> states{rho};
  for (int k = 0; k < steps; ++k) states.push_back(rho = step.advance(rho, h).measure);
  // The minimiser by further steps: after 60 of the largest admissible size nothing moves.
  auto pi = rho;
  const double large = which.convexity < 0 ? 0.9 / -which.convexity : std::min(100 / which.convexity, 1e4);
  for (int k = 0; k < (which.convexity < 0 ? 400 : 60); ++k) pi = step.advance(pi, large).measure;
  const double minimum = step.energy_value(pi).total;
  Decay out;
  for (const auto& state : states) out.excess.push_back(step.energy_value(state).total - minimum);
  // By distances, which keep their digits when the energy excess does not: near pi the excess is quadratic in the distance. Below 1e-5 of the start's, pi's own error would show.
  std::size_t k = 1;
  const double first = w2(states[0], pi);
  while (k + 1 < states.size() && w2(states[k + 1], pi) > 1e-5 * first) ++k;
  out.left = w2(states[k - 1], pi) / first;
  out.last_factor = std::pow(w2(states[k], pi) / w2(states[k - 1], pi), 2);
  return out;
}

void add_rates(StudyResult& result, const std::vector<Case>& list, Index cells) {
  Table table{"rates", "Rates (1/time) of the stationary laws: kappa by the potential's convexity, Holley-Stroock, log-Sobolev and spectral gap (Poincaré) by Hardy bounds, the gap by finite volumes with its change under refinement.",
              {"model", "kappa", "Holley-Stroock", "log-Sobolev between", "gap between", "gap", "change"}, {}};
  Table decay{"decay", "Energy excess of JKO from N(0.8, 0.3): the factor of one step implied by each assumption, and the observed one at the start and at the end; h = 0.2.",
              {"model", "convex, kappa", "log-Sobolev, Hardy bound", "log-Sobolev, Holley-Stroock", "largest observed", "last observed", "1/(1 + gap h)^2"}, {}};
  Figure figure{"decay", "Energy excess along JKO flows, h = 0.2, from N(0.8, 0.3): observed (points) and what the log-Sobolev rate guarantees (lines).", "time t", "F - min F", false, true, {}};
  const double h = 0.2;
  int colour = 0;
  for (const Case& c : list) {
    const HardyBounds b = hardy_bounds(c.model, c.lower, c.upper);
    const Bounded gap = spectral_gap(c.model, c.lower, c.upper, 800);
    table.rows.push_back({c.label, fmt::format("{:g}", c.convexity), c.holley_stroock > 0 ? fmt::format("{:.4f}", c.holley_stroock) : "", fmt::format("{:.4f}, {:.4f}", b.log_sobolev_lower, b.log_sobolev_upper),
                          fmt::format("{:.4f}, {:.4f}", b.poincare_lower, b.poincare_upper), fmt::format("{:.6f}", gap.value), fmt::format("{:.1e}", gap.error)});
    const char* refinement = "change of the gap under refinement";
    result.checks.push_back(check_at_most("gap-" + c.id + "-muckenhoupt-lower", "1/(4 beta B) <= spectral gap", "BobkovGoetze1999", b.poincare_lower, gap.value, gap.error, refinement));
    result.checks.push_back(check_at_most("gap-" + c.id + "-muckenhoupt-upper", "spectral gap <= 2/(beta B)", "BobkovGoetze1999", gap.value, b.poincare_upper, gap.error, refinement));
    if (c.convexity > 0) {
      result.checks.push_back(check_at_most("gap-" + c.id + "-bakry-emery", "kappa <= spectral gap", "theory.md d1", c.convexity, gap.value, gap.error, refinement));
      result.checks.push_back(check_at_most("log-sobolev-" + c.id + "-bakry-emery", "kappa <= upper bound of the log-Sobolev rate", "BartheRoberto2003, theory.md d1", c.convexity, b.log_sobolev_upper, 0, "a necessary condition of two theorems; no discretisation error matters at this distance"));
    }
    if (c.id == "ou") result.checks.push_back(check_equal("gap-ou", "the spectral gap of Ornstein-Uhlenbeck is kappa", "closed form", gap.value, c.convexity, gap.error, refinement));
    const int steps = c.convexity > 0 ? 60 : 120;
    const Decay fine = observe(c, cells, h, steps), coarse = observe(c, cells / 2, h, steps);
    double largest = 0;
    for (std::size_t k = 1; k < fine.excess.size() && fine.excess[k] > 1e-9; ++k) largest = std::max(largest, fine.excess[k] / fine.excess[k - 1]);
    const double lsi = std::max({b.log_sobolev_lower, c.holley_stroock, std::max(0.0, c.convexity)});
    const double by_lsi = decay_factor(DecayAssumption::log_sobolev, lsi, h);
    decay.rows.push_back({c.label, c.convexity > 0 ? fmt::format("{:.4f}", decay_factor(DecayAssumption::convex, c.convexity, h)) : "", fmt::format("{:.4f}", decay_factor(DecayAssumption::log_sobolev, b.log_sobolev_lower, h)),
                          c.holley_stroock > 0 ? fmt::format("{:.4f}", decay_factor(DecayAssumption::log_sobolev, c.holley_stroock, h)) : "", fmt::format("{:.4f}", largest), fmt::format("{:.5f}", fine.last_factor),
                          fmt::format("{:.5f}", std::pow(1 + gap.value * h, -2))});
    result.checks.push_back(check_at_most("decay-" + c.id + "-log-sobolev", "F(rho_k) - min F <= (1 + lambda h)^{-1} (F(rho_{k-1}) - min F) with the best proven log-Sobolev rate lambda", "theory.md d5", largest, by_lsi, std::abs(fine.last_factor - coarse.last_factor),
                                          "largest factor while the excess is above 1e-9; tolerance: its change under refinement of the cells"));
    result.checks.push_back(check_equal("decay-" + c.id + "-slowest-mode", "near pi a JKO step multiplies the energy excess by (1 + lambda_1 h)^{-2}, lambda_1 the spectral gap", "linearisation: the Hessian of F at pi has the spectrum of -L", fine.last_factor,
                                        std::pow(1 + gap.value * h, -2), 2 * std::abs(fine.last_factor - coarse.last_factor) + 2 * h * gap.error + fine.left,
                                        "twice the change under refinement of the cells, the gap's change, and the distance to pi left there, relative to the start (nonlinear terms)"));
    Series points{c.label, Series::Style::points, {}, {}, {}, {}, colour}, line{"", Series::Style::line, {}, {}, {}, {}, colour};
    for (std::size_t k = 0; k < fine.excess.size(); k += 2) {
      if (fine.excess[k] < 1e-9) break;
      points.x.push_back(h * static_cast<double>(k)), points.y.push_back(fine.excess[k]);
      line.x.push_back(h * static_cast<double>(k)), line.y.push_back(fine.excess[0] * std::pow(by_lsi, static_cast<double>(k)));
    }
    figure.series.push_back(std::move(line));
    figure.series.push_back(std::move(points));
    ++colour;
  }
  result.tables.push_back(std::move(table));
  result.tables.push_back(std::move(decay));
  result.figures.push_back(std::move(figure));
}

/// Rates of the double well against beta: the gap closes like e^{-beta/4} (the barrier is 1/4).
void add_barrier(StudyResult& result) {
  Figure figure{"barrier", "Double well x⁴/4 − x²/2: spectral gap and the proven bounds of the log-Sobolev rate (band) against β. Both close like exp(−β/4), as the barrier is 1/4 high.", "inverse temperature β", "rate (1/time)", false, true, {}};
  Series band{"log-Sobolev rate, between", Series::Style::band, {}, {}, {}, {}, 0}, gap{"spectral gap", Series::Style::line, {}, {}, {}, {}, 1}, kramers{"exp(−β/4) √2/π", Series::Style::dashed, {}, {}, {}, {}, 6};
  for (double beta = 1; beta <= 32; beta += 1) {
    const Model model(double_well(), Vector{{1, 1, 0}}, beta);
    const HardyBounds b = hardy_bounds(model, -4, 4, 1000);
    band.x.push_back(beta), band.y.push_back(b.log_sobolev_lower), band.upper.push_back(b.log_sobolev_upper);
    gap.x.push_back(beta), gap.y.push_back(spectral_gap(model, -4, 4, 400).value);
    // Kramers: both wells exchange at 2 sqrt(Psi''(min) |Psi''(0)|)/(2 pi) e^{-beta/4}, Psi''(min) = 2.
    kramers.x.push_back(beta), kramers.y.push_back(std::sqrt(2.0) / std::numbers::pi * std::exp(-beta / 4));
  }
  // Its relative correction is O(1/beta): three gaps at beta, 2 beta, 4 beta extrapolate it away.
  const auto ratio = [](double beta) {
    const Model model(double_well(), Vector{{1, 1, 0}}, beta);
    return spectral_gap(model, -3, 3, 1500).value / (std::sqrt(2.0) / std::numbers::pi * std::exp(-beta / 4));
  };
  const double r1 = ratio(12), r2 = ratio(24), r4 = ratio(48), once = 2 * r2 - r1, again = 2 * r4 - r2, value = (4 * again - once) / 3;
  result.checks.push_back(check_equal("barrier-kramers", "gap/(sqrt(2)/pi e^{-beta/4}) -> 1 as beta -> infinity (Kramers)", "Kramers' formula, prefactor from the curvatures 2 and 1", value, 1, 2 * std::abs(value - again),
                                      "twice the last change of the extrapolation in 1/beta from beta = 12, 24, 48 (beyond, rounding reaches the gap)"));
  figure.series = {band, kramers, gap};
  result.figures.push_back(std::move(figure));
}

/// Bakry-Emery: KL along the Fokker-Planck equation.
void add_entropy(StudyResult& result, const std::vector<Case>& list, Index cells) {
  Figure figure{"entropy", "Relative entropy along the Fokker-Planck equation from N(0.8, 0.3), finite volumes (points), and exp(−2κt) times its start where κ > 0 (lines).", "time t", "KL", false, true, {}};
  int colour = 0;
  for (const Case& c : list) {
    const auto start = [&](double x) { return std::exp(-(x - c.mean) * (x - c.mean) / (2 * c.variance)); };
    const auto fine = entropy_decay(c.model, start, c.lower, c.upper, cells, 3, 60), coarse = entropy_decay(c.model, start, c.lower, c.upper, cells / 2, 3, 60);
    if (c.convexity > 0) {
      Index worst = 1;
      const auto bound = [&](Index k) { return std::exp(-2 * c.convexity * fine.t[k]) * fine.relative_entropy[0]; };
      for (Index k = 2; k < fine.t.size(); ++k) {
        if (fine.relative_entropy[k] / bound(k) > fine.relative_entropy[worst] / bound(worst)) worst = k;
      }
      result.checks.push_back(check_at_most("entropy-" + c.id, "KL(rho_t | pi) <= e^{-2 kappa t} KL(rho_0 | pi) along the Fokker-Planck equation", "theory.md d1", fine.relative_entropy[worst], bound(worst),
                                            std::abs(fine.relative_entropy[worst] - coarse.relative_entropy[worst]), fmt::format("change of KL under refinement of the cells; the largest ratio of 60 times, at t = {:g}", fine.t[worst])));
    }
    // d/dt KL = -FI/beta at t = 0.5, by central differences in time of two widths.
    const Index k = 10;
    const auto derivative = [&](const EntropyDecay& d, Index width) { return -(d.relative_entropy[k + width] - d.relative_entropy[k - width]) / (2 * static_cast<double>(width) * d.t[1]); };
    const double near = derivative(fine, 1), wide = derivative(fine, 2);
    result.checks.push_back(check_equal("dissipation-" + c.id, "d/dt KL(rho_t | pi) = -FI(rho_t | pi)/beta at t = 0.5", "de Bruijn's identity", (4 * near - wide) / 3, fine.fisher_information[k] / c.model.beta(),
                                        std::abs(wide - near) / 3 + std::abs(fine.fisher_information[k] - coarse.fisher_information[k]) / c.model.beta() + std::abs(near - derivative(coarse, 1)),
                                        "a third of the difference of two central differences in time, and the changes of FI and of the derivative under refinement of the cells"));
    Series points{c.label, Series::Style::points, {}, {}, {}, {}, colour}, line{"", Series::Style::line, {}, {}, {}, {}, colour};
    for (Index i = 0; i < fine.t.size(); i += 2) {
      points.x.push_back(fine.t[i]), points.y.push_back(fine.relative_entropy[i]);
      if (c.convexity > 0) line.x.push_back(fine.t[i]), line.y.push_back(std::exp(-2 * c.convexity * fine.t[i]) * fine.relative_entropy[0]);
    }
    if (!line.x.empty()) figure.series.push_back(std::move(line));
    figure.series.push_back(std::move(points));
    ++colour;
  }
  result.figures.push_back(std::move(figure));
}

/// The user's own model (--set).
StudyResult own_functional_inequalities(const StudyOptions& options) {
  const OwnCase own = own_cases(options, {}).front();
  const FreeEnergy energy = own.energy();
  const double kappa = energy.convexity()->kappa;
  StudyResult result;
  result.description = own.text + fmt::format(": functional inequalities on random measures, the best constants, and the decay of JKO and of the Fokker-Planck equation. kappa = {:.4g} ({}{}).", kappa,
                                              energy.convexity()->proven ? "" : "found numerically, not proven: ", energy.convexity()->reason);
  for (const std::string& failed : own.failed) result.notes.push_back("Assumption not met: " + failed + ".");
  const QuantileStep step(energy);
  const auto start = QuantileFunction::gaussian(own.mean, own.variance, own.grid.cells, 6);
  std::vector<QuantileFunction> measures;
  for (int i = 0; i < 100; ++i) {
    RandomStream random(options.seed, "functional-inequalities", static_cast<std::uint64_t>(i));
    measures.push_back(start.with_coordinates(random.normal() * std::sqrt(own.variance) + own.mean + std::exp(0.5 * random.normal()) * (start.nodes().array() - own.mean)));
  }
  result.checks = functional_inequalities(step, measures, find_minimiser(step, start), "own");
  const std::vector<Case> list{{"own", own.name, own.grid.model, own.grid.lower, own.grid.upper, kappa, 0, own.mean + 0.37 * std::sqrt(own.variance), own.variance}};
  result.notes.push_back("The decays start a little to the right of your start (by 0.37 standard deviations): a symmetric start in a symmetric potential would never see the slowest mode.");
  if (!own.unresolved.empty()) {
    result.checks.push_back(inconclusive("own-rates", "rates of pi, and the decay of JKO and of the Fokker-Planck equation", "theory.md d1, d5", own.why_unresolved()));
    return result;
  }
  if (kappa > -4) add_rates(result, list, own.grid.cells);  // steps of 0.2 must have one minimiser
  else result.notes.push_back(fmt::format("The decay of JKO is left out: with kappa = {:.4g} steps of h = 0.2 may have several minimisers.", kappa));
  add_entropy(result, list, own.grid.cells);
  return result;
}

}  // namespace

StudyResult functional_inequalities(const StudyOptions& options) {
  if (!options.settings.empty()) return own_functional_inequalities(options);
  const bool quick = options.scale == Scale::quick;
  StudyResult result;
  result.description =
      "Log-Sobolev (d1), Talagrand (d2) and HWI (d3) inequalities on random measures and as equalities on translates; the best constants of three stationary laws (beta = 2): the spectral gap by finite volumes, "
      "Muckenhoupt-type bounds, Bakry-Emery's kappa and Holley and Stroock's perturbation; and what they imply for JKO. A log-Sobolev rate lambda alone guarantees the factor 1/(1 + lambda h) a step, kappa-convexity "
      "1/(1 + kappa h)^2; near the minimiser the observed factor is 1/(1 + lambda_1 h)^2 with lambda_1 the spectral gap, for convex and double-well potentials alike. The published constants of the log-Sobolev bounds were "
      "quoted from memory and are held against the Gaussian and the double well in the tests.";
  add_three(result, quick ? 80 : 1000, options.seed);
  add_rates(result, cases(), quick ? 300 : 1200);
  add_barrier(result);
  add_entropy(result, cases(), quick ? 600 : 2400);
  return result;
}

}  // namespace jko::validation
