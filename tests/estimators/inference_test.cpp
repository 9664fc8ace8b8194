#include <jko/core/error.hpp>
#include <jko/core/random.hpp>
#include <jko/estimators/bias.hpp>
#include <jko/estimators/bootstrap.hpp>
#include <jko/estimators/delta_method.hpp>
#include <jko/estimators/hypothesis.hpp>
#include <jko/estimators/identifiability.hpp>
#include <jko/estimators/likelihood.hpp>
#include <jko/estimators/multi_start.hpp>
#include <jko/estimators/ornstein_uhlenbeck.hpp>
#include <jko/estimators/profile.hpp>
#include <jko/estimators/residuals.hpp>
#include <jko/models/families.hpp>
#include <jko/models/formula.hpp>
#include <jko/reference/simulate.hpp>

#include <Eigen/LU>
#include <boost/math/distributions/non_central_chi_squared.hpp>
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numbers>

using namespace jko;
using namespace jko::estimators;

namespace {

const double kappa = 1.3, mu = 0.4, beta = 2;
const Model truth(ornstein_uhlenbeck(), Vector{{kappa, mu}}, beta);

/// An exact OU path from its stationary law.
Path ou_path(Index n, double dt, std::uint64_t index) {
  RandomStream random(31, "inference path", index);
  Path path{Vector::LinSpaced(n + 1, 0, dt * static_cast<double>(n)), Matrix(1, n + 1)};
  const double phi = std::exp(-kappa * dt), deviation = std::sqrt(1 / (beta * kappa));
  path.values(0, 0) = mu + deviation * random.normal();
  for (Index i = 0; i < n; ++i) path.values(0, i + 1) = mu + phi * (path.values(0, i) - mu) + deviation * std::sqrt(1 - phi * phi) * random.normal();
  return path;
}

Refit refit_of(const Panel& panel, Transition transition = Transition::exact) {
  return [&panel, transition](const Vector& start, const FitOptions& options) { return fit(panel, truth.with_parameters(start), transition, options); };
}

}  // namespace

TEST_CASE("delta method: formula, callback and the closed form agree") {
  const Panel panel{ou_path(500, 0.5, 0)};
  const Fit f = fit(panel, truth, Transition::exact);
  const DeltaMethod half_life = delta_method(f, "log(2)/kappa");
  const double k = f.estimate[0];
  CHECK(std::abs(half_life.value[0] - std::log(2) / k) < 1e-14);
  CHECK(std::abs(half_life.standard_errors()[0] - std::log(2) / (k * k) * f.standard_errors()[0]) < 1e-13);
  CHECK(std::abs(half_life.sandwich_errors()[0] - std::log(2) / (k * k) * f.sandwich_errors()[0]) < 1e-13);
  // The stationary variance needs kappa, beta and their covariance; "beta" is a name like any other here.
  const DeltaMethod variance = delta_method(f, "1 / (beta*kappa)");
  const Vector g = Vector{{-1 / (f.estimate[2] * k * k), 0, -1 / (f.estimate[2] * f.estimate[2] * k)}};
  CHECK(std::abs(variance.covariance(0, 0) - g.dot(f.covariance * g)) < 1e-14);
  const DeltaMethod both = delta_method(f, [](const Vector& p) { return Vector{{std::log(2) / p[0], 1 / (p[2] * p[0])}}; }, {"half-life", "variance"});
  // Richardson: error (0.05 se/kappa)^4 < 1e-9 relative.
  CHECK(std::abs(both.standard_errors()[0] / half_life.standard_errors()[0] - 1) < 1e-8);
  CHECK(std::abs(both.standard_errors()[1] / variance.standard_errors()[0] - 1) < 1e-8);
  CHECK(std::abs(both.intervals()(1, 1) - both.value[1] - 1.959963984540054 * both.standard_errors()[1]) < 1e-14);
  CHECK_THROWS_AS((void)delta_method(f, "log(2)/kapa"), DomainError);
  CHECK_THROWS_AS((void)delta_method(f, "log(2)/"), ParseError);
}

