#include <jko/core/error.hpp>
#include <jko/core/random.hpp>
#include <jko/landau/blob.hpp>
#include <jko/measures/convert.hpp>
#include <jko/measures/gaussian_sums.hpp>

#include <Eigen/LU>
#include <doctest/doctest.h>

#include <cmath>
#include <memory>

using namespace jko;

namespace {

Particles cloud(Index d, Index n) {
  Matrix x(d, n);
  Vector w(n);
  RandomStream random(2, "landau test", static_cast<std::uint64_t>(d));
  for (Index i = 0; i < x.size(); ++i) x.data()[i] = random.normal() * (i % d == 0 ? 1.5 : 0.8) + 0.3;
  for (double& v : w) v = 0.5 + random.uniform();
  return {x, w / w.sum()};
}

Matrix normals(Index d, Index n) {
  Matrix x(d, n);
  RandomStream random(2, "landau forces");
  for (Index i = 0; i < x.size(); ++i) x.data()[i] = random.normal();
  return x;
}

Matrix plain_drift(const LandauKernel& kernel, const Particles& p, const Matrix& f) {
  Matrix out = Matrix::Zero(p.dimension(), p.size());
  for (Index i = 0; i < p.size(); ++i) {
    for (Index j = 0; j < p.size(); ++j) {
      if (i == j) continue;
      const Vector z = p.points().col(i) - p.points().col(j), g = f.col(i) - f.col(j);
      out.col(i) -= p.weights()[j] * kernel.strength * std::pow(z.norm(), kernel.gamma) * (z.squaredNorm() * g - z * z.dot(g));
    }
  }
  return out;
}

std::shared_ptr<const Grid> square(Index cells) {
  auto grid = std::make_shared<Grid>();
  grid->lower = Vector{{-4.0, -4.0}};
  grid->upper = Vector{{4.0, 4.0}};
  grid->cells = {cells, cells};
  return grid;
}

/// The customary start: cell centres of [-4, 4]^2 weighted with the density.
Particles bkw_start(const Bkw& bkw, Index cells) {
  return to_particles(GridDensity::from_density(square(cells), [&](const ConstMatrixRef& v) { return bkw.density(v, 0); }), 1e-12).measure;
}

/// Relative L2 error of the blob's reconstruction on the cell centres.
double reconstruction_error(const Bkw& bkw, const Particles& p, double bandwidth, double t, Index cells) {
  const Matrix centres = square(cells)->points();
  const Vector exact = bkw.density(centres, t);
  return (GaussianSums(centres, p.points(), bandwidth).value(p.weights()) - exact).norm() / exact.norm();
}

}  // namespace

TEST_CASE("the kernel's sums are its formula: moments for Maxwell, pairs for the rest") {
  for (const Index d : {2, 3}) {
    const Particles p = cloud(d, 77);
    const Matrix f = normals(d, 77);
    for (const double gamma : {0.0, -1.0, -2.0, -3.0, -2.5, 1.0}) {
      const LandauKernel kernel{0.7, gamma};
      const Matrix drift = kernel.drift(p, f), expected = plain_drift(kernel, p, f);
      const double scale = expected.cwiseAbs().maxCoeff();
      CHECK((drift - expected).cwiseAbs().maxCoeff() < 1e-13 * scale * 77);
      // Momentum, and the power of the symmetric form: sum w_i F_i . v_i' = -1/2 sum w w (F_i - F_j)' A (F_i - F_j) <= 0.
      CHECK((drift * p.weights()).norm() < 1e-14 * scale * 77);
      CHECK(std::abs((drift.cwiseProduct(p.points())).colwise().sum().dot(p.weights())) < 1e-13 * scale * 77);
      CHECK((drift.cwiseProduct(f)).colwise().sum().dot(p.weights()) < 0);
      CHECK((kernel.drift(p, f, 2) - drift).cwiseAbs().maxCoeff() == 0);
    }
  }
  // Coinciding particles exert nothing on each other, Coulomb included.
  const Particles twins(Matrix{{1.0, 1.0, 2.0}, {0.0, 0.0, 1.0}});
  CHECK(LandauKernel{1, -3}.drift(twins, normals(2, 3)).allFinite());
}

