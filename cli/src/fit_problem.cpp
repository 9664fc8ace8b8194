#include "fit_problem.hpp"

#include "config.hpp"

#include <jko/core/error.hpp>
#include <jko/core/nearest.hpp>
#include <jko/estimators/binned.hpp>
#include <jko/estimators/diffusion_likelihood.hpp>
#include <jko/estimators/drift_least_squares.hpp>
#include <jko/estimators/first_order_conditions.hpp>
#include <jko/estimators/gmm.hpp>
#include <jko/estimators/grid_filter.hpp>
#include <jko/estimators/kalman_likelihood.hpp>
#include <jko/estimators/martingale.hpp>
#include <jko/estimators/nonparametric.hpp>
#include <jko/estimators/online_gradient.hpp>
#include <jko/estimators/particle_filter.hpp>
#include <jko/estimators/score_matching.hpp>
#include <jko/estimators/simulated_likelihood.hpp>
#include <jko/estimators/snapshot_flow.hpp>
#include <jko/estimators/stationary.hpp>
#include <jko/estimators/stein.hpp>
#include <jko/models/families.hpp>
#include <jko/models/formula.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>

namespace jko::cli {
namespace {

using estimators::Fit;
using estimators::FitOptions;

const std::vector<std::string> sample_estimators{"stationary", "score-matching", "stein", "binned"};
const std::vector<std::string> path_estimators{"least-squares", "recursive-likelihood", "martingale-linear", "martingale-quadratic", "martingale-optimal", "martingale-eigenfunctions", "gmm", "gmm-euler"};  // beside the transition likelihoods
const std::vector<std::string> snapshot_estimators{"first-order", "snapshot-flow", "snapshot-gaussian"};

const std::vector<std::string> filters{"grid-filter", "particle-filter"};  // of paths with measurement noise

bool among(const std::vector<std::string>& names, const std::string& name) { return std::find(names.begin(), names.end(), name) != names.end(); }

/// Starting values where none are given: an Ornstein-Uhlenbeck process about the data's mean with the identity as K; one half for other families.
void add_defaults(const Potential& potential, const Vector& centre, std::map<std::string, double>& values) {
  for (const Parameter& p : potential.parameters()) {
    if (values.contains(p.name)) continue;
    if (p.name == "mu" || p.name == "m") values[p.name] = centre[0];
    for (Index i = 0; i < centre.size(); ++i) {
      if (p.name == fmt::format("mu_{}", i + 1)) values[p.name] = centre[i];
      for (Index j = 0; j <= i; ++j) {
        if (p.name == fmt::format("k_{}_{}", i + 1, j + 1)) values[p.name] = i == j ? 1 : 0;
      }
    }
  }
}

void add_bounds(Problem& problem, const std::map<std::string, double>& fixed, const std::string& text) {
  std::vector<std::string> names;
  for (const Parameter& p : problem.parameters) {
    names.push_back(p.name);
    problem.options.fixed.push_back(fixed.contains(p.name));
    problem.options.lower.push_back(p.lower);
    problem.options.upper.push_back(p.upper);
  }
  for (const auto& [name, range] : ranges("--bounds", text)) {
    const auto found = std::find(names.begin(), names.end(), name);
    if (found == names.end()) throw ParseError("--bounds", 0, 0, fmt::format("unknown parameter '{}'; the nearest is '{}'", name, nearest_name(name, names)));
    const auto k = static_cast<std::size_t>(found - names.begin());
    problem.options.lower[k] = std::max(problem.options.lower[k], range.first);
    problem.options.upper[k] = std::min(problem.options.upper[k], range.second);
  }
}

estimators::SnapshotFlowOptions flow_options(const FitOptions& options) {
  estimators::SnapshotFlowOptions out;
  out.fixed = options.fixed;
  return out;
}

/// Starting values of a diffusion where none are given: the data's mean for mu, mild reversion, and one half for the rest; the scale of sigma is the likelihood's own business.
double default_value(const Parameter& parameter, const Vector& values) {
  const double mean = values.mean(), deviation = std::sqrt((values.array() - mean).square().mean());
  double out = 0.5;
  if (parameter.name == "mu") out = mean;
  if (parameter.name == "delta") out = deviation;
  return std::isfinite(parameter.lower) && out <= parameter.lower ? parameter.lower + 0.5 : out;
}

estimators::FirstOrderFit first_order(const estimators::Snapshots& data, FreeEnergy energy, const Vector& start, const FitOptions& options) {
  energy.set_parameters(start);
  return estimators::fit_first_order(data, energy, {.fixed = options.fixed});
}

using PanelFit = std::function<Fit(const estimators::Panel&, const Vector&, const FitOptions&)>;

estimators::GmmFit gmm(const std::string& name, const estimators::Panel& data, const Diffusion& diffusion, const Vector& start, const FitOptions& options) {
  const Diffusion at = diffusion.with_parameters(start);
  const bool exact = name == "gmm";  // then the moments are martingale differences
  const Fit euler = estimators::fit(data, at, estimators::Transition::euler, options);
  const int degree = std::clamp(at.family().drift_degree(at.parameters()), 1, 5);  // as many powers of x as the drift has
  auto out = estimators::fit_gmm(estimators::transition_moments(data, at, exact ? estimators::TransitionMoments::exact : estimators::TransitionMoments::euler, degree), at.parameter_list(),
                                 euler.estimate.allFinite() ? euler.estimate : start, {.lags = exact ? 0 : estimators::automatic_lags, .fit = options});
  out.fit.model = diffusion.family().describe();
  for (const estimators::Path& path : data) out.fit.duration += path.times[path.times.size() - 1] - path.times[0];
  return out;
}

/// The estimators of one-dimensional paths that are no likelihoods.
PanelFit path_fit(const std::string& name, const Diffusion& diffusion) {
  using estimators::MartingaleKind;
  if (name == "gmm" || name == "gmm-euler") return [name, diffusion](const estimators::Panel& data, const Vector& start, const FitOptions& options) { return gmm(name, data, diffusion, start, options).fit; };
  const auto kind = name == "martingale-linear" ? MartingaleKind::linear : (name == "martingale-quadratic" ? MartingaleKind::quadratic : (name == "martingale-optimal" ? MartingaleKind::optimal : MartingaleKind::eigenfunctions));
  return [diffusion, kind](const estimators::Panel& data, const Vector& start, const FitOptions& options) { return estimators::fit_martingale(data, diffusion.with_parameters(start), {.kind = kind, .fit = options}); };
}

void set_gmm_test(Problem& problem, const Diffusion& diffusion) {
  if (problem.estimator != "gmm" && problem.estimator != "gmm-euler") return;
  problem.tests = [name = problem.estimator, panel = problem.panel, diffusion](const Fit& fit, const FitOptions& options) -> std::vector<estimators::TestResult> {
    const auto again = gmm(name, panel, diffusion, fit.estimate, options).overidentification;
    if (again.degrees_of_freedom == 0) return {};
    return {again};
  };
}

void set_panel_fit(Problem& problem, PanelFit fit) {
  problem.refit_panel = std::move(fit);
  problem.refit = [panel = std::make_shared<const estimators::Panel>(problem.panel), refit = problem.refit_panel](const Vector& start, const FitOptions& options) { return refit(*panel, start, options); };
}

bool simulates(const std::string& estimator) { return estimator == "pedersen" || estimator == "modified-bridge" || estimator == "particle-filter"; }

estimators::SimulatedOptions simulated_options(const ProblemArguments& a) {
  estimators::SimulatedOptions out{.importance = a.estimator == "pedersen" ? estimators::Importance::pedersen : estimators::Importance::modified_bridge, .seed = a.seed, .threads = a.threads};
  if (a.paths > 0) out.paths = a.paths;
  if (a.substeps > 0) out.substeps = a.substeps;
  out.validate();
  return out;
}

/// A simulated likelihood with its options, in place of the default ones.
void set_simulated(Problem& problem, const ProblemArguments& a, const Diffusion& diffusion) {
  const auto options = simulated_options(a);
  set_panel_fit(problem, [diffusion, options](const estimators::Panel& data, const Vector& start, const FitOptions& fit_options) {
    return estimators::fit_simulated(data, diffusion.with_parameters(start), options, fit_options);
  });
  problem.likelihood = [panel = std::make_shared<const estimators::Panel>(problem.panel), diffusion, options](const Vector& at) {
    return estimators::simulated_log_likelihood(*panel, diffusion.with_parameters(at), options);
  };
}

Problem diffusion_problem(const DataArguments& data, const ProblemArguments& a) {
  if (among(sample_estimators, a.estimator) || among(snapshot_estimators, a.estimator) || a.estimator == "least-squares" || a.estimator == "recursive-likelihood" || !a.interaction.empty()) {
    throw DomainError(fmt::format("fit: a diffusion by its coefficients is fitted to paths, by one of {}, {}", fmt::join(estimators::transition_names(), ", "), fmt::join(path_estimators.begin() + 2, path_estimators.end(), ", ")));
  }
  Problem out;
  out.family = a.model;
  out.panel = read_panel(data, 1);
  const DiffusionPtr family = a.drift.empty() ? diffusion_family(a.model) : diffusion_formula(a.drift, a.diffusion);
  auto values = assignments("--start", a.start);
  const auto fixed = assignments("--fix", a.fix);
  for (const auto& [name, value] : fixed) values[name] = value;
  out.parameters = family->parameters();
  out.start.resize(family->parameter_count());
  std::vector<std::string> names;
  for (Index i = 0; i < out.start.size(); ++i) {
    const Parameter& p = out.parameters[static_cast<std::size_t>(i)];
    names.push_back(p.name);
    out.start[i] = values.contains(p.name) ? values[p.name] : default_value(p, out.panel.front().values.row(0).transpose());
  }
  for (const auto& [name, value] : values) {
    if (!among(names, name)) throw DomainError(fmt::format("unknown parameter '{}'; the nearest is '{}'", name, nearest_name(name, names)));
  }
  const Diffusion diffusion(family, out.start);
  for (const estimators::Path& path : out.panel) {
    diffusion.check_values("fit", path.values.row(0).transpose());
    const Matrix sigma = family->evaluate(DiffusionFamily::Coefficient::diffusion, {0, 0}, path.values, out.start), drift = family->evaluate(DiffusionFamily::Coefficient::drift, {0, 0}, path.values, out.start);
    for (Index i = 0; i < path.values.cols(); ++i) {
      if (sigma(0, i) > 0 && std::isfinite(sigma(0, i)) && std::isfinite(drift(0, i))) continue;
      throw DomainError(fmt::format("fit: at value {} ({:g}) the drift is {:g} and sigma {:g} for the starting values, but they must be finite and sigma positive: see --start", i + 1, path.values(0, i), drift(0, i), sigma(0, i)));
    }
  }
  add_bounds(out, fixed, a.bounds);
  out.estimator = !a.estimator.empty() ? a.estimator : (family->law() != DiffusionFamily::Law::none ? "exact" : "shoji-ozaki");
  out.diffusion = diffusion;
  if (among(path_estimators, out.estimator)) {
    set_panel_fit(out, path_fit(out.estimator, diffusion));
    set_gmm_test(out, diffusion);
    return out;
  }
  const auto panel = std::make_shared<const estimators::Panel>(out.panel);
  const auto transition = out.transition = estimators::transition_from_name(out.estimator);
  if (simulates(out.estimator)) {
    set_simulated(out, a, diffusion);
    return out;
  }
  set_panel_fit(out, [diffusion, transition](const estimators::Panel& data, const Vector& start, const FitOptions& options) { return estimators::fit(data, diffusion.with_parameters(start), transition, options); });
  out.likelihood = [panel, diffusion, transition](const Vector& at) { return estimators::log_likelihood(*panel, diffusion.with_parameters(at), transition); };
  return out;
}

/// Half of the increments' variance for the noise, as for --model linear.
double default_noise(const estimators::Panel& panel) {
  double sum = 0, count = 0;
  for (const estimators::Path& path : panel) {
    const Index n = path.transitions();
    sum += (path.values.rightCols(n) - path.values.leftCols(n)).squaredNorm();
    count += static_cast<double>(n * path.values.rows());
  }
  if (!(sum > 0)) throw DomainError("fit: the data are constant, so no diffusion fits them");
  return std::sqrt(0.25 * sum / count);
}

/// A model observed with noise: its parameters and the noise's standard deviation. Parameters that no --start gives begin from an Euler fit without noise, where there is one.
Problem filter_problem(const DataArguments& data, const ProblemArguments& a) {
  if (!a.interaction.empty()) throw DomainError("fit: --interaction goes with the estimators first-order and snapshot-flow");
  Problem out;
  out.family = a.model;
  out.estimator = a.estimator;
  auto values = assignments("--start", a.start);
  const auto fixed = assignments("--fix", a.fix);
  for (const auto& [name, value] : fixed) values[name] = value;
  const auto given = values;
  const bool coefficients = !a.drift.empty() || among(diffusion_names(), a.model);
  const int dimension = coefficients ? 1 : count_coordinates(data);
  if (a.estimator == "grid-filter" && dimension != 1) throw DomainError(fmt::format("fit: grid-filter is for one column, but there are {}: choose one with --column, or use particle-filter", dimension));
  out.panel = read_panel(data, dimension);
  double noise = default_noise(out.panel);
  if (const auto found = values.find("noise"); found != values.end()) noise = found->second, values.erase(found);
  std::optional<Model> model;
  std::optional<Diffusion> diffusion;
  if (coefficients) {
    const DiffusionPtr family = a.drift.empty() ? diffusion_family(a.model) : diffusion_formula(a.drift, a.diffusion);
    Vector theta(family->parameter_count());
    std::vector<std::string> names;
    for (Index i = 0; i < theta.size(); ++i) {
      const Parameter& p = family->parameters()[static_cast<std::size_t>(i)];
      names.push_back(p.name);
      theta[i] = values.contains(p.name) ? values[p.name] : default_value(p, out.panel.front().values.row(0).transpose());
    }
    names.emplace_back("noise");
    for (const auto& [name, value] : values) {
      if (!among(names, name)) throw DomainError(fmt::format("unknown parameter '{}'; the nearest is '{}'", name, nearest_name(name, names)));
    }
    diffusion.emplace(family, theta);
    out.parameters = family->parameters();
  } else {
    const PotentialPtr potential = a.potential.empty() ? family(a.model, dimension) : formula(a.potential, dimension);
    add_defaults(*potential, out.panel.front().values.rowwise().mean(), values);
    model.emplace(model_from(potential, values, 0.5));
    out.parameters = model->parameter_list();
  }
  Vector start = model ? model->parameters() : diffusion->parameters();
  try {
    FitOptions options;
    for (const Parameter& p : out.parameters) options.fixed.push_back(given.contains(p.name));
    if (std::find(options.fixed.begin(), options.fixed.end(), false) != options.fixed.end()) {
      const Fit first = model ? estimators::fit(out.panel, *model, estimators::Transition::euler, options) : estimators::fit(out.panel, *diffusion, estimators::Transition::euler, options);
      if (is_success(first.status)) start = first.estimate;
    }
  } catch (const DomainError&) {  // observations outside the state space: from the defaults
  }
  out.parameters.push_back({.name = "noise", .lower = 0, .positive = true});
  out.start.resize(start.size() + 1);
  out.start << start, noise;
  add_bounds(out, fixed, a.bounds);
  const auto split = [](const Vector& at) { return std::pair<Vector, double>(at.head(at.size() - 1), at[at.size() - 1]); };
  if (a.estimator == "grid-filter") {
    const Diffusion of = model ? as_diffusion(*model) : *diffusion;
    set_panel_fit(out, [of, split](const estimators::Panel& other, const Vector& at, const FitOptions& options) {
      const auto [theta, deviation] = split(at);
      return estimators::fit_grid_filter(other, of.with_parameters(theta), deviation, {}, options);
    });
    out.likelihood = [panel = std::make_shared<const estimators::Panel>(out.panel), of, split](const Vector& at) {
      const auto [theta, deviation] = split(at);
      return estimators::grid_filter_log_likelihood(*panel, of.with_parameters(theta), deviation);
    };
    return out;
  }
  estimators::ParticleFilterOptions options{.seed = a.seed, .threads = a.threads};
  if (a.paths > 0) options.particles = a.paths;
  if (a.substeps > 0) options.substeps = a.substeps;
  options.validate();
  // No likelihood for profiles and samplers: the simulated value jumps in the parameters.
  set_panel_fit(out, [model, diffusion, split, options](const estimators::Panel& other, const Vector& at, const FitOptions& fit_options) {
    const auto [theta, deviation] = split(at);
    return model ? estimators::fit_particle_filter(other, model->with_parameters(theta), deviation, options, fit_options) : estimators::fit_particle_filter(other, diffusion->with_parameters(theta), deviation, options, fit_options);
  });
  return out;
}

Problem binned_problem(const DataArguments& data, const ProblemArguments& a) {
  if (!a.interaction.empty()) throw DomainError("fit: --interaction goes with the estimators first-order and snapshot-flow");
  Problem out;
  out.family = a.model;
  out.estimator = a.estimator;
  const auto counts = std::make_shared<const estimators::BinnedCounts>(read_counts(data));
  const Index m = counts->counts.size();
  // The mean of the finite cells' middles.
  double sum = 0, total = 0;
  for (Index j = 0; j < m; ++j) {
    const double middle = 0.5 * (counts->edges[j] + counts->edges[j + 1]);
    if (std::isfinite(middle)) sum += middle * counts->counts[j], total += counts->counts[j];
  }
  auto values = assignments("--start", a.start);
  const auto fixed = assignments("--fix", a.fix);
  for (const auto& [name, value] : fixed) values[name] = value;
  const PotentialPtr potential = a.potential.empty() ? family(a.model, 1) : formula(a.potential, 1);
  add_defaults(*potential, Vector::Constant(1, total > 0 ? sum / total : 0), values);
  const Model model = model_from(potential, values, 0.5);
  out.parameters = model.parameter_list();
  out.start = model.parameters();
  add_bounds(out, fixed, a.bounds);
  out.refit = [counts, model](const Vector& start, const FitOptions& options) { return estimators::fit_binned(*counts, model.with_parameters(start), options).fit; };
  out.tests = [counts, model](const Fit& fit, const FitOptions& options) -> std::vector<estimators::TestResult> {
    const auto again = estimators::fit_binned(*counts, model.with_parameters(fit.estimate), options);
    if (again.pearson.degrees_of_freedom == 0) return {};
    return {again.pearson};
  };
  return out;
}

/// A linear system in as many dimensions as there are columns, observed with noise. It begins from the increments: half of their variance for the noise, half for S, and the reversion that both have about the mean.
Problem linear_problem(const DataArguments& data, const ProblemArguments& a) {
  if (!a.estimator.empty() && a.estimator != "kalman") throw DomainError(fmt::format("fit: --model linear is fitted by the estimator kalman, not {}", a.estimator));
  if (!a.interaction.empty()) throw DomainError("fit: --interaction goes with the estimators first-order and snapshot-flow");
  Problem out;
  out.family = a.model;
  out.estimator = "kalman";
  const int d = count_coordinates(data);
  out.panel = read_panel(data, d);
  const estimators::Path& path = out.panel.front();
  const Index n = path.transitions();
  const double dt = (path.times[n] - path.times[0]) / static_cast<double>(n);
  const Vector mean = path.values.rowwise().mean(), variance = (path.values.colwise() - mean).rowwise().squaredNorm() / static_cast<double>(n + 1);
  const Vector moved = (path.values.rightCols(n) - path.values.leftCols(n)).rowwise().squaredNorm() / static_cast<double>(n);
  if (!(moved.minCoeff() > 0)) throw DomainError("fit: a column of the data is constant, so no diffusion fits it");
  estimators::LinearSystem system{Matrix((-0.5 / dt * moved.cwiseQuotient(variance)).asDiagonal()), {}, Matrix((0.5 / dt * moved).cwiseSqrt().asDiagonal()), std::sqrt(0.25 * moved.mean())};
  system.constant = -system.matrix * mean;
  out.parameters = system.parameter_list();
  out.start = system.parameters();
  auto values = assignments("--start", a.start);
  const auto fixed = assignments("--fix", a.fix);
  for (const auto& [name, value] : fixed) values[name] = value;
  std::vector<std::string> names;
  for (const Parameter& p : out.parameters) names.push_back(p.name);
  for (const auto& [name, value] : values) {
    const auto found = std::find(names.begin(), names.end(), name);
    if (found == names.end()) throw DomainError(fmt::format("unknown parameter '{}'; the nearest is '{}'", name, nearest_name(name, names)));
    out.start[found - names.begin()] = value;
  }
  system = system.with_parameters(out.start);
  system.validate();
  add_bounds(out, fixed, a.bounds);
  const auto panel = std::make_shared<const estimators::Panel>(out.panel);
  out.refit_panel = [system](const estimators::Panel& other, const Vector& start, const FitOptions& options) { return estimators::fit(other, system.with_parameters(start), options); };
  out.refit = [panel, system](const Vector& start, const FitOptions& options) { return estimators::fit(*panel, system.with_parameters(start), options); };
  out.likelihood = [panel, system](const Vector& at) { return estimators::log_likelihood(*panel, system.with_parameters(at)); };
  return out;
}

}  // namespace

std::vector<std::string> estimator_names() {
  std::vector<std::string> out = estimators::transition_names();
  out.emplace_back("kalman");
  out.insert(out.end(), filters.begin(), filters.end());
  out.insert(out.end(), path_estimators.begin(), path_estimators.end());
  out.insert(out.end(), sample_estimators.begin(), sample_estimators.end());
  out.insert(out.end(), snapshot_estimators.begin(), snapshot_estimators.end());
  return out;
}

std::vector<std::string> model_names() {
  std::vector<std::string> out = family_names();
  for (const std::string& name : diffusion_names()) out.push_back(name);
  out.emplace_back("linear");
  return out;
}

Problem problem_of(const DataArguments& data, const ProblemArguments& a) {
  if (a.model.empty() && a.potential.empty() && a.drift.empty()) throw DomainError("fit: give --model, --potential, or --drift with --diffusion");
  if (a.drift.empty() != a.diffusion.empty()) throw DomainError("fit: --drift and --diffusion go together");
  if (!a.model.empty() && !among(model_names(), a.model)) throw DomainError(fmt::format("fit: model '{}' is unknown; the nearest is '{}'", a.model, nearest_name(a.model, model_names())));
  if (!a.estimator.empty() && !among(estimator_names(), a.estimator)) {
    auto known = estimator_names();
    for (const std::string& name : estimators::smoother_names()) known.push_back(name);
    throw DomainError(fmt::format("fit: estimator '{}' is unknown; the nearest is '{}'", a.estimator, nearest_name(a.estimator, known)));
  }
  Problem out;
  out.family = a.model;
  if (a.model == "linear") return linear_problem(data, a);
  if ((a.paths > 0 || a.substeps > 0) && !simulates(a.estimator)) throw DomainError("fit: --paths and --substeps go with the estimators pedersen, modified-bridge and particle-filter");
  if (among(filters, a.estimator)) return filter_problem(data, a);
  if (a.estimator == "kalman") throw DomainError("fit: the estimator kalman goes with --model linear");
  if (!a.drift.empty() || among(diffusion_names(), a.model)) return diffusion_problem(data, a);
  if (a.estimator == "binned") return binned_problem(data, a);
  const int dimension = count_coordinates(data);
  const PotentialPtr potential = a.potential.empty() ? family(a.model, dimension) : formula(a.potential, dimension);
  auto values = assignments("--start", a.start);
  const auto fixed = assignments("--fix", a.fix);
  for (const auto& [name, value] : fixed) values[name] = value;

  if (among(snapshot_estimators, a.estimator)) {
    out.estimator = a.estimator;
    const auto snapshots = std::make_shared<const estimators::Snapshots>(read_snapshots(data));
    for (Index k = 0; k < snapshots->times.size(); ++k) {
      const Matrix& x = snapshots->samples[static_cast<std::size_t>(k)];
      if ((x.rowwise().maxCoeff().array() == x.rowwise().minCoeff().array()).any()) throw DomainError(fmt::format("fit: the snapshot at time {:g} is constant{}", snapshots->times[k], dimension == 1 ? "" : " in a column"));
    }
    std::map<std::string, double> own = values, kernel_values;
    std::erase_if(own, [&](const auto& entry) {
      const bool kernel = entry.first.starts_with("interaction.");
      if (kernel) kernel_values[entry.first.substr(12)] = entry.second;
      return kernel;
    });
    add_defaults(*potential, snapshots->samples.back().rowwise().mean(), own);
    const Model model = model_from(potential, own, 0.5);
    FreeEnergy energy(model);
    if (!a.interaction.empty()) {
      if (a.estimator == "snapshot-gaussian") throw DomainError("fit: --interaction goes with the estimators first-order and snapshot-flow");
      const PotentialPtr kernel = formula(a.interaction, dimension);
      const Model with_values = model_from(kernel, kernel_values, 0.5);
      const Matrix apart = snapshots->samples.front().leftCols(1) - snapshots->samples.back().rightCols(1);
      const double there = kernel->evaluate({0, 0}, apart, with_values.theta())(0, 0), back = kernel->evaluate({0, 0}, -apart, with_values.theta())(0, 0);
      if (!(std::abs(there - back) <= 1e-9 * (1 + std::abs(there)))) throw DomainError(fmt::format("fit: --interaction must be even, but W = {:g} between two points and {:g} the other way round", there, back));
      energy.add_interaction(kernel, with_values.theta());
    } else if (!kernel_values.empty()) {
      throw DomainError("fit: there is no --interaction to have such parameters");
    }
    out.parameters = energy.parameter_list();
    // The flow's fits are local: without a start of the user's they begin where the first-order conditions end.
    if (a.estimator != "first-order" && a.start.empty()) {
      estimators::FirstOrderOptions options{.splits = 0};
      for (const Parameter& p : out.parameters) options.fixed.push_back(fixed.contains(p.name));
      try {
        const auto first = estimators::fit_first_order(*snapshots, energy, options).fit;
        if (is_success(first.status)) energy.set_parameters(first.estimate);
      } catch (const Error&) {  // fewer conditions than parameters, say: the defaults then
      }
    }
    out.start = energy.parameters();
    if (!a.bounds.empty()) throw DomainError("fit: --bounds does not go with snapshots");
    add_bounds(out, fixed, a.bounds);
    out.snapshots = snapshots;
    if (a.estimator == "first-order") {
      out.refit_snapshots = [energy](const estimators::Snapshots& data, const Vector& start, const FitOptions& options) { return first_order(data, energy, start, options).fit; };
      out.tests = [snapshots, energy](const Fit& fit, const FitOptions& options) -> std::vector<estimators::TestResult> {
        const auto again = first_order(*snapshots, energy, fit.estimate, options);
        if (again.overidentification.degrees_of_freedom == 0) return {again.rank};
        return {again.overidentification, again.rank};
      };
    } else if (a.estimator == "snapshot-flow") {
      out.refit_snapshots = [energy](const estimators::Snapshots& data, const Vector& start, const FitOptions& options) {
        FreeEnergy at = energy;
        at.set_parameters(start);
        return estimators::fit_snapshot_flow(data, at, {}, flow_options(options)).fit;
      };
    } else {
      out.refit_snapshots = [model](const estimators::Snapshots& data, const Vector& start, const FitOptions& options) {
        return estimators::fit_snapshot_gaussian(data, model.with_parameters(start), {}, flow_options(options));
      };
    }
    out.refit = [snapshots, refit = out.refit_snapshots](const Vector& start, const FitOptions& options) { return refit(*snapshots, start, options); };
    return out;
  }
  if (!a.interaction.empty()) throw DomainError("fit: --interaction goes with the estimators first-order and snapshot-flow");

  if (among(sample_estimators, a.estimator)) {
    out.estimator = a.estimator;
    const auto sample = std::make_shared<const Matrix>(read_sample(data));
    if ((sample->rowwise().maxCoeff().array() == sample->rowwise().minCoeff().array()).any()) throw DomainError(fmt::format("fit: {}", dimension == 1 ? "the sample is constant" : "a column of the sample is constant"));
    if (a.estimator == "stationary" && dimension != 1) throw DomainError(fmt::format("fit: stationary maximum likelihood is for one column, but there are {}: choose one with --column, or use score-matching", dimension));
    add_defaults(*potential, sample->rowwise().mean(), values);
    const Model model = model_from(potential, values, 0.5);
    out.parameters = model.parameter_list();
    out.start = model.parameters();
    add_bounds(out, fixed, a.bounds);
    out.refit = [sample, model, estimator = a.estimator](const Vector& start, const FitOptions& options) -> Fit {
      if (estimator == "stationary") return estimators::fit_stationary(sample->row(0).transpose(), model.with_parameters(start), options);
      if (estimator == "stein") return estimators::fit_stein(*sample, model.with_parameters(start), {.fit = options});
      return estimators::fit_score_matching(*sample, model.with_parameters(start), {.fit = options});
    };
    return out;
  }

  out.panel = read_panel(data, dimension);
  add_defaults(*potential, out.panel.front().values.rowwise().mean(), values);
  const Model model = model_from(potential, values, 0.5);
  out.parameters = model.parameter_list();
  out.start = model.parameters();
  out.model = model;
  add_bounds(out, fixed, a.bounds);
  out.estimator = !a.estimator.empty() ? a.estimator : (potential->quadratic(model.theta()) ? "exact" : "shoji-ozaki");
  const std::vector<std::string> of_any_dimension{"exact", "euler", "shoji-ozaki", "strang", "least-squares", "recursive-likelihood"};
  if (dimension > 1 && !among(of_any_dimension, out.estimator)) throw DomainError(fmt::format("fit: {} is for one column, but there are {}: choose one with --column, or one of {}", out.estimator, dimension, fmt::join(of_any_dimension, ", ")));
  if (among(path_estimators, out.estimator)) {
    if (out.estimator == "least-squares") {
      set_panel_fit(out, [model](const estimators::Panel& data, const Vector& start, const FitOptions& options) { return estimators::fit_drift_least_squares(data, model.with_parameters(start), options); });
    } else if (out.estimator == "recursive-likelihood") {
      const auto transition = potential->quadratic(model.theta()) ? estimators::Transition::exact : estimators::Transition::shoji_ozaki;
      set_panel_fit(out, [model, transition](const estimators::Panel& data, const Vector& start, const FitOptions& options) {
        estimators::OnlineGradient online(model.with_parameters(start), {.fixed = options.fixed, .transition = transition});
        for (const estimators::Path& path : data) online.update(path);
        Fit fit = online.fit();
        if (fit.status == Status::not_run) throw DomainError("fit: recursive-likelihood needs 100 transitions for the fit that it starts from, and that fit to succeed");
        return fit;
      });
    } else {
      set_panel_fit(out, path_fit(out.estimator, as_diffusion(model)));
      set_gmm_test(out, as_diffusion(model));
    }
    return out;
  }
  const auto panel = std::make_shared<const estimators::Panel>(out.panel);
  const auto transition = out.transition = estimators::transition_from_name(out.estimator);
  if (simulates(out.estimator)) {
    set_simulated(out, a, as_diffusion(model));
    return out;
  }
  set_panel_fit(out, [model, transition](const estimators::Panel& data, const Vector& start, const FitOptions& options) { return estimators::fit(data, model.with_parameters(start), transition, options); });
  out.likelihood = [panel, model, transition](const Vector& at) { return estimators::log_likelihood(*panel, model.with_parameters(at), transition); };
  return out;
}

}  // namespace jko::cli
