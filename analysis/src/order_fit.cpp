#include <jko/analysis/order_fit.hpp>

#include <jko/core/check.hpp>

#include <cmath>

namespace jko::analysis {

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

}  // namespace jko::analysis
