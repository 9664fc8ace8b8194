#include <jko/estimators/binned.hpp>

#include <jko/core/check.hpp>
#include <jko/estimators/bands.hpp>
#include <jko/steps/quantile_step.hpp>

#include "maximise.hpp"

#include <Eigen/Cholesky>
#include <boost/math/quadrature/gauss.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

namespace jko::estimators {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr int order = 20;
constexpr double settled = 1e-12;  // of log int over a cell
constexpr int most_panels = 1 << 10;

/// Points and weights of Gauss-Legendre on `panels` equal parts of [a, b].
void gauss(double a, double b, int panels, Vector& t, Vector& w) {
  using Rule = boost::math::quadrature::gauss<double, order>;
  t.resize(order * panels);
  w.resize(order * panels);
  const double half = 0.5 * (b - a) / panels;
  Index at = 0;
  for (int k = 0; k < panels; ++k) {
    const double middle = a + (2 * k + 1) * half;
    for (std::size_t i = 0; i < Rule::abscissa().size(); ++i) {
      for (const double sign : {-1.0, 1.0}) {
        t[at] = middle + sign * half * Rule::abscissa()[i];
        w[at++] = half * Rule::weights()[i];
      }
    }
  }
}

/// log int_cell exp(-beta Psi) and the mean over the cell of d(beta Psi)/d(theta, beta); not finite where the integral does not exist.
struct Cell {
  double log_mass = infinity;
  Vector mean;
};

Cell cell(const Model& model, double a, double b, double scale) {
  const Potential& potential = model.potential();
  const bool left = std::isinf(a), right = std::isinf(b);
  // t -> x and dx/dt: on an infinite cell x = edge +- s sinh(t).
  const double edge = left ? b : a, sign = left ? -1 : 1;
  double lower = a, upper = b;
  const auto energies = [&](const Vector& x) { return Vector(model.beta() * potential.evaluate({0, 0}, x.transpose(), model.theta()).row(0).transpose()); };
  const auto map = [&](const Vector& t, Vector& x, Vector& slope) {
    if (!left && !right) {
      x = t;
      slope = Vector::Ones(t.size());
    } else {
      x = (edge + sign * scale * t.array().sinh()).matrix();
      slope = (scale * t.array().cosh()).matrix();
    }
  };
  if (left || right) {
    // The reach at which the integrand has fallen by e^-40 below its largest value.
    lower = 0;
    double reach = 4;
    for (;; reach *= 1.3) {
      if (reach > 300) return {};  // not confining
      const Vector t = Vector::LinSpaced(201, 0, reach);
      Vector x, slope;
      map(t, x, slope);
      const Vector e = energies(x) - slope.array().log().matrix();
      if (std::isnan(e.sum())) return {};
      if (e[200] - e.minCoeff() > 40) break;
    }
    upper = reach;
  }
  Cell out;
  double before = std::numeric_limits<double>::quiet_NaN();
  Vector t, w, x, slope;
  for (int panels = left || right ? 4 : 1; panels <= most_panels; panels *= 2) {
    gauss(lower, upper, panels, t, w);
    map(t, x, slope);
    const Vector e = energies(x);
    const double lowest = e.minCoeff();
    if (!std::isfinite(lowest)) return {};
    const Vector mass = w.array() * slope.array() * (lowest - e.array()).exp();
    const double now = std::log(mass.sum()) - lowest;
    if (std::abs(now - before) < settled) {
      Matrix s(model.theta().size() + 1, x.size());
      s.topRows(s.rows() - 1) = model.beta() * potential.evaluate({0, 1}, x.transpose(), model.theta());
      s.bottomRows(1) = e.transpose() / model.beta();
      for (Index i = 0; i < mass.size(); ++i) {
        if (mass[i] == 0) s.col(i).setZero();  // infinite potentials carry no mass
      }
      out.log_mass = now;
      out.mean = s * mass / mass.sum();
      return out;
    }
    before = now;
  }
  return out;
}

/// The range's ends are not both infinite with one cell, so that a finite edge exists; s is the spread of the counts.
double spread(const BinnedCounts& c) {
  const Index m = c.counts.size();
  const double low = std::isinf(c.edges[0]) ? c.edges[1] : c.edges[0], high = std::isinf(c.edges[m]) ? c.edges[m - 1] : c.edges[m];
  return high > low ? 0.25 * (high - low) : 1;
}

void set_pearson(const std::vector<BinnedCounts>& counts, BinnedFit& out) {
  double statistic = 0;
  Index cells = 0;
  out.smallest_expected = infinity;
  for (std::size_t k = 0; k < counts.size(); ++k) {
    const double n = counts[k].total();
    for (Index j = 0; j < counts[k].counts.size(); ++j) {
      const double expected = n * out.probabilities[k][j];
      out.smallest_expected = std::min(out.smallest_expected, expected);
      statistic += (counts[k].counts[j] - expected) * (counts[k].counts[j] - expected) / expected;
    }
    cells += counts[k].counts.size() - 1;
  }
  Index known = 0;
  for (Index i = 0; i < out.fit.covariance.rows(); ++i) known += out.fit.covariance(i, i) > 0;
  const int df = static_cast<int>(cells - known);
  if (df > 0 && std::isfinite(statistic)) out.pearson = {"Pearson's chi-square of the cells", statistic, df, chi_square_tail(statistic, df)};
}

}  // namespace

