#include "transformed_flow.hpp"

#include "console.hpp"

#include <jko/core/error.hpp>
#include <jko/models/lamperti.hpp>
#include <jko/steps/quantile_step.hpp>

#include <fmt/format.h>

#include <cmath>

namespace jko::cli {
namespace {

FlowResult<QuantileFunction> flow_of(const Diffusion& diffusion, const Config& config, Observer* observer) {
  const Lamperti lamperti(diffusion, config.diffusion_range.first, config.diffusion_range.second);
  auto out = Flow<QuantileStep>(QuantileStep(FreeEnergy(lamperti.model())), lamperti.forward(std::get<QuantileFunction>(config.start)), config.flow).run(observer);
  for (auto& state : out.states) state.measure = lamperti.inverse(state.measure);
  return out;
}

}  // namespace

int run_transformed(const Config& config, const std::string& fit, FlowFiles files, bool json) {
  if (!std::holds_alternative<QuantileFunction>(config.start) || std::get<QuantileFunction>(config.start).nodes().size() == 0) throw DomainError("flow: the table [flow] is missing");
  Diffusion diffusion = *config.diffusion;
  Matrix covariance;
  if (!fit.empty()) {
    const FittedParameters fitted = read_fit(fit, diffusion.parameter_list());
    diffusion = diffusion.with_parameters(fitted.estimate);
    covariance = fitted.sandwich;
  }
  Console console;
  auto result = flow_of(diffusion, config, &console);
  if (result.status == Status::cancelled) return 130;
  if (!fit.empty() && is_success(result.status)) {
    auto& last = result.states.back();
    last.tangent = Matrix::Zero(last.measure.nodes().size(), covariance.rows());
    for (Index j = 0; j < covariance.rows(); ++j) {
      const double step = 0.01 * std::sqrt(covariance(j, j));
      if (!(step > 0)) continue;  // held fixed
      const auto moved = [&](double sign) {
        Vector theta = diffusion.parameters();
        theta[j] += sign * step;
        const auto at = flow_of(diffusion.with_parameters(theta), config, &console);
        if (!is_success(at.status)) throw NotConverged(fmt::format("flow at {} moved by a hundredth of its error: {}", diffusion.parameter_list()[static_cast<std::size_t>(j)].name, describe(at.status)));
        return at.final_state().measure.nodes();
      };
      last.tangent.col(j) = (moved(1) - moved(-1)) / (2 * step);
    }
  }
  files.warnings.emplace_back("energies, distances, means and covariances of the steps are those of Y = int dx/sigma; densities, bands and their moments are those of X");
  if (result.status == Status::not_finite) files.warnings.emplace_back("the flow has probably left the range of [diffusion]: widen it");
  const Json written = write_flow<QuantileFunction>(files, result, is_success(result.status) ? covariance : Matrix(), nullptr, config.flow.scheme == Scheme::jko ? 1 : 2, nullptr, Matrix());
  if (json) fmt::print("{}\n", written.dump(1));
  else print_flow(result, config.flow, files);
  return is_success(result.status) ? 0 : 1;
}

}  // namespace jko::cli
