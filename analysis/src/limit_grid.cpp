#include "limit_grid.hpp"

#include <jko/core/check.hpp>

#include <cmath>

namespace jko::analysis {
namespace {

/// B(z) = z/(e^z - 1) and B'(z) = B(z) (1 - B(-z))/z, by series where 1 - B(-z) cancels (the next term is below 1e-17).
double bernoulli(double z) { return std::abs(z) < 1e-8 ? 1 - 0.5 * z : z / std::expm1(z); }
double bernoulli_slope(double z) {
  if (std::abs(z) < 1e-2) return -0.5 + z / 6 - z * z * z / 180 + z * z * z * z * z / 5040;
  return bernoulli(z) * (1 - bernoulli(-z)) / z;
}

}  // namespace

double flux_derivative(double rho, double next, double d, double potential_difference, double temperature, double dx) {
  const double in_d = bernoulli_slope(-d) * next + bernoulli_slope(d) * rho;  // (dJ/dD) dx/c
  const double bracket = bernoulli(-d) * next - bernoulli(d) * rho;
  return (in_d * (potential_difference - d * temperature) - bracket * temperature) / dx;
}

void LimitCase::validate() const {
  if (model.dimension() != 1) throw DomainError("limit_case: the model must have dimension 1");
  if (!start) throw DomainError("limit_case: start is not given");
  check_positive("limit_case", "time t", t);
  check_at_least("limit_case", "steps", steps, 1);
}

LimitCase LimitCase::refined() const {
  LimitCase out = *this;
  out.cells *= 2, out.steps *= 2;
  return out;
}

LimitGrid::LimitGrid(const LimitCase& c) : case_((c.validate(), c)), solver_(c.model, c.lower, c.upper, c.cells) {
  const Model& model = c.model;
  potential_ = model.potential().evaluate({0, 0}, centres().transpose(), model.theta()).row(0).transpose();
  gradient_ = model.potential().evaluate({0, 1}, centres().transpose(), model.theta()).transpose();
}

Vector LimitGrid::start() const {
  Vector out = at(case_.start, centres());
  if (!(out.minCoeff() >= 0) || !(out.sum() > 0)) throw DomainError("limit_case: the start must be finite, not negative and not zero");
  return out / (out.sum() * width());
}

Vector LimitGrid::forcing(const Vector& rho, const ConstVectorRef& potential, double temperature) const {
  Vector out = Vector::Zero(rho.size());
  const double c = 1 / case_.model.beta(), dx = width();
  for (Index i = 0; i + 1 < rho.size(); ++i) {
    const double d = (potential_[i + 1] - potential_[i]) / c;
    const double flux = flux_derivative(rho[i], rho[i + 1], d, potential[i + 1] - potential[i], temperature, dx);
    out[i] -= flux / dx;
    out[i + 1] += flux / dx;
  }
  return out;
}

Matrix LimitGrid::forcing(const Vector& rho) const {
  const Index p = gradient_.cols();
  const double beta = case_.model.beta();
  Matrix out(rho.size(), p + 1);
  for (Index j = 0; j < p; ++j) out.col(j) = forcing(rho, gradient_.col(j), 0);
  out.col(p) = forcing(rho, Vector::Zero(rho.size()), -1 / (beta * beta));
  return out;
}

void LimitGrid::advance(Vector& rho, Matrix& v, double dt, const std::function<Matrix(const Vector&)>& source) {
  const double gamma = 1 - 1 / std::sqrt(2.0);
  Vector first = solver_.apply(rho);
  solver_.resolve(gamma * dt, first);
  Vector second = solver_.apply(rho + (1 - gamma) * dt * first);
  solver_.resolve(gamma * dt, second);
  const Matrix source_first = source(rho + gamma * dt * first);
  rho += dt * ((1 - gamma) * first + gamma * second);
  const Matrix source_second = source(rho);
  for (Index j = 0; j < v.cols(); ++j) {
    first = solver_.apply(v.col(j)) + source_first.col(j);
    solver_.resolve(gamma * dt, first);
    second = solver_.apply(v.col(j) + (1 - gamma) * dt * first) + source_second.col(j);
    solver_.resolve(gamma * dt, second);
    v.col(j) += dt * ((1 - gamma) * first + gamma * second);
  }
}

Vector at(const Functional& phi, const Vector& centres) {
  Vector out = centres.unaryExpr(phi);
  if (!out.allFinite()) throw DomainError("limit_case: the start or a functional is not finite at a cell centre");
  return out;
}

Matrix rows(const std::vector<Functional>& phi, const Vector& centres, double width) {
  Matrix out(static_cast<Index>(phi.size()), centres.size());
  for (std::size_t k = 0; k < phi.size(); ++k) out.row(static_cast<Index>(k)) = width * at(phi[k], centres).transpose();
  return out;
}

}  // namespace jko::analysis