TEST_CASE("profile intervals: the closed form for the mean, invariance under reparametrisation, bounds") {
  const double dt = 0.5;
  const Panel panel{ou_path(300, dt, 1)};
  const Fit f = fit(panel, truth, Transition::exact);
  REQUIRE(f.status == Status::converged);
  const Profile p = profile(f, "mu", refit_of(panel));
  REQUIRE(p.lower.status == Status::converged);
  REQUIRE(p.upper.status == Status::converged);
  CHECK_FALSE(p.higher_found);
  // At fixed mu the likelihood of AR(1) is that of a regression without intercept, l = -n/2 log(RSS(mu)/n) + const.
  const Vector x = panel[0].values.row(0).transpose();
  const auto rss = [&](double m) {
    const auto before = x.head(300).array() - m, after = x.tail(300).array() - m;
    const double b = (before * after).sum() / before.square().sum();
    return (after - b * before).square().sum();
  };
  for (const double end : {p.lower.value, p.upper.value}) {
    const double deviance = 300 * std::log(rss(end) / rss(f.estimate[1]));
    // The root is found to 1e-6 in sqrt(deviance) = 1.96; the chi-square quantile with one degree at 0.95.
    CHECK(std::abs(deviance - 3.841458820694124) < 1e-5);
  }
  CHECK(p.points.size() >= 5);
  // kappa = exp(a): the same interval, mapped; the Wald intervals are not.
  const Profile k = profile(f, "kappa", refit_of(panel));
  const Model log_model(formula("exp(a)/2*(x-m)^2"), Vector{{std::log(kappa), mu}}, beta);
  const Refit log_refit = [&](const Vector& start, const FitOptions& options) { return fit(panel, log_model.with_parameters(start), Transition::exact, options); };
  const Fit log_fit = log_refit(log_model.parameters(), {});
  const Profile a = profile(log_fit, "a", log_refit);
  CHECK(std::abs(std::exp(a.lower.value) - k.lower.value) < 1e-5);
  CHECK(std::abs(std::exp(a.upper.value) - k.upper.value) < 1e-5);
  CHECK(std::abs(std::exp(log_fit.intervals()(0, 1)) - f.intervals()(0, 1)) > 1e-3);
  // A bound before the likelihood has fallen ends the interval.
  ProfileOptions bounded;
  bounded.fit.lower = {0, f.estimate[1] - 0.5 * f.standard_errors()[1], 0};
  bounded.fit.upper = {100, 100, 100};
  const Profile b = profile(f, "mu", refit_of(panel), bounded);
  CHECK(b.lower.status == Status::parameter_at_bound);
  CHECK(b.lower.value == bounded.fit.lower[1]);
  CHECK(std::abs(b.upper.value - p.upper.value) < 1e-5);
  CHECK_THROWS_AS((void)profile(f, "my", refit_of(panel)), DomainError);
}

