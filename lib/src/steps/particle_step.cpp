#include <jko/steps/particle_step.hpp>

#include <jko/core/check.hpp>

#include "certificate.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace jko {
namespace {

/// The inner product of L2(w).
double dot(const Vector& w, const Matrix& a, const Matrix& b) { return (a.cwiseProduct(b)).colwise().sum().dot(w); }

/// Conjugate gradients on (1/h + Hessian) p = r in L2(w); stops at the relative tolerance, at negative curvature, or after `limit` products.
Matrix solve(const ParticleEnergy::Curvature& curvature, const Vector& w, const Matrix& r, double h, double tolerance, int limit) {
  Matrix p = Matrix::Zero(r.rows(), r.cols()), left = r, z = curvature.precondition(left, h), direction = z;
  const double start = std::sqrt(dot(w, r, r));
  double square = dot(w, left, z);
  for (int k = 0; k < limit && square > 0; ++k) {
    const Matrix product = curvature.apply(direction) + direction / h;
    const double bend = dot(w, direction, product);
    if (!(bend > 0)) return k == 0 ? direction : p;
    const double step = square / bend;
    p += step * direction;
    left -= step * product;
    if (!(std::sqrt(dot(w, left, left)) > tolerance * start)) break;
    z = curvature.precondition(left, h);
    const double next = dot(w, left, z);
    direction = z + next / square * direction;
    square = next;
  }
  return p;
}

/// Spacing keeps the order of the points: a step that exchanges two neighbours would pass through infinite energy.
bool same_order(const Matrix& from, const Matrix& to) {
  std::vector<std::pair<double, double>> pairs;
  for (Index i = 0; i < from.cols(); ++i) pairs.emplace_back(from(0, i), to(0, i));
  std::sort(pairs.begin(), pairs.end());
  for (std::size_t i = 1; i < pairs.size(); ++i) {
    if (!(pairs[i].second > pairs[i - 1].second)) return false;
  }
  return true;
}

}  // namespace

void ParticleStepOptions::validate() const {
  energy.validate();
  check_positive("particle_step", "tolerance", tolerance);
  check_at_least("particle_step", "max_iterations", max_iterations, 1);
}

ParticleStep::ParticleStep(FreeEnergy energy, ParticleStepOptions options) : particle_energy_(std::move(energy), options.energy), options_(options) { options_.validate(); }

