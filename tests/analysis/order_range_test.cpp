#include <jko/analysis/modified_energy.hpp>
#include <jko/analysis/order_fit.hpp>
#include <jko/core/error.hpp>
#include <jko/flows/flow.hpp>
#include <jko/models/families.hpp>
#include <jko/reference/ornstein_uhlenbeck.hpp>
#include <jko/steps/gaussian_step.hpp>

#include <doctest/doctest.h>

#include <cmath>

using namespace jko;
using namespace jko::analysis;

namespace {

Vector halvings(int n) {
  Vector h(n);
  for (Index i = 0; i < n; ++i) h[i] = std::exp2(-static_cast<double>(i));
  return h;
}

}  // namespace

TEST_CASE("the asymptotic range is found between a coarse regime and a floor") {
  const Vector h = halvings(16);
  // Order 2 with strong higher terms at h near 1 and a floor of 1e-8 with scatter at the fine end.
  Vector error = h.array().square() * (1 + 3 * h.array() - 2 * h.array().square() + 5 * h.array().pow(4));
  for (Index i = 0; i < 16; ++i) error[i] += 1e-8 * (1.5 + std::sin(7.0 * static_cast<double>(i)));
  const OrderRange range = fit_order_range(h, error);
  CHECK(std::abs(range.order - 2) < 0.01);
  CHECK(std::abs(range.order - 2) <= range.half_width);
  CHECK(range.first >= 2);
  CHECK(range.last <= 12);
  // The fit to everything from the middle on, where the floor is, is ruined.
  CHECK(std::abs(fit_order(h.tail(6), error.tail(6)).slope - 2) > 0.1);
}

TEST_CASE("an exact two-term law is recovered to rounding; uncertainties widen the interval") {
  const Vector h = halvings(8);
  const Vector error = 0.7 * h.array().pow(1.5) * (0.4 * h.array()).exp();
  const OrderRange range = fit_order_range(h, error);
  CHECK(std::abs(range.order - 1.5) < 1e-11);
  CHECK(std::abs(range.next_term - 0.4) < 1e-10);
  CHECK(std::abs(range.constant - 0.7) < 1e-10);
  CHECK(fit_order_range(h, error, 0.01 * error).half_width > 0.005);
  CHECK_THROWS_AS((void)fit_order_range(h, error, 0.2 * error), DomainError);
  CHECK_THROWS_AS((void)fit_order_range(h.reverse(), error), DomainError);
}

TEST_CASE("JKO follows the modified energy's flow with order two, the plain flow with order one") {
  const Model model(ornstein_uhlenbeck(2), Vector{{2, 0.3, 1, 0.1, -0.2}}, 1.5);
  const Gaussian start(Vector{{1, -1}}, Matrix{{1.2, 0.4}, {0.4, 0.7}});
  CHECK(w2(modified_flow(model, start, 0, 1), OrnsteinUhlenbeck(model).law(start, 1)) < 1e-11);
  Vector h(7), plain(7), modified(7);
  for (int i = 0; i < 7; ++i) {
    const int steps = 10 << i;
    h[i] = 1.0 / steps;
    const auto end = Flow<GaussianStep>(GaussianStep(FreeEnergy(model)), start, {.h = h[i], .steps = steps, .keep_every = steps}).run().final_state().measure;
    plain[i] = w2(end, OrnsteinUhlenbeck(model).law(start, 1));
    modified[i] = w2(end, modified_flow(model, start, h[i], 1));
  }
  const OrderRange one = fit_order_range(h, plain), two = fit_order_range(h, modified);
  CHECK(std::abs(one.order - 1) <= one.half_width + 1e-3);
  CHECK(std::abs(two.order - 2) <= two.half_width + 1e-3);
  CHECK(two.half_width < 0.05);
}
