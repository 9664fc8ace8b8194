#include <jko/core/error.hpp>
#include <jko/core/random.hpp>
#include <jko/models/families.hpp>
#include <jko/models/formula.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>

using namespace jko;

TEST_CASE("a formula agrees with its family in every derivative") {
  RandomStream random(1, "formula test");
  Matrix points(1, 700);  // more than one chunk
  for (Index i = 0; i < points.size(); ++i) points(0, i) = 4 * random.uniform() - 2;
  const PotentialPtr written = formula("a/4*x^4 - b/2*x^2 + c*x"), named = double_well();
  const Vector theta = (Vector(3) << 1.2, 0.7, -0.3).finished();
  for (int x = 0; x <= 4; ++x) {
    for (int t = 0; t <= (x <= 2 ? 2 : (x == 3 ? 1 : 0)); ++t) {
      const Matrix a = written->evaluate({x, t}, points, theta), b = named->evaluate({x, t}, points, theta);
      // A handful of operations on numbers below 1e3: a few dozen roundings.
      CHECK((a - b).cwiseAbs().maxCoeff() <= 1e-13 * (1 + b.cwiseAbs().maxCoeff()));
    }
  }
}

TEST_CASE("rationals are not integer divisions, and functions and constants keep their meaning") {
  const PotentialPtr p = formula("1/3*x^2 + exp(-x)*cos(2*Pi*x)/7 + k*log(1+x^2)^2 + sqrt(2+x)*2.5e-1");
  const double x = 0.37, k = 1.7;
  const double expected = x * x / 3 + std::exp(-x) * std::cos(2 * M_PI * x) / 7 + k * std::pow(std::log(1 + x * x), 2) + 0.25 * std::sqrt(2 + x);
  const double value = p->evaluate({0, 0}, Matrix::Constant(1, 1, x), Vector::Constant(1, k))(0, 0);
  CHECK(std::abs(value - expected) < 1e-14);
}

TEST_CASE("a point has the same bits alone and among others, and in a jet as in evaluate()") {
  const PotentialPtr p = formula("a*exp(-x^2/2)*cos(3*x) + log(1 + b*x^2) + (1 + x^2)^g/(2 + sin(x))");
  const Vector theta{{0.7, 1.1, 1.3}};
  RandomStream random(2, "formula test");
  Matrix points(1, 200);
  for (double& x : points.reshaped()) x = 6 * random.uniform() - 3;
  for (const Derivative which : {Derivative{0, 0}, Derivative{2, 0}, Derivative{1, 1}, Derivative{2, 2}}) {
    const Matrix all = p->evaluate(which, points, theta);
    for (const Index k : {Index{0}, Index{63}, Index{64}, Index{199}}) CHECK(p->evaluate(which, points.col(k), theta) == all.col(k));
  }
  Vector value(200), first(200), second(200), alone(200);
  p->jet(points.data(), 200, theta, value.data(), first.data(), second.data());
  p->jet(points.data(), 200, theta, nullptr, alone.data(), nullptr);
  // Up to some thirty roundings of terms below 100.
  CHECK((value - p->evaluate({0, 0}, points, theta).row(0).transpose()).cwiseAbs().maxCoeff() < 1e-12);
  CHECK((first - p->evaluate({1, 0}, points, theta).row(0).transpose()).cwiseAbs().maxCoeff() < 1e-12);
  CHECK((second - p->evaluate({2, 0}, points, theta).row(0).transpose()).cwiseAbs().maxCoeff() < 1e-12);
  CHECK((alone - first).cwiseAbs().maxCoeff() < 1e-12);
}

