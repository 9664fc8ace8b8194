#pragma once
/// What `jko fit` estimates: data, a model and an estimator, ready to be fitted, and fitted again.
#include "data.hpp"

#include <jko/estimators/fit.hpp>
#include <jko/estimators/hypothesis.hpp>
#include <jko/estimators/likelihood.hpp>
#include <jko/models/diffusion.hpp>
#include <jko/models/model.hpp>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <memory>
#include <utility>
#include <vector>

namespace jko::cli {

/// The model and the options that say how to fit it, as text.
struct ProblemArguments {
  std::string model, potential, drift, diffusion, interaction, estimator, start, fix, bounds;
  int paths = 0, substeps = 0;   ///< of simulated likelihoods; 0: the estimator's default
  std::uint64_t seed = 1;        ///< of their random numbers
  int threads = 1;
};

struct Problem {
  std::string family;                     ///< empty for a formula
  std::string estimator;
  std::vector<Parameter> parameters;
  Vector start;
  estimators::FitOptions options;         ///< fixed parameters and bounds, the family's own included
  estimators::Refit refit;
  estimators::Panel panel;                ///< empty for samples and snapshots
  std::optional<Model> model;             ///< of a path under a Langevin model: what the parametric bootstrap simulates
  std::optional<Diffusion> diffusion;     ///< of a path under a general one-dimensional diffusion
  estimators::Transition transition{};    ///< of a path
  /// The same estimator on other paths, for resampling; empty where there are none.
  std::function<estimators::Fit(const estimators::Panel& panel, const Vector& start, const estimators::FitOptions& options)> refit_panel;
  std::shared_ptr<const estimators::Snapshots> snapshots;  ///< null for paths and samples
  /// The same estimator on other snapshots.
  std::function<estimators::Fit(const estimators::Snapshots& snapshots, const Vector& start, const estimators::FitOptions& options)> refit_snapshots;
  /// Tests that belong to the estimator, at its estimate; may be empty.
  std::function<std::vector<estimators::TestResult>(const estimators::Fit& fit, const estimators::FitOptions& options)> tests;
  /// log L with gradient and information; empty where the estimator has no likelihood.
  std::function<estimators::LikelihoodValue(const Vector&)> likelihood;
};

/// Reads the data and builds the problem; throws one line for what does not fit together.
[[nodiscard]] Problem problem_of(const DataArguments& data, const ProblemArguments& arguments);

/// Names for --estimator and --model.
[[nodiscard]] std::vector<std::string> estimator_names();
[[nodiscard]] std::vector<std::string> model_names();

}  // namespace jko::cli