void BinnedCounts::validate() const {
  check_at_least("binned counts", "number of cells", counts.size(), 2);
  check_size("binned counts", "the edges", edges.size(), counts.size() + 1);
  for (Index j = 0; j < edges.size(); ++j) {
    const bool may = (j == 0 && edges[j] == -infinity) || (j == edges.size() - 1 && edges[j] == infinity);
    if (!std::isfinite(edges[j]) && !may) throw DomainError(fmt::format("binned counts: edge {} is {}, but only the first may be -infinity and the last +infinity", j + 1, edges[j]));
    if (j > 0 && !(edges[j] > edges[j - 1])) throw DomainError(fmt::format("binned counts: edge {} is {}, which does not exceed the one before, {}", j + 1, edges[j], edges[j - 1]));
  }
  for (Index j = 0; j < counts.size(); ++j) {
    if (!(counts[j] >= 0) || counts[j] != std::floor(counts[j]) || std::isinf(counts[j])) throw DomainError(fmt::format("binned counts: count {} is {}, but must be a whole number >= 0", j + 1, counts[j]));
  }
  if (!(total() > 0)) throw DomainError("binned counts: all counts are zero");
}

BinnedFit fit_binned(const BinnedCounts& counts, const Model& start, const FitOptions& options) {
  const auto begin = std::chrono::steady_clock::now();
  counts.validate();
  if (start.dimension() != 1) throw DomainError("fit_binned: the model must be one-dimensional");
  const Index m = counts.counts.size();
  const double n = counts.total(), scale = spread(counts);
  BinnedFit out;
  out.probabilities.emplace_back(m);
  const Objective objective = [&](const Vector& parameters, bool with_scores) {
    const Model model = start.with_parameters(parameters);
    const Index count = parameters.size();
    LikelihoodValue value;
    value.value = -infinity;
    value.gradient = Vector::Zero(count);
    value.expected = Matrix::Zero(count, count);
    Vector logs(m);
    Matrix means(count, m);
    for (Index j = 0; j < m; ++j) {
      const Cell c = cell(model, counts.edges[j], counts.edges[j + 1], scale);
      if (!std::isfinite(c.log_mass) || !c.mean.allFinite()) return value;
      logs[j] = c.log_mass;
      means.col(j) = c.mean;
    }
    const double top = logs.maxCoeff(), log_z = top + std::log((logs.array() - top).exp().sum());
    const Vector p = (logs.array() - log_z).exp();
    out.probabilities[0] = p;
    const Vector mean = means * p;
    const Matrix centred = means.colwise() - mean;
    value.value = counts.counts.dot((logs.array() - log_z).matrix());
    value.gradient = -(centred * counts.counts);
    value.expected = n * centred * p.asDiagonal() * centred.transpose();
    if (with_scores) value.scores = -(centred * counts.counts.cwiseSqrt().asDiagonal());  // a cell's draws have one score
    return value;
  };
  Fit& fit = out.fit;
  fit = prepared_fit(start, options);
  fit.estimator = "binned, stationary";
  fit.theorem = "multinomial maximum likelihood from independent draws of the stationary law, n -> infinity";
  fit.n = static_cast<Index>(n);
  Vector x = start.parameters();
  const LikelihoodValue best = maximise(objective, start, options, x, fit);
  complete(objective, start, options, x, best, fit);
  (void)objective(x, false);  // its probabilities
  if (std::isfinite(fit.log_likelihood)) set_pearson({counts}, out);
  fit.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return out;
}

