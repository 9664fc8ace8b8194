#pragma once
/// The JKO step between particles of different number and weight, coupled by exact optimal transport.
#include <jko/steps/particle_step.hpp>
#include <jko/transport/exact.hpp>

namespace jko {

struct MatchingStepOptions {
  ParticleStepOptions particles{};       ///< of the positions for a fixed plan
  ExactTransportOptions transport{};
  int max_matchings = 100;               ///< plans, >= 1
  void validate() const;
};

struct MatchingResult : StepResult<Particles> {
  ExactTransport transport;  ///< the optimal plan from the start to the result, with its dual certificate
  int matchings = 0;         ///< plans computed
};

/// Minimises over the M positions x_j, their weights w_j given,
///
///   J(x) = F(x_1, ..., x_M) + W2^2(sum_j w_j delta_{x_j}, sum_i v_i delta_{y_i})/(2h)
///
/// with the y_i, v_i of `from`: the particle step where the number or the weights of the particles change, hence also the semi-discrete step from a density on a grid
/// (measures/convert.hpp gives its cells as particles and the distance that this adds) and, without an energy, optimal quantisation. Alternates two exact minimisations, neither of which
/// raises J: the plan pi by exact_transport, and for that plan the particle step from the barycentres b_j = sum_i pi_ij y_i/w_j, since
///
///   sum_ij pi_ij |x_j - y_i|^2 = sum_j w_j |x_j - b_j|^2 + sum_ij pi_ij |y_i - b_j|^2.
///
/// Ends (converged) when the plan found for the new positions costs no less, to rounding, than the plan they were made for: the positions are then stationary and the plan optimal together. There are
/// finitely many plans, so this happens. J is not convex in the positions (quantisation is not): the result depends on the start x; gap and w2_bound are NaN.
/// Residual: L2(w) norm of grad F + (x - b)/h at the last plan; w2_moved: exact W2; iterations: of Newton, all plans together.
/// Cost: an exact transport a matching (transport/exact.hpp: N M entries) and a particle step; about ten matchings.
/// Wrong choice: for equal labels, where the particle step is the same thing without the plan while labels stay optimally coupled.
/// Errors: as ParticleStep and exact_transport; ShapeError for another dimension; DomainError for a weight 0 of `begin`. Source: fixed-weight Lloyd iteration, as in [MerigotSantambrogioSarrazin2021].
[[nodiscard]] MatchingResult matching_step(const FreeEnergy& energy, const Particles& from, const Particles& begin, double h, const MatchingStepOptions& options = {});

}  // namespace jko
