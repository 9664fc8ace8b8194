#pragma once
/// What jko flow writes and prints.
#include "fit_json.hpp"

#include <jko/estimators/bands.hpp>
#include <jko/estimators/bootstrap.hpp>
#include <jko/flows/flow.hpp>
#include <jko/flows/grid_refinement.hpp>
#include <jko/measures/grid_density.hpp>
#include <jko/measures/particles.hpp>

#include <filesystem>

namespace jko::cli {

struct FlowFiles {
  std::filesystem::path folder;
  std::uint64_t seed;
  double level;
  std::string configuration;
  std::optional<Convexity> convexity;
  std::vector<std::string> warnings;
  std::optional<GridRefinement> grid_error{};
};

/// Functionals that a bootstrap is compared in: five quantiles and the moments; for Gaussians, grid densities and particles the moments.
[[nodiscard]] estimators::Functionals summary(const QuantileFunction& measure);
[[nodiscard]] estimators::Functionals summary(const Gaussian& measure);
[[nodiscard]] estimators::Functionals summary(const GridDensity& measure);
[[nodiscard]] estimators::Functionals summary(const Particles& measure);

/// flow.json, the kept states, figures; bands where `covariance` (of the tangent's columns) is given, widened by the step error where `finer` is,
/// and bootstrap.csv where `check` is: its band errors are from the `information` covariance, since both then assume the model. Returns flow.json.
template <class Measure>
Json write_flow(const FlowFiles& files, const FlowResult<Measure>& result, const Matrix& covariance, const Measure* finer, int order, const estimators::Bootstrap* check,
                const Matrix& information);
template <class Measure>
void print_flow(const FlowResult<Measure>& result, const FlowOptions& options, const FlowFiles& files);

}  // namespace jko::cli
