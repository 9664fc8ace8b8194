#include <jko/steps/forward_backward_step.hpp>

#include <jko/core/check.hpp>
#include <jko/models/families.hpp>

#include <cmath>
#include <optional>
#include <type_traits>
#include <utility>

namespace jko {
namespace {

template <class Inner>
constexpr bool gaussian = std::is_same_v<Inner, GaussianStep>;

/// The energy without its potential; a Gaussian step needs a potential, so it gets zero.
template <class Inner>
FreeEnergy rest_of(const FreeEnergy& energy) {
  if (!energy.potential()) throw DomainError("forward_backward_step: the energy has no potential");
  FreeEnergy rest;
  if constexpr (gaussian<Inner>) {
    const int d = energy.dimension();
    rest.add_potential(ornstein_uhlenbeck(d), Vector::Zero(d * (d + 1) / 2 + d));
  }
  if (const auto* part = energy.entropy()) rest.add_entropy(part->beta);
  if (const auto* part = energy.porous_medium()) rest.add_porous_medium(part->coefficient, part->exponent);
  if (const auto* part = energy.congestion()) rest.add_congestion(part->max_density);
  if (const auto* part = energy.interaction()) rest.add_interaction(part->kernel, part->theta);
  return rest;
}

const FreeEnergy::PotentialPart& potential_of(const FreeEnergy& energy) { return *energy.potential(); }

Potential::Quadratic quadratic_of(const FreeEnergy& energy) {
  const auto& part = potential_of(energy);
  auto quadratic = part.potential->quadratic(part.theta);
  if (!quadratic) throw DomainError("forward_backward_step: a Gaussian stays one under quadratic potentials only; this one is " + part.potential->describe());
  return *std::move(quadratic);
}

/// (Id - h grad Psi)#rho; nothing where that is no measure of this kind.
std::optional<Gaussian> forward(const FreeEnergy& energy, const Gaussian& from, double h) {
  const auto [curvature, centre] = quadratic_of(energy);
  check_size("forward_backward_step", "the start's mean", from.dimension(), centre.size());
  const Matrix map = Matrix::Identity(from.dimension(), from.dimension()) - h * curvature;
  const Matrix covariance = map * from.covariance() * map;
  try {
    return Gaussian(map * from.mean() + h * curvature * centre, 0.5 * (covariance + covariance.transpose()));
  } catch (const DomainError&) {
    return std::nullopt;  // the map is singular: h times an eigenvalue of K is 1
  }
}

std::optional<QuantileFunction> forward(const FreeEnergy& energy, const QuantileFunction& from, double h) {
  const auto& part = potential_of(energy);
  const Vector moved = from.nodes() - h * part.potential->evaluate({1, 0}, from.nodes().transpose(), part.theta).row(0).transpose();
  if (!moved.allFinite()) return std::nullopt;
  QuantileFunction out = from.with_coordinates(moved);
  return out.is_monotone() ? std::optional(std::move(out)) : std::nullopt;
}

std::optional<Particles> forward(const FreeEnergy& energy, const Particles& from, double h) {
  const auto& part = potential_of(energy);
  check_size("forward_backward_step", "the particles' dimension", from.dimension(), part.potential->dimension());
  const Matrix moved = from.points() - h * part.potential->evaluate({1, 0}, from.points(), part.theta);
  if (!moved.allFinite()) return std::nullopt;
  return Particles(moved, from.weights());
}

/// Points of measures whose coordinates are positions.
Matrix points_of(const QuantileFunction& m) { return m.nodes().transpose(); }
const Matrix& points_of(const Particles& m) { return m.points(); }

/// Columns of d(nu) for columns of d(rho) and d(theta) (either may be empty).
template <class Measure>
Matrix forward_tangent(const FreeEnergy& energy, const Measure& from, double h, const ConstMatrixRef& from_tangent, const ConstMatrixRef& theta_tangent, Index columns) {
  const auto& part = potential_of(energy);
  const Matrix points = points_of(from);
  const Index d = points.rows(), n = points.cols();
  Matrix out = Matrix::Zero(d * n, columns);
  if (from_tangent.size() > 0) {
    const Matrix hessian = part.potential->evaluate({2, 0}, points, part.theta);
    for (Index i = 0; i < n; ++i) out.middleRows(d * i, d) = from_tangent.middleRows(d * i, d) - h * hessian.col(i).reshaped(d, d) * from_tangent.middleRows(d * i, d);
  }
  if (theta_tangent.size() > 0) {
    const Matrix mixed = part.potential->evaluate({1, 1}, points, part.theta);
    for (Index i = 0; i < n; ++i) out.middleRows(d * i, d) -= h * mixed.col(i).reshaped(d, part.theta.size()) * theta_tangent;
  }
  return out;
}

Matrix forward_tangent(const FreeEnergy& energy, const Gaussian& from, double h, const ConstMatrixRef& from_tangent, const ConstMatrixRef& theta_tangent, Index columns) {
  const auto& part = potential_of(energy);
  const auto [curvature, centre] = quadratic_of(energy);
  const Index d = from.dimension();
  const Matrix map = Matrix::Identity(d, d) - h * curvature;
  Potential::QuadraticTangent directions;
  if (theta_tangent.size() > 0) directions = part.potential->quadratic_tangent(part.theta);
  Matrix out = Matrix::Zero(d + d * d, columns);
  for (Index j = 0; j < columns; ++j) {
    Vector mean = Vector::Zero(d);
    Matrix covariance = Matrix::Zero(d, d);
    if (from_tangent.size() > 0) {
      mean = map * from_tangent.col(j).head(d);
      covariance = map * from_tangent.col(j).tail(d * d).reshaped(d, d) * map;
    }
    if (theta_tangent.size() > 0) {
      Matrix d_curvature = Matrix::Zero(d, d);
      Vector d_centre = Vector::Zero(d);
      for (Index q = 0; q < part.theta.size(); ++q) {
        d_curvature += theta_tangent(q, j) * directions.curvature[static_cast<std::size_t>(q)];
        d_centre += theta_tangent(q, j) * directions.centre.col(q);
      }
      mean += h * (curvature * d_centre - d_curvature * (from.mean() - centre));
      covariance -= h * (d_curvature * from.covariance() * map + map * from.covariance() * d_curvature);
    }
    out.col(j).head(d) = mean;
    out.col(j).tail(d * d) = covariance.reshaped();
  }
  return out;
}

EnergyValue full_energy(const FreeEnergy& energy, const GaussianStep&, const Gaussian& m) { return GaussianStep(energy).energy_value(m); }
EnergyValue full_energy(const FreeEnergy& energy, const QuantileStep&, const QuantileFunction& m) { return QuantileStep(energy).energy_value(m); }
EnergyValue full_energy(const FreeEnergy& energy, const ParticleStep& inner, const Particles& m) { return ParticleEnergy(energy, inner.particle_energy().options()).value(m); }

double moved(const Gaussian& a, const Gaussian& b) { return w2(a, b); }
double moved(const QuantileFunction& a, const QuantileFunction& b) { return w2(a, b); }
double moved(const Particles& a, const Particles& b) { return label_distance(a, b); }

}  // namespace

template <class Inner>
ForwardBackwardStep<Inner>::ForwardBackwardStep(FreeEnergy energy, const std::function<Inner(FreeEnergy)>& make) : energy_(std::move(energy)), inner_(make(rest_of<Inner>(energy_))) {
  if constexpr (gaussian<Inner>) (void)quadratic_of(energy_);
}

template <class Inner>
void ForwardBackwardStep<Inner>::set_parameters(const ConstVectorRef& parameters) {
  energy_.set_parameters(parameters);
  inner_.set_parameters(rest_of<Inner>(energy_).parameters());
}

template <class Inner>
EnergyValue ForwardBackwardStep<Inner>::energy_value(const Measure& measure) const {
  return full_energy(energy_, inner_, measure);
}

template <class Inner>
StepResult<typename Inner::Measure> ForwardBackwardStep<Inner>::advance(const Measure& from, double h) {
  check_positive("forward_backward_step", "step size h", h);
  StepResult<Measure> result;
  result.measure = from;
  const auto middle = forward(energy_, from, h);
  if (!middle) {
    result.status = Status::order_lost;
    return result;
  }
  from_ = from;
  h_ = h;
  result = inner_.advance(*middle, h);
  result.energy = energy_value(result.measure);
  result.w2_moved = moved(from, result.measure);
  return result;
}

template <class Inner>
Matrix ForwardBackwardStep<Inner>::tangent(const ConstMatrixRef& from_tangent, const ConstMatrixRef& parameter_tangent) const {
  if (h_ == 0) throw DomainError("forward_backward_step: tangent() needs an advance() before it");
  const Index p = potential_of(energy_).theta.size(), columns = std::max(from_tangent.cols(), parameter_tangent.cols());
  Matrix theta, rest;
  if (parameter_tangent.size() > 0) {
    check_size("forward_backward_step", "the parameter tangent", parameter_tangent.rows(), energy_.parameters().size());
    theta = parameter_tangent.topRows(p);
    const Index others = parameter_tangent.rows() - p;
    // The Gaussian step's own (zero) potential has parameters that do not move.
    rest = Matrix::Zero(inner_.energy().parameters().size(), columns);
    rest.bottomRows(others) = parameter_tangent.bottomRows(others);
  }
  return inner_.tangent(forward_tangent(energy_, from_, h_, from_tangent, theta, columns), rest);
}

template class ForwardBackwardStep<GaussianStep>;
template class ForwardBackwardStep<QuantileStep>;
template class ForwardBackwardStep<ParticleStep>;

}  // namespace jko
