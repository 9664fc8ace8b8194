#pragma once
/// `jko fit` without a model: drift and diffusion coefficient as curves.
#include "data.hpp"

#include <jko/estimators/nonparametric.hpp>

#include <string>

namespace jko::cli {

struct NonparametricArguments {
  estimators::NonparametricOptions options;
  std::string curves;  ///< folder for curves.csv and the figures; empty: none
  std::string out;     ///< JSON file; empty: none
  bool json = false;   ///< print JSON
};

/// The exit status: 0, or 1 where no smoothing could be scored.
[[nodiscard]] int run_nonparametric(const DataArguments& data, const NonparametricArguments& arguments);

}  // namespace jko::cli
