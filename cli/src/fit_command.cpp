#include "commands.hpp"
#include "console.hpp"
#include "fit_json.hpp"
#include "fit_posterior.hpp"
#include "fit_problem.hpp"
#include "nonparametric.hpp"

#include <jko/core/error.hpp>
#include <jko/core/nearest.hpp>
#include <jko/estimators/bias.hpp>
#include <jko/estimators/bootstrap.hpp>
#include <jko/estimators/data_summary.hpp>
#include <jko/estimators/delta_method.hpp>
#include <jko/estimators/diffusion_likelihood.hpp>
#include <jko/estimators/identifiability.hpp>
#include <jko/estimators/multi_start.hpp>
#include <jko/estimators/profile.hpp>
#include <jko/estimators/residuals.hpp>
#include <jko/io/atomic_file.hpp>
#include <jko/models/diffusion.hpp>
#include <jko/models/families.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <sstream>

namespace jko::cli {
namespace {

using estimators::Fit;

struct Arguments {
  DataArguments data;
  ProblemArguments problem;
  std::string profile, compare, out;
  std::vector<std::string> derive;
  double level = 0.95;
  int starts = 1, bootstrap = 0, threads = 1;
  Index block = 0;
  std::uint64_t seed = 1;
  bool json = false, covariance = false, residuals = false;
  double smoothing = 0, diffusion_smoothing = 0;
  std::string curves;
  PosteriorArguments posterior;
};

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> out;
  std::istringstream list(text);
  for (std::string item; std::getline(list, item, ',');) out.push_back(item);
  return out;
}

Fit fit_of(const Problem& problem, const Arguments& a) {
  Fit fit;
  if (!problem.panel.empty()) {
    Index transitions = 0;
    for (const auto& path : problem.panel) transitions += path.transitions();
    const auto free = std::count(problem.options.fixed.begin(), problem.options.fixed.end(), false);
    const Matrix& values = problem.panel.front().values;
    const bool constant = (values.rowwise().maxCoeff().array() == values.rowwise().minCoeff().array()).any();  // has its own line
    if (!constant && transitions * values.rows() < free) {
      throw DomainError(fmt::format("fit: {} transition{} of {} coordinate{} cannot determine {} parameters", transitions, transitions == 1 ? "" : "s", values.rows(), values.rows() == 1 ? "" : "s", free));
    }
  }
  if (a.starts > 1) {
    const std::vector<std::string> others{"stationary", "binned", "snapshot-gaussian", "particle-filter"};
    if (!problem.likelihood && std::find(others.begin(), others.end(), problem.estimator) == others.end()) throw DomainError(fmt::format("fit: --starts compares likelihoods, and {} has none", problem.estimator));
    estimators::MultiStartOptions options{.starts = a.starts, .seed = a.seed, .threads = a.threads, .fit = problem.options};
    const auto count = static_cast<Index>(problem.parameters.size());
    const Matrix starts = estimators::scattered_starts(problem.start, Eigen::Map<const Vector>(problem.options.lower.data(), count),
                                                       Eigen::Map<const Vector>(problem.options.upper.data(), count), problem.options.fixed, options);
    fit = estimators::multi_start(problem.refit, starts, options);
  } else {
    fit = problem.refit(problem.start, problem.options);
  }
  // Which combination? Where the likelihood gives an information to ask.
  if (problem.likelihood && fit.estimate.allFinite() && fit.estimate.size() > 0) {
    const Matrix information = problem.likelihood(fit.estimate).expected;
    if (information.allFinite()) {
      const auto found = estimators::identifiability(information, fit.names, fit.fixed);
      if (!found.identified) fit.warnings.push_back(fmt::format("the data do not determine {} (in units of 1/sqrt(I_ii))", found.combination));
      else if (found.weak) fit.warnings.push_back(fmt::format("the data hardly determine {} (in units of 1/sqrt(I_ii))", found.combination));
    }
  }
  return fit;
}

/// What one fit has beside itself: text for people, JSON for machines.
struct Extras {
  std::string text;
  Json json = Json::object();
};

void add_data(const Problem& problem, Extras& out) {
  if (problem.panel.empty()) return;
  const auto s = estimators::summarise(problem.panel);
  Json list = Json::array();
  for (const auto& c : s.coordinates) {
    list.push_back({{"minimum", c.minimum}, {"maximum", c.maximum}, {"mean", c.mean}, {"deviation", c.deviation}, {"autocorrelation", number(c.autocorrelation)},
                    {"dickey_fuller", number(c.dickey_fuller)}, {"kpss", {{"statistic", number(c.kpss.statistic)}, {"p_value", number(c.kpss.p_value)}}},
                    {"quadratic_variation", c.quadratic_variation}, {"signature", numbers(c.signature)}, {"constancy", {{"statistic", number(c.constancy.statistic)}, {"p_value", number(c.constancy.p_value)}}}});
  }
  out.json["data"] = {{"paths", s.paths}, {"transitions", s.transitions}, {"T", s.duration}, {"min_spacing", s.min_spacing}, {"median_spacing", s.median_spacing}, {"max_spacing", s.max_spacing}, {"even", s.even}, {"gaps", s.gaps}, {"coordinates", list}};
  out.text += s.text() + "\n";
}

void add_profiles(const Problem& problem, const Fit& fit, const Arguments& a, Extras& out) {
  Json list = Json::array();
  for (const std::string& name : split(a.profile)) {
    if (!problem.likelihood && problem.estimator != "stationary" && problem.estimator != "binned") throw DomainError(fmt::format("fit: --profile needs a likelihood, which {} is not", problem.estimator));
    if (!is_success(fit.status) && fit.status != Status::parameter_at_bound) break;
    const auto p = estimators::profile(fit, name, problem.refit, {.level = a.level, .fit = problem.options});
    const auto end = [](const estimators::ProfileEnd& e) { return Json{{"value", number(e.value)}, {"status", jko::name(e.status)}}; };
    list.push_back({{"name", name}, {"level", a.level}, {"lower", end(p.lower)}, {"upper", end(p.upper)}, {"points", numbers(p.points)}, {"deviance", numbers(p.deviance)}, {"refits", p.refits}, {"higher_found", p.higher_found}});
    const auto note = [](const estimators::ProfileEnd& e) { return is_success(e.status) ? std::string() : fmt::format(" ({})", jko::name(e.status)); };
    out.text += fmt::format("profile    {:<12} [{:.6g}{}, {:.6g}{}] at level {:g}\n", name, p.lower.value, note(p.lower), p.upper.value, note(p.upper), a.level);
    if (p.higher_found) out.text += fmt::format("warning: profiling {} found a higher likelihood: the fit is no maximum; try --starts\n", name);
  }
  if (!list.empty()) out.json["profiles"] = list;
}

void add_derived(const Fit& fit, const Arguments& a, Extras& out) {
  Json list = Json::array();
  for (const std::string& text : a.derive) {
    const auto d = estimators::delta_method(fit, text);
    const Matrix interval = d.intervals(a.level, true);
    list.push_back({{"formula", text}, {"estimate", number(d.value[0])}, {"standard_error", number(d.standard_errors()[0])}, {"sandwich_error", number(d.sandwich_errors()[0])}});
    out.text += fmt::format("derived    {} = {:.7g}, s.e. {:.5g}, sandwich {:.5g}, interval by the latter [{:.6g}, {:.6g}]\n", text, d.value[0], d.standard_errors()[0], d.sandwich_errors()[0], interval(0, 0), interval(0, 1));
  }
  if (!list.empty()) out.json["derived"] = list;
}

void add_residuals(const Problem& problem, const Fit& fit, const Arguments& a, Extras& out) {
  if (!a.residuals) return;
  if (!problem.diffusion && !(problem.model && problem.model->dimension() == 1)) throw DomainError("fit: --residuals needs a one-dimensional path");
  if (!problem.likelihood) throw DomainError(fmt::format("fit: --residuals needs a transition likelihood, which {} is not", problem.estimator));
  const Vector u = problem.diffusion ? estimators::transforms(problem.panel, problem.diffusion->with_parameters(fit.estimate), problem.transition)
                                     : estimators::transforms(problem.panel, problem.model->with_parameters(fit.estimate), problem.transition);
  if (!u.allFinite()) {
    out.text += "residuals  none: the fitted scheme is no law at some of the transitions\n";
    return;
  }
  const auto r = estimators::diagnose(u);
  const auto test = [](const estimators::TestResult& t) { return Json{{"statistic", number(t.statistic)}, {"degrees_of_freedom", t.degrees_of_freedom}, {"p_value", number(t.p_value)}}; };
  out.json["residuals"] = {{"kolmogorov", test(r.kolmogorov)}, {"ljung_box", test(r.ljung_box)}, {"ljung_box_squares", test(r.ljung_box_squares)}, {"mean", number(r.mean)}, {"variance", number(r.variance)}};
  out.text += fmt::format("residuals  uniform transforms: Kolmogorov D = {:.4f}, p = {:.3g}; Ljung-Box({}) {:.2f}, p = {:.3g}; of squares {:.2f}, p = {:.3g}\n", r.kolmogorov.statistic, r.kolmogorov.p_value,
                          r.ljung_box.degrees_of_freedom, r.ljung_box.statistic, r.ljung_box.p_value, r.ljung_box_squares.statistic, r.ljung_box_squares.p_value);
}

void add_tests(const Problem& problem, const Fit& fit, Extras& out) {
  if (!problem.tests || !is_success(fit.status)) return;
  Json list = Json::array();
  for (const auto& t : problem.tests(fit, problem.options)) {
    list.push_back({{"name", t.name}, {"statistic", number(t.statistic)}, {"degrees_of_freedom", t.degrees_of_freedom}, {"p_value", number(t.p_value)}});
    out.text += fmt::format("test       {}: chi-square({}) {:.3f}, p = {:.3g}\n", t.name, t.degrees_of_freedom, t.statistic, t.p_value);
  }
  out.json["tests"] = list;
}

/// Is the spacing too coarse for the pseudo-likelihood that was used?
void add_recommendation(const Problem& problem, Fit& fit, Extras& out) {
  using estimators::Transition;
  if (!problem.likelihood || problem.panel.empty() || problem.transition == Transition::exact || problem.transition == Transition::fokker_planck || !is_success(fit.status)) return;
  if (!problem.diffusion && problem.model->dimension() != 1) return;
  try {
    const auto r = estimators::recommend(problem.panel, problem.diffusion ? problem.diffusion->with_parameters(fit.estimate) : as_diffusion(problem.model->with_parameters(fit.estimate)));
    out.json["recommendation"] = {{"estimator", estimators::name(r.transition)}, {"divergence", number(r.divergence)}, {"reason", r.reason}};
    if (r.transition == Transition::fokker_planck) fit.warnings.push_back(r.reason);
  } catch (const Error&) {  // no numerical law at these values: nothing is known
  }
}

/// Without an estimator from the user: Shoji-Ozaki's fit, or the Fokker-Planck likelihood's where dt is too coarse for that one or it has no maximum.
Fit fit_by_default(Problem& problem, const Arguments& a) {
  Fit fit = fit_of(problem, a);
  if (!a.problem.estimator.empty() || problem.transition != estimators::Transition::shoji_ozaki || !problem.likelihood || (!problem.diffusion && problem.model->dimension() != 1)) return fit;
  if (fit.status == Status::singular_information) return fit;  // what the data do not determine, no likelihood does
  std::string reason = fmt::format("the Shoji-Ozaki fit ended without a maximum ({})", name(fit.status));
  try {
    if (is_success(fit.status)) {
      const auto r = estimators::recommend(problem.panel, problem.diffusion ? problem.diffusion->with_parameters(fit.estimate) : as_diffusion(problem.model->with_parameters(fit.estimate)));
      if (r.transition != estimators::Transition::fokker_planck) return fit;
      reason = r.reason;
    }
    ProblemArguments arguments = a.problem;
    arguments.estimator = "fokker-planck";
    Problem numerical = problem_of(a.data, arguments);
    if (is_success(fit.status)) numerical.start = fit.estimate;
    Fit better = fit_of(numerical, a);
    if (is_success(fit.status) && !is_success(better.status) && better.status != Status::parameter_at_bound) {
      fit.warnings.push_back(fmt::format("the Fokker-Planck likelihood, which the spacing asks for, did not converge: {}", describe(better.status)));
      return fit;
    }
    better.warnings.insert(better.warnings.begin(), fmt::format("{}: the default is fokker-planck here; --estimator shoji-ozaki has the other fit", reason));
    problem = std::move(numerical);
    return better;
  } catch (const Error& e) {
    fit.warnings.push_back(fmt::format("the Fokker-Planck likelihood, a better default, is not available: {}", e.what()));
    return fit;
  }
}

void add_bias(const Problem& problem, const Fit& fit, Extras& out) {
  // The closed form holds for the exact estimate of all three parameters on an even grid.
  if (problem.estimator != "exact" || problem.panel.size() != 1 || !is_success(fit.status) || fit.names != std::vector<std::string>{"kappa", "mu", "beta"}) return;
  if (std::count(fit.fixed.begin(), fit.fixed.end(), true) != 0 || !estimators::summarise(problem.panel).even || !(fit.estimate[0] > 0)) return;
  const Vector bias = estimators::exact_ou_bias(fit.estimate[0], fit.estimate[2], fit.duration / static_cast<double>(fit.n), fit.n);
  if (!(bias[0] < fit.estimate[0]) || !(bias[2] < fit.estimate[2])) return;  // no leading order to take off
  out.json["bias"] = numbers(bias);
  out.text += fmt::format("bias       kappa {:+.4g}, beta {:+.4g} expected to order 1/n; corrected {:.6g} and {:.6g}\n", bias[0], bias[2], fit.estimate[0] - bias[0], fit.estimate[2] - bias[2]);
}

void add_bootstrap(const Problem& problem, const Fit& fit, const Arguments& a, Extras& out) {
  if (a.bootstrap == 0) return;
  if (problem.panel.empty() && !problem.snapshots) throw DomainError("fit: --bootstrap needs a path or snapshots");
  if (problem.snapshots && a.block > 0) throw DomainError("fit: --block needs a path, but these are snapshots");
  if (!fit.estimate.allFinite()) return;
  const auto kept = [](const Fit& again) { return is_success(again.status) || again.status == Status::parameter_at_bound ? std::optional(again.estimate) : std::nullopt; };
  const auto estimate = [&](const estimators::Panel& panel) -> std::optional<Vector> {
    try {
      return kept(problem.refit_panel(panel, fit.estimate, problem.options));
    } catch (const Error&) {  // a resample without an estimate
      return std::nullopt;
    }
  };
  Console console;
  const estimators::BootstrapOptions options{.replications = a.bootstrap, .seed = a.seed, .threads = a.threads, .observer = &console};
  std::string kind = "parametric";
  estimators::Bootstrap b;
  if (problem.snapshots) {
    kind = "the points of each snapshot";
    b = estimators::snapshot_bootstrap(*problem.snapshots, [&](const estimators::Snapshots& data) -> std::optional<Vector> {
      try {
        return kept(problem.refit_snapshots(data, fit.estimate, problem.options));
      } catch (const Error&) {
        return std::nullopt;
      }
    }, options);
  } else if (a.block > 0) {
    if (problem.panel.size() != 1) throw DomainError("fit: --block needs one path; a panel without it is resampled by paths");
    kind = fmt::format("blocks of {} transitions", a.block);
    b = estimators::block_bootstrap(problem.panel.front(), a.block, estimate, options);
  } else if (problem.panel.size() >= 12) {
    kind = "whole paths";
    b = estimators::path_bootstrap(problem.panel, estimate, options);
  } else if (!problem.model) {
    throw DomainError("fit: --bootstrap of a diffusion given by its coefficients needs --block, or a panel of twelve paths");
  } else {
    b = estimators::parametric_bootstrap(problem.panel, problem.model->with_parameters(fit.estimate), [&](const estimators::Panel& panel) -> std::optional<Model> {
      const auto e = estimate(panel);
      return e ? std::optional(problem.model->with_parameters(*e)) : std::nullopt;
    }, [](const Model& model) { return std::optional(model.parameters()); }, options);
  }
  const Vector error = b.standard_error(), lower = b.quantile(0.5 * (1 - a.level)), upper = b.quantile(0.5 * (1 + a.level)), corrected = b.bias_corrected(fit.estimate);
  out.json["bootstrap"] = {{"kind", kind}, {"replications", b.draws.cols()}, {"failed", b.failed}, {"cancelled", b.cancelled}, {"standard_errors", numbers(error)}, {"lower", numbers(lower)}, {"upper", numbers(upper)}, {"bias_corrected", numbers(corrected)}};
  out.text += fmt::format("bootstrap  {}, {} replications ({} failed)\n", kind, b.draws.cols(), b.failed);
  for (Index i = 0; i < error.size(); ++i) {
    if (!fit.fixed[static_cast<std::size_t>(i)]) out.text += fmt::format("           {:<12} s.e. {:.5g}, percentiles [{:.6g}, {:.6g}], bias-corrected {:.6g}\n", fit.names[static_cast<std::size_t>(i)], error[i], lower[i], upper[i], corrected[i]);
  }
}

std::string covariance_text(const Fit& fit) {
  std::string out = "\ncovariance\n";
  for (Index i = 0; i < fit.covariance.rows(); ++i) {
    out += fmt::format("{:<12}", fit.names[static_cast<std::size_t>(i)]);
    for (Index j = 0; j < fit.covariance.cols(); ++j) out += fmt::format(" {:>13.5g}", fit.covariance(i, j));
    out += '\n';
  }
  return out;
}

/// Fits side by side: a row a parameter, a column a fit.
std::string comparison(const std::vector<std::string>& labels, const std::vector<Fit>& fits) {
  std::vector<std::string> names;
  for (const Fit& f : fits) {
    for (const std::string& n : f.names) {
      if (std::find(names.begin(), names.end(), n) == names.end()) names.push_back(n);
    }
  }
  std::string out = fmt::format("{:<16}", "");
  for (const std::string& label : labels) out += fmt::format(" {:>18}", label);
  const auto row = [&](const std::string& name, const auto& cell) {
    out += fmt::format("\n{:<16}", name);
    for (const Fit& f : fits) out += fmt::format(" {:>18}", cell(f));
  };
  for (const std::string& name : names) {
    const auto at = [&](const Fit& f) { return std::find(f.names.begin(), f.names.end(), name) - f.names.begin(); };
    const auto has = [&](const Fit& f) { return at(f) < static_cast<Index>(f.names.size()) && f.estimate.size() > 0; };
    row(name, [&](const Fit& f) { return has(f) ? fmt::format("{:.7g}", f.estimate[at(f)]) : std::string(); });
    row("  s.e.", [&](const Fit& f) { return has(f) && f.covariance.size() > 0 ? (f.fixed[static_cast<std::size_t>(at(f))] ? "(fixed)" : fmt::format("{:.5g}", f.standard_errors()[at(f)])) : std::string(); });
    row("  sandwich", [&](const Fit& f) { return has(f) && f.covariance.size() > 0 && !f.fixed[static_cast<std::size_t>(at(f))] ? fmt::format("{:.5g}", f.sandwich_errors()[at(f)]) : std::string(); });
  }
  row("log-likelihood", [](const Fit& f) { return fmt::format("{:.4f}", f.log_likelihood); });
  row("AIC", [](const Fit& f) { return fmt::format("{:.3f}", f.aic()); });
  row("BIC", [](const Fit& f) { return fmt::format("{:.3f}", f.bic()); });
  row("status", [](const Fit& f) { return std::string(name(f.status)); });
  return out + "\n";
}

int run(const Arguments& a) {
  if (!(a.level > 0 && a.level < 1)) throw DomainError(fmt::format("fit: --level is {}, but must lie in (0, 1)", a.level));
  const auto smoothers = estimators::smoother_names();
  const bool smooths = std::find(smoothers.begin(), smoothers.end(), a.problem.estimator) != smoothers.end();
  if (smooths) {
    if (!a.problem.model.empty() || !a.problem.potential.empty() || !a.problem.drift.empty()) throw DomainError(fmt::format("fit: {} takes no model", a.problem.estimator));
    return run_nonparametric(a.data, {.options = {.smoother = estimators::smoother_from_name(a.problem.estimator), .drift_smoothing = a.smoothing, .diffusion_smoothing = a.diffusion_smoothing, .level = a.level},
                                      .curves = a.curves, .out = a.out, .json = a.json});
  }
  if (a.smoothing > 0 || a.diffusion_smoothing > 0 || !a.curves.empty()) throw DomainError(fmt::format("fit: --smoothing, --diffusion-smoothing and --curves go with the estimators {}", fmt::join(smoothers, ", ")));
  if (!a.compare.empty()) {
    std::vector<std::string> known = estimator_names();
    for (const std::string& name : model_names()) known.push_back(name);
    const auto labels = split(a.compare);
    std::vector<Fit> fits;
    Json list = Json::array();
    int status = 0;
    for (const std::string& label : labels) {
      if (std::find(known.begin(), known.end(), label) == known.end()) throw DomainError(fmt::format("fit: --compare: '{}' is no estimator or model; the nearest is '{}'", label, nearest_name(label, known)));
      ProblemArguments one = a.problem;
      const auto estimators_known = estimator_names();
      if (std::find(estimators_known.begin(), estimators_known.end(), label) != estimators_known.end()) one.estimator = label;
      else one.model = label, one.potential.clear(), one.drift.clear(), one.diffusion.clear();
      fits.push_back(fit_of(problem_of(a.data, one), a));
      list.push_back(fit_json(fits.back(), one.model));
      if (!is_success(fits.back().status)) status = 1;
    }
    const Json json{{"compare", list}};
    if (!a.out.empty()) write_atomically(a.out, json.dump(1) + "\n");
    fmt::print("{}", a.json ? json.dump(1) + "\n" : comparison(labels, fits));
    return status;
  }
  Problem problem = problem_of(a.data, a.problem);
  Extras before, after;
  add_data(problem, before);
  Fit fit = fit_by_default(problem, a);
  add_tests(problem, fit, after);
  add_recommendation(problem, fit, after);
  add_bias(problem, fit, after);
  add_profiles(problem, fit, a, after);
  if (fit.covariance.size() > 0) add_derived(fit, a, after);
  if (fit.estimate.size() > 0 && (std::isfinite(fit.log_likelihood) || !problem.likelihood)) add_residuals(problem, fit, a, after);
  add_bootstrap(problem, fit, a, after);
  if (!a.posterior.proposal.empty()) {
    const auto summary = sample_posterior(problem, fit, a.posterior, a.level, a.seed, a.threads);
    after.text += summary.text;
    after.json["posterior"] = summary.json;
  }
  Json json = fit_json(fit, problem.family);
  json.update(before.json);
  json.update(after.json);
  if (!a.out.empty()) write_atomically(a.out, json.dump(1) + "\n");
  if (a.json) {
    fmt::print("{}\n", json.dump(1));
  } else {
    fmt::print("{}{}", before.text, fit.table());
    if (fit.starts > 1) fmt::print("{} of {} starts agree on this maximum\n", fit.agreed, fit.starts);
    if (a.covariance) fmt::print("{}", covariance_text(fit));
    if (!after.text.empty()) fmt::print("\n{}", after.text);
  }
  return is_success(fit.status) ? 0 : 1;
}

}  // namespace