TEST_CASE("BKW solves the equation: its time derivative is the divergence of the flux, by quadrature, in two and three dimensions") {
  for (const int d : {2, 3}) {
    const Bkw bkw(d, d == 2 ? 1.0 / 16 : 1.0 / 24, d == 2 ? 0.5 : 1.0);
    const double t = bkw.start() + 0.7;
    // Midpoint rule on [-8, 8]^d at width 0.4: for f ~ exp(-|w|^2/2) times a polynomial it errs by exp(-2 pi^2/0.16) ~ 1e-50 and exp(-32) at the box's end.
    const Index n = 41;
    const double width = 0.4;
    const auto total = static_cast<Index>(std::pow(n, d));
    Matrix w(d, total);
    for (Index i = 0; i < total; ++i) {
      for (Index k = 0, rest = i; k < d; ++k, rest /= n) w(k, i) = -8.2 + width * (static_cast<double>(rest % n) + 0.5);
    }
    const Vector f = bkw.density(w, t);
    const Matrix slope = bkw.score(w, t) * f.asDiagonal();
    const auto flux = [&](const Vector& v) {
      const double here = bkw.density(v, t)[0];
      const Vector here_slope = here * bkw.score(v, t).col(0);
      Vector sum = Vector::Zero(d);
      for (Index j = 0; j < total; ++j) {
        const Vector z = v - w.col(j), g = f[j] * here_slope - here * slope.col(j);
        sum += z.squaredNorm() * g - z * z.dot(g);
      }
      return Vector(sum * (d == 2 ? 1.0 / 16 : 1.0 / 24) * std::pow(width, d));
    };
    for (const double radius : {0.3, 1.0, 2.2}) {
      Vector v = Vector::Constant(d, radius / std::sqrt(d));
      v[0] += 0.1;
      const double step = 1e-4;
      double divergence = 0;
      for (Index k = 0; k < d; ++k) divergence += (flux(v + step * Vector::Unit(d, k))[k] - flux(v - step * Vector::Unit(d, k))[k]) / (2 * step);
      const double change = (bkw.density(v, t + step)[0] - bkw.density(v, t - step)[0]) / (2 * step);
      CHECK(std::abs(divergence - change) < 1e-8);  // truncation step^2 = 1e-8 times third derivatives below 0.3, over 6
    }
    // Moments by the same rule: mass 1, covariance I, E|v|^4.
    const double cell = std::pow(width, d);
    CHECK(std::abs(f.sum() * cell - 1) < 1e-12);
    CHECK(((w * f.asDiagonal() * w.transpose()) * cell - Matrix::Identity(d, d)).norm() < 1e-11);
    CHECK(std::abs(w.colwise().squaredNorm().array().square().matrix().dot(f) * cell - bkw.fourth_moment(t)) < 1e-9);
  }
  CHECK(Bkw(2, 1.0 / 16, 0.5).start() == 0);
  CHECK(std::abs(Bkw(3, 1.0 / 24, 1.0).start() - 6 * std::log(2.5)) < 1e-13);
  CHECK_THROWS_AS((void)Bkw(3, 1.0 / 24, 1.0).density(Vector::Zero(3), 5.0), DomainError);
}

TEST_CASE("the blob method follows BKW with second order in the width, and conserves what it should") {
  const Bkw bkw(2, 1.0 / 16, 0.5);
  double error[2];
  for (const int i : {0, 1}) {
    const Index cells = i == 0 ? 20 : 40;
    const double bandwidth = std::sqrt(0.64 * std::pow(8.0 / static_cast<double>(cells), 1.98));
    const auto r = landau_blob(bkw.kernel(), bkw_start(bkw, cells), {.bandwidth = bandwidth, .dt = 0.05, .steps = 100});
    REQUIRE(r.status == Status::converged);
    error[i] = reconstruction_error(bkw, r.particles, bandwidth, 5, cells);
    const auto &first = r.records.front(), &last = r.records.back();
    CHECK((last.momentum - first.momentum).norm() < 1e-12);
    CHECK(std::abs(last.energy - first.energy) < 5e-4);  // explicit Euler drifts by dt/2 int sum w |v'|^2 = 1e-4
    for (std::size_t k = 1; k < r.records.size(); ++k) CHECK(r.records[k].entropy < r.records[k - 1].entropy);
  }
  // An independent numpy implementation of the same method gave 7.0e-2 (dt = 0.02) and 1.76e-2.
  CHECK(error[1] < 1.85e-2);
  CHECK(std::abs(std::log2(error[0] / error[1]) - 2) < 0.2);
}