TEST_CASE("likelihood-ratio, Wald and score tests are equivalent near the null and have its law") {
  // The null kappa = 1.3, mu = 0.4 is true. R = 200 replications, df = 2: mean 2 with s.e. 2/sqrt(200) = 0.14, rejections at 5 % with s.e. 1.5 %.
  // 4.5 s.e. each: false alarm 7e-6 a check, three checks (fixed seed); the bias of order 1/n is a tenth of that.
  const double dt = 0.25;
  const int replications = 200;
  double ratio_sum = 0, score_sum = 0, gap = 0, gap_score = 0;
  int rejected = 0;
  FitOptions null_options;
  null_options.fixed = {true, true, false};
  for (int r = 0; r < replications; ++r) {
    const Panel panel{ou_path(400, dt, 100 + static_cast<std::uint64_t>(r))};
    const Fit alternative = fit(panel, truth, Transition::exact), null = fit(panel, truth, Transition::exact, null_options);
    const TestResult ratio = likelihood_ratio(null, alternative);
    const TestResult w = wald(alternative, Matrix{{1, 0, 0}, {0, 1, 0}}, Vector{{kappa, mu}});
    const auto at = log_likelihood(panel, truth.with_parameters(null.estimate), Transition::exact);
    const TestResult s = score_test(at.gradient, at.expected, {true, true, false});
    CHECK(ratio.degrees_of_freedom == 2);
    ratio_sum += ratio.statistic / replications;
    score_sum += s.statistic / replications;
    gap += std::abs(w.statistic - ratio.statistic) / replications;
    gap_score += std::abs(s.statistic - ratio.statistic) / replications;
    rejected += ratio.p_value < 0.05 ? 1 : 0;
  }
  CHECK(std::abs(ratio_sum - 2) < 0.64);
  CHECK(std::abs(score_sum - 2) < 0.64);
  CHECK(std::abs(rejected / 200.0 - 0.05) < 4.5 * 0.0154);
  // Equivalent to first order: the differences are O(n^{-1/2}) of the statistic.
  CHECK(gap < 0.5);
  CHECK(gap_score < 0.5);
  const Panel panel{ou_path(300, dt, 1)};
  const Fit a = fit(panel, truth, Transition::exact);
  CHECK_THROWS_AS((void)likelihood_ratio(a, a), DomainError);
  CHECK_THROWS_AS((void)wald(a, Matrix{{1, 0, 0}, {2, 0, 0}}, Vector{{1.0, 2.0}}), DomainError);
  CHECK(std::abs(chi_square_tail(3.841458820694124, 1) - 0.05) < 1e-12);
}

TEST_CASE("the outer product of gradients is recovered from the sandwich") {
  const Panel panel{ou_path(400, 0.5, 2)};
  const Fit f = fit(panel, truth, Transition::exact);
  const Matrix scores = log_likelihood(panel, truth.with_parameters(f.estimate), Transition::exact, true).scores;
  const Matrix direct = (scores * scores.transpose()).inverse();
  CHECK((covariance(f, Errors::outer_product) - direct).cwiseAbs().maxCoeff() < 1e-9 * direct.cwiseAbs().maxCoeff());
}

TEST_CASE("multi-start counts the starts that agree and finds the better of two maxima") {
  // Two wells of an artificial likelihood -(p^2 - 1)^2 + p/2: maxima near -0.93 and 1.06.
  const Refit climb = [](const Vector& start, const FitOptions&) {
    double p = start[0];
    for (int i = 0; i < 2000; ++i) p += 0.01 * (-4 * p * (p * p - 1) + 0.5);
    Fit f;
    f.status = Status::converged;
    f.estimate = Vector{{p}};
    f.fixed = {false};
    f.names = {"p"};
    f.log_likelihood = -(p * p - 1) * (p * p - 1) + 0.5 * p;
    return f;
  };
  const Matrix starts{{-2.0, -0.5, 0.5, 0.7, 1.8}};
  const Fit best = multi_start(climb, starts);
  CHECK(best.starts == 5);
  CHECK(best.agreed == 3);
  CHECK(best.estimate[0] > 1);
  REQUIRE(best.warnings.size() == 1);
  CHECK(best.warnings[0] == "2 of 5 starts ended at lower maxima");
  const double inf = std::numeric_limits<double>::infinity();
  const Matrix scattered = scattered_starts(Vector{{1.0, 0.3, 0.5, 7.0}}, Vector{{0.0, -inf, 0.0, 0.0}}, Vector{{inf, inf, 1.0, inf}}, {false, false, false, true}, {.starts = 200});
  CHECK(scattered.col(0) == Vector{{1.0, 0.3, 0.5, 7.0}});
  CHECK((scattered.row(0).array() > 0).all());
  CHECK((scattered.row(2).array() > 0).all());
  CHECK((scattered.row(2).array() < 1).all());
  CHECK((scattered.row(3).array() == 7).all());
  const Panel panel{ou_path(300, 0.5, 1)};
  const Fit ou = multi_start(refit_of(panel), scattered_starts(truth.parameters(), Vector{{0.0, -inf, 0.0}}, Vector::Constant(3, inf), {}, {.starts = 6}));
  CHECK(ou.agreed == 6);  // the likelihood of AR(1) has one maximum
}

