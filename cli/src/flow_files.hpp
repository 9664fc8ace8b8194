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

/// A kept field on a grid.
struct Field {
  int k;
  double t;
  Vector values;
};

/// Fields under the name `what`. One dimension: a CSV each and the figure `figure` of the first eight. More: NPY with axis 1 fastest (shape n2 x n1, or n2 n3 x n1) and a map each, headed by `title` and the time; in three
/// dimensions of the integral over axis 3.
void write_fields(const std::filesystem::path& folder, const std::string& what, const std::string& title, const std::string& figure, const Grid& g, const std::vector<Field>& fields);

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
