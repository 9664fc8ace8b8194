#include <jko/models/potential.hpp>

#include <jko/core/check.hpp>

#include <fmt/format.h>

namespace jko {
namespace {

Index power(Index base, int exponent) {
  Index result = 1;
  for (int i = 0; i < exponent; ++i) result *= base;
  return result;
}

}  // namespace

void Potential::jet(const double* x, Index n, const ConstVectorRef& theta, double* value, double* first, double* second) const {
  if (dimension() != 1) throw ShapeError("potential: jet() is for one dimension");
  const Eigen::Map<const Matrix> points(x, 1, n);
  if (value != nullptr) evaluate({0, 0}, points, theta, Eigen::Map<Matrix>(value, 1, n));
  if (first != nullptr) evaluate({1, 0}, points, theta, Eigen::Map<Matrix>(first, 1, n));
  if (second != nullptr) evaluate({2, 0}, points, theta, Eigen::Map<Matrix>(second, 1, n));
}

std::optional<Convexity> Potential::convexity(const ConstVectorRef&) const { return std::nullopt; }
std::optional<Potential::Quadratic> Potential::quadratic(const ConstVectorRef&) const { return std::nullopt; }
Potential::QuadraticTangent Potential::quadratic_tangent(const ConstVectorRef&) const {
  throw DomainError(fmt::format("potential: {} is not quadratic", describe()));
}

Matrix Potential::evaluate(Derivative which, const ConstMatrixRef& points, const ConstVectorRef& theta) const {
  Matrix out(power(dimension(), which.x) * power(parameter_count(), which.theta), points.cols());
  evaluate(which, points, theta, MatrixRef(out));
  return out;
}

void Potential::check_parameters(const ConstVectorRef& theta) const {
  check_size("potential", "the parameter vector", theta.size(), parameter_count());
  for (Index i = 0; i < theta.size(); ++i) {
    const Parameter& p = parameters()[static_cast<std::size_t>(i)];
    check_finite("potential", "parameter " + p.name, theta[i]);
    check_in("potential", "parameter " + p.name, theta[i], p.lower, p.upper);
  }
}

}  // namespace jko
