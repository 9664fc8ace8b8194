#include <jko/core/error.hpp>
#include <jko/models/diffusion.hpp>
#include <jko/models/families.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <string>

using namespace jko;
using Coefficient = DiffusionFamily::Coefficient;

namespace {

/// Points and parameters inside every family's domain.
const Matrix points{{0.13, 0.4, 0.77}};
Vector inside(const DiffusionFamily& family) {
  Vector theta(family.parameter_count());
  for (Index i = 0; i < theta.size(); ++i) theta[i] = 0.6 + 0.07 * static_cast<double>(i);
  return theta;
}

}  // namespace

TEST_CASE("each derivative of a diffusion is the derivative of the one below") {
  std::vector<DiffusionPtr> families{langevin_diffusion(double_well())};
  for (const std::string& name : diffusion_names()) families.push_back(diffusion_family(name));
  for (const DiffusionPtr& family : families) {
    const Vector theta = inside(*family);
    for (const Coefficient c : {Coefficient::drift, Coefficient::diffusion}) {
      for (int order = 0; order <= 3; ++order) {
        // Fourth-order difference, d = 1e-3: truncation d^4/30 f^(5), at x = 0.13 below 1e-12 * 5!/0.13^5 = 3e-6 of the scale f/x^order.
        const double d = 1e-3;
        const auto at = [&](double s, int theta_order) { return family->evaluate(c, {order, theta_order}, points.array() + s, theta); };
        for (const int theta_order : {0, 1}) {
          const Matrix difference = (8 * (at(d, theta_order) - at(-d, theta_order)) - (at(2 * d, theta_order) - at(-2 * d, theta_order))) / (12 * d);
          const Matrix exact = family->evaluate(c, {order + 1, theta_order}, points, theta);
          CHECK((difference - exact).cwiseAbs().maxCoeff() <= 1e-5 * (1 + exact.cwiseAbs().maxCoeff()));
        }
        for (Index j = 0; j < theta.size(); ++j) {
          const auto moved = [&](double s) {
            Vector t = theta;
            t[j] += s;
            return family->evaluate(c, {order, 0}, points, t);
          };
          const Matrix difference = (8 * (moved(d) - moved(-d)) - (moved(2 * d) - moved(-2 * d))) / (12 * d);
          const Matrix exact = family->evaluate(c, {order, 1}, points, theta).row(j);
          CHECK((difference - exact).cwiseAbs().maxCoeff() <= 1e-8 * (1 + exact.cwiseAbs().maxCoeff()));  // entire in theta near 0.6: truncation 1e-13
        }
      }
    }
  }
}

TEST_CASE("all derivatives at once are the derivatives one by one") {
  std::vector<DiffusionPtr> families{langevin_diffusion(double_well()), diffusion_formula("a+b*x+exp(-c*x)", "s*x^g*(1+x)^(g-2)", {0, 1})};
  for (const std::string& name : diffusion_names()) families.push_back(diffusion_family(name));
  const Vector x = Vector::LinSpaced(150, 0.02, 0.98);  // more than two rows of a tape
  for (const DiffusionPtr& family : families) {
    const Vector theta = inside(*family);
    for (const Coefficient c : {Coefficient::drift, Coefficient::diffusion}) {
      const std::size_t orders = family->potential() ? 3 : 6;  // a potential offers three in x with one in theta
      std::vector<Vector> value(orders, Vector(x.size()));
      std::vector<Matrix> gradient(orders, Matrix(theta.size(), x.size()));
      family->jet(c, x, theta, value, gradient);
      for (std::size_t k = 0; k < value.size(); ++k) {
        const int order = static_cast<int>(k);
        const Vector one = family->evaluate(c, {order, 0}, x.transpose(), theta).row(0).transpose();
        const Matrix by_theta = family->evaluate(c, {order, 1}, x.transpose(), theta);
        // Some dozen roundings of terms whose alternating sum loses less than a digit of the largest.
        CHECK((value[k] - one).cwiseAbs().maxCoeff() <= 1e-13 * (1e-300 + one.cwiseAbs().maxCoeff()));
        CHECK((gradient[k] - by_theta).cwiseAbs().maxCoeff() <= 1e-13 * (1e-300 + by_theta.cwiseAbs().maxCoeff()));
      }
    }
  }
}

TEST_CASE("a family and the formula that says the same agree") {
  const auto check = [](const char* name, const char* drift, const char* diffusion, DiffusionFamily::Interval interval) {
    const auto family = diffusion_family(name), formula = diffusion_formula(drift, diffusion, interval);
    REQUIRE(family->parameter_count() == formula->parameter_count());
    const Vector theta = inside(*family);
    for (int i = 0; i < family->parameter_count(); ++i) CHECK(family->parameters()[static_cast<std::size_t>(i)].name == formula->parameters()[static_cast<std::size_t>(i)].name);
    for (const Coefficient c : {Coefficient::drift, Coefficient::diffusion}) {
      for (const int order : {0, 1, 2, 3, 6}) {
        for (const int by : {0, 1}) {
          const Matrix a = family->evaluate(c, {order, by}, points, theta), b = formula->evaluate(c, {order, by}, points, theta);
          CHECK((a - b).cwiseAbs().maxCoeff() <= 1e-13 * (1 + b.cwiseAbs().maxCoeff()));  // a few roundings
        }
      }
    }
    CHECK(family->constant_diffusion() == formula->constant_diffusion());
  };
  check("vasicek", "kappa*(mu-x)", "sigma", {});
  check("gbm", "mu*x", "sigma*x", {0, 9});
  check("cir", "kappa*(mu-x)", "sigma*sqrt(x)", {0, 9});
  check("ckls", "a+b*x", "sigma*x^gamma", {0, 9});
  check("cubic", "a*x-c*x^3", "sigma", {});
}

TEST_CASE("misuse of diffusions is one line that names what is wrong") {
  const auto message = [](auto&& f) -> std::string {
    try {
      f();
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  CHECK(message([] { (void)diffusion_family("cirr"); }).find("nearest name is 'cir'") != std::string::npos);
  CHECK(message([] { (void)diffusion_formula("kappa*(mu-x", "sigma"); }).find("drift, column") != std::string::npos);
  CHECK(message([] { (void)diffusion_formula("x", "0"); }).find("sigma is zero") != std::string::npos);
  CHECK(message([] { (void)diffusion_formula("y1(x)", "s"); }).find("not smooth function") != std::string::npos);
  CHECK(message([] { (void)Diffusion(diffusion_family("cir"), Vector{{1, 1, -0.1}}); }).find("parameter sigma") != std::string::npos);
  const Diffusion cir(diffusion_family("cir"), Vector{{1, 1, 0.1}});
  CHECK(message([&] { cir.check_values("fit", Vector{{1, 0.5, -0.25}}); }).find("value 3 is -0.25") != std::string::npos);
  CHECK_THROWS_AS((void)langevin_diffusion(ornstein_uhlenbeck(2)), DomainError);
}