TEST_CASE("identifiability names the combination the data do not determine") {
  // beta Psi alone is identified by stationary data: at kappa = 2, beta = 3 the information of (kappa, beta) is that of the product.
  const Vector g{{3.0, 0.0, 2.0}};
  Matrix information = g * g.transpose();
  information(1, 1) = 5;
  const auto bad = identifiability(information, {"kappa", "mu", "beta"}, {false, false, false});
  CHECK_FALSE(bad.identified);
  CHECK(bad.combination == "kappa - beta");  // in units of 1/sqrt(I_ii): the relative changes cancel
  CHECK(std::abs(bad.smallest) < 1e-15);
  const auto held = identifiability(information, {"kappa", "mu", "beta"}, {false, false, true});
  CHECK(held.identified);
  CHECK(std::abs(held.smallest - 1) < 1e-15);
  information(0, 0) *= 1 + 1e-5;
  const auto weak = identifiability(information, {"kappa", "mu", "beta"}, {false, false, false});
  CHECK(weak.identified);
  CHECK(weak.weak);
}

TEST_CASE("transforms by quadrature and their tests") {
  const double pi = std::numbers::pi;
  // Gaussian, far tail included, from a poor centre and scale; the quadrature asks for 1e-10.
  const auto normal = [&](double y) { return -0.5 * (y - 0.3) * (y - 0.3) / 0.04 - 0.5 * std::log(2 * pi * 0.04); };
  for (const double y : {-0.6, 0.1, 0.3, 0.9}) CHECK(std::abs(transform_by_density(normal, y, 0.1, 0.5) - 0.5 * std::erfc(-(y - 0.3) / 0.2 / std::numbers::sqrt2)) < 1e-9);
  // Half-line: exponential of rate 2.
  const auto exponential = [](double y) { return y < 0 ? -std::numeric_limits<double>::infinity() : std::log(2.0) - 2 * y; };
  CHECK(std::abs(transform_by_density(exponential, 0.7, 0.5, 0.5) + std::expm1(-1.4)) < 1e-4);  // a jump inside a panel: the quadrature bisects towards it
  CHECK(std::isnan(transform_by_density([](double y) { return -y * y; }, 0.1, 0, 1)));  // mass sqrt(pi)

  RandomStream random(5, "transforms");
  Vector u(4000);
  for (double& v : u) v = random.uniform();
  const auto fine = diagnose(u);
  // Three tests of a true null at level 1e-4 each (fixed seed).
  CHECK(fine.kolmogorov.p_value > 1e-4);
  CHECK(fine.ljung_box.p_value > 1e-4);
  CHECK(fine.ljung_box_squares.p_value > 1e-4);
  const auto skewed = diagnose(u.array().square());
  CHECK(skewed.kolmogorov.p_value < 1e-10);
  // The Kolmogorov statistic of u^2 tends to max sqrt(u) - u = 1/4.
  CHECK(std::abs(skewed.kolmogorov.statistic - 0.25) < 0.03);
  Vector chained = u;
  for (Index i = 1; i < u.size(); ++i) chained[i] = 0.5 * (u[i] + u[i - 1]);
  CHECK(diagnose(chained).ljung_box.p_value < 1e-10);
  // Ljung-Box by hand: (1, -1, 1, -1, ...) has r_1 = -(n-1)/n.
  const Vector alternating = Vector::NullaryExpr(100, [](Index i) { return i % 2 == 0 ? 0.2 : 0.8; });
  CHECK(std::abs(diagnose(alternating, 1).ljung_box.statistic - 100 * 102 * 0.99 * 0.99 / 99) < 1e-9);
  // Kolmogorov's law: P(sqrt(n) D > 1.3581) = 0.05 (the classical table), here n large so that Stephens' correction is negligible.
  CHECK_THROWS_AS((void)diagnose(Vector::Constant(20, 1.5)), DomainError);
}

