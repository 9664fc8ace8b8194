#include <jko/estimators/diffusion_likelihood.hpp>

#include <jko/core/check.hpp>
#include <jko/estimators/fokker_planck_density.hpp>
#include <jko/estimators/simulated_likelihood.hpp>

#include "diffusion_terms.hpp"
#include "fokker_planck.hpp"
#include "jko_terms.hpp"
#include "linear_gaussian.hpp"
#include "maximise.hpp"
#include "numerical_error.hpp"
#include "simulated_terms.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

namespace jko::estimators {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
/// Schemes with a discretisation of their own.
bool is_numerical(Transition transition) { return transition == Transition::fokker_planck || transition == Transition::strang; }

Refinement refinement_for(const Transitions& data, const Diffusion& diffusion, Transition transition, int level) {
  return refine([&](int l) { return (transition == Transition::strang ? strang_terms(data, diffusion, l) : fokker_planck_terms(data, diffusion, false, l)).log_density.sum(); }, level);
}

Terms terms(const Transitions& data, const Diffusion& diffusion, Transition transition, int refinement) {
  switch (transition) {
    case Transition::exact: return exact_terms(data, diffusion);
    case Transition::euler:
    case Transition::elerian:
    case Transition::ozaki:
    case Transition::shoji_ozaki: return local_terms(data, diffusion, transition);
    case Transition::kessler_1: return kessler_terms(data, diffusion, 1);
    case Transition::kessler_2: return kessler_terms(data, diffusion, 2);
    case Transition::kessler_3: return kessler_terms(data, diffusion, 3);
    case Transition::kessler_4: return kessler_terms(data, diffusion, 4);
    case Transition::hermite_1: return hermite_terms(data, diffusion, 1);
    case Transition::hermite_2: return hermite_terms(data, diffusion, 2);
    case Transition::hermite_3: return hermite_terms(data, diffusion, 3);
    case Transition::strang: return strang_terms(data, diffusion, refinement);
    case Transition::jko: return jko_terms(data, diffusion, {});
    case Transition::pedersen: return simulated_terms(data, diffusion, {.importance = Importance::pedersen});
    case Transition::modified_bridge: return simulated_terms(data, diffusion, {.importance = Importance::modified_bridge});
    case Transition::fokker_planck: return fokker_planck_terms(data, diffusion, true, refinement);
  }
  throw DomainError("log_likelihood: unknown scheme");
}

std::string_view regime(Transition transition) {
  switch (transition) {
    case Transition::exact:
    case Transition::jko:
    case Transition::fokker_planck: return "maximum likelihood at fixed dt, n -> infinity";
    case Transition::euler:
    case Transition::elerian: return "rates sqrt(T), sqrt(n) for n dt -> infinity, n dt^2 -> 0; inconsistent at fixed dt";
    case Transition::kessler_1:
    case Transition::kessler_2:
    case Transition::kessler_3:
    case Transition::kessler_4:
    case Transition::hermite_1:
    case Transition::hermite_2:
    case Transition::hermite_3: return "rates sqrt(T), sqrt(n) for n dt -> infinity, n dt^p -> 0 with p growing with the order; inconsistent at fixed dt";
    case Transition::pedersen:
    case Transition::modified_bridge: return "maximum likelihood of the model with Euler substeps at fixed dt, n -> infinity";
    case Transition::ozaki:
    case Transition::strang:
    case Transition::shoji_ozaki: break;
  }
  return "pseudo-likelihood, n dt -> infinity and dt -> 0; exact for linear drift and constant sigma";
}

/// The free parameters that scale sigma alone, set so that sum (dX)^2/(sigma^2 dt) = n.
void match_quadratic_variation(const Transitions& data, const Diffusion& start, const Fit& fit, Vector& x) {
  const Vector &from = data.from, &next = data.next;
  const Jets at(start, from, 0, 0);
  const Vector& sigma = at.s[0];
  const double ratio = std::sqrt(((next - from).array() / sigma.array()).square().sum() / data.dt.sum());
  if (!(ratio > 0 && std::isfinite(ratio))) return;
  for (Index j = 0; j < x.size(); ++j) {
    if (fit.fixed[static_cast<std::size_t>(j)] || !at.db[0].row(j).isZero(0) || x[j] == 0) continue;
    const Vector power = x[j] * at.ds[0].row(j).transpose().cwiseQuotient(sigma);
    if (power[0] == 0 || (power.array() - power[0]).abs().maxCoeff() > 1e-9 * std::abs(power[0])) continue;
    x[j] *= std::pow(ratio, 1 / power[0]);
    return;
  }
}

/// Standard deviations of the estimates over the seeds of a simulated likelihood: H^{-1} V H^{-1}, V the simulation's variance of the score.
void add_monte_carlo(const LikelihoodValue& best, Fit& out) {
  if (best.score_variance.size() == 0 || out.covariance.size() == 0) return;
  out.monte_carlo_errors = (out.covariance * best.score_variance * out.covariance).diagonal().cwiseMax(0.0).cwiseSqrt();
  // The logarithm of a mean lies half its variance too low; half a unit of log-likelihood is what one standard error moves.
  if (best.variance > 1) {
    out.warnings.push_back(fmt::format("the simulated log-likelihood is about {:.2g} too low, which the Monte-Carlo errors do not show: use more paths, modified-bridge or fokker-planck", 0.5 * best.variance));
  }
}

/// The log-likelihood as a function of the parameters. data, start and level must outlive it.
struct Target {
  Objective value;
  bool summed;  ///< from sums over the data: an evaluation costs nothing
};
Target target_of(const Transitions& data, const Diffusion& start, Transition transition, const int& level) {
  if (auto sums = LinearGaussian::of(data, start, transition)) {
    return {[&start, sums = std::move(*sums)](const Vector& parameters, bool with_scores) { return sums(start.with_parameters(parameters), with_scores); }, true};
  }
  return {[&data, &start, transition, &level](const Vector& parameters, bool with_scores) { return collect(terms(data, start.with_parameters(parameters), transition, level), with_scores); }, false};
}

/// Climbs from the best of x, the start itself, and (for schemes beyond Euler) the Euler and Shoji-Ozaki fits from x.
LikelihoodValue climb(const Objective& target, const Transitions& data, const Diffusion& start, Transition transition, const FitOptions& options, const int& level, Vector& x, Fit& out) {
  const auto& list = start.parameter_list();
  if (transition != Transition::euler) {
    std::vector<Vector> candidates{x, start.parameters()};
    FitOptions loose = options;
    loose.tolerance = std::max(options.tolerance, 1e-3);  // starting points need no more
    (void)maximise(target_of(data, start, Transition::euler, level).value, list, loose, x, out);
    candidates.push_back(x);
    if (transition != Transition::exact && transition != Transition::shoji_ozaki) {
      (void)maximise(target_of(data, start, Transition::shoji_ozaki, level).value, list, loose, x, out);
      candidates.push_back(x);
    }
    double highest = -infinity;
    for (const Vector& candidate : candidates) {
      const double value = target(candidate, false).value;
      if (value > highest) highest = value, x = candidate;
    }
  }
  return maximise(target, list, options, x, out);
}

constexpr Index few = 500;  // transitions that a rough fit is made from, where there are eight times as many

}  // namespace

