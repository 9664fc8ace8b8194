#include "commands.hpp"
#include "config.hpp"
#include "console.hpp"

#include <jko/core/check.hpp>
#include <jko/estimators/bands.hpp>
#include <jko/flows/flow.hpp>
#include <jko/flows/checkpoint.hpp>
#include <jko/io/atomic_file.hpp>
#include <jko/io/csv.hpp>
#include <jko/steps/gaussian_step.hpp>
#include <jko/steps/quantile_step.hpp>
#include <jko/validation/figure.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <memory>

namespace jko::cli {
namespace {

using Json = nlohmann::ordered_json;

struct Arguments {
  std::string config, fit, out = "out/flow";
  double level = 0.95;
  std::uint64_t seed = 1;
  bool json = false, resume = false;
};

Json number(double x) { return std::isfinite(x) ? Json(x) : Json(nullptr); }

Json to_json(const FlowRecord& r) {
  Json energies = Json::object(), covariance = Json::array();
  for (const auto& [part, value] : r.step.energy.parts) energies[part] = number(value);
  for (Index i = 0; i < r.covariance.rows(); ++i) covariance.push_back(std::vector<double>(r.covariance.row(i).begin(), r.covariance.row(i).end()));
  return {{"k", r.k}, {"t", r.t}, {"h", r.h}, {"status", name(r.step.status)}, {"free_energy", number(r.step.energy.total)}, {"energies", energies},
          {"w2_moved", number(r.step.w2_moved)}, {"residual", number(r.step.residual)}, {"gap", number(r.step.gap)}, {"w2_bound", number(r.step.w2_bound)},
          {"mass", r.mass}, {"min_density", number(r.min_density)}, {"mean", std::vector<double>(r.mean.begin(), r.mean.end())}, {"covariance", covariance},
          {"iterations", r.step.iterations}, {"seconds", r.seconds}};
}

template <class Measure>
Json flow_json(const FlowResult<Measure>& result, const Arguments& a, const Config& config) {
  Json steps = Json::array();
  for (const FlowRecord& r : result.records) steps.push_back(to_json(r));
  return {{"status", name(result.status)}, {"message", describe(result.status)}, {"steps", steps}, {"seed", a.seed}, {"version", JKO_VERSION}, {"configuration", config.text}};
}

/// Estimates and covariance of `jko fit --json`, in the model's parameter order.
struct FittedParameters {
  Vector estimate;
  Matrix covariance;
};

FittedParameters read_fit(const std::string& file, const Model& model) {
  const auto list = model.parameter_list();
  const auto count = static_cast<Index>(list.size());
  FittedParameters out{Vector(count), Matrix(count, count)};
  try {
    const auto json = nlohmann::json::parse(read_file(file));
    if (static_cast<Index>(json.at("parameters").size()) != count) throw ParseError(file, 0, 0, "its parameters are not those of the model");
    for (Index i = 0; i < count; ++i) {
      const auto& p = json.at("parameters").at(static_cast<std::size_t>(i));
      const std::string& expected = list[static_cast<std::size_t>(i)].name;
      if (p.at("name").get<std::string>() != expected) throw ParseError(file, 0, 0, fmt::format("parameter '{}' stands where the model has '{}'", p.at("name").get<std::string>(), expected));
      out.estimate[i] = p.at("estimate").get<double>();
      for (Index j = 0; j < count; ++j) out.covariance(i, j) = json.at("sandwich").at(static_cast<std::size_t>(i)).at(static_cast<std::size_t>(j)).get<double>();
    }
  } catch (const nlohmann::json::exception& e) {
    throw ParseError(file, 0, 0, fmt::format("this is no result of jko fit: {}", e.what()));
  }
  return out;
}

void write_bands(const FlowResult<QuantileFunction>& result, const FittedParameters& fit, const Arguments& a) {
  const auto& state = result.final_state();
  const Vector levels = Vector::LinSpaced(99, 0.01, 0.99);
  const Vector points = Vector::LinSpaced(201, state.measure.quantile(1e-4), state.measure.quantile(1 - 1e-4));
  const auto write = [&](const char* what, const char* abscissa, const estimators::Functionals& f, const Vector& at) {
    const auto band = estimators::band(f, at, state.tangent, fit.covariance, {.level = a.level, .seed = a.seed});
    Matrix table(at.size(), 7);
    table << band.abscissa, band.estimate, band.standard_error, band.lower, band.upper, band.simultaneous_lower, band.simultaneous_upper;
    write_atomically(std::filesystem::path(a.out) / fmt::format("band_{}.csv", what),
                     format_csv({abscissa, "estimate", "standard_error", "lower", "upper", "simultaneous_lower", "simultaneous_upper"}, table));
    return band;
  };
  write("quantiles", "level", estimators::quantiles(state.measure, levels), levels);
  write("distribution", "x", estimators::distribution(state.measure, points), points);
  const auto density = write("density", "x", estimators::density(state.measure, points), points);
  const auto list = [](const Vector& v) { return std::vector<double>(v.begin(), v.end()); };
  validation::render({"density_band", "", "x", "density", false, false,
                      {{fmt::format("{:g} %, all x", 100 * a.level), validation::Series::Style::band, list(points), list(density.simultaneous_lower), list(density.simultaneous_upper), {}, 5},
                       {fmt::format("{:g} %, each x", 100 * a.level), validation::Series::Style::band, list(points), list(density.lower), list(density.upper), {}, 0},
                       {fmt::format("t = {:g}", state.t), validation::Series::Style::line, list(points), list(density.estimate), {}, {}, 0}}},
                     a.out);
}

void write_states(const FlowResult<QuantileFunction>& result, const Arguments& a) {
  for (const auto& state : result.states) {
    Matrix table(state.measure.cells(), 3);
    table << state.measure.midpoints(), state.measure.cell_densities(), state.measure.masses();
    write_atomically(std::filesystem::path(a.out) / fmt::format("density_{:06d}.csv", state.k), format_csv({"x", "density", "mass"}, table));
  }
}

void write_states(const FlowResult<Gaussian>&, const Arguments&) {}  // the records hold mean and covariance

template <class Measure>
void write_figure(const FlowResult<Measure>& result, const Arguments& a) {
  validation::Series energy{"", validation::Series::Style::line, {}, {}, {}, {}, 0};
  for (const FlowRecord& r : result.records) {
    if (!std::isfinite(r.step.energy.total)) continue;
    energy.x.push_back(r.t);
    energy.y.push_back(r.step.energy.total);
  }
  if (energy.x.size() > 1) validation::render({"free_energy", "", "time t", "free energy", false, false, {energy}}, a.out);
}

template <class Step>
int run(const Config& config, const Arguments& a) {
  using Measure = typename Step::Measure;
  Model model = *config.model;
  FlowOptions options = config.flow;
  std::optional<FittedParameters> fit;
  if (!a.fit.empty()) {
    fit = read_fit(a.fit, model);
    model = model.with_parameters(fit->estimate);
    options.sensitivity = Sensitivity::shared;
  }
  const auto checkpoint_file = std::filesystem::path(a.out) / "checkpoint.json";
  const std::string label = config.text + (a.fit.empty() ? "" : "\n# fit\n" + read_file(a.fit));
  Flow<Step> flow = a.resume ? Flow<Step>(Step(FreeEnergy(model)), load_checkpoint<Measure>(checkpoint_file, label), options)
                             : Flow<Step>(Step(FreeEnergy(model)), std::get<Measure>(config.start), options);
  Console console;
  const auto result = flow.run(&console);
  if (result.status == Status::cancelled) {
    save_checkpoint(checkpoint_file, flow.checkpoint(), label);
    fmt::print(stderr, "jko: stopped after {} of {} steps; the same command with --resume continues\n", result.records.size(), options.steps);
    return 130;
  }
  const Json json = flow_json(result, a, config);
  write_atomically(std::filesystem::path(a.out) / "flow.json", json.dump(1) + "\n");
  write_states(result, a);
  write_figure(result, a);
  if constexpr (std::is_same_v<Measure, QuantileFunction>) {
    if (fit && is_success(result.status)) write_bands(result, *fit, a);
  }
  if (a.json) {
    fmt::print("{}\n", json.dump(1));
  } else {
    double bound = 0;
    for (const FlowRecord& r : result.records) bound = std::isnan(r.step.w2_bound) ? r.step.w2_bound : std::max(bound, r.step.w2_bound);
    const std::string certificate = std::isnan(bound) ? "no certificate: the potential's convexity constant is not known"
                                                      : fmt::format("largest W2 distance of a step from its exact minimiser: at most {:.2e}", bound);
    fmt::print("{} of {} steps: {}\n", result.records.size(), config.flow.steps, describe(result.status));
    if (!result.records.empty() && is_success(result.status)) {
      const FlowRecord& last = result.records.back();
      fmt::print("t = {:g}, free energy {:.10g}, mean {:.6g}, variance {:.6g}\n{}\nresults in {}\n", last.t,
                 last.step.energy.total, last.mean[0], last.covariance(0, 0), certificate, a.out);
    }
  }
  std::filesystem::remove(checkpoint_file);
  return is_success(result.status) ? 0 : 1;
}

}  // namespace

void add_flow(CLI::App& app, int& status) {
  auto a = std::make_shared<Arguments>();
  auto* command = app.add_subcommand("flow", "run a JKO flow with certificates, and bands given a fit\nexample: jko flow docs/examples/ou.toml --out out/ou");
  command->add_option("config", a->config, "TOML configuration")->required();
  command->add_option("--fit", a->fit, "the JSON of jko fit: its estimates replace the parameters, its sandwich covariance gives bands");
  command->add_option("--level", a->level, "of the bands")->check(CLI::Range(0.01, 0.9999))->capture_default_str();
  command->add_option("--seed", a->seed, "of the simultaneous bands' critical value")->capture_default_str();
  command->add_option("--out", a->out, "folder")->capture_default_str();
  command->add_flag("--json", a->json, "print JSON");
  command->add_flag("--resume", a->resume, "continue from OUT/checkpoint.json, to the same bits");
  command->callback([a, &status] {
    const Config config = read_config(a->config);
    if (config.gaussian_step) {
      status = run<GaussianStep>(config, *a);
    } else {
      if (!std::holds_alternative<QuantileFunction>(config.start) || std::get<QuantileFunction>(config.start).nodes().size() == 0) {
        throw ParseError(a->config, 1, 0, "the table [flow] is missing");
      }
      status = run<QuantileStep>(config, *a);
    }
  });
}

}  // namespace jko::cli