TEST_CASE("transforms of a path: the closed form for OU, and a law that is wrong is seen") {
  const double dt = 0.5;
  const Path path = ou_path(1500, dt, 7);
  const Vector u = transforms({path}, truth, Transition::exact);
  const double phi = std::exp(-kappa * dt), deviation = std::sqrt((1 - phi * phi) / (beta * kappa));
  for (Index i = 0; i < 1500; i += 100) {
    const double z = (path.values(0, i + 1) - mu - phi * (path.values(0, i) - mu)) / deviation;
    CHECK(std::abs(u[i] - 0.5 * std::erfc(-z / std::numbers::sqrt2)) < 1e-9);
  }
  const auto right = diagnose(u);
  CHECK(right.kolmogorov.p_value > 1e-4);  // three true nulls at 1e-4 (fixed seed)
  CHECK(right.ljung_box.p_value > 1e-4);
  CHECK(right.ljung_box_squares.p_value > 1e-4);
  CHECK(diagnose(transforms({path}, truth.with_parameters(Vector{{kappa, mu, 2 * beta}}), Transition::exact)).kolmogorov.p_value < 1e-6);
  CHECK(diagnose(transforms({path}, truth.with_parameters(Vector{{3 * kappa, mu, beta}}), Transition::exact)).ljung_box.p_value < 1e-6);
}

TEST_CASE("transforms of other schemes and diffusions") {
  const double dt = 0.5;
  const Path path = ou_path(200, dt, 8);
  const Vector exact = transforms({path}, truth, Transition::exact);
  // Shoji-Ozaki is exact here; the Fokker-Planck law is, to Simpson's error: nodes 0.27 deviations apart, 0.27^4/180 times the third derivative's maximum 0.55 is 1.6e-5 a side.
  CHECK((transforms({path}, truth, Transition::shoji_ozaki) - exact).cwiseAbs().maxCoeff() < 1e-7);
  CHECK((transforms({path}, truth, Transition::fokker_planck) - exact).cwiseAbs().maxCoeff() < 3.2e-5);
  CHECK((transforms({path}, truth, Transition::hermite_3) - exact).cwiseAbs().maxCoeff() < 0.02);  // off by its O(dt^4) error and its mass
  // Square-root process: 2 c X' is non-central chi-squared with 4 kappa mu/sigma^2 degrees and non-centrality 2 c x e^{-kappa dt}, c = 2 kappa/(sigma^2 (1 - e^{-kappa dt})).
  const double k = 0.8, m = 0.6, s = 0.5;
  const Diffusion cir(diffusion_family("cir"), Vector{{k, m, s}});
  const Path rates{Vector{{0.0, 0.3, 0.6, 0.9}}, Matrix{{0.5, 0.7, 0.4, 0.02}}};
  const Vector u = transforms({rates}, cir, Transition::exact);
  const double c = 2 * k / (s * s * -std::expm1(-k * 0.3));
  for (Index i = 0; i < 3; ++i) {
    const boost::math::non_central_chi_squared law(4 * k * m / (s * s), 2 * c * rates.values(0, i) * std::exp(-k * 0.3));
    CHECK(std::abs(u[i] - boost::math::cdf(law, 2 * c * rates.values(0, i + 1))) < 1e-4);
  }
}

