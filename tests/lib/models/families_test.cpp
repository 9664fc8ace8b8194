#include <jko/core/error.hpp>
#include <jko/models/convexity.hpp>
#include <jko/models/derivative_check.hpp>
#include <jko/models/families.hpp>
#include <jko/models/formula.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

using namespace jko;

namespace {

struct Case {
  PotentialPtr potential;
  Vector theta;
};

std::vector<Case> cases() {
  const auto v = [](std::initializer_list<double> list) { return Vector(Eigen::Map<const Vector>(list.begin(), static_cast<Index>(list.size()))); };
  return {{ornstein_uhlenbeck(), v({1.3, 0.4})},
          {ornstein_uhlenbeck(2), v({1.5, 0.4, 0.9, 0.3, -0.2})},
          {double_well(), v({1.2, 0.7, -0.3})},
          {quartic(), v({-0.5, 0.3, 0.2, 0.7})},
          {quadratic_cosine(), v({1.1, 0.2, 0.6, 2.3})},
          {gaussian_mixture(), v({0.35, -1.0, 0.6, 1.4, 0.9})},
          {student_well(), v({4.5, 0.3, 1.2})},
          {formula("a/4*x^4 + b*sin(x) + log(1+c*x^2)"), v({0.8, 0.5, 1.1})},
          {formula("k*(x1^2 + x1*x2^3)/2 + sin(a*x2) + exp(-x1^2)", 2), v({1.3, 0.8})}};
}

Matrix some_points(int dimension) {
  Matrix points(dimension, 7);
  for (Index i = 0; i < points.size(); ++i) points.data()[i] = 1.7 * std::sin(1.3 * static_cast<double>(i) + 0.4);
  return points;
}

}  // namespace

TEST_CASE("every family's derivatives agree with differences of each other") {
  for (const Case& c : cases()) {
    const auto check = check_derivatives(*c.potential, some_points(c.potential->dimension()), c.theta);
    CHECK_MESSAGE(check.ok, check.message);
  }
}

TEST_CASE("the derivative check finds a wrong factor") {
  class Wrong final : public Potential {
   public:
    int dimension() const override { return 1; }
    const std::vector<Parameter>& parameters() const override { return right_->parameters(); }
    std::string describe() const override { return "wrong"; }
    using Potential::evaluate;
    void evaluate(Derivative which, const ConstMatrixRef& points, const ConstVectorRef& theta, MatrixRef out) const override {
      right_->evaluate(which, points, theta, out);
      if (which.x == 2 && which.theta == 1) out *= 1.001;
    }

   private:
    PotentialPtr right_ = double_well();
  };
  const auto check = check_derivatives(Wrong(), some_points(1), (Vector(3) << 1, 1, 0).finished());
  CHECK_FALSE(check.ok);
  CHECK(check.worst.theta == 1);
}

TEST_CASE("stated convexity constants are attained lower bounds of Psi''") {
  for (const Case& c : cases()) {
    if (c.potential->dimension() != 1) continue;
    Vector theta = c.theta;
    if (theta.size() == 5) theta[4] = theta[2];  // the mixture's constant is for equal variances
    const auto stated = c.potential->convexity(theta);
    if (!stated) continue;
    const Matrix x = Vector::LinSpaced(200001, -10, 10).transpose();  // spacing 1e-4: the minimum is missed by at most |Psi''''| 1e-8/8
    const double found = c.potential->evaluate({2, 0}, x, theta).minCoeff();
    CHECK(found >= stated->kappa - 1e-12);
    CHECK(found <= stated->kappa + 1e-6);
    CHECK(stated->proven);
    const auto numerical = convexity_on(*c.potential, theta, Vector::Constant(1, -10), Vector::Constant(1, 10));
    CHECK_FALSE(numerical.proven);
    CHECK(numerical.kappa <= stated->kappa + 1e-12);
    const double third = c.potential->evaluate({3, 0}, x, theta).cwiseAbs().maxCoeff();
    CHECK(numerical.kappa >= stated->kappa - 0.5 * 0.002 * third - 1e-6);  // the remainder of 10001 points on [-10, 10]
  }
}

TEST_CASE("polynomial formulas state their constant, others none") {
  const auto kappa = [](const char* text, std::initializer_list<double> theta) {
    return formula(text)->convexity(Eigen::Map<const Vector>(theta.begin(), static_cast<Index>(theta.size())));
  };
  CHECK(std::abs(kappa("a/4*x^4 - b/2*x^2 + c*x", {1.2, 0.7, -0.3})->kappa + 0.7) < 1e-14);
  CHECK_FALSE(kappa("a/4*x^4 - b/2*x^2", {-1.2, 0.7}));
  CHECK_FALSE(kappa("a*x^6", {1}));
  CHECK_FALSE(kappa("a*cos(x)", {1}));
  CHECK(std::abs(formula("x1^2 + 2*x2^2 + 3*x1*x2", 2)->convexity(Vector())->kappa - (3 - std::sqrt(10.0))) < 1e-13);
}

TEST_CASE("the mixture is stable in both tails") {
  const Vector theta = (Vector(5) << 0.3, -1, 0.5, 2, 0.7).finished();
  for (const double x : {-200.0, 200.0}) {
    const Matrix at = Matrix::Constant(1, 1, x);
    const double m = 2, s = 0.7;  // the wider component rules both tails
    CHECK(std::abs(gaussian_mixture()->evaluate({2, 0}, at, theta)(0, 0) - 1 / (s * s)) < 1e-12);
    CHECK(std::abs(gaussian_mixture()->evaluate({1, 0}, at, theta)(0, 0) - (x - m) / (s * s)) < 1e-10 * std::abs(x));
  }
}

TEST_CASE("bad parameters and boxes are refused") {
  CHECK_THROWS_AS(gaussian_mixture()->check_parameters((Vector(5) << 0.0, 0, 1, 1, 1).finished()), DomainError);
  CHECK_THROWS_AS(student_well()->check_parameters((Vector(3) << -1.0, 0, 1).finished()), DomainError);
  CHECK_THROWS_WITH_AS((void)family("double-wel"), "family: 'double-wel' is unknown; the nearest name is 'double-well'", DomainError);
  CHECK_THROWS_AS((void)convexity_on(*double_well(), Vector::Ones(3), Vector::Ones(1), Vector::Zero(1)), DomainError);
  CHECK_THROWS_AS((void)convexity_on(*formula("log(x)"), Vector(), Vector::Constant(1, -1), Vector::Constant(1, 1)), DomainError);
}
