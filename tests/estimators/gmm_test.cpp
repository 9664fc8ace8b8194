#include <jko/core/error.hpp>
#include <jko/core/random.hpp>
#include <jko/estimators/gmm.hpp>
#include <jko/estimators/ornstein_uhlenbeck.hpp>
#include <jko/models/families.hpp>

#include <Eigen/LU>
#include <doctest/doctest.h>

#include <cmath>

using namespace jko;
using namespace jko::estimators;

namespace {

Path ou_path(Index n, double dt, std::uint64_t index) {
  RandomStream random(4, "gmm", index);
  Path path{Vector::LinSpaced(n + 1, 0, dt * static_cast<double>(n)), Matrix(1, n + 1)};
  const double phi = std::exp(-1.3 * dt), deviation = std::sqrt(1 / (2 * 1.3));
  path.values(0, 0) = 0.4 + deviation * random.normal();
  for (Index i = 0; i < n; ++i) path.values(0, i + 1) = 0.4 + phi * (path.values(0, i) - 0.4) + deviation * std::sqrt(1 - phi * phi) * random.normal();
  return path;
}

/// E x = mu, E x^2 = mu^2 + v, E (x - mu)^3 = 0: the last one over-identifies.
MomentFunction mean_and_variance(const Vector& x, bool third) {
  return [x, third](const Vector& p) {
    Moments out{Matrix(third ? 3 : 2, x.size()), Matrix(third ? 3 : 2, 2), {}};
    const Vector c = x.array() - p[0];
    out.terms.row(0) = c.transpose();
    out.terms.row(1) = c.transpose().cwiseAbs2().array() - p[1];
    out.jacobian.topRows(2) << -1, 0, -2 * c.mean(), -1;
    if (third) {
      out.terms.row(2) = c.transpose().array().cube();
      out.jacobian.row(2) << -3 * c.squaredNorm() / static_cast<double>(c.size()), 0;
    }
    return out;
  };
}

const std::vector<Parameter> location{{.name = "mu"}, {.name = "v", .lower = 0, .positive = true}};

}  // namespace

TEST_CASE("as many moments as parameters: the sample's mean and variance with their textbook errors") {
  const Vector x = ou_path(999, 3.0, 0).values.row(0).transpose();
  const GmmFit f = fit_gmm(mean_and_variance(x, false), location, Vector{{0.0, 1.0}}, {.lags = 0});
  REQUIRE(f.fit.status == Status::converged);
  const double mean = x.mean(), variance = (x.array() - mean).square().mean(), fourth = (x.array() - mean).pow(4).mean();
  CHECK(std::abs(f.fit.estimate[0] - mean) < 1e-10);
  CHECK(std::abs(f.fit.estimate[1] - variance) < 1e-10);
  CHECK(std::abs(f.fit.standard_errors()[0] - std::sqrt(variance / 1000)) < 1e-10);
  CHECK(std::abs(f.fit.standard_errors()[1] - std::sqrt((fourth - variance * variance) / 1000)) < 1e-10);
  CHECK((f.fit.covariance - f.fit.sandwich).cwiseAbs().maxCoeff() < 1e-12);
  CHECK(f.overidentification.degrees_of_freedom == 0);
}

TEST_CASE("Bartlett's long-run variance by its double sum; stretches do not mix") {
  const Path a = ou_path(299, 0.3, 1), b = ou_path(199, 0.3, 2);
  Vector x(500);
  x << a.values.row(0).transpose(), b.values.row(0).transpose();
  for (const bool cut : {false, true}) {
    const GmmFit f = fit_gmm([&](const Vector& p) {
      Moments m{(x.array() - p[0]).matrix().transpose(), Matrix::Constant(1, 1, -1), {}};
      if (cut) m.first = {300};
      return m;
    }, {{.name = "mu"}}, Vector{{0.0}}, {.lags = 12});
    const Vector c = x.array() - x.mean();
    double sum = 0;
    for (Index i = 0; i < 500; ++i) {
      for (Index j = 0; j < 500; ++j) {
        if (std::abs(i - j) <= 12 && !(cut && (i < 300) != (j < 300))) sum += (1 - std::abs(static_cast<double>(i - j)) / 13) * c[i] * c[j] / 500;
      }
    }
    CHECK(std::abs(f.long_run(0, 0) / sum - 1) < 1e-12);
    CHECK(std::abs(f.fit.standard_errors()[0] - std::sqrt(sum / 500)) < 1e-9);
  }
  CHECK(fit_gmm(mean_and_variance(x, false), location, Vector{{0.0, 1.0}}).lags == 5);  // 4 (500/100)^{2/9} = 5.72
}

