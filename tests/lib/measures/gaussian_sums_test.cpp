#include "../../../lib/src/measures/vector_exp.hpp"

#include <jko/core/error.hpp>
#include <jko/core/random.hpp>
#include <jko/measures/gaussian_sums.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <numbers>

using namespace jko;

namespace {

struct Cloud {
  Matrix x, v;
  Vector w, a, b;
  Cloud(Index d, Index n) : x(d, n), v(d, n), w(n), a(n), b(n) {
    RandomStream random(3, "gaussian sums test", static_cast<std::uint64_t>(d));
    for (Index i = 0; i < x.size(); ++i) x.data()[i] = random.normal();
    for (Index i = 0; i < v.size(); ++i) v.data()[i] = random.normal();
    for (Index i = 0; i < n; ++i) {
      w[i] = random.uniform() / static_cast<double>(n);
      a[i] = random.normal();
      b[i] = random.normal();
    }
  }
};

/// The sums as their formulas say.
struct Plain {
  Vector value, directional;
  Matrix gradient, pair_gradient, pair_hessian;
  Plain(const Cloud& c, double s) {
    const Index d = c.x.rows(), n = c.x.cols();
    value = directional = Vector::Zero(n);
    gradient = pair_gradient = pair_hessian = Matrix::Zero(d, n);
    for (Index i = 0; i < n; ++i) {
      for (Index j = 0; j < n; ++j) {
        const Vector z = c.x.col(i) - c.x.col(j), u = c.v.col(i) - c.v.col(j);
        const double g = std::exp(-z.squaredNorm() / (2 * s * s)) * std::pow(2 * std::numbers::pi * s * s, -0.5 * static_cast<double>(d));
        const Vector slope = -g / (s * s) * z, bent = g / (s * s) * (z * z.dot(u) / (s * s) - u);
        value[i] += c.w[j] * g;
        gradient.col(i) += c.w[j] * slope;
        pair_gradient.col(i) += c.w[j] * (c.a[i] + c.a[j]) * slope;
        directional[i] += c.w[j] * slope.dot(u);
        pair_hessian.col(i) += c.w[j] * ((c.a[i] + c.a[j]) * bent + (c.b[i] + c.b[j]) * slope);
      }
    }
  }
};

double distance(const Matrix& a, const Matrix& b) { return (a - b).cwiseAbs().maxCoeff() / (1 + b.cwiseAbs().maxCoeff()); }

}  // namespace

TEST_CASE("the vectorised exponential is within 4e-16 of the library's") {
  double worst = 0;
  for (int i = 0; i <= 200000; ++i) {
    const double x = -708.0 * std::pow(i / 200000.0, 3);
    worst = std::max(worst, std::abs(exp_nonpositive(x) / std::exp(x) - 1));
  }
  CHECK(worst < 4e-16);
  CHECK(exp_nonpositive(0) == 1);
  CHECK(exp_nonpositive(-1e300) < 1e-300);
  CHECK(exp_nonpositive(-std::numeric_limits<double>::infinity()) < 1e-300);
}

TEST_CASE("every sum is its formula, in one to four dimensions") {
  for (const Index d : {1, 2, 3, 4}) {
    const Cloud c(d, 131);  // a number that leaves a short tile
    for (const double s : {0.1, 0.7}) {
      const Plain plain(c, s);
      // At most 131 terms, each with a relative error of some 1e-15 (exponents of size up to 35 carry 35 * 1e-16).
      const double tolerance = 1e-13;
      for (const double tail : {0.0, 1e-15}) {
        const GaussianSums sums(c.x, s, {.tail = tail});
        CHECK(distance(sums.value(c.w), plain.value) < tolerance);
        CHECK(distance(sums.value_gradient(c.w).value, plain.value) < tolerance);
        CHECK(distance(sums.value_gradient(c.w).gradient, plain.gradient) < tolerance);
        CHECK(distance(sums.pair_gradient(c.w, c.a), plain.pair_gradient) < tolerance);
        CHECK(distance(sums.directional(c.w, c.v), plain.directional) < tolerance);
        CHECK(distance(sums.pair_hessian(c.w, c.a, c.b, c.v), plain.pair_hessian) < tolerance);
      }
    }
  }
}

TEST_CASE("the tail's error keeps its promise, and pairs out of reach are not visited") {
  const Cloud c(2, 2000);
  const GaussianSums all(c.x, 0.05, {.tail = 0});
  const Vector exact = all.value(c.w);
  double last = all.pairs();
  for (const double tail : {1e-15, 1e-6, 1e-2}) {
    const GaussianSums cut(c.x, 0.05, {.tail = tail});
    CHECK((cut.value(c.w) - exact).cwiseAbs().maxCoeff() <= tail * cut.at_zero() * c.w.sum() + 1e-13 * exact.maxCoeff());
    CHECK(cut.pairs() < last);
    last = cut.pairs();
  }
  // Radius 0.05 * 3.03 = 0.15 around points that spread over some 20 units of area: a tile with its margin covers a few per cent.
  CHECK(last < 0.15 * all.pairs());
}

TEST_CASE("threads do not change a bit, and other targets than sources agree with themselves") {
  const Cloud c(3, 500);
  const GaussianSums one(c.x, 0.3), two(c.x, 0.3, {.threads = 2}), apart(c.x, c.x, 0.3);
  CHECK((one.value_gradient(c.w).gradient - two.value_gradient(c.w).gradient).cwiseAbs().maxCoeff() == 0);
  CHECK((one.pair_hessian(c.w, c.a, c.b, c.v) - two.pair_hessian(c.w, c.a, c.b, c.v)).cwiseAbs().maxCoeff() == 0);
  CHECK((one.value(c.w) - apart.value(c.w)).cwiseAbs().maxCoeff() == 0);
  CHECK_THROWS_AS((void)apart.pair_gradient(c.w, c.a), DomainError);
}