void add_fit(CLI::App& app, int& status) {
  auto a = std::make_shared<Arguments>();
  auto* command = app.add_subcommand("fit", "estimate a model's parameters with standard errors\nexample: jko fit DATA.csv --column tcm1y --model ou --profile kappa --derive \"log(2)/kappa\"");
  command->add_option("data", a->data.file, "CSV file: header, a time column t (or --dt), a column for each coordinate; 'path' makes a panel, repeated times snapshots. Or an .npy array")->required();
  auto* named = command->add_option("--model", a->problem.model, fmt::format("a Langevin family: {}; or a diffusion: {}; or linear: dX = (A X + c) dt + S dW observed with noise (Kalman)", fmt::join(family_names(), ", "), fmt::join(diffusion_names(), ", ")));
  auto* potential = command->add_option("--potential", a->problem.potential, "a formula in x (or x1, x2, ...), such as \"kappa/2*(x-mu)^2\"")->excludes(named);
  command->add_option("--drift", a->problem.drift, "the drift b of dX = b dt + sigma dW, a formula in x")->excludes(named)->excludes(potential);
  command->add_option("--diffusion", a->problem.diffusion, "its sigma, a formula in x, positive where the data are")->excludes(named)->excludes(potential);
  command->add_option("--interaction", a->problem.interaction, "a formula of the interaction kernel, for snapshots; its parameters are named interaction.NAME");
  command->add_option("--estimator", a->problem.estimator,
                      fmt::format("of paths: {}, least-squares, recursive-likelihood, martingale-linear, martingale-quadratic, martingale-optimal, martingale-eigenfunctions, gmm, gmm-euler; of paths with measurement noise, the parameter noise beside the model's: grid-filter (one column), particle-filter; of independent draws: stationary, score-matching, stein, and of counts in cells binned; of snapshots: first-order, snapshot-flow, snapshot-gaussian; of one path without a model: nadaraya-watson, local-linear, spline (default: exact where there is a closed law, else shoji-ozaki, or fokker-planck where the spacing is too coarse for that)", fmt::join(estimators::transition_names(), ", ")));
  command->add_option("--smoothing", a->smoothing, "of a drift without a model: bandwidth, or the spline's penalty (default: by cross-validation)")->check(positive_number());
  command->add_option("--diffusion-smoothing", a->diffusion_smoothing, "the same for sigma^2")->check(positive_number());
  command->add_option("--curves", a->curves, "folder for curves.csv, drift.svg and diffusion.svg of an estimate without a model");
  command->add_option("--start", a->problem.start, "starting values, name=number,...");
  command->add_option("--fix", a->problem.fix, "parameters held at a value, name=number,...");
  command->add_option("--bounds", a->problem.bounds, "closed bounds, name=lower:upper,... (either may be empty)");
  command->add_option("--starts", a->starts, "fits from this many starts, the others scattered about the first")->check(positive_number());
  command->add_option("--compare", a->compare, "estimators or models, separated by commas, side by side");
  command->add_option("--profile", a->profile, "profile-likelihood intervals of these parameters, separated by commas");
  command->add_option("--derive", a->derive, "a formula in the parameters, with its standard error; may be repeated");
  command->add_option("--level", a->level, "confidence level of profiles, derived values and percentiles")->capture_default_str();
  command->add_flag("--covariance", a->covariance, "print the covariance of the estimates");
  command->add_flag("--residuals", a->residuals, "transforms of the transitions and their tests");
  auto* bootstrap = command->add_option("--bootstrap", a->bootstrap, "replications: parametric, of whole paths for a panel of twelve or more, or of the points of snapshots")->check(CLI::Range(2, 1000000));
  command->add_option("--block", a->block, "resample stretches of this many transitions instead")->needs(bootstrap)->check(positive_number());
  auto* posterior = command->add_option("--posterior", a->posterior.proposal, "sample the posterior by Metropolis chains from the fit, under --priors")->check(CLI::IsMember({"random-walk", "langevin"}));
  command->add_option("--priors", a->posterior.priors, "name=normal:LOCATION:DEVIATION, name=log-normal:LOCATION:DEVIATION or name=gamma:SHAPE:SCALE, separated by commas (default: flat within the bounds)")->needs(posterior);
  command->add_option("--chains", a->posterior.chains, "Metropolis chains")->needs(posterior)->check(CLI::Range(2, 1000));
  command->add_option("--warm-up", a->posterior.warm_up, "steps a chain that adapt and are not kept")->needs(posterior)->check(non_negative_number());
  command->add_option("--draws", a->posterior.draws, "kept steps a chain")->needs(posterior)->check(CLI::Range(4, 100000000));
  command->add_option("--posterior-draws", a->posterior.file, "CSV file for all kept draws")->needs(posterior);
  command->add_option("--paths", a->problem.paths, "simulated paths of a transition (pedersen, modified-bridge; even) or particles (particle-filter)")->check(positive_number());
  command->add_option("--substeps", a->problem.substeps, "Euler steps of a transition in these")->check(positive_number());
  command->add_option("--seed", a->seed, "of starts, bootstrap, posterior and simulated likelihoods")->capture_default_str();
  command->add_option("--threads", a->threads, "the numbers do not depend on it")->check(positive_number());
  a->data.add_options(*command);
  command->add_option("--out", a->out, "also write the JSON to this file");
  command->add_flag("--json", a->json, "print JSON");
  command->callback([a, &status] {
    a->problem.seed = a->seed;
    a->problem.threads = a->threads;
    status = run(*a);
  });
}

}  // namespace jko::cli
