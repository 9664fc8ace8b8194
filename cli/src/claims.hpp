#pragma once
/// The user's own claims as a study: a TOML file that adds them to the report.
#include <jko/validation/study.hpp>

#include <filesystem>

namespace jko::cli {

/// Runs the file's flow at h, h/2 and h/4 and compares E phi(X) at the final time, extrapolated in h, with every [[claim]]. The measurement's own error is estimated by the
/// extrapolation's last change and by halving the cells; where it exceeds the claim's tolerance the check is inconclusive. Throws ParseError.
[[nodiscard]] validation::Study claims_study(const std::filesystem::path& file);

}  // namespace jko::cli