TEST_CASE("the mass of a sum is the charges' sum: midpoint rule over the plane") {
  const Cloud c(2, 20);
  const Index n = 81;
  const double width = 0.2;
  Matrix grid(2, n * n);
  for (Index i = 0; i < n * n; ++i) grid.col(i) << -8 + width * static_cast<double>(i % n), -8 + width * static_cast<double>(i / n);
  // For a Gaussian of s = 0.5 the midpoint rule at 0.2 errs by 2 exp(-2 pi^2 (0.5/0.2)^2) < 1e-53; points end near 3, the box at 8: exp(-50).
  CHECK(std::abs(GaussianSums(grid, c.x, 0.5).value(c.w).sum() * width * width - c.w.sum()) < 1e-13);
}

TEST_CASE("misuse is named") {
  const Cloud c(2, 5);
  CHECK_THROWS_WITH_AS(GaussianSums(c.x, 0.0), "gaussian_sums: bandwidth is 0, but must be positive", DomainError);
  CHECK_THROWS_WITH_AS(GaussianSums(c.x, 1.0, {.tail = 1}), "gaussian_sums: tail is 1, but must lie in [0, 1)", DomainError);
  CHECK_THROWS_AS(GaussianSums(Matrix::Constant(2, 2, std::nan("")), 1.0), DomainError);
  CHECK_THROWS_AS((void)GaussianSums(c.x, 1.0).value(Vector::Ones(4)), ShapeError);
}

TEST_CASE("gridded sums keep their bounds in one, two and three dimensions") {
  // The bounds are proven: tail G(0) sum|q| for values and tail G(0)/s sum|q| for gradients, beside rounding of sums of positive terms, some 1e-15 of the same.
  for (const Index d : {1, 2, 3}) {
    const Index n = 150, m = 90;
    const double s = d == 3 ? 0.8 : 0.4;
    Matrix x(d, n), y(d, m);
    RandomStream random(7, "gridded sums", static_cast<std::uint64_t>(d));
    for (Index i = 0; i < n; ++i) random.fill_normal(x.col(i));
    for (Index i = 0; i < m; ++i) random.fill_normal(y.col(i));
    Vector q(m), w(n), a(n);
    for (double& c : q) c = random.normal();
    for (double& c : w) c = random.uniform();
    for (double& c : a) c = random.normal();
    for (const double tail : {1e-2, 1e-5, 1e-9}) {
      CAPTURE(d);
      CAPTURE(tail);
      const GaussianSums exact(x, y, s, {.tail = 0, .method = GaussianMethod::direct}), gridded(x, y, s, {.tail = tail, .method = GaussianMethod::gridded});
      REQUIRE(gridded.gridded());
      const auto e = exact.value_gradient(q), g = gridded.value_gradient(q);
      const double unit = exact.at_zero() * q.cwiseAbs().sum(), rounding = 1e-13;
      const double off = (g.value - e.value).cwiseAbs().maxCoeff() / unit, slope = (g.gradient - e.gradient).cwiseAbs().maxCoeff() * s / unit;
      CHECK(off <= tail + rounding);
      CHECK(slope <= tail + rounding);
      CHECK(off > 0);  // another computation
      CHECK((gridded.value(q) - g.value).cwiseAbs().maxCoeff() <= rounding * unit);
      const GaussianSums self(x, s, {.tail = 0, .method = GaussianMethod::direct}), self_gridded(x, s, {.tail = tail, .method = GaussianMethod::gridded});
      const Matrix pairs = (self_gridded.pair_gradient(w, a) - self.pair_gradient(w, a)).cwiseAbs();
      for (Index i = 0; i < n; ++i) CHECK(pairs.col(i).maxCoeff() * s <= (tail + rounding) * exact.at_zero() * (std::abs(a[i]) * w.sum() + w.cwiseProduct(a).cwiseAbs().sum()));
      // Threads change no bit.
      const auto two = GaussianSums(x, y, s, {.tail = tail, .method = GaussianMethod::gridded, .threads = 2}).value_gradient(q);
      CHECK(two.value == g.value);
      CHECK(two.gradient == g.gradient);
    }
  }
}

TEST_CASE("the method is chosen by its cost, and said") {
  const Matrix few = Vector::LinSpaced(50, -1, 1).transpose(), many = Vector::LinSpaced(4000, -1, 1).transpose();
  CHECK_FALSE(GaussianSums(few, 0.3, {.tail = 1e-6}).gridded());
  CHECK(GaussianSums(many, 0.3, {.tail = 1e-6}).gridded());
  CHECK_FALSE(GaussianSums(many, 0.3).gridded());  // the default tail is below what a grid can promise
  CHECK_FALSE(GaussianSums(many, 0.3, {.tail = 1e-6, .method = GaussianMethod::direct}).gridded());
  CHECK_THROWS_AS(GaussianSums(many, 0.3, {.tail = 1e-15, .method = GaussianMethod::gridded}), DomainError);
  CHECK_THROWS_AS(GaussianSums(Matrix::Random(4, 10), 0.3, {.tail = 1e-6, .method = GaussianMethod::gridded}), DomainError);
  CHECK_THROWS_AS(GaussianSums(1e9 * many, 0.3, {.tail = 1e-6, .method = GaussianMethod::gridded}), DomainError);
}
