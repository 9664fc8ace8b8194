#include <jko/steps/matching_step.hpp>

#include <jko/core/check.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace jko {
namespace {

Particles barycentres(const ExactTransport& transport, const Particles& from, const Particles& to) {
  Matrix sum = Matrix::Zero(to.dimension(), to.size());
  Vector mass = Vector::Zero(to.size());  // the plan's own column sums: the weights to 2^-52 each
  for (const auto& entry : transport.plan) {
    sum.col(entry.to) += entry.mass * from.points().col(entry.from);
    mass[entry.to] += entry.mass;
  }
  return {sum.array().rowwise() / mass.transpose().array(), to.weights()};
}

}  // namespace

void MatchingStepOptions::validate() const {
  particles.validate();
  check_at_least("matching_step", "max_matchings", max_matchings, 1);
}

MatchingResult matching_step(const FreeEnergy& energy, const Particles& from, const Particles& begin, double h, const MatchingStepOptions& options) {
  options.validate();
  check_positive("matching_step", "step size h", h);
  check_size("matching_step", "the start's dimension", from.dimension(), begin.dimension());
  if (!(begin.weights().minCoeff() > 0)) throw DomainError("matching_step: a weight of the new particles is 0; remove that particle");
  ParticleStep step(energy, options.particles);
  MatchingResult result;
  result.measure = begin;
  result.transport = exact_transport(from, begin, options.transport);
  result.matchings = 1;
  Status solved = result.transport.status;
  while (is_success(solved)) {
    const Particles centres = barycentres(result.transport, from, result.measure);
    // What the plan costs beyond the distance to its barycentres; the part that the positions cannot change.
    double spread = 0;
    for (const auto& entry : result.transport.plan) spread += entry.mass * (from.points().col(entry.from) - centres.points().col(entry.to)).squaredNorm();
    const auto moved = step.advance(centres, h, result.measure.coordinates());
    result.iterations += moved.iterations;
    result.measure = moved.measure;
    result.energy = moved.energy;
    result.residual = moved.residual;
    const double kept = spread + std::pow(moved.w2_moved, 2);
    solved = moved.status;
    if (!is_success(solved)) break;
    result.transport = exact_transport(from, result.measure, options.transport);
    solved = result.transport.status;
    if (!is_success(solved)) break;
    // The old plan is as good as the optimal one, to the rounding of the sums.
    const double rounding = 64 * std::numeric_limits<double>::epsilon() * (kept + from.points().colwise().squaredNorm().dot(from.weights()));
    if (kept <= result.transport.cost + rounding) {
      result.status = Status::converged;
      break;
    }
    if (result.matchings == options.max_matchings) {
      result.status = Status::iteration_limit;
      break;
    }
    ++result.matchings;
  }
  if (!is_success(solved)) result.status = solved;
  result.w2_moved = std::sqrt(std::max(0.0, result.transport.cost));
  result.objective = result.energy.total + result.transport.cost / (2 * h);
  return result;
}

}  // namespace jko