LikelihoodValue log_likelihood(const Panel& panel, const Diffusion& diffusion, Transition transition, bool with_scores) {
  const Transitions data(panel);
  diffusion.check_values("log_likelihood", data.x);
  Refinement refinement;
  if (is_numerical(transition)) refinement = refinement_for(data, diffusion, transition, 0);
  LikelihoodValue out = collect(terms(data, diffusion, transition, refinement.level), with_scores);
  if (is_numerical(transition)) out.error += refinement.error;
  return out;
}

Fit fit(const Panel& panel, const Diffusion& start, Transition transition, const FitOptions& options) {
  const auto begin = std::chrono::steady_clock::now();
  if (panel.empty()) throw ShapeError("fit: there are no paths");
  for (const Path& path : panel) path.validate();
  const Transitions data(panel);
  start.check_values("fit", data.x);
  if (std::all_of(data.paths.begin(), data.paths.end(), [&](const auto& p) { return (data.x.segment(p.first, p.second - p.first + 1).array() == data.x[p.first]).all(); })) {
    throw DomainError("fit: the data are constant, so no diffusion fits them");
  }
  const auto& list = start.parameter_list();
  Fit out = prepared_fit(start.family().describe(), list, options);
  out.estimator = name(transition);
  out.theorem = regime(transition);
  out.n = data.size();
  out.duration = data.dt.sum();
  int level = transition == Transition::strang ? 2 : 0;
  Vector x = start.parameters();
  match_quadratic_variation(data, start, out, x);
  const auto [target, summed] = target_of(data, start, transition, level);
  LikelihoodValue best;
  bool found = false;
  if (data.size() >= 8 * few && !summed) {
    // A fit to some of the data lies within a few standard errors: the search costs a tenth, and few steps remain.
    const Transitions part = data.thinned(data.size() / few);
    FitOptions loose = options;
    loose.tolerance = std::max(options.tolerance, 1e-2);
    Fit rough = out;
    Vector y = x;
    (void)climb(target_of(part, start, transition, level).value, part, start, transition, loose, level, y, rough);
    if (is_success(rough.status)) {
      best = maximise(target, list, options, y, out);
      found = is_success(out.status);
      if (found) x = y;
    }
    out.iterations += rough.iterations;
  }
  if (!found) best = climb(target, data, start, transition, options, level, x, out);
  if (is_numerical(transition)) {
    // The discretisation that the optimum needs; the optimum moves by as little as the likelihood does.
    const Refinement refinement = refinement_for(data, start.with_parameters(x), transition, level);
    level = refinement.level;
    best = maximise(target, list, options, x, out);
    if (!(refinement.error <= numerical_tolerance)) {
      out.warnings.push_back(fmt::format("the numerical error of the log-likelihood is about {:.1g}: the coefficients are not smooth where the process goes, or it reaches the end of the state space",
                                         refinement.error));
    }
    if (transition == Transition::fokker_planck && !std::isfinite(best.value)) {
      const Vector log_density = fokker_planck_terms(data, start.with_parameters(x), false, level).log_density;
      Index first = 0;
      while (first + 1 < data.size() && std::isfinite(log_density[first])) ++first;
      out.warnings.push_back(fmt::format("density zero: {} of {} steps, the first from {:.6g} to {:.6g} in {:.4g}, are so unlikely under the parameters that neither the spectral series nor the short-time expansion has a digit",
                                         std::count_if(log_density.begin(), log_density.end(), [](double v) { return !std::isfinite(v); }), data.size(), data.from[first], data.next[first], data.dt[first]));
    } else if (best.error > numerical_tolerance) {
      out.warnings.push_back(fmt::format("unlikely steps leave the log-likelihood a numerical error of about {:.1g}", best.error));
    }
  }
  complete(target, list, options, x, best, out);
  add_monte_carlo(best, out);
  out.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return out;
}