TEST_CASE("powers and functions outside their domain: what the mathematics library says") {
  const PotentialPtr p = formula("s*x^g");
  const auto at = [&](double x, double g, int order) { return p->evaluate({order, 0}, Matrix::Constant(1, 1, x), Vector{{1.0, g}})(0, 0); };
  for (const double x : {1e-200, 1e-9, 3.0, 1e200}) CHECK(std::abs(at(x, 1.25, 1) / (1.25 * std::pow(x, 0.25)) - 1) < 1e-15);  // four roundings
  CHECK(at(0, 2.5, 0) == 0);
  CHECK(at(-2, 3, 1) == 12);
  CHECK(std::isnan(at(-2, 0.5, 0)));
  CHECK(std::isnan(at(-2, 0.5, 1)));
  const auto value = [](const char* text, double x) { return formula(text)->evaluate({0, 0}, Matrix::Constant(1, 1, x), Vector(0))(0, 0); };
  CHECK(std::isinf(value("1/x", 0)));
  CHECK(value("log(x)", 0) == -std::numeric_limits<double>::infinity());
  CHECK(std::isnan(value("log(x)", -1)));
  CHECK(std::isnan(value("sqrt(x)", -1)));
  CHECK(value("x^(-3)/4 + x^7", 2) == 0.03125 + 128);
  CHECK_THROWS_WITH_AS(value("x*sqrt(-4)", 1), "formula: the constant 2*I is not real", DomainError);
}

TEST_CASE("d-dimensional derivatives are symmetric and consistent with differences") {
  const PotentialPtr p = formula("k*(x1^2 + x1*x2^3)/2 + sin(a*x2)", 2);
  const Vector theta = (Vector(2) << 1.3, 0.8).finished();
  const Matrix at = (Vector(2) << 0.4, -0.7).finished();
  const Matrix hessian = p->evaluate({2, 0}, at, theta).reshaped(2, 2);
  CHECK(std::abs(hessian(0, 1) - hessian(1, 0)) < 1e-15);
  const double d = 1e-5;  // truncation 1e-10, rounding 1e-11
  for (Index j = 0; j < 2; ++j) {
    Matrix up = at, down = at;
    up(j, 0) += d;
    down(j, 0) -= d;
    const Vector difference = (p->evaluate({1, 0}, up, theta) - p->evaluate({1, 0}, down, theta)) / (2 * d);
    CHECK((difference - hessian.col(j)).cwiseAbs().maxCoeff() < 1e-8);
  }
}

TEST_CASE("a quadratic formula is recognised, with its tangent") {
  const PotentialPtr p = formula("kappa/2*(x-mu)^2");
  const Vector theta = (Vector(2) << 1.3, 0.4).finished();
  const auto q = p->quadratic(theta);
  REQUIRE(q);
  CHECK(std::abs(q->curvature(0, 0) - 1.3) < 1e-15);
  CHECK(std::abs(q->centre[0] - 0.4) < 1e-15);
  const auto tangent = p->quadratic_tangent(theta), exact = ornstein_uhlenbeck()->quadratic_tangent(theta);
  CHECK((tangent.centre - exact.centre).cwiseAbs().maxCoeff() < 1e-14);
  CHECK(std::abs(p->convexity(theta)->kappa - 1.3) < 1e-15);
}

TEST_CASE("bad formulas name the position") {
  const auto message = [](std::string_view text, int dimension = 1) -> std::string {
    try {
      (void)formula(text, dimension);
    } catch (const ParseError& e) {
      return e.what();
    }
    return "";
  };
  CHECK(message("") == "formula, column 1: the formula is empty");
  CHECK(message("x^2 + foo(x)").find("12") == std::string::npos);
  CHECK(message("x^2 + csin(x)") == "formula, column 7: unknown or not smooth function 'csin'; the nearest known one is 'sin'");
  CHECK(message("abs(x)").find("not smooth") != std::string::npos);
  CHECK(message("x^2 + x3", 2).find("formula, column 1: variable 'x' is unknown") == 0);
  CHECK(message("x1^2 + x3", 2).find("formula, column 8: variable 'x3'") == 0);
  CHECK(message("beta*x^2").find("formula, column 1: 'beta'") == 0);
  CHECK(message("a*(x^2").find("formula") == 0);
  CHECK(message("a*)x^2").find("cannot be understood") != std::string::npos);
}
