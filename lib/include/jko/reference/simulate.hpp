#pragma once
/// Simulation of Langevin models: exact for Ornstein-Uhlenbeck, Euler-Maruyama for the rest.
#include <jko/core/random.hpp>
#include <jko/models/model.hpp>

#include <cstdint>
#include <vector>

namespace jko {

enum class Simulation {
  automatic,       ///< exact where the potential is quadratic, else Euler-Maruyama
  exact,           ///< Gaussian transitions; needs a quadratic potential
  euler_maruyama,  ///< weak order one in the sub-step; may blow up for steep potentials and large sub-steps
};

struct SimulationOptions {
  Simulation method = Simulation::automatic;
  int substeps = 100;       ///< Euler-Maruyama steps between two times, >= 1
  std::uint64_t seed = 1;
  int threads = 1;          ///< the numbers do not depend on it
};

/// One path at the given times (increasing, the first is the start's): d x times. `path` numbers the random stream.
/// Throws DomainError naming the time at which an Euler-Maruyama path stopped being finite.
[[nodiscard]] Matrix simulate_path(const Model& model, const ConstVectorRef& start, const ConstVectorRef& times, std::uint64_t path = 0,
                                   const SimulationOptions& options = {});

/// Paths 0, ..., paths-1 from the columns of `starts` (one column: all from there).
[[nodiscard]] std::vector<Matrix> simulate_panel(const Model& model, const ConstMatrixRef& starts, const ConstVectorRef& times, int paths,
                                                 const SimulationOptions& options = {});

/// Unpaired samples: for each time but the first, `size` points of fresh paths (d x size).
[[nodiscard]] std::vector<Matrix> simulate_snapshots(const Model& model, const ConstVectorRef& start, const ConstVectorRef& times, int size,
                                                     const SimulationOptions& options = {});

/// Independent draws of the stationary law exp(-beta Psi)/Z: exact for a quadratic potential; in one dimension otherwise by inversion of the
/// distribution function integrated on `cells` cells of [lower, upper] (linear within a cell: error O(cells^-2)). 1 x size or d x size.
[[nodiscard]] Matrix sample_stationary(const Model& model, int size, double lower, double upper, Index cells = 4096,
                                       const SimulationOptions& options = {});

}  // namespace jko
