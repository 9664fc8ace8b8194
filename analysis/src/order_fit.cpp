#include <jko/analysis/order_fit.hpp>

#include <jko/core/check.hpp>

#include <Eigen/QR>
#include <boost/math/distributions/students_t.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

namespace jko::analysis {
namespace {

constexpr Index fewest = 4;  // three coefficients and one degree of freedom

/// Least squares of log error on (1, log h, h) at n consecutive points; with three points it interpolates.
struct Regression {
  Vector coefficients;
  Matrix pseudo_inverse;
  double residual = 0;  // sum of squares
};
Regression regress(const ConstVectorRef& h, const ConstVectorRef& error) {
  Matrix a(h.size(), 3);
  a << Vector::Ones(h.size()), h.array().log().matrix(), h;
  const Vector y = error.array().log();
  Regression out;
  out.pseudo_inverse = a.colPivHouseholderQr().solve(Matrix::Identity(h.size(), h.size()));
  out.coefficients = out.pseudo_inverse * y;
  out.residual = (y - a * out.coefficients).squaredNorm();
  return out;
}

}  // namespace

OrderFit fit_order(const ConstVectorRef& h, const ConstVectorRef& error) {
  check_at_least("fit_order", "the number of points", h.size(), 3);
  check_size("fit_order", "the errors", error.size(), h.size());
  for (Index i = 0; i < h.size(); ++i) {
    check_positive("fit_order", "step size", h[i]);
    check_positive("fit_order", "error", error[i]);
  }
  const Vector x = h.array().log(), y = error.array().log();
  const Vector dx = x.array() - x.mean();
  OrderFit fit;
  fit.slope = dx.dot(y) / dx.squaredNorm();
  fit.intercept = y.mean() - fit.slope * x.mean();
  const double residual = ((y - fit.slope * x).array() - fit.intercept).matrix().squaredNorm();
  fit.slope_error = std::sqrt(residual / static_cast<double>(h.size() - 2) / dx.squaredNorm());
  return fit;
}

OrderRange fit_order_range(const ConstVectorRef& h, const ConstVectorRef& error, const ConstVectorRef& uncertainty) {
  check_at_least("fit_order_range", "the number of points", h.size(), fewest);
  check_size("fit_order_range", "the errors", error.size(), h.size());
  if (uncertainty.size() > 0) check_size("fit_order_range", "the uncertainties", uncertainty.size(), h.size());
  Vector relative = Vector::Zero(h.size());
  for (Index i = 0; i < h.size(); ++i) {
    check_positive("fit_order_range", "step size", h[i]);
    check_positive("fit_order_range", "error", error[i]);
    if (i > 0 && !(h[i] < h[i - 1])) throw DomainError("fit_order_range: the step sizes must decrease");
    if (uncertainty.size() > 0) {
      check_nonnegative("fit_order_range", "uncertainty", uncertainty[i]);
      relative[i] = uncertainty[i] / error[i];
    }
  }
  OrderRange best;
  best.half_width = std::numeric_limits<double>::infinity();
  for (Index first = 0; first + fewest <= h.size(); ++first) {
    for (Index n = fewest; first + n <= h.size() && relative.segment(first, n).maxCoeff() <= 0.1; ++n) {
      const Regression fit = regress(h.segment(first, n), error.segment(first, n));
      const double freedom = static_cast<double>(n - 3);
      const double quantile = boost::math::quantile(boost::math::students_t(freedom), 0.975);
      const double scatter = quantile * std::sqrt(fit.residual / freedom) * fit.pseudo_inverse.row(1).norm();
      const double order = fit.coefficients[1];
      const double change = std::abs(order - regress(h.segment(first + 1, n - 1), error.segment(first + 1, n - 1)).coefficients[1]);
      // The next term of the expansion, which the model leaves out, is taken to be (b h)^2.
      const double neglected = std::abs(fit.pseudo_inverse.row(1).dot((fit.coefficients[2] * h.segment(first, n)).array().square().matrix()));
      const double given = fit.pseudo_inverse.row(1).cwiseAbs().dot(relative.segment(first, n));
      const double half_width = scatter + change + neglected + given;
      if (half_width < best.half_width) best = {order, half_width, fit.coefficients[2], std::exp(fit.coefficients[0]), first, first + n - 1};
    }
  }
  if (!std::isfinite(best.half_width)) throw DomainError("fit_order_range: there are no four consecutive errors that stand above a tenth of their uncertainty");
  return best;
}

}  // namespace jko::analysis
