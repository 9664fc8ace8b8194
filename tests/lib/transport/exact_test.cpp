#include <jko/core/error.hpp>
#include <jko/core/random.hpp>
#include <jko/transport/exact.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <string>

using namespace jko;

namespace {

Matrix normals(Index d, Index n, std::uint64_t index) {
  Matrix x(d, n);
  RandomStream random(7, "exact transport test", index);
  for (Index i = 0; i < x.size(); ++i) x.data()[i] = random.normal();
  return x;
}

Vector weights(Index n, std::uint64_t index) {
  Vector w(n);
  RandomStream random(7, "exact transport weights", index);
  for (double& v : w) v = random.uniform();
  return w / w.sum();
}

/// Marginals, feasible potentials and no gap: together they prove the plan optimal.
void check_proof(const ExactTransport& t, const Matrix& costs, const Vector& a, const Vector& b) {
  REQUIRE(t.status == Status::converged);
  const double scale = costs.cwiseAbs().maxCoeff(), n = static_cast<double>(costs.size());
  Vector rows = Vector::Zero(a.size()), columns = Vector::Zero(b.size());
  for (const auto& [i, j, mass] : t.plan) {
    CHECK(mass > 0);
    rows[i] += mass;
    columns[j] += mass;
  }
  // Weights are rounded to 2^-53 each, and what is missing sits at one entry: at most n 2^-53.
  CHECK((rows - a).cwiseAbs().maxCoeff() <= 0x1p-52 * n);
  CHECK((columns - b).cwiseAbs().maxCoeff() <= 0x1p-52 * n);
  CHECK(static_cast<Index>(t.plan.size()) <= a.size() + b.size() - 1);
  const Matrix slack = (costs.colwise() - t.from_potential).rowwise() - t.to_potential.transpose();
  CHECK(slack.minCoeff() >= -4e-16 * scale * std::sqrt(n));  // one subtraction of potentials, which are sums along a path of the tree
  // Costs are rounded to 2^-48 of the largest (fewer than 4096 nodes); plan and potentials feel it once each, and sums of 100 terms round.
  CHECK(std::abs(t.gap()) <= 4 * 0x1p-48 * scale + 1e-14 * scale);
}

Matrix squares(const Matrix& x, const Matrix& y) {
  Matrix c(x.cols(), y.cols());
  for (Index i = 0; i < x.cols(); ++i) c.row(i) = (y.colwise() - x.col(i)).colwise().squaredNorm();
  return c;
}

std::string message(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

}  // namespace

TEST_CASE("costs agree with two independent solvers (tests/support/exact_transport_reference.py)") {
  const Index n = 40, m = 55;
  Matrix x(2, n), y(2, m);
  Vector a(n), b(m);
  for (Index i = 0; i < n; ++i) {
    const auto t = static_cast<double>(i);
    x.col(i) << std::sin(t + 1), std::cos(2 * t);
    a[i] = 1 + static_cast<double>(i % 5);
  }
  for (Index j = 0; j < m; ++j) {
    const auto t = static_cast<double>(j);
    y.col(j) << std::sin(3 * t) + 0.5, std::cos(t + 0.3);
    b[j] = 2 + static_cast<double>(j % 3);
  }
  a /= a.sum();
  b /= b.sum();
  const Matrix c = squares(x, y);
  const auto t = exact_transport(Particles(x, a), Particles(y, b));
  check_proof(t, c, a, b);
  CHECK(std::abs(t.cost - 0.30251019910234) < 1e-13);  // printed with 15 digits
  const auto distance = exact_transport(c.cwiseSqrt(), a, b);
  check_proof(distance, c.cwiseSqrt(), a, b);
  CHECK(std::abs(distance.cost - 0.493351152316531) < 1e-13);
}

TEST_CASE("plans are proved optimal: equal and unequal weights and numbers, zero weights, negative costs, extreme scales") {
  for (const double scale : {1e-150, 1.0, 1e140}) {
    const Matrix x = scale * normals(3, 60, 1), y = scale * normals(3, 60, 2);
    const auto t = exact_transport(Particles(x), Particles(y));
    check_proof(t, squares(x, y), Vector::Constant(60, 1 / 60.0), Vector::Constant(60, 1 / 60.0));
    CHECK(t.plan.size() == 60);  // an assignment
  }
  Vector a = weights(30, 1), b = weights(70, 2);
  a[3] = 0;
  a /= a.sum();
  const Matrix x = normals(2, 30, 3), y = normals(2, 70, 4);
  check_proof(exact_transport(Particles(x, a), Particles(y, b)), squares(x, y), a, b);
  const Matrix c = normals(30, 70, 5);
  check_proof(exact_transport(c, a, b), c, a, b);
  check_proof(exact_transport(Matrix::Zero(30, 70), a, b), Matrix::Zero(30, 70), a, b);
  check_proof(exact_transport(Matrix::Constant(1, 1, 2.5), Vector::Ones(1), Vector::Ones(1)), Matrix::Constant(1, 1, 2.5), Vector::Ones(1), Vector::Ones(1));
}

TEST_CASE("an affine map with a positive definite matrix is optimal, so W2 is known") {
  // T = grad of a convex function: the cost is E|T(x) - x|^2 for every cloud (Brenier; the identity coupling is cyclically monotone).
  const Matrix x = normals(2, 300, 6), m{{1.4, 0.3}, {0.3, 0.8}};
  const Matrix y = (m * x).colwise() + Vector{{0.5, -1}};
  const auto t = exact_transport(Particles(x), Particles(y));
  const double expected = (y - x).colwise().squaredNorm().mean();
  CHECK(std::abs(t.cost - expected) < 1e-13 * expected * 10);
  for (const auto& [i, j, mass] : t.plan) CHECK(i == j);
  const Particles half = displacement(t, Particles(x), Particles(y), 0.5);
  CHECK((half.points() - 0.5 * (x + y)).cwiseAbs().maxCoeff() < 1e-14);
}

TEST_CASE("problems that begin with a part of the entries are proved optimal among all of them") {
  // More than 200 x 200 entries. A shift and a change of shape; unequal numbers and weights; costs without structure; ties; far clusters that the first arcs do not join; half of the weights zero.
  const auto equal = [](Index n) { return Vector(Vector::Constant(n, 1 / static_cast<double>(n))); };
  const Matrix x = normals(2, 400, 20), y = 0.5 * normals(2, 400, 21).array() + 1;
  check_proof(exact_transport(Particles(x), Particles(y)), squares(x, y), equal(400), equal(400));
  const Vector a = weights(300, 22), b = weights(450, 23);
  const Matrix p = normals(3, 300, 24), q = normals(3, 450, 25).array().square();
  check_proof(exact_transport(Particles(p, a), Particles(q, b)), squares(p, q), a, b);
  const Matrix costs = normals(300, 450, 26);
  check_proof(exact_transport(costs, a, b), costs, a, b);
  const Matrix grid = (2 * normals(2, 300, 27)).array().round(), other = (2 * normals(2, 300, 28)).array().round();
  check_proof(exact_transport(Particles(grid), Particles(other)), squares(grid, other), equal(300), equal(300));
  Matrix left = x, right = y;
  for (Index i = 0; i < 400; ++i) {
    left(0, i) += 1000.0 * static_cast<double>(i / 100);
    right(0, i) += 1000.0 * static_cast<double>(3 - i / 100);
  }
  check_proof(exact_transport(Particles(left), Particles(right)), squares(left, right), equal(400), equal(400));
  check_proof(exact_transport(Matrix::Zero(300, 450), a, b), Matrix::Zero(300, 450), a, b);
  Vector sparse = equal(400);
  for (Index i = 0; i < 400; i += 3) sparse[i] = 0;  // every point of the coarse problem
  sparse /= sparse.sum();
  check_proof(exact_transport(Particles(left, sparse), Particles(right)), squares(left, right), sparse, equal(400));
}

TEST_CASE("one dimension by sorting is the simplex's answer, and the integral of the squared difference of quantiles") {
  const Matrix x = normals(1, 50, 8), y = 2.0 * normals(1, 80, 9).array() + 1.0;
  const Vector a = weights(50, 3), b = weights(80, 4);
  const auto line = exact_transport(Particles(x, a), Particles(y, b));
  check_proof(line, squares(x, y), a, b);
  CHECK(std::abs(line.cost - exact_transport(squares(x, y), a, b).cost) < 1e-13 * line.cost + 1e-14);
  // Many equal points and equal weights: every step of the staircase is degenerate.
  const Matrix twice = x.array().round(), other = y.array().round();
  const auto ties = exact_transport(Particles(twice), Particles(other));
  check_proof(ties, squares(twice, other), Vector::Constant(50, 0.02), Vector::Constant(80, 1 / 80.0));
}

TEST_CASE("W2 is a distance: zero on the diagonal, symmetric, the triangle inequality") {
  const Particles x(normals(2, 80, 10)), y(normals(2, 60, 11)), z(normals(2, 80, 12).array() + 0.5);
  CHECK(w2(x, x) == 0);
  CHECK(std::abs(w2(x, y) - w2(y, x)) < 1e-13);  // two certified optima of the same problem
  CHECK(w2(x, z) <= w2(x, y) + w2(y, z));
}

TEST_CASE("misuse is one clear line") {
  const Particles a(normals(2, 5, 1)), b(normals(3, 5, 1));
  CHECK(message([&] { (void)exact_transport(a, b); }) == "exact_transport: the second measure's dimension has size 3, but 2 is needed");
  CHECK(message([&] { (void)exact_transport(a, a, {.max_entries = 20}); }).starts_with("exact_transport: 5 x 5 entries would take"));
  CHECK(message([&] { (void)exact_transport(Matrix::Ones(2, 2), Vector{{0.5, 0.6}}, Vector{{0.5, 0.5}}); }) ==
        "exact_transport: the row weights sum to 1.1, but must sum to 1");
  CHECK(message([&] { (void)exact_transport(Matrix::Ones(2, 2), Vector{{1.5, -0.5}}, Vector{{0.5, 0.5}}); }).find("must be >= 0") != std::string::npos);
  CHECK(message([&] { (void)exact_transport(Matrix::Constant(2, 2, NAN), Vector{{0.5, 0.5}}, Vector{{0.5, 0.5}}); }).find("costs") != std::string::npos);
  CHECK(exact_transport(Particles(Matrix::Constant(2, 2, 1e200)), Particles(Matrix::Constant(2, 2, -1e200))).status == Status::not_finite);
}
