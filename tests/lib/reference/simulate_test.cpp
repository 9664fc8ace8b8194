#include <jko/core/error.hpp>
#include <jko/models/families.hpp>
#include <jko/reference/simulate.hpp>

#include <doctest/doctest.h>

#include <cmath>

using namespace jko;

namespace {

/// Sample covariance of the columns.
Matrix covariance(const Matrix& x) {
  const Matrix centred = x.colwise() - x.rowwise().mean();
  return centred * centred.transpose() / static_cast<double>(x.cols() - 1);
}

}  // namespace

TEST_CASE("exact OU snapshots in two dimensions have the closed-form law") {
  // n = 20000: the s.e. of a covariance entry is sqrt((S_ii S_jj + S_ij^2)/n), of a mean sqrt(S_ii/n); bounds of 5 s.e. over 5 numbers are a
  // false alarm of 3e-6 (fixed seed).
  Vector theta(5);
  theta << 1.0, 0.4, 2.0, 0.3, -0.2;  // K = [[1, .4], [.4, 2]], mu = (.3, -.2)
  const double beta = 1.5, t = 0.7;
  const Model model(ornstein_uhlenbeck(2), theta, beta);
  const Vector start = (Vector(2) << 1, 1).finished();
  const int n = 20000;
  const Matrix sample = simulate_snapshots(model, start, (Vector(2) << 0, t).finished(), n)[0];
  // Closed form through Sigma_t = (I - e^{-2Kt}) (beta K)^{-1}, written out for 2 x 2 by the eigenvalues 1.5 -+ sqrt(.41).
  const double r = std::sqrt(0.41), a = 1.5 - r, b = 1.5 + r;
  const Matrix k = (Matrix(2, 2) << 1.0, 0.4, 0.4, 2.0).finished();
  const Matrix pa = (k - b * Matrix::Identity(2, 2)) / (a - b), pb = (k - a * Matrix::Identity(2, 2)) / (b - a);
  const auto function = [&](auto f) { return Matrix(f(a) * pa + f(b) * pb); };
  const Matrix exact = function([&](double l) { return (1 - std::exp(-2 * l * t)) / (beta * l); });
  const Vector centre = theta.tail(2);
  const Vector mean = centre + function([&](double l) { return std::exp(-l * t); }) * (start - centre);
  const Matrix found = covariance(sample);
  for (Index i = 0; i < 2; ++i) {
    CHECK(std::abs(sample.row(i).mean() - mean[i]) < 5 * std::sqrt(exact(i, i) / n));
    for (Index j = 0; j <= i; ++j) CHECK(std::abs(found(i, j) - exact(i, j)) < 5 * std::sqrt((exact(i, i) * exact(j, j) + exact(i, j) * exact(i, j)) / n));
  }
}

TEST_CASE("Euler-Maruyama tends to the exact variance") {
  // Weak error kappa dt/2 relative at dt = 0.01: 0.65 %; 5 s.e. sqrt(2/n) = 5 %.
  const Model model(ornstein_uhlenbeck(), (Vector(2) << 1.3, 0.4).finished(), 2);
  const Matrix sample = simulate_snapshots(model, Vector::Zero(1), (Vector(2) << 0, 1).finished(), 20000, {.method = Simulation::euler_maruyama})[0];
  const double exact = (1 - std::exp(-2.6)) / 2.6;
  CHECK(std::abs(covariance(sample)(0, 0) / exact - 1) < 0.0065 + 0.05);
}

TEST_CASE("panels do not depend on the number of threads") {
  const Model model(double_well(), (Vector(3) << 1, 1, 0).finished(), 2);
  const Vector times = Vector::LinSpaced(4, 0, 1);
  const auto one = simulate_panel(model, Matrix::Zero(1, 1), times, 5, {.threads = 1});
  const auto two = simulate_panel(model, Matrix::Zero(1, 1), times, 5, {.threads = 2});
  for (std::size_t p = 0; p < 5; ++p) CHECK(one[p] == two[p]);
  CHECK(one[0] != one[1]);
}

TEST_CASE("stationary draws of the double well have its moments") {
  // E x = 0 and E x^2 = m2 by quadrature; bounds of 5 s.e., false alarm 6e-7 a check.
  const double beta = 3;
  const Model model(double_well(), (Vector(3) << 1, 1, 0).finished(), beta);
  double z = 0, m2 = 0, m4 = 0;
  for (int i = -4000; i <= 4000; ++i) {
    const double x = i * 1e-3, w = std::exp(-beta * (x * x * x * x / 4 - x * x / 2));
    z += w, m2 += x * x * w, m4 += x * x * x * x * w;
  }
  m2 /= z, m4 /= z;
  const int n = 40000;
  const Matrix sample = sample_stationary(model, n, -4, 4);
  CHECK(std::abs(sample.mean()) < 5 * std::sqrt(m2 / n));
  CHECK(std::abs(sample.array().square().mean() - m2) < 5 * std::sqrt((m4 - m2 * m2) / n));
}

TEST_CASE("a blow-up is one line") {
  const Model model(double_well(), (Vector(3) << 1, 1, 0).finished(), 1);
  CHECK_THROWS_AS((void)simulate_path(model, Vector::Constant(1, 100), Vector::LinSpaced(20, 0, 10), 0, {.substeps = 1}), DomainError);
}
