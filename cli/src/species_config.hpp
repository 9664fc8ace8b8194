#pragma once
/// TOML configurations of several species.
#include <jko/flows/species_flow.hpp>

#include <filesystem>
#include <optional>
#include <string>

namespace jko::cli {

struct SpeciesConfig {
  std::string text;  ///< the file, as read
  SpeciesEnergy energy;
  std::vector<GridDensity> start;
  SpeciesStepOptions step;
  SpeciesFlowOptions flow;
};

/// nullopt where the file has no [[species]]; else every error is a ParseError "file:line:column: ...".
[[nodiscard]] std::optional<SpeciesConfig> read_species_config(const std::filesystem::path& path);

}  // namespace jko::cli
