#pragma once
/// jko flow for several species.
#include "species_config.hpp"

namespace jko::cli {

/// Runs the flow and writes flow.json, densities and figures into `folder`; the exit status.
[[nodiscard]] int run_species(const SpeciesConfig& config, const std::filesystem::path& folder, bool json);

}  // namespace jko::cli