TEST_CASE("the bias of the exact OU estimate, and three ways to take it off") {
  CHECK(std::abs(exact_ou_bias(kappa, beta, 1e-6, 10000000)[0] * 10 - 4) < 1e-4);  // 4/T as dt -> 0
  const double dt = 0.5;
  const int replications = 3000;
  const VectorEstimator estimator = [&](const Panel& panel) -> std::optional<Vector> {
    const auto e = exact_ou_estimate(panel.front().values.row(0).transpose(), dt);
    if (!e.ok) return std::nullopt;
    return Vector{{e.kappa, e.mu, e.beta}};
  };
  struct Scaled {
    Vector mean, error;  // of n (estimate - truth - first-order effect of the score); the fourth entry is the jackknife's kappa
  };
  const auto measure = [&](Index n) {
    // The score at the truth has mean zero: taking its first-order effect off leaves the bias with a variance of order 1/n^2.
    const Matrix information_inverse = exact_ou_covariance(kappa, beta, dt) / static_cast<double>(n);
    Vector sum = Vector::Zero(4), square = Vector::Zero(4);
    for (int r = 0; r < replications; ++r) {
      const Path path = ou_path(n, dt, 10000 + static_cast<std::uint64_t>(r));
      const auto e = estimator({path}), j = jackknife(path, 2, estimator);
      if (!e || !j) continue;
      const Vector first_order = information_inverse * log_likelihood({path}, truth, Transition::exact).gradient;
      const Vector rest = static_cast<double>(n) * (Vector(4) << *e - truth.parameters() - first_order, (*j)[0] - kappa - first_order[0]).finished();
      sum += rest / replications;
      square += rest.cwiseAbs2() / replications;
    }
    return Scaled{sum, ((square - sum.cwiseAbs2()) / replications).cwiseSqrt()};
  };
  const Scaled small = measure(100), large = measure(400);
  // n times the bias is c + d/n: extrapolated. 4.5 Monte-Carlo s.e. (7e-6 a check, fixed seed).
  const Vector limit = (4 * large.mean - small.mean) / 3, error = (16 * large.error.cwiseAbs2() + small.error.cwiseAbs2()).cwiseSqrt() / 3;
  const Vector bias = exact_ou_bias(kappa, beta, dt, 1);
  for (Index i = 0; i < 3; ++i) CHECK(std::abs(limit[i] - bias[i]) < 4.5 * error[i]);
  CHECK(bias[0] > 20 * error[0]);  // a wrong constant is seen
  // The jackknife takes c off; what is left at n = 400 is d/n with its own d, below a quarter of the bias.
  CHECK(std::abs(large.mean[3]) < 0.25 * bias[0] + 4.5 * large.error[3]);
}

TEST_CASE("resampling bootstraps agree with the asymptotic errors") {
  const double dt = 0.5;
  const Path path = ou_path(1000, dt, 3);
  const Fit f = fit({path}, truth, Transition::exact);
  // A panel of stretches: regression of all its transitions, which is the exact estimate.
  const auto estimate = [&](const Panel& panel) -> std::optional<Vector> {
    double n = 0, x = 0, y = 0, xx = 0, xy = 0;
    for (const Path& p : panel) {
      for (Index i = 0; i < p.transitions(); ++i) {
        const double a = p.values(0, i), b = p.values(0, i + 1);
        n += 1, x += a, y += b, xx += a * a, xy += a * b;
      }
    }
    const double phi = (xy - x * y / n) / (xx - x * x / n);
    return Vector{{-std::log(phi) / dt}};
  };
  const Bootstrap one = block_bootstrap(path, 1, estimate, {.replications = 800, .seed = 4}), ten = block_bootstrap(path, 10, estimate, {.replications = 800, .seed = 4, .threads = 2});
  CHECK(one.draws.cols() == 800);
  CHECK(ten.draws == block_bootstrap(path, 10, estimate, {.replications = 800, .seed = 4}).draws);
  // 800 replications: relative s.e. 2.5 %; five of them, and 5 % for n = 1000.
  CHECK(std::abs(one.standard_error()[0] / f.sandwich_errors()[0] - 1) < 0.175);
  CHECK(std::abs(ten.standard_error()[0] / f.sandwich_errors()[0] - 1) < 0.175);
  CHECK(std::abs(ten.covariance()(0, 0) - ten.standard_error()[0] * ten.standard_error()[0]) < 1e-15);
  CHECK(ten.bias_corrected(Vector{{1.0}})[0] == 2 - ten.mean()[0]);
  Panel panel;
  for (std::uint64_t p = 0; p < 50; ++p) panel.push_back(ou_path(20, dt, 500 + p));
  const Fit pooled = fit(panel, truth, Transition::exact);
  const Bootstrap paths = path_bootstrap(panel, estimate, {.replications = 800, .seed = 4});
  // 50 paths: the sandwich itself has a relative s.e. of about sqrt(2/50)/2 = 10 %.
  CHECK(std::abs(paths.standard_error()[0] / pooled.standard_errors()[0] - 1) < 0.125 + 0.3);
  CHECK_THROWS_AS((void)block_bootstrap(path, 1001, estimate), DomainError);
}