TEST_CASE("over-identified linear moments: the two-step closed form, units do not matter when iterated") {
  // y = a + c x + e with instruments 1, x, x^2: G and mean are linear, theta = -(G'WG)^{-1} G'W m_0.
  const Path path = ou_path(400, 0.5, 3);
  const Vector x = path.values.row(0).head(400).transpose(), y = path.values.row(0).tail(400).transpose();
  const auto moments = [&](double unit) {
    return [&, unit](const Vector& p) {
      Moments m{Matrix(3, 400), Matrix::Zero(3, 2), {}};
      for (Index i = 0; i < 400; ++i) {
        const Vector instrument{{1.0, x[i], unit * x[i] * x[i]}};
        m.terms.col(i) = (y[i] - p[0] - p[1] * x[i]) * instrument;
        m.jacobian.col(0) -= instrument / 400;
        m.jacobian.col(1) -= instrument * x[i] / 400;
      }
      return m;
    };
  };
  const std::vector<Parameter> list{{.name = "a"}, {.name = "c"}};
  const auto solve = [&](const Matrix& w) {
    const Moments zero = moments(1)(Vector::Zero(2));
    const Matrix g = zero.jacobian;
    return Vector(-(g.transpose() * w * g).inverse() * (g.transpose() * w * zero.terms.rowwise().mean()));
  };
  const auto omega = [&](const Vector& p) {
    const Matrix f = moments(1)(p).terms, c = f.colwise() - f.rowwise().mean();
    return Matrix(c * c.transpose() / 400);
  };
  const Vector first = solve(omega(Vector{{0.2, 0.2}}).diagonal().cwiseInverse().asDiagonal()), second = solve(omega(first).inverse());
  const GmmFit two = fit_gmm(moments(1), list, Vector{{0.2, 0.2}}, {.weighting = GmmWeighting::two_step, .lags = 0});
  REQUIRE(two.fit.status == Status::converged);
  CHECK((two.fit.estimate - second).cwiseAbs().maxCoeff() < 1e-9);
  const GmmFit iterated = fit_gmm(moments(1), list, Vector{{0.2, 0.2}}, {.lags = 0}), scaled = fit_gmm(moments(1e4), list, Vector{{-3.0, 2.0}}, {.lags = 0});
  REQUIRE(iterated.fit.status == Status::converged);
  CHECK((iterated.fit.estimate - scaled.fit.estimate).cwiseAbs().maxCoeff() < 1e-7);  // 1e-7 standard errors, which are below one
  CHECK((iterated.fit.estimate - solve(omega(iterated.fit.estimate).inverse())).cwiseAbs().maxCoeff() < 1e-7);
  const Vector mean = moments(1)(iterated.fit.estimate).terms.rowwise().mean();
  CHECK(std::abs(iterated.overidentification.statistic - 400 * mean.dot(omega(iterated.fit.estimate).inverse() * mean)) < 1e-9);
  CHECK(iterated.overidentification.degrees_of_freedom == 1);
}

TEST_CASE("transition and generator moments: Jacobians, and the closed forms they contain") {
  const Path path = ou_path(500, 0.5, 4);
  for (const auto& [at_truth, panel] : {std::pair{Diffusion(diffusion_family("vasicek"), Vector{{1.1, 0.3, 0.9}}), Panel{path}},
                                         std::pair{Diffusion(diffusion_family("ckls"), Vector{{0.8, -0.5, 0.4, 0.7}}), Panel{Path{path.times, path.values.array().exp().matrix()}}}}) {
    const Diffusion& diffusion = at_truth;  // clang 14 captures no structured binding
    for (const MomentFunction& f : {transition_moments(panel, diffusion, diffusion.family().constant_diffusion() ? TransitionMoments::exact : TransitionMoments::euler), generator_moments(panel, diffusion, 4)}) {
      const Moments at = f(diffusion.parameters());
      for (Index j = 0; j < diffusion.parameters().size(); ++j) {
        const auto moved = [&](double s) {
          Vector p = diffusion.parameters();
          p[j] += s;
          return Vector(f(p).terms.rowwise().mean());
        };
        const double d = 1e-3;  // fourth order: 1e-12 and rounding 1e-13
        const Vector difference = (8 * (moved(d) - moved(-d)) - (moved(2 * d) - moved(-2 * d))) / (12 * d);
        CHECK((difference - at.jacobian.col(j)).cwiseAbs().maxCoeff() < 1e-9 * (1 + difference.cwiseAbs().maxCoeff()));
      }
    }
  }
  // L x and L x^2 of OU with beta known: the sample's mean, kappa = 1/(beta variance).
  const Diffusion ou = as_diffusion({ornstein_uhlenbeck(), Vector{{1.0, 0.0}}, 2});
  const GmmFit g = fit_gmm(generator_moments({path}, ou, 2), ou.parameter_list(), ou.parameters(), {.fit = {.fixed = {false, false, true}}});
  REQUIRE(g.fit.status == Status::converged);
  const double mean = path.values.mean(), variance = (path.values.array() - mean).square().mean();
  CHECK(std::abs(g.fit.estimate[1] - mean) < 1e-8);
  CHECK(std::abs(g.fit.estimate[0] - 0.5 / variance) < 1e-8);
  CHECK(fit_gmm(generator_moments({path}, ou, 4), ou.parameter_list(), ou.parameters()).fit.status == Status::singular_information);  // the scale is not known
}

