#include <jko/core/error.hpp>
#include <jko/transport/gaussian_map.hpp>

#include <doctest/doctest.h>

#include <cmath>

using namespace jko;

TEST_CASE("the map pushes one Gaussian to the other and realises their distance") {
  const Gaussian a(Vector{{1, -1, 0}}, Matrix{{2, 0.5, 0.1}, {0.5, 1, -0.2}, {0.1, -0.2, 0.7}}), b(Vector{{0, 2, 1}}, Matrix{{0.3, 0, 0.1}, {0, 2, 0.4}, {0.1, 0.4, 1}});
  const AffineMap t = optimal_map(a, b);
  // A few tens of operations on numbers of size 1 and condition numbers below 10.
  CHECK((t.push(a).mean() - b.mean()).norm() < 1e-14);
  CHECK((t.push(a).covariance() - b.covariance()).norm() < 1e-13);
  CHECK((t.linear - t.linear.transpose()).norm() == 0);
  const Matrix displacement = t.linear - Matrix::Identity(3, 3);
  CHECK(std::abs((b.mean() - a.mean()).squaredNorm() + (displacement * a.covariance() * displacement).trace() - std::pow(w2(a, b), 2)) < 1e-13);
  const Matrix points{{1, 2}, {0, 1}, {-1, 3}};
  CHECK((t.inverse()(t(points)) - points).norm() < 1e-13);
  CHECK((optimal_map(b, a).linear - t.inverse().linear).norm() < 1e-13);
  CHECK(std::abs(optimal_map(Gaussian(Vector{{0}}, Matrix{{4}}), Gaussian(Vector{{1}}, Matrix{{9}})).linear(0, 0) - 1.5) < 1e-15);
}

TEST_CASE("misuse is one line") {
  const AffineMap flat{Matrix::Zero(2, 2), Vector::Zero(2), Vector::Zero(2)};
  CHECK_THROWS_AS((void)flat.inverse(), DomainError);
  CHECK_THROWS_AS((void)flat(Matrix::Zero(3, 1)), ShapeError);
}
