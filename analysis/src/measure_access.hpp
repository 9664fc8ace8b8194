#pragma once
/// What the checks ask of a step and its measure, in one vocabulary for Gaussians, quantile functions and labelled particles.
#include <jko/analysis/flow_trace.hpp>
#include <jko/energies/slope.hpp>
#include <jko/steps/gaussian_step.hpp>
#include <jko/steps/particle_step.hpp>
#include <jko/steps/quantile_step.hpp>

#include <cmath>

namespace jko::analysis {

// Gaussians and quantile functions: W2 and the slopes of energies/slope.hpp.
template <class Step>
double slope_of(const Step& step, const typename Step::Measure& m) {
  return slope(step.energy(), m);
}
template <class Step>
double error_of(const Step& step, const typename Step::Measure& from, const typename Step::Measure& to, double h) {
  return first_order_error(step.energy(), from, to, h);
}
template <class Measure>
double distance_between(const Measure& a, const Measure& b) {
  return w2(a, b);
}
template <class Step>
std::optional<Convexity> convexity_of(const Step& step) {
  return step.energy().convexity();
}
template <class Step>
Rounding rounding_at(const Step& step, const typename Step::Measure& m) {
  return rounding_of(step.energy(), m);
}

// Labelled particles: everything in L2(w), the Hilbert space in which their step is the proximal map.
inline double weighted_norm(const Particles& m, const Matrix& field) { return std::sqrt(field.colwise().squaredNorm().dot(m.weights())); }
inline double slope_of(const ParticleStep& step, const Particles& m) { return weighted_norm(m, step.particle_energy().slope(m).gradient); }
inline double error_of(const ParticleStep& step, const Particles& from, const Particles& to, double h) {
  return weighted_norm(to, step.particle_energy().slope(to).gradient + (to.points() - from.points()) / h);
}
inline double distance_between(const Particles& a, const Particles& b) { return label_distance(a, b); }
inline std::optional<Convexity> convexity_of(const ParticleStep& step) { return step.particle_energy().convexity(); }
[[nodiscard]] Rounding rounding_at(const ParticleStep& step, const Particles& m);


/// sup |grad dF/drho| over the measure's points, for the Lipschitz estimate (flow_inequalities.hpp).
struct Steepness {
  double value = std::numeric_limits<double>::quiet_NaN();
  double rounding = 0;
  std::string unknown{};  ///< why it is not known, or not finite
};
[[nodiscard]] Steepness steepness_of(const GaussianStep& step, const Gaussian& m);
[[nodiscard]] Steepness steepness_of(const ParticleStep& step, const Particles& m);
inline Steepness steepness_of(const QuantileStep&, const QuantileFunction&) {
  return {.unknown = "the consistent mass matrix of quantile functions has no maximum principle: labelled particles with the spacing entropy have one"};
}
/// The largest length of the first-order error's field.
[[nodiscard]] double largest_residual(const GaussianStep& step, const Gaussian& from, const Gaussian& to, double h);
[[nodiscard]] double largest_residual(const ParticleStep& step, const Particles& from, const Particles& to, double h);
inline double largest_residual(const QuantileStep&, const QuantileFunction&, const QuantileFunction&, double) { return std::numeric_limits<double>::quiet_NaN(); }

}  // namespace jko::analysis
