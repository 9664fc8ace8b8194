#include "transformed_flow.hpp"

#include "console.hpp"

#include <jko/core/error.hpp>
#include <jko/estimators/diffusion_likelihood.hpp>
#include <jko/flows/checkpoint.hpp>
#include <jko/io/atomic_file.hpp>
#include <jko/models/lamperti.hpp>
#include <jko/steps/quantile_step.hpp>

#include <fmt/format.h>

#include <cmath>

namespace jko::cli {
namespace {

QuantileStep step_of(const Lamperti& lamperti) { return QuantileStep(FreeEnergy(lamperti.model())); }

void map_back(const Lamperti& lamperti, FlowResult<QuantileFunction>& result) {
  for (auto& state : result.states) state.measure = lamperti.inverse(state.measure);
}

FlowResult<QuantileFunction> flow_of(const Diffusion& diffusion, const Config& config, const FlowOptions& options, Observer* observer) {
  const Lamperti lamperti(diffusion, config.diffusion_range.first, config.diffusion_range.second);
  auto out = Flow<QuantileStep>(step_of(lamperti), lamperti.forward(std::get<QuantileFunction>(config.start)), options).run(observer);
  map_back(lamperti, out);
  return out;
}

std::optional<estimators::Bootstrap> bootstrap(const Diffusion& fitted, const std::string& estimator, const Config& config, const TransformedArguments& a, std::uint64_t seed, Observer* observer) {
  const auto panel = read_panel(a.data, 1);
  const auto transition = estimators::transition_from_name(estimator);
  const auto refit = [&](const estimators::Panel& simulated) -> std::optional<Diffusion> {
    try {
      const auto fit = estimators::fit(simulated, fitted, transition);
      return is_success(fit.status) ? std::optional(fitted.with_parameters(fit.estimate)) : std::nullopt;
    } catch (const Error&) {
      return std::nullopt;
    }
  };
  FlowOptions options = config.flow;
  options.keep_every = options.steps;
  const auto statistic = [&](const Diffusion& diffusion) -> std::optional<Vector> {
    try {
      const auto result = flow_of(diffusion, config, options, nullptr);
      if (is_success(result.status)) return summary(result.final_state().measure).value;
    } catch (const Error&) {  // sigma not positive in the range, say
    }
    return std::nullopt;
  };
  const auto out = estimators::parametric_bootstrap(panel, fitted, config.diffusion_range.first, config.diffusion_range.second, refit, statistic,
                                                    {.replications = a.bootstrap, .seed = seed, .threads = a.threads, .observer = observer});
  return out.cancelled ? std::nullopt : std::optional(out);
}

}  // namespace

int run_transformed(const Config& config, const TransformedArguments& a, FlowFiles files) {
  if (!std::holds_alternative<QuantileFunction>(config.start) || std::get<QuantileFunction>(config.start).nodes().size() == 0) throw DomainError("flow: the table [flow] is missing");
  Diffusion diffusion = *config.diffusion;
  std::optional<FittedParameters> fitted;
  Matrix covariance;
  std::string label = config.text;
  if (!a.fit.empty()) {
    fitted = read_fit(a.fit, diffusion.parameter_list());
    diffusion = diffusion.with_parameters(fitted->estimate);
    covariance = fitted->sandwich;
    label += "\n# fit\n" + read_file(a.fit);
  }
  const auto checkpoint_file = files.folder / "checkpoint.json";
  const Lamperti lamperti(diffusion, config.diffusion_range.first, config.diffusion_range.second);
  Flow<QuantileStep> flow = a.resume ? Flow<QuantileStep>(step_of(lamperti), load_checkpoint<QuantileFunction>(checkpoint_file, label), config.flow)
                                     : Flow<QuantileStep>(step_of(lamperti), lamperti.forward(std::get<QuantileFunction>(config.start)), config.flow);
  Console console;
  auto result = flow.run(&console);
  const auto interrupted = [&] {
    save_checkpoint(checkpoint_file, flow.checkpoint(), label);
    fmt::print(stderr, "jko: stopped after {} of {} steps; the same command with --resume continues\n", result.records.size(), config.flow.steps);
    return 130;
  };
  if (result.status == Status::cancelled) return interrupted();
  const bool good = is_success(result.status);
  map_back(lamperti, result);
  std::optional<FlowResult<QuantileFunction>> finer;
  if (good && a.step_error) {
    FlowOptions options = config.flow;
    options.h *= 0.5;
    options.steps *= 2;
    options.keep_every = options.steps;
    finer = flow_of(diffusion, config, options, &console);
    if (finer->status == Status::cancelled) return interrupted();
    if (!is_success(finer->status)) throw NotConverged(fmt::format("flow with half the step size: {}", describe(finer->status)));
  }
  std::optional<estimators::Bootstrap> check;
  if (good && a.bootstrap > 0) {
    check = bootstrap(diffusion, fitted->estimator, config, a, files.seed, &console);
    if (!check) return interrupted();
  }
  if (fitted && good) {
    auto& last = result.states.back();
    last.tangent = Matrix::Zero(last.measure.nodes().size(), covariance.rows());
    for (Index j = 0; j < covariance.rows(); ++j) {
      const double step = 0.01 * std::sqrt(covariance(j, j));
      if (!(step > 0)) continue;  // held fixed
      const auto moved = [&](double sign) {
        Vector theta = diffusion.parameters();
        theta[j] += sign * step;
        const auto at = flow_of(diffusion.with_parameters(theta), config, config.flow, &console);
        if (at.status == Status::cancelled) return Vector();
        if (!is_success(at.status)) throw NotConverged(fmt::format("flow at {} moved by a hundredth of its error: {}", diffusion.parameter_list()[static_cast<std::size_t>(j)].name, describe(at.status)));
        return at.final_state().measure.nodes();
      };
      const Vector up = moved(1), down = moved(-1);
      if (up.size() == 0 || down.size() == 0) return interrupted();
      last.tangent.col(j) = (up - down) / (2 * step);
    }
  }
  files.warnings.emplace_back("energies, distances, means and covariances of the steps are those of Y = int dx/sigma; densities, bands and their moments are those of X");
  if (result.status == Status::not_finite) files.warnings.emplace_back("the flow has probably left the range of [diffusion]: widen it");
  const Json written = write_flow<QuantileFunction>(files, result, good ? covariance : Matrix(), finer ? &finer->final_state().measure : nullptr, config.flow.scheme == Scheme::jko ? 1 : 2, check ? &*check : nullptr,
                                                   check ? fitted->information : Matrix());
  std::filesystem::remove(checkpoint_file);
  if (a.json) fmt::print("{}\n", written.dump(1));
  else print_flow(result, config.flow, files);
  return good ? 0 : 1;
}

}  // namespace jko::cli
