#include "ou_case.hpp"
#include "ou_moments.hpp"
#include "stationary_sampler.hpp"
#include "studies.hpp"
#include "worst.hpp"

#include <jko/analysis/corrector.hpp>
#include <jko/analysis/stationary_limit.hpp>
#include <jko/core/error.hpp>
#include <jko/estimators/bands.hpp>
#include <jko/estimators/ornstein_uhlenbeck.hpp>
#include <jko/estimators/stationary.hpp>
#include <jko/flows/flow.hpp>
#include <jko/reference/ornstein_uhlenbeck.hpp>
#include <jko/steps/gaussian_step.hpp>
#include <jko/steps/quantile_step.hpp>
#include <jko/validation/design_study.hpp>

#include <Eigen/Cholesky>
#include <Eigen/LU>
#include <fmt/format.h>

#include <cmath>
#include <memory>

namespace jko::validation {
namespace {

constexpr double horizon = 0.8, spacing = 0.5;
constexpr int levels = 10;  // step sizes, and sample sizes

/// What the design needs of a model: an estimate, and two functionals of the flow at each step size.
struct Part {
  std::string name, recipe, estimator;
  std::array<const char*, 2> functional;
  Index first_size;
  std::vector<int> steps;
  Index replications, blocks;
  std::function<std::function<bool(RandomStream&, Vector&)>(Index n)> estimate;  // (theta, beta), with buffers for n
  std::function<bool(const Vector& parameters, std::size_t level, double* out)> flow;
  Vector truth;                  // parameters
  Matrix covariance;             // lim n Cov
  std::vector<Matrix> jacobian;  // 2 x P, at each step size
  Vector limit, eta;             // functionals of rho_t, and of the corrector
};

Part ou_part(Scale scale) {
  using namespace ou_case;
  Part p{.name = "ou", .recipe = "exact path, spacing 0.5, exact maximum likelihood of (kappa, mu, beta)", .estimator = "exact maximum likelihood from a path of n + 1 observations", .functional = {"mean", "variance"}, .first_size = 100,
         .steps = {}, .replications = scale == Scale::quick ? 100 : 10000, .blocks = scale == Scale::quick ? 20 : 50, .estimate = {}, .flow = {}, .truth = model().parameters(),
         .covariance = estimators::exact_ou_covariance(kappa, beta, spacing), .jacobian = {}, .limit = {}, .eta = {}};
  for (int i = 0; i < levels; ++i) p.steps.push_back(10 << i);
  p.estimate = [](Index n) {
    const double phi = std::exp(-kappa * spacing), deviation = std::sqrt(1 / (beta * kappa)), innovation = deviation * std::sqrt(1 - phi * phi);
    return [=, path = Vector(n + 1)](RandomStream& random, Vector& out) mutable {
      path[0] = mu + deviation * random.normal();
      for (Index i = 0; i < path.size() - 1; ++i) path[i + 1] = mu + phi * (path[i] - mu) + innovation * random.normal();
      const auto e = estimators::exact_ou_estimate(path, spacing);
      out = Vector{{e.kappa, e.mu, e.beta}};
      return e.ok;
    };
  };
  p.flow = [steps = p.steps](const Vector& parameters, std::size_t level, double* out) {
    OuMoments moments{m0, std::sqrt(v0)};
    const double h = horizon / steps[level];
    for (int k = 0; k < steps[level]; ++k) moments.step(parameters[0], parameters[1], parameters[2], h);
    out[0] = moments.mean, out[1] = moments.variance();
    return true;
  };
  for (const int steps : p.steps) {
    p.jacobian.push_back(Flow<GaussianStep>(GaussianStep(FreeEnergy(model())), start(), {.h = horizon / steps, .steps = steps, .sensitivity = Sensitivity::shared, .keep_every = steps}).run().final_state().tangent);
  }
  const OrnsteinUhlenbeck process(model());
  p.limit = process.law(start(), horizon).coordinates();
  p.eta = process.corrector(start(), horizon);
  return p;
}

/// Maximum likelihood of (a, b, c) in exp(-beta (a x^4/4 - b x^2/2 + c x))/Z, beta = 2: an exponential family, so the sample enters by its mean of T = (x^4/4, -x^2/2, x)
/// only and Newton's method on the concave likelihood needs E T and Cov T, by the trapezoidal rule. The same estimate as estimators::fit_stationary, for designs.
class WellLikelihood {
 public:
  WellLikelihood() : x_(Vector::LinSpaced(241, -4.8, 4.8)), t_(3, 241) { t_ << x_.array().pow(4).matrix().transpose() / 4, -x_.array().square().matrix().transpose() / 2, x_.transpose(); }
  bool maximise(const Vector& sample, Vector& out) const {
    const auto square = sample.array().square();
    const Eigen::Vector3d target{square.square().mean() / 4, -square.mean() / 2, sample.mean()};
    Eigen::Vector3d theta{1, 1, 0};
    for (int iteration = 0; iteration < 60; ++iteration) {
      Vector weight = -2 * t_.transpose() * theta;
      weight = (weight.array() - weight.maxCoeff()).exp();
      weight /= weight.sum();
      const Eigen::Vector3d mean = t_ * weight, residual = mean - target;  // grad log L = 2 n residual
      const Eigen::Matrix3d information = t_ * weight.asDiagonal() * t_.transpose() - mean * mean.transpose();
      const Eigen::Vector3d step = information.ldlt().solve(residual) / 2;
      const double decrement = residual.dot(step);
      theta += step / std::max(1.0, std::sqrt(decrement) * 4);  // damped far from the maximum
      if (!(theta[0] > 0.02)) return false;                       // the quadrature's box ends there
      if (decrement < 1e-20) {
        out = Vector{{theta[0], theta[1], theta[2], 2}};
        return true;
      }
    }
    return false;
  }

