#include "commands.hpp"
#include "config.hpp"
#include "console.hpp"
#include "data.hpp"
#include "fit_json.hpp"
#include "flow_files.hpp"
#include "species_command.hpp"
#include "transformed_flow.hpp"

#include <jko/core/error.hpp>
#include <jko/estimators/bootstrap.hpp>
#include <jko/estimators/online.hpp>
#include <jko/estimators/online_gradient.hpp>
#include <jko/flows/checkpoint.hpp>
#include <jko/flows/density_extrapolation.hpp>
#include <jko/flows/grid_refinement.hpp>
#include <jko/io/atomic_file.hpp>
#include <jko/models/convexity.hpp>
#include <jko/steps/affine_step.hpp>
#include <jko/steps/back_and_forth_step.hpp>
#include <jko/steps/entropic_step.hpp>
#include <jko/steps/gaussian_step.hpp>
#include <jko/steps/particle_step.hpp>
#include <jko/steps/quantile_step.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>

namespace jko::cli {
namespace {

struct Arguments {
  std::string config, fit, online, estimator, out = "out/flow";
  DataArguments data;  ///< its file is --data (bootstrap) or --online
  double level = 0.95;
  int bootstrap = 0, threads = 1;
  std::uint64_t seed = 1;
  bool accumulated = false, recursive = false, step_error = false, grid_error = false, json = false, resume = false;
};

/// The parameters' covariance, padded with zeros for those of the energy that no fit estimates (porous medium, interaction).
Matrix padded(const Matrix& covariance, Index parameters, Index blocks) {
  const Index fitted = covariance.rows() / blocks;
  Matrix out = Matrix::Zero(parameters * blocks, parameters * blocks);
  for (Index i = 0; i < blocks; ++i) {
    for (Index j = 0; j < blocks; ++j) out.block(parameters * i, parameters * j, fitted, fitted) = covariance.block(fitted * i, fitted * j, fitted, fitted);
  }
  return out;
}

/// What is run: the energy with its parameters, and where its uncertainty comes from.
struct Problem {
  FreeEnergy energy;
  FlowOptions options;
  std::optional<FittedParameters> fit;
  Matrix covariance;        ///< of the tangent's columns; empty without a fit
  std::string label;        ///< of the checkpoint: everything the flow depends on
};

Problem make_problem(const Config& config, const Arguments& a) {
  Problem p{config.energy, config.flow, {}, {}, config.text};
  const Model& model = *config.model;
  const Index parameters = p.energy.parameters().size();
  Vector values = p.energy.parameters();
  if (p.energy.entropy() == nullptr && (!a.fit.empty() || !a.online.empty())) throw DomainError("flow: a fit needs an energy with entropy, since it estimates beta");
  if (!a.fit.empty()) {
    p.fit = read_fit(a.fit, model.parameter_list());
    values.head(p.fit->estimate.size()) = p.fit->estimate;
    p.energy.set_parameters(values);
    p.options.sensitivity = Sensitivity::shared;
    p.covariance = padded(p.fit->sandwich, parameters, 1);
    p.label += "\n# fit\n" + read_file(a.fit);
  }
  if (!a.online.empty()) {
    DataArguments data = a.data;
    data.file = a.online;
    const auto panel = read_panel(data, model.dimension());
    if (panel.size() != 1) throw DomainError("flow: --online needs one path, which is cut into as many batches as there are steps");
    const auto transition = !a.estimator.empty() ? estimators::transition_from_name(a.estimator)
                                                 : (model.potential().quadratic(model.theta()) ? estimators::Transition::exact : estimators::Transition::shoji_ozaki);
    const auto kind = a.accumulated ? estimators::OnlineData::accumulated : estimators::OnlineData::fresh;
    const auto batches = estimators::split_into_batches(panel.front(), p.options.steps);
    // Recursive: the first batch is the warm-up's, as it must give the first estimate.
    const auto fits = a.recursive ? estimators::online_gradient_fits(batches, model, {.transition = transition, .warm_up = std::max<Index>(2, batches.front().front().transitions())})
                                  : estimators::online_fits(batches, model, transition, kind);
    p.options = estimators::with_estimates(p.options, fits);
    p.options.parameters_at = [inner = p.options.parameters_at, values](int k) {
      Vector all = values;
      const Vector fitted = inner(k);
      all.head(fitted.size()) = fitted;
      return all;
    };
    p.covariance = padded(estimators::online_covariance(fits, p.options.steps, kind), parameters, p.options.steps);
    p.label += fmt::format("\n# online {} {} {} {}\n", a.accumulated, a.recursive, a.estimator, a.data.column) + read_file(a.online);
  }
  if (config.convexity_on && !p.energy.convexity()) {
    const auto [lower, upper] = *config.convexity_on;
    const auto* part = p.energy.potential();
    p.energy.assume_convexity(convexity_on(*part->potential, part->theta, Vector::Constant(1, lower), Vector::Constant(1, upper)));
  }
  return p;
}

template <class Step>
Step make_step(const FreeEnergy& energy, const Config& config) {
  if constexpr (std::is_same_v<Step, EntropicStep>) return Step(energy, std::get<EntropicStepOptions>(config.grid->step));
  else if constexpr (std::is_same_v<Step, BackAndForthStep>) return Step(energy, std::get<BackAndForthStepOptions>(config.grid->step));
  else if constexpr (std::is_same_v<Step, FiniteVolumeStep>) return Step(energy, std::get<FiniteVolumeStepOptions>(config.grid->step));
  else if constexpr (std::is_same_v<Step, ParticleStep>) return Step(energy, *config.particles);
  else return Step(energy);
}

template <class Step>
bool extrapolates(const Config& config) {
  if constexpr (std::is_same_v<typename Step::Measure, GridDensity>) return config.grid->scheme == GridFlow::Scheme::richardson;
  else return false;
}

/// The flow in the configuration's scheme, from its start.
template <class Step>
FlowResult<typename Step::Measure> run_flow(const Step& step, const Config& config, const typename Step::Measure& start, const FlowOptions& options, Observer* observer = nullptr) {
  if constexpr (std::is_same_v<typename Step::Measure, GridDensity>) {
    if (extrapolates<Step>(config)) return extrapolated_flow(step, start, options, observer).result;
  }
  return Flow<Step>(step, start, options).run(observer);
}

/// The same flow with half the step size, without sensitivities.
template <class Step>
FlowResult<typename Step::Measure> halved(const Problem& p, const Config& config, const typename Step::Measure& start, Observer* observer) {
  FlowOptions options = p.options;
  options.h *= 0.5;
  options.steps *= 2;
  options.keep_every = options.steps;
  options.sensitivity = Sensitivity::none;
  if (p.options.parameters_at) options.parameters_at = [at = p.options.parameters_at](int k) { return at((k + 1) / 2); };
  return run_flow(make_step<Step>(p.energy, config), config, start, options, observer);
}

/// Measures on grids, whose distance from the continuum can be estimated by refinement.
template <class Measure>
constexpr bool refinable = std::is_same_v<Measure, GridDensity> || std::is_same_v<Measure, QuantileFunction>;

/// The same flow on half and on a quarter of the cells, without sensitivities.
template <class Step>
GridRefinement refined(const Problem& p, const Config& config, const typename Step::Measure& start, const typename Step::Measure& result, Observer* observer) {
  using Measure = typename Step::Measure;
  FlowOptions options = p.options;
  options.keep_every = options.steps;
  options.sensitivity = Sensitivity::none;
  return grid_refinement<Measure>(start, result, [&](const Measure& from) { return run_flow(make_step<Step>(p.energy, config), config, from, options, observer); });
}

template <class Step>
std::optional<estimators::Bootstrap> bootstrap(const Problem& p, const Config& config, const Arguments& a, const typename Step::Measure& start, Observer* observer) {
  const Model fitted = config.model->with_parameters(p.fit->estimate);
  const auto panel = read_panel(a.data, fitted.dimension());
  const auto transition = estimators::transition_from_name(p.fit->estimator);
  const auto refit = [&](const estimators::Panel& simulated) -> std::optional<Model> {
    const auto fit = estimators::fit(simulated, fitted, transition);
    return is_success(fit.status) ? std::optional(fitted.with_parameters(fit.estimate)) : std::nullopt;
  };
  FlowOptions options = p.options;
  options.sensitivity = Sensitivity::none;
  options.keep_every = options.steps;
  const auto statistic = [&](const Model& model) -> std::optional<Vector> {
    FreeEnergy energy = p.energy;
    Vector values = energy.parameters();
    values.head(model.parameters().size()) = model.parameters();
    energy.set_parameters(values);
    const auto result = run_flow(make_step<Step>(energy, config), config, start, options);
    if (!is_success(result.status)) return std::nullopt;
    return summary(result.final_state().measure).value;
  };
  const auto result = estimators::parametric_bootstrap(panel, fitted, refit, statistic, {.replications = a.bootstrap, .seed = a.seed, .threads = a.threads, .observer = observer});
  return result.cancelled ? std::nullopt : std::optional(result);
}

template <class Step>
int run(const Config& config, const Arguments& a) {
  using Measure = typename Step::Measure;
  const Problem problem = make_problem(config, a);
  const Measure start = [&] {
    if constexpr (std::is_same_v<Measure, GridDensity>) return config.grid->start;
    else return std::get<Measure>(config.start);
  }();
  if (a.grid_error) {
    if constexpr (refinable<Measure>) check_refinable(start);
    else throw DomainError("flow: --grid-error is for grids and quantile functions");
  }
  const auto checkpoint_file = std::filesystem::path(a.out) / "checkpoint.json";
  if (extrapolates<Step>(config) && a.resume) throw DomainError("flow: --resume is not available with the scheme richardson");
  Flow<Step> flow = a.resume ? Flow<Step>(make_step<Step>(problem.energy, config), load_checkpoint<Measure>(checkpoint_file, problem.label), problem.options)
                             : Flow<Step>(make_step<Step>(problem.energy, config), start, problem.options);
  Console console;
  const auto result = extrapolates<Step>(config) ? run_flow(make_step<Step>(problem.energy, config), config, start, problem.options, &console) : flow.run(&console);
  const auto interrupted = [&] {
    if (extrapolates<Step>(config)) {
      fmt::print(stderr, "jko: stopped after {} of {} steps\n", result.records.size(), problem.options.steps);
      return 130;
    }
    save_checkpoint(checkpoint_file, flow.checkpoint(), problem.label);
    fmt::print(stderr, "jko: stopped after {} of {} steps; the same command with --resume continues\n", result.records.size(), problem.options.steps);
    return 130;
  };
  if (result.status == Status::cancelled) return interrupted();
  const bool good = is_success(result.status);

  FlowFiles files{a.out, a.seed, a.level, config.text, problem.energy.convexity(), {}};
  if constexpr (std::is_same_v<Step, ParticleStep>) files.convexity = make_step<Step>(problem.energy, config).particle_energy().convexity();
  if constexpr (std::is_same_v<Step, EntropicStep>) {
    if (const auto* part = problem.energy.porous_medium(); part && part->exponent < 1) {
      files.warnings.emplace_back("fast diffusion: where the density holds less than bias_target in all, the energy's slope is held (docs/methods/entropic_step.md)");
    }
    if (std::get<EntropicStepOptions>(config.grid->step).certificate != EntropicCertificate::none) {
      if (const std::string reason = make_step<Step>(problem.energy, config).uncertified(start.grid_ptr()); !reason.empty()) files.warnings.push_back("no certificate: " + reason);
    }
  }
  std::optional<FlowResult<Measure>> finer;
  if (good && a.step_error) {
    finer = halved<Step>(problem, config, start, &console);
    if (finer->status == Status::cancelled) return interrupted();
    if (!is_success(finer->status)) throw NotConverged(fmt::format("flow with half the step size: {}", describe(finer->status)));
  }
  if constexpr (refinable<Measure>) {
    if (good && a.grid_error) {
      try {
        files.grid_error = refined<Step>(problem, config, start, result.final_state().measure, &console);
        if (files.grid_error->status == Status::cancelled) return interrupted();
      } catch (const Error& e) {  // the flow itself is good, but coarser cells may not hold it
        files.warnings.push_back(fmt::format("the error of the grid is not estimated: {}", e.what()));
      }
    }
  }
  std::optional<estimators::Bootstrap> check;
  if (good && a.bootstrap > 0) {
    check = bootstrap<Step>(problem, config, a, start, &console);
    if (!check) return interrupted();
  }
  if (config.convexity_on) {
    if constexpr (std::is_same_v<Measure, QuantileFunction>) {
      for (const auto& state : result.states) {
        if (state.measure.nodes()[0] >= config.convexity_on->first && state.measure.nodes()[state.measure.cells()] <= config.convexity_on->second) continue;
        files.warnings.push_back(fmt::format("the flow left the window of convexity_on at t = {:g}: its certificates do not hold there", state.t));
        break;
      }
    }
  }
  // Without a fit the bands still carry the error of the step size, where it was asked for.
  const int order = problem.options.scheme == Scheme::jko && !extrapolates<Step>(config) ? 1 : 2;
  const Json json = write_flow(files, result, problem.covariance, finer ? &finer->final_state().measure : nullptr, order, check ? &*check : nullptr,
                               check ? padded(problem.fit->information, problem.energy.parameters().size(), 1) : Matrix());
  std::filesystem::remove(checkpoint_file);
  if (a.json) fmt::print("{}\n", json.dump(1));
  else print_flow(result, problem.options, files);
  return good ? 0 : 1;
}

}  // namespace

void add_flow(CLI::App& app, int& status) {
  auto a = std::make_shared<Arguments>();
  auto* command = app.add_subcommand("flow", "run a JKO flow with certificates, and bands given a fit\nexample: jko flow docs/examples/ou.toml --out out/ou");
  command->add_option("config", a->config, "TOML configuration")->required();
  auto* fit = command->add_option("--fit", a->fit, "the JSON of jko fit: its estimates replace the parameters, its sandwich covariance gives bands");
  auto* online = command->add_option("--online", a->online, "a path as CSV: step k uses the estimate from its k-th batch")->excludes(fit);
  auto* accumulated = command->add_flag("--accumulated", a->accumulated, "with --online: step k uses batches 1 to k")->needs(online);
  command->add_flag("--recursive", a->recursive, "with --accumulated: each transition is used once, by recursive maximum likelihood after a fit of the first batch")->needs(accumulated);
  command->add_option("--estimator", a->estimator, "with --online: exact, euler or shoji-ozaki")->needs(online);
  auto* data = command->add_option("--data", a->data.file, "the data behind --fit, for --bootstrap");
  command->add_option("--bootstrap", a->bootstrap, "replications of a parametric bootstrap of path, fit and flow, beside the bands")->needs(fit)->needs(data)->check(CLI::Range(2, 1000000));
  a->data.add_options(*command);
  command->add_flag("--step-error", a->step_error, "run the flow with h/2 too and widen the bands by the estimated error of the step size");
  command->add_flag("--grid-error", a->grid_error, "run the flow on half and a quarter of the cells too and estimate the last density's distance from the continuum's");
  command->add_option("--level", a->level, "of the bands")->check(CLI::Range(0.01, 0.9999))->capture_default_str();
  command->add_option("--seed", a->seed, "of the simultaneous bands' critical value and of the bootstrap")->capture_default_str();
  command->add_option("--threads", a->threads, "of the bootstrap; the numbers do not depend on it")->check(CLI::Range(1, 1024))->capture_default_str();
  command->add_option("--out", a->out, "folder")->capture_default_str();
  command->add_flag("--json", a->json, "print JSON");
  command->add_flag("--resume", a->resume, "continue from OUT/checkpoint.json, to the same bits");
  command->callback([a, &status] {
    if (const auto species = read_species_config(a->config)) {
      if (!a->fit.empty() || !a->online.empty() || a->step_error || a->grid_error || a->resume) throw DomainError("flow: several species take none of --fit, --online, --step-error, --grid-error and --resume");
      status = run_species(*species, a->out, a->json);
      return;
    }
    const Config config = read_config(a->config);
    if (config.flow.adaptive && (a->step_error || a->grid_error || !a->online.empty())) {
      throw DomainError("flow: --step-error, --grid-error and --online need a fixed step size, not [flow.adaptive]");
    }
    if (config.diffusion) {
      if (!a->online.empty() || a->grid_error) throw DomainError("flow: --online and --grid-error do not go with [diffusion]: the coordinate of the flow depends on the parameters");
      status = run_transformed(config, {a->fit, a->data, a->bootstrap, a->threads, a->step_error, a->resume, a->json}, FlowFiles{a->out, a->seed, a->level, config.text, {}, {}});
    } else if (config.gaussian_step) {
      status = run<GaussianStep>(config, *a);
    } else if (config.grid && std::holds_alternative<BackAndForthStepOptions>(config.grid->step)) {
      if (!a->fit.empty() || !a->online.empty()) throw DomainError("flow: bands need a step with sensitivities: on grids the entropic step, not back_and_forth");
      status = run<BackAndForthStep>(config, *a);
    } else if (config.grid && std::holds_alternative<FiniteVolumeStepOptions>(config.grid->step)) {
      status = run<FiniteVolumeStep>(config, *a);
    } else if (config.grid) {
      status = run<EntropicStep>(config, *a);
    } else if (config.affine_step) {
      status = run<AffineStep>(config, *a);
    } else if (config.particles) {
      status = run<ParticleStep>(config, *a);
    } else {
      if (!std::holds_alternative<QuantileFunction>(config.start) || std::get<QuantileFunction>(config.start).nodes().size() == 0) {
        throw ParseError(a->config, 1, 0, "the table [flow] is missing");
      }
      status = run<QuantileStep>(config, *a);
    }
  });
}

}  // namespace jko::cli