TEST_CASE("the covariance of Maxwell molecules relaxes as its closed form, at the scheme's order") {
  // Gauss-Hermite points under a linear map have a Gaussian's moments up to the fifth, and with its score as the force the sums need the fourth only:
  // dSigma/dt = -4dB(Sigma - tr Sigma/d I) then holds exactly.
  for (const Index d : {2, 3}) {
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
    const Particles p((map * nodes).array() + 0.4, weights / weights.sum());
    const LandauKernel kernel{0.05, 0};
    const double step = 1e-4;
    const Matrix before = p.covariance(), score = -before.inverse() * (p.points().colwise() - p.mean());
    const Matrix velocity = kernel.drift(p, score);
    const Particles after(p.points() + step * velocity, p.weights()), back(p.points() - step * velocity, p.weights());
    const Matrix rate = (after.covariance() - back.covariance()) / (2 * step);
    const Matrix expected = -4.0 * static_cast<double>(d) * 0.05 * (before - before.trace() / static_cast<double>(d) * Matrix::Identity(d, d));
    CHECK((rate - expected).norm() < 1e-11);  // the change is quadratic in the step: the central difference is exact up to rounding 1e-15/1e-4
    const double tiny = 1e-6;
    CHECK(((landau_maxwell_covariance(before, 0.05, tiny) - before) / tiny - expected).norm() < 1e-5);
    CHECK(std::abs(landau_maxwell_covariance(before, 0.05, 100).trace() - before.trace()) < 1e-12);
  }
  CHECK((landau_maxwell_covariance(Matrix{{2, 0}, {0, 1}}, 1.0 / 16, 1e4) - 1.5 * Matrix::Identity(2, 2)).norm() < 1e-15);
}

TEST_CASE("the implicit midpoint rule conserves the energy, Coulomb in three dimensions included") {
  const Particles p = cloud(3, 150);
  const auto r = landau_blob({0.1, -3}, p, {.bandwidth = 0.5, .dt = 0.1, .steps = 10, .scheme = LandauScheme::implicit_midpoint});
  REQUIRE(r.status == Status::converged);
  // Ten steps, each exact to dt times the fixed point's tolerance 1e-12 max|v| / dt times |v|.
  CHECK(std::abs(r.records.back().energy - r.records.front().energy) < 1e-10);
  CHECK((r.records.back().momentum - r.records.front().momentum).norm() < 1e-13);
  CHECK(r.records.back().entropy < r.records.front().entropy);
  const auto two = landau_blob({0.1, -3}, p, {.bandwidth = 0.5, .dt = 0.1, .steps = 10, .scheme = LandauScheme::implicit_midpoint, .threads = 2});
  CHECK(two.particles.points() == r.particles.points());
}

TEST_CASE("misuse and failures are told") {
  const Particles p = cloud(2, 10);
  CHECK_THROWS_WITH_AS((void)landau_blob({}, p, {.bandwidth = -1}), "landau_blob: bandwidth is -1, but must be positive", DomainError);
  CHECK_THROWS_AS((void)landau_blob({0.1, -7}, p, {}), DomainError);
  CHECK_THROWS_WITH_AS((void)landau_blob({}, Particles(Matrix(Vector::Zero(2))), {}), "landau_blob: the number of particles is 1, but must be at least 2", DomainError);
  CHECK_THROWS_WITH_AS((void)landau_blob({}, cloud(4, 10), {}), "landau: the velocities have dimension 4, but must have 2 or 3", DomainError);
  // A step far too large for the fixed point.
  CHECK(landau_blob({10, -3}, p, {.bandwidth = 0.1, .dt = 10, .scheme = LandauScheme::implicit_midpoint}).status != Status::converged);
}