StepResult<Particles> ParticleStep::advance(const Particles& from, double h, const Vector& guess) {
  check_positive("particle_step", "step size h", h);
  if (!(from.weights().minCoeff() > 0)) throw DomainError("particle_step: a weight is 0; remove that particle");
  const Vector& w = from.weights();
  const auto convexity = particle_energy_.convexity();
  const double kappa = convexity ? convexity->kappa : 0;
  const bool ordered = particle_energy_.options().entropy == ParticleEntropy::spacing && (energy().entropy() || energy().porous_medium());
  StepResult<Particles> result;
  result.measure = from;
  result_ = from;
  h_ = h;
  if (!(1 + h * kappa > 0)) {
    result.status = Status::step_not_convex;
    return result;
  }
  const double scale = std::max(1.0, std::sqrt(from.covariance().trace()));
  const auto objective = [&](const Particles& x) { return particle_energy_.value(x).total + std::pow(label_distance(x, from), 2) / (2 * h); };
  auto slope = particle_energy_.slope(from);
  Particles x = from;
  double value = slope.value.total;
  if (!std::isfinite(value) || !slope.gradient.allFinite()) {
    result.status = Status::not_finite;
    result.energy = slope.value;
    return result;
  }
  if (guess.size() == from.points().size() && guess.allFinite()) {
    const Particles better = from.with_coordinates(guess);
    if (!ordered || same_order(from.points(), better.points())) {
      const double there = objective(better);
      if (there < value) {
        x = better;
        value = there;
        slope = particle_energy_.slope(x);
      }
    }
  }
  Matrix residual;
  double floor = 0;  // four roundings of the terms whose sum the residual is
  const auto measure_residual = [&] {
    residual = slope.gradient + (x.points() - from.points()) / h;
    floor = 4 * std::numeric_limits<double>::epsilon() * std::sqrt(dot(w, slope.gradient, slope.gradient) + dot(w, x.points(), x.points()) / (h * h));
    return std::sqrt(dot(w, residual, residual));
  };
  double eps = measure_residual();
  result.status = Status::iteration_limit;
  for (;;) {
    if (h * eps / (1 + h * kappa) <= options_.tolerance * scale || eps <= floor) {
      result.status = Status::converged;
      break;
    }
    if (result.iterations == options_.max_iterations) break;
    ++result.iterations;
    const auto curvature = particle_energy_.curvature(x);
    // Forcing terms that make the convergence superlinear: a tenth, then the relative size of the residual.
    const double forcing = std::min(0.1, h * eps / scale);
    Matrix p = solve(*curvature, w, -residual, h, std::max(forcing, 1e-10), 500);
    double descent = dot(w, residual, p);
    if (!(descent < 0)) {
      p = -h * residual;
      descent = dot(w, residual, p);
    }
    // Armijo; near the minimum J's rounding error exceeds its decrease, and a smaller residual counts instead.
    const double rounding = 16 * std::numeric_limits<double>::epsilon() * (std::abs(value) + 1 / h * scale * scale);
    bool accepted = false;
    for (double t = 1; t > 1e-12; t *= 0.5) {
      const Matrix points = x.points() + t * p;
      if (!points.allFinite()) continue;
      if (ordered && !same_order(x.points(), points)) continue;
      const Particles candidate = x.with_coordinates(points.reshaped());
      const double there = objective(candidate);
      if (!(there <= value + 1e-4 * t * descent + rounding)) continue;
      auto new_slope = particle_energy_.slope(candidate);
      if (!new_slope.gradient.allFinite()) continue;
      if (!(there <= value + 1e-4 * t * descent)) {
        const Matrix there_residual = new_slope.gradient + (points - from.points()) / h;
        if (!(dot(w, there_residual, there_residual) < eps * eps)) continue;
      }
      x = candidate;
      value = there;
      slope = std::move(new_slope);
      accepted = true;
      break;
    }
    if (!accepted) {
      result.status = Status::stalled;
      break;
    }
    eps = measure_residual();
    if (value < -1e100 || !std::isfinite(eps)) {
      result.status = Status::no_minimiser;
      break;
    }
  }
  result.residual = eps;
  if (convexity) certify_by_residual(result, h, 1 + h * kappa);
  result.w2_moved = label_distance(x, from);
  result.energy = slope.value;
  result.objective = value;
  result.measure = result_ = x;
  return result;
}

Matrix ParticleStep::tangent(const ConstMatrixRef& from_tangent, const ConstMatrixRef& parameter_tangent) const {
  if (result_.size() == 0) throw DomainError("particle_step: tangent() needs an advance() before it");
  const Index rows = result_.points().size();
  const Index columns = std::max(from_tangent.cols(), parameter_tangent.cols());
  Matrix side = Matrix::Zero(rows, columns);
  if (from_tangent.size() > 0) {
    check_size("particle_step", "the start's tangent", from_tangent.rows(), rows);
    side += from_tangent / h_;
  }
  if (parameter_tangent.size() > 0) {
    check_size("particle_step", "the parameter tangent", parameter_tangent.rows(), energy().parameters().size());
    side -= particle_energy_.parameter_slope(result_) * parameter_tangent;
  }
  const auto curvature = particle_energy_.curvature(result_);
  Matrix out(rows, columns);
  for (Index j = 0; j < columns; ++j) {
    out.col(j) = solve(*curvature, result_.weights(), side.col(j).reshaped(result_.dimension(), result_.size()), h_, 1e-12, 2000).reshaped();
  }
  return out;
}

namespace {

void check_labels(const Particles& a, const Particles& b) {
  check_size("particles", "the second measure's dimension", b.dimension(), a.dimension());
  check_size("particles", "the second measure's points", b.size(), a.size());
  if (a.weights() != b.weights()) throw DomainError("particles: labelled particles need the same weights; use exact_transport for others");
}

}  // namespace

double label_distance(const Particles& a, const Particles& b) {
  check_labels(a, b);
  return std::sqrt((a.points() - b.points()).colwise().squaredNorm().dot(a.weights()));
}

Particles geodesic(const Particles& a, const Particles& b, double s) {
  check_labels(a, b);
  return {(1 - s) * a.points() + s * b.points(), a.weights()};
}

Matrix geodesic_tangent(const Particles& a, const Particles& b, double s, const ConstMatrixRef& da, const ConstMatrixRef& db) {
  check_labels(a, b);
  return (1 - s) * da + s * db;
}

}  // namespace jko
