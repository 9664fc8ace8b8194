#pragma once
/// `jko flow` of a diffusion given by its coefficients: the flow runs in the Lamperti coordinate, its files are of X.
#include "config.hpp"
#include "data.hpp"
#include "flow_files.hpp"

#include <string>

namespace jko::cli {

struct TransformedArguments {
  std::string fit;        ///< the JSON of jko fit; may be empty
  DataArguments data;     ///< of the bootstrap
  int bootstrap = 0, threads = 1;
  bool step_error = false, resume = false, json = false;
};

/// With a fit its estimates replace the parameters, and the bands come from derivatives of the whole flow in them: central differences of a hundredth of a standard error, with a relative error of some 1e-5.
/// The bootstrap simulates in the Lamperti coordinate, fits by the estimator that the fit names, and runs the flow again. Returns the exit status.
[[nodiscard]] int run_transformed(const Config& config, const TransformedArguments& arguments, FlowFiles files);

}  // namespace jko::cli
