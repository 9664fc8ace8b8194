#include <jko/analysis/order_fit.hpp>
#include <jko/analysis/verdict.hpp>

#include <doctest/doctest.h>

#include <cmath>

using namespace jko;
using namespace jko::analysis;

TEST_CASE("a power law has its exponent and no scatter") {
  const Vector h = (Vector(4) << 0.1, 0.05, 0.02, 0.01).finished();
  const OrderFit fit = fit_order(h, 3 * h.array().pow(1.5));
  CHECK(std::abs(fit.slope - 1.5) < 1e-12);
  CHECK(std::abs(fit.intercept - std::log(3.0)) < 1e-12);
  CHECK(fit.slope_error < 1e-12);
}

TEST_CASE("verdicts: NaN is inconclusive, never a pass") {
  CHECK(check_equal("a", "", "", 1, 1.1, 0.2, "").verdict == Verdict::pass);
  CHECK(check_equal("a", "", "", 1, 1.3, 0.2, "").verdict == Verdict::fail);
  CHECK(check_at_most("a", "", "", 0.5, 0.4, 0.05, "").verdict == Verdict::fail);
  CHECK(check_equal("a", "", "", std::nan(""), 1, 1, "").verdict == Verdict::inconclusive);
  CHECK(inconclusive("a", "", "", "why").verdict == Verdict::inconclusive);
}
