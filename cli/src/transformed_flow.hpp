#pragma once
/// `jko flow` of a diffusion given by its coefficients: the flow runs in the Lamperti coordinate, its files are of X.
#include "config.hpp"
#include "flow_files.hpp"

#include <string>

namespace jko::cli {

/// With a fit (the JSON of jko fit; may be empty) its estimates replace the parameters, and the bands come from derivatives of the whole flow in them: central differences of a hundredth of a
/// standard error, with a relative error of some 1e-5. Returns the exit status.
[[nodiscard]] int run_transformed(const Config& config, const std::string& fit, FlowFiles files, bool json);

}  // namespace jko::cli
