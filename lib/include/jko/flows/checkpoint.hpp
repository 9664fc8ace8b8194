#pragma once
/// Flow checkpoints as files.
#include <jko/flows/flow.hpp>
#include <jko/measures/gaussian.hpp>
#include <jko/measures/grid_density.hpp>
#include <jko/measures/particles.hpp>
#include <jko/measures/quantile_function.hpp>

#include <filesystem>
#include <string>

namespace jko {

/// Writes the checkpoint as JSON that restores every bit, atomically. `label` names what belongs to it (the configuration, say).
void save_checkpoint(const std::filesystem::path& path, const FlowCheckpoint<GridDensity>& checkpoint, const std::string& label);
void save_checkpoint(const std::filesystem::path& path, const FlowCheckpoint<Gaussian>& checkpoint, const std::string& label);
void save_checkpoint(const std::filesystem::path& path, const FlowCheckpoint<Particles>& checkpoint, const std::string& label);
void save_checkpoint(const std::filesystem::path& path, const FlowCheckpoint<QuantileFunction>& checkpoint, const std::string& label);

/// Throws ParseError when the file is damaged, of another measure, or its label is not `label`; IoError when it cannot be read.
template <class Measure>
[[nodiscard]] FlowCheckpoint<Measure> load_checkpoint(const std::filesystem::path& path, const std::string& label);
extern template FlowCheckpoint<GridDensity> load_checkpoint<GridDensity>(const std::filesystem::path&, const std::string&);
extern template FlowCheckpoint<Gaussian> load_checkpoint<Gaussian>(const std::filesystem::path&, const std::string&);
extern template FlowCheckpoint<Particles> load_checkpoint<Particles>(const std::filesystem::path&, const std::string&);
extern template FlowCheckpoint<QuantileFunction> load_checkpoint<QuantileFunction>(const std::filesystem::path&, const std::string&);

}  // namespace jko
