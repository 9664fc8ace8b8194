#include <jko/models/derivative_check.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace jko {

DerivativeCheck check_derivatives(const Potential& potential, const ConstMatrixRef& points, const ConstVectorRef& theta, double step) {
  potential.check_parameters(theta);
  const Index d = potential.dimension(), p = potential.parameter_count();
  DerivativeCheck out;
  const auto judge = [&](Derivative which, const Matrix& analytic, const Matrix& difference, const char* what) {
    const double allowed = 1e-7 * (1 + std::max(analytic.cwiseAbs().maxCoeff(), difference.cwiseAbs().maxCoeff()));
    const double ratio = (analytic - difference).cwiseAbs().maxCoeff() / allowed;
    if (!(ratio <= out.ratio)) {
      out.worst = which;
      out.ratio = ratio;
      out.message = fmt::format("{}: derivative of order {} in x and {} in theta differs from {} by {:.2g} times the allowance", potential.describe(), which.x, which.theta, what, ratio);
    }
  };
  // d/ds of a function of a scalar shift, error O(step^6).
  const auto difference = [](const auto& f, double s) {
    const auto central = [&](double t) { return Matrix((f(t) - f(-t)) / (2 * t)); };
    const Matrix a = central(s), b = central(0.5 * s), c = central(0.25 * s);
    const Matrix ab = (4 * b - a) / 3, bc = (4 * c - b) / 3;
    return Matrix((16 * bc - ab) / 15);
  };
  for (const Derivative which : {Derivative{1, 0}, {2, 0}, {3, 0}, {4, 0}, {1, 1}, {2, 1}, {3, 1}, {1, 2}, {2, 2}}) {  // in x
    const Matrix analytic = potential.evaluate(which, points, theta);
    Matrix numeric(analytic.rows(), analytic.cols());
    const Derivative lower{which.x - 1, which.theta};
    // The new x index runs slowest among the x indices, all of them before those of theta.
    Index inner = 1, outer = 1;
    for (int i = 0; i < lower.x; ++i) inner *= d;
    for (int i = 0; i < which.theta; ++i) outer *= p;
    for (Index j = 0; j < d; ++j) {
      const auto shifted = [&](double t) {
        Matrix moved = points;
        moved.row(j).array() += t * (1 + points.row(j).array().abs());
        return potential.evaluate(lower, moved, theta);
      };
      Matrix slope = difference(shifted, step);
      slope.array().rowwise() /= (1 + points.row(j).array().abs());
      for (Index o = 0; o < outer; ++o) numeric.middleRows(o * inner * d + j * inner, inner) = slope.middleRows(o * inner, inner);
    }
    judge(which, analytic, numeric, "the difference in x");
  }
  for (const Derivative which : {Derivative{0, 1}, {1, 1}, {2, 1}, {3, 1}, {0, 2}, {1, 2}, {2, 2}}) {  // in theta
    if (p == 0) break;
    const Matrix analytic = potential.evaluate(which, points, theta);
    Matrix numeric(analytic.rows(), analytic.cols());
    const Derivative lower{which.x, which.theta - 1};
    const Index inner = analytic.rows() / p;
    for (Index j = 0; j < p; ++j) {
      const double s = step * (1 + std::abs(theta[j]));
      const auto shifted = [&](double t) {
        Vector moved = theta;
        moved[j] += t;
        return potential.evaluate(lower, points, moved);
      };
      numeric.middleRows(j * inner, inner) = difference(shifted, s);
    }
    judge(which, analytic, numeric, "the difference in theta");
  }
  if (d == 1) {
    const Index n = points.cols();
    Matrix jets(3, n);
    Vector value(n), first(n), second(n);
    const Vector x = points.row(0).transpose();
    potential.jet(x.data(), n, theta, value.data(), first.data(), second.data());
    judge({0, 0}, potential.evaluate({0, 0}, points, theta), value.transpose(), "jet()");
    judge({1, 0}, potential.evaluate({1, 0}, points, theta), first.transpose(), "jet()");
    judge({2, 0}, potential.evaluate({2, 0}, points, theta), second.transpose(), "jet()");
  }
  out.ok = out.ratio <= 1;
  return out;
}

}  // namespace jko
