#include <jko/models/convexity.hpp>

#include <jko/core/check.hpp>

#include <Eigen/Eigenvalues>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace jko {

Convexity convexity_on(const Potential& potential, const ConstVectorRef& theta, const ConstVectorRef& lower, const ConstVectorRef& upper, Index points_per_axis) {
  const Index d = potential.dimension();
  check_size("convexity_on", "lower", lower.size(), d);
  check_size("convexity_on", "upper", upper.size(), d);
  check_at_least("convexity_on", "points_per_axis", points_per_axis, 2);
  potential.check_parameters(theta);
  Index total = 1;
  for (Index i = 0; i < d; ++i) {
    if (!(lower[i] < upper[i]) || !std::isfinite(upper[i] - lower[i])) throw DomainError("convexity_on: lower must be below upper, both finite");
    total *= points_per_axis;
    if (total > 10000000) throw DomainError(fmt::format("convexity_on: {} points on each of {} axes are more than 1e7 in all", points_per_axis, d));
  }
  const Vector cell = (upper - lower) / static_cast<double>(points_per_axis - 1);
  double smallest = std::numeric_limits<double>::infinity(), third = 0;
  constexpr Index chunk = 4096;
  for (Index begin = 0; begin < total; begin += chunk) {
    const Index n = std::min(chunk, total - begin);
    Matrix points(d, n);
    for (Index k = 0; k < n; ++k) {
      Index rest = begin + k;
      for (Index i = 0; i < d; ++i, rest /= points_per_axis) points(i, k) = lower[i] + cell[i] * static_cast<double>(rest % points_per_axis);
    }
    const Matrix hessian = potential.evaluate({2, 0}, points, theta), slope = potential.evaluate({3, 0}, points, theta);
    if (!hessian.allFinite() || !slope.allFinite()) throw DomainError("convexity_on: the potential's derivatives are not finite in the box");
    third = std::max(third, slope.colwise().norm().maxCoeff());
    for (Index k = 0; k < n; ++k) {
      const double eigenvalue = d == 1 ? hessian(0, k) : Eigen::SelfAdjointEigenSolver<Matrix>(hessian.col(k).reshaped(d, d), Eigen::EigenvaluesOnly).eigenvalues()[0];
      smallest = std::min(smallest, eigenvalue);
    }
  }
  return {smallest - 0.5 * cell.norm() * third, false, fmt::format("smallest eigenvalue over {} points of a box, less a first-order remainder", total)};
}

}  // namespace jko
