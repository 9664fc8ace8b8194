#include <jko/reference/fokker_planck.hpp>

#include <jko/core/check.hpp>

#include <fmt/format.h>

#include <cmath>

namespace jko {
namespace {

/// z/(e^z - 1), by its series where expm1 would lose nothing but the division 0/0.
double bernoulli(double z) {
  if (std::abs(z) < 1e-8) return 1 - 0.5 * z;
  return z / std::expm1(z);
}

}  // namespace

FokkerPlanck::FokkerPlanck(const Model& model, double lower, double upper, Index cells) {
  if (model.dimension() != 1) throw DomainError("fokker_planck: the model must have dimension 1");
  check_finite("fokker_planck", "lower end", lower);
  check_finite("fokker_planck", "upper end", upper);
  if (!(lower < upper)) throw DomainError(fmt::format("fokker_planck: lower end {} must lie below upper end {}", lower, upper));
  check_at_least("fokker_planck", "cells", cells, 3);
  width_ = (upper - lower) / static_cast<double>(cells);
  centres_ = Vector::LinSpaced(cells, lower + 0.5 * width_, upper - 0.5 * width_);
  potential_ = model.beta() * model.potential().evaluate({0, 0}, centres_.transpose(), model.theta()).row(0).transpose();
  check_finite("fokker_planck", "the potential at the cell centres", potential_);
  const double scale = 1 / (model.beta() * width_ * width_);
  lower_ = upper_ = Vector::Zero(cells - 1);
  diagonal_ = Vector::Zero(cells);
  for (Index i = 0; i + 1 < cells; ++i) {
    const double difference = potential_[i + 1] - potential_[i];
    upper_[i] = scale * bernoulli(-difference);  // from cell i+1 into cell i
    lower_[i] = scale * bernoulli(difference);   // from cell i into cell i+1
    diagonal_[i] -= lower_[i];
    diagonal_[i + 1] -= upper_[i];
  }
}

Vector FokkerPlanck::stationary() const {
  const Vector weight = (potential_.minCoeff() - potential_.array()).exp();
  return weight / (weight.sum() * width_);
}

Vector FokkerPlanck::apply(const ConstVectorRef& density) const {
  const Index n = diagonal_.size();
  Vector out = diagonal_.cwiseProduct(density);
  out.head(n - 1) += upper_.cwiseProduct(density.tail(n - 1));
  out.tail(n - 1) += lower_.cwiseProduct(density.head(n - 1));
  return out;
}

void FokkerPlanck::resolve(double s, VectorRef b) {
  const Index n = diagonal_.size();
  if (s != factored_for_) {
    pivots_.resize(n);
    factors_.resize(n - 1);
    pivots_[0] = 1 / (1 - s * diagonal_[0]);
    for (Index i = 1; i < n; ++i) {
      factors_[i - 1] = -s * lower_[i - 1] * pivots_[i - 1];
      pivots_[i] = 1 / (1 - s * diagonal_[i] + factors_[i - 1] * s * upper_[i - 1]);
    }
    factored_for_ = s;
  }
  for (Index i = 1; i < n; ++i) b[i] -= factors_[i - 1] * b[i - 1];
  b[n - 1] *= pivots_[n - 1];
  for (Index i = n - 2; i >= 0; --i) b[i] = (b[i] + s * upper_[i] * b[i + 1]) * pivots_[i];
}

Vector FokkerPlanck::advance(Vector density, double dt, int steps, TimeStepping method, const std::function<Vector(double)>& source,
                             double time) {
  check_positive("fokker_planck", "time step dt", dt);
  check_at_least("fokker_planck", "steps", steps, 0);
  check_size("fokker_planck", "the density", density.size(), diagonal_.size());
  if (method == TimeStepping::implicit_euler) {
    for (int k = 1; k <= steps; ++k) {
      if (source) density += dt * source(time + k * dt);
      resolve(dt, density);
    }
    return density;
  }
  // Stages k_j = L*(rho + dt sum a_jl k_l) + f: solved for the stage values, slopes from (I - gamma dt L*) k = L* rho_stage + f.
  const double gamma = 1 - 1 / std::sqrt(2.0);
  for (int k = 0; k < steps; ++k) {
    const double t = time + k * dt;
    Vector first = apply(density);
    if (source) first += source(t + gamma * dt);
    resolve(gamma * dt, first);
    Vector second = apply(density + (1 - gamma) * dt * first);
    if (source) second += source(t + dt);
    resolve(gamma * dt, second);
    density += dt * ((1 - gamma) * first + gamma * second);
  }
  return density;
}

}  // namespace jko
