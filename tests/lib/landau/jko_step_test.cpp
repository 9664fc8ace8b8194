#include <jko/core/error.hpp>
#include <jko/core/random.hpp>
#include <jko/landau/jko_step.hpp>
#include <jko/measures/convert.hpp>

#include <Eigen/LU>
#include <doctest/doctest.h>

#include <cmath>
#include <memory>

using namespace jko;

namespace {

/// Gauss-Hermite points with `nodes` a coordinate under a linear map: the moments of a Gaussian up to degree 2 nodes - 1. Three nodes: 0, +-sqrt(3).
Particles gaussian_points(Index d) {
  Matrix map = Matrix::Identity(d, d);
  map(1, 0) = 0.6;
  map(0, 0) = 1.7;
  const Index n = d == 2 ? 9 : 27;
  Matrix nodes(d, n);
  Vector weights = Vector::Ones(n);
  for (Index i = 0; i < n; ++i) {
    for (Index k = 0, rest = i; k < d; ++k, rest /= 3) {
      nodes(k, i) = std::sqrt(3.0) * (static_cast<double>(rest % 3) - 1);
      weights[i] *= rest % 3 == 1 ? 2.0 / 3 : 1.0 / 6;
    }
  }
  return {(map * nodes).array() + 0.4, weights / weights.sum()};
}

Particles cloud(Index d, Index n) {
  Matrix x(d, n);
  RandomStream random(8, "landau jko test", static_cast<std::uint64_t>(d));
  for (Index i = 0; i < x.size(); ++i) x.data()[i] = random.normal() * (i % d == 0 ? 1.6 : 0.7) + 0.3;
  return Particles(x);
}

Particles bkw_start(const Bkw& bkw, Index cells) {
  auto grid = std::make_shared<Grid>();
  grid->lower = Vector::Constant(2, -4);
  grid->upper = Vector::Constant(2, 4);
  grid->cells = {cells, cells};
  return to_particles(GridDensity::from_density(grid, [&](const ConstMatrixRef& v) { return bkw.density(v, 0); }), 1e-8).measure;
}

double fourth_moment(const Particles& p) { return p.points().colwise().squaredNorm().array().square().matrix().dot(p.weights()); }

}  // namespace

TEST_CASE("to first order and for Gaussian moments the minimiser is -dt times the score") {
  for (const Index d : {2, 3}) {
    const Particles p = gaussian_points(d);
    const LandauKernel kernel{0.05, 0};
    const double dt = 0.3;
    const Matrix score = -p.covariance().inverse() * (p.points().colwise() - p.mean());
    const auto r = landau_jko(kernel, p, {.degree = 1, .log_determinant = LogDeterminant::first_order, .dt = dt, .steps = 1});
    REQUIRE(r.status == Status::converged);
    // The score is linear, so it lies in the span; Stein's identity holds for moments up to the fourth, and the drift is the Landau flux. Rounding times the form's conditioning.
    CHECK((r.particles.points() - p.points() - dt * kernel.drift(p, score)).cwiseAbs().maxCoeff() < 1e-12);
    // 1 and v are invariants: d + 1 of the d (d + 1) functions; for Maxwell molecules nothing else is.
    CHECK(r.records[1].rank == d * (d + 1) - d - 1);
  }
}

TEST_CASE("the entropy change is that of the flow map, whose gradient is read off test particles of no weight") {
  const double step = 1e-4;
  for (const Index d : {2, 3}) {
    for (const double gamma : {0.0, -1.0, 1.0}) {
      const Index n = 20;
      const Particles real = cloud(d, n);
      // Beside each particle a pair of test particles on each axis, of weight 1e-14: they feel the others and move nothing.
      Matrix points(d, n * (1 + 2 * d));
      Vector weights = Vector::Constant(points.cols(), 1e-14);
      for (Index i = 0; i < n; ++i) {
        weights[i] = 1;
        points.col(i) = real.points().col(i);
        for (Index k = 0; k < d; ++k) {
          for (const Index side : {0, 1}) points.col(n + 2 * (d * i + k) + side) = real.points().col(i) + (side == 0 ? step : -step) * Vector::Unit(d, k);
        }
      }
      const auto r = landau_jko({0.1, gamma}, Particles(points, weights / weights.sum()), {.degree = 1, .dt = 0.05, .steps = 1});
      REQUIRE(r.status == Status::converged);
      double entropy = 0;
      for (Index i = 0; i < n; ++i) {
        Matrix gradient(d, d);
        for (Index k = 0; k < d; ++k) gradient.col(k) = (r.particles.points().col(n + 2 * (d * i + k)) - r.particles.points().col(n + 2 * (d * i + k) + 1)) / (2 * step);
        entropy -= std::log(gradient.determinant()) / static_cast<double>(n);
      }
      // Differences: step^2 = 1e-8 times third derivatives of T, and 1e-15/step. For gamma = -1 the particle itself adds |z| z z', whose derivative is of order step^2 too.
      // (For gamma = -3 T jumps at the particle, whose own pair the method leaves out.)
      CHECK(std::abs(entropy) > 1e-3);
      CHECK(std::abs(r.records.back().entropy_change - entropy) < 1e-7);
    }
  }
}

