#pragma once
/// A flow of several species: the record of every step.
#include <jko/core/progress.hpp>
#include <jko/steps/species_step.hpp>

#include <vector>

namespace jko {

struct SpeciesFlowOptions {
  double h = 0.01;     ///< time, > 0
  int steps = 100;     ///< >= 1
  int keep_every = 1;  ///< keep the densities of every j-th step; the last are always kept
  void validate() const;  ///< throws DomainError naming the field
};

struct SpeciesRecord {
  int k = 0;
  double t = 0;
  StepReport step;
  SpeciesReport report;
  std::vector<Vector> mean;        ///< of each species
  std::vector<Matrix> covariance;
  double seconds = 0;              ///< wall time of the step
};

struct SpeciesState {
  int k = 0;                       ///< 0 is the start
  double t = 0;
  std::vector<GridDensity> measure;
};

struct SpeciesFlowResult {
  Status status = Status::not_run;     ///< converged when every step converged; the first other status otherwise
  std::vector<SpeciesRecord> records;  ///< one a step, in order; a failed step's is the last
  std::vector<SpeciesState> states;    ///< the start, every keep_every-th step and the last that converged
};

/// JKO steps from `start`, until a step fails or the observer asks to stop (status cancelled).
[[nodiscard]] SpeciesFlowResult species_flow(SpeciesStep step, std::vector<GridDensity> start, const SpeciesFlowOptions& options, Observer* observer = nullptr);

}  // namespace jko