LikelihoodValue simulated_log_likelihood(const Panel& panel, const Diffusion& diffusion, const SimulatedOptions& options, bool with_scores) {
  options.validate();
  const Transitions data(panel);
  diffusion.check_values("simulated_log_likelihood", data.x);
  return collect(simulated_terms(data, diffusion, options), with_scores);
}

Fit fit_simulated(const Panel& panel, const Diffusion& start, const SimulatedOptions& options, const FitOptions& fit_options) {
  options.validate();
  const auto begin = std::chrono::steady_clock::now();
  const Transition transition = options.importance == Importance::pedersen ? Transition::pedersen : Transition::modified_bridge;
  // From where a fit without simulation ends; its checks of the data and the model are the same.
  Fit out = fit(panel, start, Transition::shoji_ozaki, fit_options);
  const Transitions data(panel);
  const auto& list = start.parameter_list();
  const Objective target = [&](const Vector& parameters, bool with_scores) { return collect(simulated_terms(data, start.with_parameters(parameters), options), with_scores); };
  Vector x = out.estimate.size() > 0 && out.estimate.allFinite() ? out.estimate : start.parameters();
  out.warnings.clear();
  out.estimator = name(transition);
  out.theorem = regime(transition);
  const LikelihoodValue best = maximise(target, list, fit_options, x, out);
  complete(target, list, fit_options, x, best, out);
  add_monte_carlo(best, out);
  out.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return out;
}

