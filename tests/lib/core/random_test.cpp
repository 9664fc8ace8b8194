#include <jko/core/error.hpp>
#include <jko/core/random.hpp>

#include <doctest/doctest.h>

#include <cmath>

TEST_CASE("a stream is a function of seed, purpose and index") {
  jko::RandomStream a(1, "path", 7), b(1, "path", 7), c(1, "path", 8), d(1, "bootstrap", 7);
  const auto first = a.bits();
  CHECK(first == b.bits());
  CHECK(first != c.bits());
  CHECK(first != d.bits());
}

TEST_CASE("normals have the moments of N(0, 1)") {
  // n = 10^6: se(mean) = 1e-3, se(variance) = sqrt(2/n) = 1.41e-3, se(4th moment) = sqrt(96/n) = 9.8e-3; the bounds are 5 se,
  // a false alarm per check of 6e-7 (and the seed is fixed).
  jko::RandomStream r(20261123, "moments");
  const int n = 1000000;
  double m1 = 0, m2 = 0, m4 = 0;
  for (int i = 0; i < n; ++i) {
    const double z = r.normal();
    m1 += z;
    m2 += z * z;
    m4 += z * z * z * z;
  }
  CHECK(std::abs(m1 / n) < 5e-3);
  CHECK(std::abs(m2 / n - 1) < 7.1e-3);
  CHECK(std::abs(m4 / n - 3) < 4.9e-2);
}

TEST_CASE("gamma variates have the moments of their law") {
  for (const double shape : {1.0, 4.5, 300.0}) {
    jko::RandomStream random(7, "gamma", static_cast<std::uint64_t>(shape));
    const int n = 20000;
    double sum = 0, square = 0, inverse = 0;
    for (int i = 0; i < n; ++i) {
      const double x = random.gamma(shape), d = x - shape;
      sum += d, square += d * d, inverse += 1 / (x + 1);
    }
    // Mean shape (variance shape), variance shape (its s.e. sqrt((2 shape^2 + 6 shape)/n)): 6 checks at 5 s.e., false alarm below 4e-6.
    CHECK(std::abs(sum / n) < 5 * std::sqrt(shape / n));
    CHECK(std::abs(square / n - shape) < 5 * std::sqrt((2 * shape * shape + 6 * shape) / n));
    // E 1/(1+X) for shape 1 is e E_1(1) = 0.596347; its variance is below 1/12.
    if (shape == 1) CHECK(std::abs(inverse / n - 0.596347362) < 5 * std::sqrt(1.0 / 12 / n));
  }
  CHECK_THROWS_AS((void)jko::RandomStream(1, "x").gamma(0.5), jko::DomainError);
}