 private:
  Vector x_;
  Matrix t_;
};

Part double_well_part(Scale scale) {
  static const Model model(double_well(), Vector{{1, 1, 0}}, 2);
  constexpr double mean = 0.5, variance = 0.3;
  constexpr Index cells = 60;
  Part p{.name = "double-well", .recipe = "independent stationary draws, maximum likelihood of (a, b, c), beta known; quantile steps on 60 cells", .estimator = "maximum likelihood from n independent stationary draws",
         .functional = {"E x", "E x^2"}, .first_size = 100, .steps = {10, 14, 20, 28, 40, 57, 80, 113, 160, 226}, .replications = scale == Scale::quick ? 20 : 1000, .blocks = scale == Scale::quick ? 10 : 20, .estimate = {}, .flow = {}, .truth = model.parameters(),
         .covariance = Matrix::Zero(4, 4), .jacobian = {}, .limit = {}, .eta = {}};
  p.covariance.topLeftCorner(3, 3) = analysis::stationary_information(model, -3.6, 3.6, 1000).inverse();
  const auto sampler = std::make_shared<StationarySampler>(model, -3.6, 3.6);
  p.estimate = [sampler, family = WellLikelihood()](Index n) {
    return [sampler, family, sample = Vector(n)](RandomStream& random, Vector& out) mutable {
      sampler->fill(random, sample);
      return family.maximise(sample, out);
    };
  };
  const auto run = [steps = p.steps](const Vector& parameters, std::size_t level, Sensitivity sensitivity) {
    return Flow<QuantileStep>(QuantileStep(FreeEnergy(model.with_parameters(parameters))), QuantileFunction::gaussian(mean, variance, cells, 6),
                              {.h = horizon / steps[level], .steps = steps[level], .sensitivity = sensitivity, .keep_every = steps[level]})
        .run();
  };
  const auto functionals = [](const QuantileFunction& law) {
    const auto moments = estimators::moments(law);  // mean, variance -> E x, E x^2
    Matrix gradient = moments.gradient;
    gradient.row(1) += 2 * moments.value[0] * gradient.row(0);
    return estimators::Functionals{Vector{{moments.value[0], moments.value[1] + moments.value[0] * moments.value[0]}}, gradient};
  };
  p.flow = [run, functionals](const Vector& parameters, std::size_t level, double* out) {
    const auto result = run(parameters, level, Sensitivity::none);
    const Vector value = functionals(result.final_state().measure).value;
    out[0] = value[0], out[1] = value[1];
    return is_success(result.status);
  };
  for (std::size_t level = 0; level < p.steps.size(); ++level) {
    const auto result = run(p.truth, level, Sensitivity::shared);
    p.jacobian.push_back(functionals(result.final_state().measure).gradient * result.final_state().tangent);
  }
  const auto corrector = analysis::first_order_corrector(model, [](double x) { return std::exp(-(x - mean) * (x - mean) / (2 * variance)); }, -3.6, 3.6, 600, horizon, 300);
  const Vector x = corrector.centres, square = x.cwiseAbs2();
  p.limit = Vector{{corrector.density.dot(x) * corrector.width, corrector.density.dot(square) * corrector.width}};
  p.eta = Vector{{corrector.eta.dot(x) * corrector.width, corrector.eta.dot(square) * corrector.width}};
  return p;
}

void add(StudyResult& result, const Part& p, const StudyOptions& options) {
  analysis::Design design{.name = "offline design " + p.name, .recipe = fmt::format("{}; steps {}; t = {}", p.recipe, fmt::join(p.steps, ","), horizon), .cells = {}, .dimension = 2 * levels,
                          .replications = p.replications, .blocks = p.blocks, .seed = options.seed, .worker = {}};
  std::vector<Index> sizes;
  for (int i = 0; i < levels; ++i) {
    sizes.push_back(p.first_size << i);
    design.cells.push_back(fmt::format("n = {}", sizes.back()));
  }
  design.worker = [&](Index cell) -> analysis::Replicate {
    const Index n = sizes[static_cast<std::size_t>(cell)];
    return [&p, n, estimate = p.estimate(n), parameters = Vector()](RandomStream& random, VectorRef out) mutable {
      if (!estimate(random, parameters)) return false;
      for (std::size_t level = 0; level < p.steps.size(); ++level) {
        if (!p.flow(parameters, level, out.data() + 2 * level)) return false;
        out.segment<2>(2 * static_cast<Index>(level)) = std::sqrt(static_cast<double>(n)) * (out.segment<2>(2 * static_cast<Index>(level)) - p.limit);
      }
      return true;
    };
  };
  const auto done = run_design_study(design, options, result);
  if (!done) return;
  const std::vector<analysis::CellSummary>& cells = *done;
  const analysis::CellSummary *large = &cells[levels - 1], *half = &cells[levels - 2];
  const double degrees = static_cast<double>(p.blocks - 1), root = std::sqrt(static_cast<double>(sizes.back()));
  std::array<Worst, 3> spread;
  Worst shift;
  const std::array<std::pair<Index, Index>, 3> entries{{{0, 0}, {0, 1}, {1, 1}}};
  Table table{p.name, fmt::format("{}: {} replications for each of {} sample sizes, {}; {} step sizes in each. At n = {}: n times the covariance of ({}, {}) at t = {}, theory J Sigma J' at that h; the mean of sqrt(n) times the error, theory r (rho^h - rho_t)/h and its limit r eta, r = sqrt(n) h. "
                                  "Brackets: one s.e.", p.name, p.replications, levels, p.estimator, levels, sizes.back(), p.functional[0], p.functional[1], horizon),
              {"steps", "r", "n Var 1", "theory", "n Cov", "theory", "n Var 2", "theory", "mean shift 1", "finite h", "r eta"}, {}};
  for (std::size_t level = 0; level < p.steps.size(); ++level) {
    const Index at = 2 * static_cast<Index>(level);
    const std::string where = fmt::format("{} steps", p.steps[level]);
    const Matrix theory = p.jacobian[level] * p.covariance * p.jacobian[level].transpose();
    std::vector<std::string> row{fmt::format("{}", p.steps[level]), fmt::format("{:.3f}", root * horizon / p.steps[level])};
    for (std::size_t e = 0; e < 3; ++e) {
      const auto [i, j] = entries[e];
      const double a = half->moments.covariance()(at + i, at + j), b = large->moments.covariance()(at + i, at + j), error = std::hypot(2 * large->covariance_error(at + i, at + j), half->covariance_error(at + i, at + j));
      spread[e].add(where, 2 * b - a, theory(i, j), error);
      row.push_back(fmt::format("{:.4f} ({:.4f})", b, large->covariance_error(at + i, at + j)));
      row.push_back(fmt::format("{:.4f}", theory(i, j)));
    }
    std::array<double, 2> exact{};
    if (!p.flow(p.truth, level, exact.data())) throw NotConverged("offline_design: the flow at the true parameters failed");
    for (Index i = 0; i < 2; ++i) {
      // mean = sqrt(n) (rho^h - rho_t) + c n^{-1/2} + ...: the middle term cancels between n and n/2.
      const double offset = exact[static_cast<std::size_t>(i)] - p.limit[i];
      const double b = large->moments.mean()[at + i] - root * offset, a = half->moments.mean()[at + i] - root / std::sqrt(2.0) * offset;
      shift.add(where + ", " + p.functional[static_cast<std::size_t>(i)], b - a / std::sqrt(2.0), 0, std::hypot(large->moments.mean_error()[at + i], half->moments.mean_error()[at + i] / std::sqrt(2.0)));
    }
    row.push_back(fmt::format("{:.4f} ({:.4f})", large->moments.mean()[at], large->moments.mean_error()[at]));
    row.push_back(fmt::format("{:.4f}", root * (exact[0] - p.limit[0])));
    row.push_back(fmt::format("{:.4f}", root * horizon / p.steps[level] * p.eta[0]));
    table.rows.push_back(std::move(row));
  }
  const std::string source = "theory.md 2.2, Theorem OFF";
  const char* ids[] = {"var-1", "cov", "var-2"};
  for (std::size_t e = 0; e < 3; ++e) {
    result.checks.push_back(spread[e].check(fmt::format("{}-{}", p.name, ids[e]), fmt::format("n Cov({}, {}) tends to that of J Z at every step size", p.functional[static_cast<std::size_t>(entries[e].first)], p.functional[static_cast<std::size_t>(entries[e].second)]), source, degrees,
                                            fmt::format("s.e. of 2 S(n) - S(n/2), n = {}, by the scatter of {} blocks", sizes.back(), p.blocks)));
  }
  result.checks.push_back(shift.check(p.name + "-shift", "the mean of sqrt(n)(rho^h(theta_n) - rho_t) is sqrt(n)(rho^h - rho_t) + c n^{-1/2}: the shift r eta at sqrt(n) h = r", "theory.md 2.2 (b)", std::numeric_limits<double>::infinity(),
                                      fmt::format("s.e. over {} replications; c cancels between n and n/2", p.replications)));
  // Normality: at n the skewness is c n^{-1/2} + O(1/n); c cancels. The kurtosis is O(1/n) itself.
  Worst skewness;
  const Index middle = 2 * 4;
  for (Index i = 0; i < 2; ++i) {
    const double b = large->moments.skewness()[middle + i], a = half->moments.skewness()[middle + i], r = std::sqrt(2.0);
    skewness.add(p.functional[static_cast<std::size_t>(i)], (r * b - a) / (r - 1), 0, std::sqrt(6.0 / static_cast<double>(p.replications)) * std::sqrt(r * r + 1) / (r - 1));
  }
  result.checks.push_back(skewness.check(p.name + "-skewness", "the limit law has no skewness", source, std::numeric_limits<double>::infinity(), "s.e. sqrt(6/R) of a normal sample's skewness, extrapolated in n^{-1/2}"));
  // Figure: the shift against r for every (n, h).
  Figure figure{"offline-design-" + p.name, fmt::format("{}: mean of sqrt(n) times the error of {} at t = {} for every sample size and step size (points, one s.e.), against r = sqrt(n) h. Line: r eta.", p.name, p.functional[0], horizon), "r = sqrt(n) h", "mean of sqrt(n) error", false, false, {}};
  Series line{"r eta", Series::Style::line, {0, 4}, {0, 4 * p.eta[0]}, {}, {}, 0};
  figure.series.push_back(std::move(line));
  for (int colour = 1; const int s : {3, 6, 9}) {
    const auto c = static_cast<std::size_t>(s);
    Series points{design.cells[c], Series::Style::points, {}, {}, {}, {}, colour++};
    for (std::size_t level = 0; level < p.steps.size(); ++level) {
      const double r = std::sqrt(static_cast<double>(sizes[c])) * horizon / p.steps[level];
      if (r > 4) continue;
      points.x.push_back(r), points.y.push_back(cells[c].moments.mean()[2 * static_cast<Index>(level)]), points.error.push_back(cells[c].moments.mean_error()[2 * static_cast<Index>(level)]);
    }
    figure.series.push_back(std::move(points));
  }
  Index failed = 0;
  double cpu = 0;
  for (const auto& c : cells) failed += c.failed, cpu += c.cpu_per_replication;
  result.notes.push_back(fmt::format("{}: {} of {} replications without an estimate; {:.3g} ms of one processor for a replication at all {} sample sizes and step sizes", p.name, failed, levels * p.replications, 1e3 * cpu, levels));
  result.tables.push_back(std::move(table));
  result.figures.push_back(std::move(figure));
}

/// The design's own Newton method against the library's estimator.
void add_estimator(StudyResult& result, const StudyOptions& options) {
  const Model model(double_well(), Vector{{1, 1, 0}}, 2);
  RandomStream random(options.seed, "offline design estimator");
  Vector sample(800), quick;
  StationarySampler(model, -3.6, 3.6).fill(random, sample);
  estimators::FitOptions fit_options;
  fit_options.fixed = {false, false, false, true};
  const auto fit = estimators::fit_stationary(sample, model, fit_options);
  const double difference = WellLikelihood().maximise(sample, quick) && is_success(fit.status) ? ((quick - fit.estimate).head(3).array() / fit.standard_errors().head(3).array()).abs().maxCoeff() : std::nan("");
  result.checks.push_back(analysis::check_at_most("double-well-estimator", "the design's maximum likelihood by sufficient statistics is that of estimators::fit_stationary, in standard errors", "estimators/stationary.hpp", difference, 1e-6, 0,
                                                  "both stop when the gradient is below 1e-9 standard errors; the two quadratures of log Z agree to 1e-12"));
}

}  // namespace

StudyResult offline_design(const StudyOptions& options) {
  StudyResult result;
  result.description =
      "Ten sample sizes times ten step sizes as one work list, for Ornstein-Uhlenbeck (kappa = 1.3, mu = 0.4, beta = 2, from N(2, 2.89)) and the double well (a = b = 1, c = 0, beta = 2, from N(0.5, 0.3)). A "
      "replication draws one sample, estimates once and runs the flow at every step size. Each check is the worst of its comparisons, its false-alarm probability divided among them.";
  add_estimator(result, options);
  add(result, ou_part(options.scale), options);
  if (options.observer && options.observer->stop_requested()) return result;
  add(result, double_well_part(options.scale), options);
  return result;
}

}  // namespace jko::validation