Recommendation recommend(const Panel& panel, const Diffusion& diffusion) {
  const Transitions data(panel);
  diffusion.check_values("recommend", data.x);
  Recommendation out;
  if (diffusion.family().law() != DiffusionFamily::Law::none) {
    out.transition = Transition::exact;
    out.reason = "the family has a closed transition law";
    return out;
  }
  std::vector<double> values(data.x.begin(), data.x.end()), steps(data.dt.begin(), data.dt.end());
  std::sort(values.begin(), values.end());
  std::nth_element(steps.begin(), steps.begin() + static_cast<std::ptrdiff_t>(steps.size() / 2), steps.end());
  const double dt = steps[steps.size() / 2];
  // Simpson's rule over the data's range and a fifth beyond on either side, 401 points, as far as the state space goes: KL to three digits is plenty.
  const auto [lower, upper] = diffusion.family().state_space();
  const double spread = values.back() - values.front();
  const double from = std::max(values.front() - 0.2 * spread, std::isfinite(lower) ? 0.5 * (values.front() + lower) : -infinity);
  const double to = std::min(values.back() + 0.2 * spread, std::isfinite(upper) ? 0.5 * (values.back() + upper) : infinity);
  constexpr Index points = 401;
  const Vector grid = Vector::LinSpaced(points, from, to);
  const double width = (to - from) / (points - 1);
  double mean = 0;
  for (const double level : {0.05, 0.25, 0.5, 0.75, 0.95}) {
    const double x = values[static_cast<std::size_t>(level * static_cast<double>(values.size() - 1))];
    Panel pairs;
    for (Index i = 0; i < points; ++i) pairs.push_back({Vector{{0, dt}}, Matrix{{x, grid[i]}}});
    const Transitions all(pairs);
    const Vector right = fokker_planck_terms(all, diffusion, false, 1).log_density, pseudo = local_terms(all, diffusion, Transition::shoji_ozaki).log_density;
    double divergence = 0, mass = 0;
    for (Index i = 0; i < points; ++i) {
      const double weight = width / 3 * (i == 0 || i == points - 1 ? 1 : (i % 2 == 1 ? 4 : 2)), p = std::exp(right[i]);
      mass += weight * p;
      if (p > 0) divergence += weight * p * (right[i] - pseudo[i]);
    }
    if (mass > 0) mean += divergence / mass / 5;
    else mean = infinity;
  }
  out.divergence = std::isnan(mean) ? infinity : static_cast<double>(data.size()) * std::max(0.0, mean);
  if (out.divergence > 0.125) {
    out.transition = Transition::fokker_planck;
    out.reason = fmt::format("dt = {:.4g} is coarse for these parameters: the Shoji-Ozaki law differs by n KL = {:.3g}, a bias of up to {:.2g} standard errors", dt, out.divergence, std::sqrt(2 * out.divergence));
  } else {
    out.reason = fmt::format("dt = {:.4g} is fine enough: n KL = {:.3g} between the Fokker-Planck and the Shoji-Ozaki laws", dt, out.divergence);
  }
  return out;
}

}  // namespace jko::estimators
