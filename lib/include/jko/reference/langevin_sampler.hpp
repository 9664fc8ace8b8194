#pragma once
/// Langevin Monte Carlo on particles: what a JKO flow of samples is compared with.
#include <jko/core/progress.hpp>
#include <jko/core/status.hpp>
#include <jko/measures/particles.hpp>
#include <jko/models/model.hpp>

#include <cstdint>

namespace jko {

enum class LangevinMethod {
  ula,   ///< x' = x - h grad Psi + sqrt(2h/beta) z: its stationary law is biased by O(h)
  mala,  ///< the same proposal, accepted by Metropolis' rule for exp(-beta Psi): no bias, moves may be refused
};

struct LangevinOptions {
  LangevinMethod method = LangevinMethod::mala;
  double step = 0.01;      ///< h > 0, time
  int steps = 1000;        ///< >= 1
  std::uint64_t seed = 1;  ///< chain i draws from its own stream
  int threads = 1;         ///< >= 1; the numbers do not depend on it
  void validate() const;
};

struct LangevinResult {
  Status status = Status::not_run;  ///< converged (all steps done), or not_finite: a chain left the floating-point range (h is too large for a steep potential)
  Particles particles;              ///< the chains' ends, with the start's weights
  double acceptance = 1;            ///< share of accepted moves; 1 for ula
};

/// Independent chains from every particle of `start`. Exact simulation of Ornstein-Uhlenbeck paths is in simulate.hpp.
[[nodiscard]] LangevinResult langevin_sampler(const Model& model, const Particles& start, const LangevinOptions& options = {});

}  // namespace jko