TEST_CASE("size of the J test and the covariance, over replications of OU at a coarse step") {
  // R = 400. Rejections at 5 %: binomial s.e. 1.1 %, 4.5 of them and 2 % for n = 400. Variances: 4.5 sqrt(2/400) = 32 % and 8 % for n = 400; 7e-6 a check, fixed seed.
  const Diffusion truth(diffusion_family("vasicek"), Vector{{1.3, 0.4, 1.0}});
  int rejected = 0;
  Matrix estimates(3, 400);
  Vector reported = Vector::Zero(3);
  for (int r = 0; r < 400; ++r) {
    const GmmFit f = fit_gmm(transition_moments({ou_path(400, 0.5, 100 + static_cast<std::uint64_t>(r))}, truth), truth.parameter_list(), truth.parameters(), {.lags = 0});
    REQUIRE(f.fit.status == Status::converged);
    rejected += f.overidentification.p_value < 0.05;
    estimates.col(r) = f.fit.estimate;
    reported += f.fit.covariance.diagonal() / 400;
  }
  CHECK(std::abs(rejected / 400.0 - 0.05) < 4.5 * 0.011 + 0.02);
  const Matrix centred = estimates.colwise() - estimates.rowwise().mean();
  const Matrix exact = exact_ou_covariance(1.3, 2, 0.5) / 400;
  for (Index i = 0; i < 3; ++i) CHECK(std::abs(centred.row(i).squaredNorm() / 399 / reported[i] - 1) < 4.5 * std::sqrt(2.0 / 400) + 0.08);
  CHECK(reported[0] > 0.9 * exact(0, 0));  // no better than maximum likelihood
}

TEST_CASE("the J test sees moments that do not hold") {
  RandomStream random(4, "skewed");
  Vector x(500);
  for (double& v : x) v = random.exponential();
  const GmmFit f = fit_gmm(mean_and_variance(x, true), location, Vector{{1.0, 1.0}}, {.lags = 0});
  CHECK(f.overidentification.p_value < 1e-4);
}

TEST_CASE("misuse is one line") {
  const Vector x = Vector::LinSpaced(50, 0, 1);
  CHECK_THROWS_AS((void)fit_gmm(mean_and_variance(x, false), location, Vector{{0.0}}), ShapeError);
  CHECK_THROWS_AS((void)fit_gmm(mean_and_variance(x, false), location, Vector{{0.0, 1.0}}, {.lags = -2}), DomainError);
  CHECK_THROWS_AS((void)fit_gmm(mean_and_variance(x.head(3), false), location, Vector{{0.0, 1.0}}), DomainError);
  CHECK_THROWS_AS((void)transition_moments({}, {diffusion_family("vasicek"), Vector{{1.1, 0.3, 0.9}}}), ShapeError);
  const auto twice = [&](const Vector& p) {
    Moments m{Matrix(2, 50), Matrix::Constant(2, 1, -1), {}};
    m.terms.row(0) = m.terms.row(1) = (x.array() - p[0]).transpose();
    return m;
  };
  CHECK(fit_gmm(twice, {{.name = "mu"}}, Vector{{0.0}}).fit.status == Status::singular_information);
  const GmmFit bound = fit_gmm(mean_and_variance(x, false), location, Vector{{0.7, 1.0}}, {.lags = 0, .fit = {.lower = {0.6, 0}, .upper = {1, 9}}});
  CHECK(bound.fit.status == Status::parameter_at_bound);
  CHECK(bound.fit.estimate[0] == 0.6);
}
