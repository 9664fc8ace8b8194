#include <jko/core/error.hpp>
#include <jko/core/random.hpp>
#include <jko/estimators/data_summary.hpp>
#include <jko/models/families.hpp>
#include <jko/reference/simulate.hpp>

#include <doctest/doctest.h>

#include <cmath>

using namespace jko;
using namespace jko::estimators;

namespace {

Path walk(Index n, std::uint64_t index) {
  RandomStream random(3, "walk", index);
  Path path{Vector::LinSpaced(n, 0, static_cast<double>(n - 1)), Matrix::Zero(1, n)};
  for (Index i = 1; i < n; ++i) path.values(0, i) = path.values(0, i - 1) + random.normal();
  return path;
}

}  // namespace

TEST_CASE("the Cramer-von Mises law: its table and its simulation") {
  // Critical values of the limit law (Anderson and Darling 1952): 10 % 0.34730, 5 % 0.46136, 1 % 0.74346.
  CHECK(std::abs(cramer_von_mises_tail(0.34730) - 0.10) < 1e-5);
  CHECK(std::abs(cramer_von_mises_tail(0.46136) - 0.05) < 1e-5);
  CHECK(std::abs(cramer_von_mises_tail(0.74346) - 0.01) < 1e-5);
  // W = sum Z_k^2/(k pi)^2 has mean 1/6: the tail integrates to it.
  double mean = 0;
  for (int i = 0; i < 40000; ++i) mean += cramer_von_mises_tail((i + 0.5) * 1e-4) * 1e-4;
  CHECK(std::abs(mean - 1.0 / 6) < 1e-6);
  CHECK(cramer_von_mises_tail(0) == 1);
  CHECK(cramer_von_mises_tail(1e9) == 0);
}

TEST_CASE("stationarity: sizes under the null and power against the other") {
  // 400 walks of 250 steps and 400 samples of white noise. 5 % with binomial s.e. 1.1 %; 4.5 of them (fixed seed) and 2 % for n = 250.
  int unit_root = 0, kpss_walk = 0, kpss_noise = 0;
  for (std::uint64_t r = 0; r < 400; ++r) {
    const Path path = walk(251, r);
    Path noise = path;
    for (Index i = 250; i > 0; --i) noise.values(0, i) -= noise.values(0, i - 1);
    const auto w = summarise({path}).coordinates[0], e = summarise({noise}).coordinates[0];
    unit_root += w.dickey_fuller < -2.86 ? 1 : 0;
    kpss_walk += w.kpss.p_value < 0.05 ? 1 : 0;
    kpss_noise += e.kpss.p_value < 0.05 ? 1 : 0;
    CHECK(e.dickey_fuller < -8);  // slope -1 with error 1/sqrt(250)
  }
  CHECK(std::abs(unit_root / 400.0 - 0.05) < 4.5 * 0.011 + 0.02);
  CHECK(std::abs(kpss_noise / 400.0 - 0.05) < 4.5 * 0.011 + 0.02);
  CHECK(kpss_walk > 240);
}

TEST_CASE("spacing, gaps and the diffusion coefficient") {
  const Model model(ornstein_uhlenbeck(), Vector{{1.3, 0.4}}, 2);
  const Vector times = Vector::LinSpaced(4001, 0, 40);
  const Path path{times, simulate_path(model, Vector{{0.4}}, times)};
  const DataSummary s = summarise({path});
  CHECK(s.even);
  CHECK(s.gaps == 0);
  CHECK(s.transitions == 4000);
  CHECK(std::abs(s.duration - 40) < 1e-12);
  // sum dX^2/T -> 2/beta = 1 with relative s.e. sqrt(2/4000) = 2.2 %: 4.5 of them.
  CHECK(std::abs(s.coordinates[0].quadratic_variation - 1) < 0.1);
  // An exact OU increment over k dt has variance (2/beta) (1 - e^{-kappa k dt})/kappa: every 8th observation loses 5 %; ten per cent is 4.5 s.e. at n = 500.
  REQUIRE(s.coordinates[0].signature.size() == 4);
  CHECK(std::abs(s.coordinates[0].signature[3] - -std::expm1(-1.3 * 0.08) / -std::expm1(-1.3 * 0.01) / 8) < 0.28);
  CHECK(s.coordinates[0].constancy.p_value > 1e-4);
  CHECK(std::abs(s.coordinates[0].autocorrelation - std::exp(-1.3 * 0.01)) < 0.02);
  // Noise of variance 0.01 adds 2 0.01/dt = 2 to sum dX^2/T at the finest spacing, half that at the next.
  Path noisy = path;
  RandomStream random(9, "noise");
  for (double& v : noisy.values.reshaped()) v += 0.1 * random.normal();
  const auto n = summarise({noisy}).coordinates[0];
  CHECK(std::abs(n.signature[1] - 2.0 / 3) < 0.1);
  // Diffusion proportional to |x|: e^{X} of that path.
  Path multiplied = path;
  multiplied.values = path.values.array().exp();
  CHECK(summarise({multiplied}).coordinates[0].constancy.p_value < 1e-10);
  // Two paths of different lengths, with a gap.
  Path gap = walk(40, 1);
  gap.times.tail(20).array() += 3;
  const DataSummary two = summarise({walk(50, 2), gap});
  CHECK(two.paths == 2);
  CHECK(two.gaps == 1);
  CHECK_FALSE(two.even);
  CHECK(two.max_spacing == 4);
  CHECK(two.transitions == 88);
  CHECK(two.text().find("2 paths, 88 transitions") == 0);
  CHECK_THROWS_AS((void)summarise({}), ShapeError);
}