TEST_CASE("entropy falls at any step size with the exact determinant; momentum is exact and the energy's error is of second order in dt") {
  for (const Index d : {2, 3}) {
    const Particles p = cloud(d, 80);
    for (const double gamma : {0.0, -3.0}) {
      for (const double dt : {0.1, 1.0, 20.0}) {
        const auto r = landau_jko({0.1, gamma}, p, {.degree = 2, .dt = dt, .steps = 2});
        REQUIRE(r.status == Status::converged);
        for (std::size_t k = 1; k < r.records.size(); ++k) CHECK(r.records[k].dissipation + 2 * dt * (r.records[k].entropy_change - r.records[k - 1].entropy_change) <= 1e-14);
        CHECK((r.records.back().momentum - r.records.front().momentum).norm() < 1e-13 * (1 + dt));
      }
      double error[2];
      for (const int i : {0, 1}) {
        const auto r = landau_jko({0.1, gamma}, p, {.degree = 2, .dt = i == 0 ? 0.02 : 0.01, .steps = 1});
        error[i] = r.records.back().energy - r.records.front().energy;
        CHECK(error[i] >= 0);  // sum w |T(v) - v|^2/2
      }
      CHECK(std::abs(error[0] / error[1] - 4) < 0.3);
    }
  }
}

TEST_CASE("the two determinants differ by a second-order change a step") {
  const Particles p = cloud(2, 80);
  double difference[2];
  for (const int i : {0, 1}) {
    const double dt = i == 0 ? 0.02 : 0.01;
    const auto a = landau_jko({0.1, 0}, p, {.degree = 2, .dt = dt, .steps = 1}), b = landau_jko({0.1, 0}, p, {.degree = 2, .log_determinant = LogDeterminant::first_order, .dt = dt, .steps = 1});
    difference[i] = (a.particles.points() - b.particles.points()).norm();
  }
  CHECK(std::abs(difference[0] / difference[1] - 4) < 0.3);
}

TEST_CASE("BKW by radial functions: E|v|^4 at first order in dt; the exact determinant's error is far smaller") {
  const Bkw bkw(2, 1.0 / 16, 0.5);
  const Particles start = bkw_start(bkw, 24);
  // Of the change since the start, so that the start's own discretisation does not count.
  const auto error = [&](LogDeterminant log_determinant, double dt) {
    const auto r = landau_jko(bkw.kernel(), start, {.basis = LandauBasis::radial, .degree = 3, .log_determinant = log_determinant, .dt = dt, .steps = static_cast<int>(std::lround(2 / dt))});
    REQUIRE(r.status == Status::converged);
    CHECK(r.records.back().rank == 3);  // four functions, of which v is an invariant
    return fourth_moment(r.particles) - bkw.fourth_moment(2) - (fourth_moment(start) - bkw.fourth_moment(0));
  };
  double first[3];
  for (const int i : {0, 1, 2}) first[i] = error(LogDeterminant::first_order, 0.25 / (1 << i));
  CHECK(std::abs((first[0] - first[1]) / (first[1] - first[2]) - 2) < 0.2);
  CHECK(std::abs(first[2]) < 0.01);  // E|v|^4 itself is 6.3, its change 0.6
  CHECK(std::abs(error(LogDeterminant::exact, 0.25)) < 0.1 * first[0]);
}

TEST_CASE("random batches keep momentum, and their mean direction is the full one's") {
  const Particles p = cloud(2, 120);
  const LandauJkoOptions full{.degree = 1, .log_determinant = LogDeterminant::first_order, .dt = 0.05, .steps = 1};
  const Matrix whole = landau_jko({0.1, 0}, p, full).particles.covariance() - p.covariance();
  Matrix mean = Matrix::Zero(2, 2);
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    auto options = full;
    options.batch = 40;
    options.seed = seed;
    const auto r = landau_jko({0.1, 0}, p, options);
    REQUIRE(r.status == Status::converged);
    CHECK((r.records[1].momentum - r.records[0].momentum).norm() < 1e-14);
    mean += (r.particles.covariance() - p.covariance()) / 40;
  }
  // A batch of 40 misjudges second moments by some sqrt(2/40) = 22 per cent, three batches and 40 seeds bring that to 2, plus a bias of order 1/40 = 3 per cent.
  CHECK((mean - whole).norm() < 0.15 * whole.norm());
  auto options = full;
  options.batch = 40;
  auto threads = options;
  threads.threads = 2;
  CHECK(landau_jko({0.1, -3}, p, options).particles.points() == landau_jko({0.1, -3}, p, threads).particles.points());
}

TEST_CASE("misuse is named") {
  const Particles p = cloud(2, 10);
  CHECK_THROWS_WITH_AS((void)landau_jko({}, p, {.dt = 0}), "landau_jko: time step dt is 0, but must be positive", DomainError);
  CHECK_THROWS_WITH_AS((void)landau_jko({}, p, {.batch = 1}), "landau_jko: batch is 1, but must be at least 2", DomainError);
  CHECK_THROWS_WITH_AS((void)landau_jko({}, Particles(Matrix::Ones(2, 5)), {}), "landau_jko: all particles coincide", DomainError);
  CHECK_THROWS_AS((void)landau_jko({}, cloud(4, 10), {}), DomainError);
  CHECK_THROWS_AS((void)landau_jko({}, p, {.degree = 13}), DomainError);
}