BinnedFit fit_binned_flow(const ConstVectorRef& times, const std::vector<BinnedCounts>& counts, const FreeEnergy& energy, const QuantileFunction& start, const BinnedFlowOptions& options) {
  const auto begin = std::chrono::steady_clock::now();
  check_at_least("fit_binned_flow", "number of times", times.size(), 1);
  check_size("fit_binned_flow", "the list of counts", static_cast<Index>(counts.size()), times.size());
  check_increasing("fit_binned_flow", "times", times);
  check_positive("fit_binned_flow", "the first time", times[0]);
  check_at_least("fit_binned_flow", "steps", options.steps, 1);
  if (options.scheme == Scheme::bdf2) throw DomainError("fit_binned_flow: the scheme must be jko or vim");
  double n = 0;
  for (const BinnedCounts& c : counts) {
    c.validate();
    n += c.total();
  }
  const auto list = energy.parameter_list();
  const auto count = static_cast<Index>(list.size());
  BinnedFit out;
  out.probabilities.resize(counts.size());
  Status flow_status = Status::converged;
  const Objective objective = [&](const Vector& parameters, bool with_scores) {
    LikelihoodValue value;
    value.value = -infinity;
    value.gradient = Vector::Zero(count);
    value.expected = Matrix::Zero(count, count);
    FreeEnergy at = energy;
    at.set_parameters(parameters);
    QuantileFunction from = start;
    Matrix tangent = Matrix::Zero(start.nodes().size(), count);
    double sum = 0;
    std::vector<Vector> columns;
    for (Index k = 0; k < times.size(); ++k) {
      const double gap = times[k] - (k > 0 ? times[k - 1] : 0);
      FlowOptions flow{.scheme = options.scheme, .h = gap / options.steps, .steps = options.steps, .sensitivity = Sensitivity::shared, .keep_every = options.steps};
      FlowResult<QuantileFunction> run;
      try {
        run = Flow<QuantileStep>(QuantileStep(at), from, flow, tangent).run();
      } catch (const DomainError&) {  // a parameter at which there is no step
        flow_status = Status::not_finite;
        return value;
      }
      flow_status = run.status;
      if (!is_success(run.status) && run.status != Status::stalled) return value;
      from = run.final_state().measure;
      tangent = run.final_state().tangent;
      const BinnedCounts& c = counts[static_cast<std::size_t>(k)];
      const Index m = c.counts.size();
      const Functionals f = distribution(from, c.edges);  // 0 and 1 beyond the support, infinite edges included
      const Matrix by = f.gradient * tangent;
      Vector p = f.value.tail(m) - f.value.head(m);
      const Matrix dp = by.bottomRows(m) - by.topRows(m);
      // Conditional on the range.
      const double range = p.sum();
      if (!(range > 0)) return value;
      const Vector d_range = dp.colwise().sum().transpose() / range;
      p /= range;
      out.probabilities[static_cast<std::size_t>(k)] = p;
      for (Index j = 0; j < m; ++j) {
        if (!(p[j] > 0)) {
          if (c.counts[j] > 0) return value;  // the flow has no mass where the data are
          continue;
        }
        const Vector slope = dp.row(j).transpose() / (range * p[j]) - d_range;  // of log p_j
        sum += c.counts[j] * std::log(p[j]);
        value.gradient += c.counts[j] * slope;
        value.expected += c.total() * p[j] * slope * slope.transpose();
        if (with_scores) columns.emplace_back(std::sqrt(c.counts[j]) * slope);
      }
    }
    value.value = sum;
    if (with_scores) {
      value.scores.resize(count, static_cast<Index>(columns.size()));
      for (std::size_t j = 0; j < columns.size(); ++j) value.scores.col(static_cast<Index>(j)) = columns[j];
    }
    return value;
  };
  Fit& fit = out.fit;
  fit = prepared_fit(energy.potential() ? energy.potential()->potential->describe() : std::string(), list, options.fit);
  fit.estimator = "binned, flow";
  fit.theorem = "multinomial maximum likelihood of the JKO flow's law, n -> infinity; expected information";
  fit.n = static_cast<Index>(n);
  fit.duration = times[times.size() - 1];
  Vector x = energy.parameters();
  const LikelihoodValue best = maximise(objective, list, options.fit, x, fit);
  if (fit.status == Status::not_finite && !is_success(flow_status)) fit.status = flow_status;
  fit.estimate = x;
  fit.log_likelihood = best.value;
  fit.covariance = fit.sandwich = Matrix::Zero(count, count);
  const LikelihoodValue last = objective(x, true);
  if (std::isfinite(last.value)) {
    std::vector<Index> free;
    for (Index i = 0; i < count; ++i) {
      const auto k = static_cast<std::size_t>(i);
      if (fit.fixed[k]) continue;
      const double lower = options.fit.lower.empty() ? list[k].lower : std::max(options.fit.lower[k], list[k].lower), upper = options.fit.upper.empty() ? list[k].upper : std::min(options.fit.upper[k], list[k].upper);
      if ((x[i] <= lower && last.gradient[i] < 0) || (x[i] >= upper && last.gradient[i] > 0)) {
        if (is_success(fit.status)) fit.status = Status::parameter_at_bound;
        fit.warnings.push_back(fmt::format("{} is at its bound {:g} and is treated as known", fit.names[k], x[i]));
      } else {
        free.push_back(i);
      }
    }
    if (!free.empty()) {
      const Matrix information = last.expected(free, free);
      const Vector unit = information.diagonal().cwiseMax(1e-300).cwiseSqrt().cwiseInverse();
      const Eigen::LDLT<Matrix> factor(unit.asDiagonal() * information * unit.asDiagonal());
      if (factor.isPositive() && factor.vectorD().minCoeff() > 1e-12) {
        const Matrix inverse = unit.asDiagonal() * factor.solve(Matrix(unit.asDiagonal()));
        const Matrix outer = last.scores * last.scores.transpose();
        fit.covariance(free, free) = inverse;
        fit.sandwich(free, free) = inverse * outer(free, free) * inverse;
      } else {
        fit.status = Status::singular_information;
      }
    }
    set_pearson(counts, out);
  }
  fit.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return out;
}

}  // namespace jko::estimators
