#include "ou_case.hpp"
#include "own_case.hpp"
#include "studies.hpp"

#include <jko/analysis/modified_energy.hpp>
#include <jko/analysis/order_fit.hpp>
#include <jko/core/error.hpp>
#include <jko/energies/relative_entropy.hpp>
#include <jko/flows/richardson.hpp>
#include <jko/reference/ornstein_uhlenbeck.hpp>
#include <jko/steps/gaussian_step.hpp>
#include <jko/steps/quantile_step.hpp>

#include <fmt/format.h>

#include <array>
#include <cmath>

namespace jko::validation {
namespace {

constexpr int coarsest = 5;  // steps to time 1
constexpr std::array metric_names{"W2", "L1", "KL", "energy"};

int multiple(const char* metric) { return std::string_view(metric) == "KL" ? 2 : 1; }

/// Errors of one scheme in all metrics, with what each is uncertain by.
struct Errors {
  Vector h;
  std::array<Vector, 4> value, uncertainty;
  explicit Errors(int levels) : h(levels) {
    for (std::size_t m = 0; m < 4; ++m) value[m] = uncertainty[m] = Vector::Zero(levels);
  }
};

/// int |rho_a - rho_b| of two Gaussians on the line, by the trapezoidal rule on 4000 intervals: relative error below 1e-5 (the kinks at the crossings).
double l1_distance(const Gaussian& a, const Gaussian& b) {
  const double deviation = std::sqrt(std::max(a.covariance()(0, 0), b.covariance()(0, 0)));
  const double low = std::min(a.mean()[0], b.mean()[0]) - 9 * deviation, width = (std::max(a.mean()[0], b.mean()[0]) + 9 * deviation - low) / 4000;
  double sum = 0;
  for (int i = 0; i <= 4000; ++i) {
    const Vector x = Vector::Constant(1, low + width * i);
    sum += std::abs(std::exp(a.log_density(x)) - std::exp(b.log_density(x))) * width;
  }
  return sum;
}

/// The same of quantile functions, their densities taken linear between the cells' middles: that depends smoothly on the nodes, which the sharper
/// reconstruction l1_distance() does not (it switches between two formulas), and only the change with h matters here.
double l1_distance(const QuantileFunction& a, const QuantileFunction& b, double low, double high) {
  constexpr int intervals = 32000;  // the kinks at the middles leave O(width^2) that does not vary smoothly with h: at 4000 it is 1e-3 of the finest errors
  const auto sampled = [&](const QuantileFunction& q) {
    const Vector middle = q.midpoints(), value = q.cell_densities();
    Vector out = Vector::Zero(intervals + 1);
    Index j = 0;
    for (int i = 0; i <= intervals; ++i) {
      const double x = low + (high - low) * i / intervals;
      while (j + 2 < middle.size() && middle[j + 1] < x) ++j;
      if (x >= middle[0] && x <= middle[middle.size() - 1]) out[i] = value[j] + (value[j + 1] - value[j]) * (x - middle[j]) / (middle[j + 1] - middle[j]);
    }
    return out;
  };
  return (sampled(a) - sampled(b)).lpNorm<1>() * (high - low) / intervals;
}

Series points(std::string label, const Vector& x, const Vector& y, int colour) {
  return {std::move(label), Series::Style::points, {x.begin(), x.end()}, {y.begin(), y.end()}, {}, {}, colour};
}

/// The fitted law over its range.
Series fitted(const analysis::OrderRange& fit, const Vector& h, int colour) {
  Series line{"", Series::Style::line, {}, {}, {}, {}, colour};
  for (Index i = fit.first; i <= fit.last; ++i) {
    line.x.push_back(h[i]);
    line.y.push_back(fit.constant * std::pow(h[i], fit.order) * std::exp(fit.next_term * h[i]));
  }
  return line;
}

constexpr const char* range_reason =
    "half width of the order found by the fit: the sum of Student's 95 % interval, the change without the coarsest step, the effect of a next term (b h)^2 and the errors' own uncertainty; and the change without the finest step";

void add_check(StudyResult& result, Table& table, const std::string& id, const std::string& claim, const std::string& source, double expected, const Vector& h, const Vector& error,
               const Vector& uncertainty, Figure* figure, const std::string& label, int colour) {
  auto fit = analysis::fit_order_range(h, error, uncertainty);
  // The range is chosen where the interval is narrowest, which makes it optimistic: what the choice among one step size fewer at the fine end changes is added.
  if (h.size() > 5) {
    const Index kept = h.size() - 1;
    try {
      fit.half_width += std::abs(analysis::fit_order_range(h.head(kept), error.head(kept), uncertainty.head(kept)).order - fit.order);
    } catch (const DomainError&) {
      // Fewer than four usable step sizes are left: there was no choice.
    }
  }
  result.checks.push_back(analysis::check_equal(id, claim, source, fit.order, expected, fit.half_width, range_reason));
  table.rows.push_back({id.substr(6), fmt::format("{:g}", expected), fmt::format("{:.4f}", fit.order), fmt::format("{:.1e}", fit.half_width), fmt::format("{:.4g} to {:.4g}", h[fit.first], h[fit.last]),
                        fmt::format("{:.2e}", error[fit.last]), fmt::format("{:.3g}", fit.constant)});
  if (!figure) return;
  figure->series.push_back(points(label, h, error, colour));
  figure->series.push_back(fitted(fit, h, colour));
}

/// The user's own model (--set): every scheme in every metric by quantile flows, the spatial discretisation fixed.
StudyResult own_orders(const StudyOptions& options) {
  const OwnCase own = own_cases(options, {}).front();
  const FreeEnergy energy = own.energy();
  const int levels = options.scale == Scale::quick ? 7 : 9;
  const double t = own.grid.t, kappa = energy.convexity()->kappa;
  const QuantileStep step(energy);
  const auto start = QuantileFunction::gaussian(own.mean, own.variance, own.grid.cells, 6);
  StudyResult result;
  result.description = own.text + fmt::format(": the distance at t = {:g} between each scheme and the same spatial discretisation ({} cells) extrapolated in the step size. The range of step sizes of each fit is found automatically.", t, own.grid.cells);
  Figure figure{"order-own", fmt::format("W2 error at t = {:g} against h: points measured, lines fitted over the range found.", t), "step size h", "W2 error", true, true, {}};
  Table table{"orders", "Orders found, with the half width of their interval, the range of h, the error at its fine end and the constant C.", {"case", "expected", "order", "half width", "range of h", "error", "C"}, {}};
  const int reference_steps = (coarsest << (levels - 1)) / 4;
  const auto extrapolated = richardson(step, start, {.scheme = Scheme::vim, .h = t / reference_steps, .steps = reference_steps, .keep_every = reference_steps}, {.levels = 3}, options.observer);
  if (!is_success(extrapolated.status)) {
    result.checks.push_back(analysis::inconclusive("order-own", "orders in h", "theory.md 2.1", "the reference flow failed: " + std::string(describe(extrapolated.status))));
    return result;
  }
  const auto& reference = extrapolated.states.back();
  const double reference_energy = step.energy_value(reference.measure).total, low = reference.measure.nodes()[0] - 1, high = reference.measure.nodes()[reference.measure.cells()] + 1;
  int colour = 0;
  for (const auto& [scheme, order] : {std::pair{Scheme::jko, 1}, {Scheme::bdf2, 2}, {Scheme::vim, 2}}) {
    Errors errors(levels);
    Status status = Status::converged;
    for (int i = 0; i < levels && is_success(status); ++i) {
      const int steps = coarsest << i;
      errors.h[i] = t / steps;
      const auto run = Flow<QuantileStep>(step, start, {.scheme = scheme, .h = t / steps, .steps = steps, .keep_every = steps}).run(options.observer);
      status = run.status;
      const auto& q = run.final_state().measure;
      double solver = 0;
      for (const FlowRecord& record : run.records) solver += record.step.w2_bound * std::exp(std::max(0.0, -kappa) * t);  // an error grows at most so until t
      errors.value[0][i] = w2(q, reference.measure), errors.value[1][i] = l1_distance(q, reference.measure, low, high), errors.value[2][i] = relative_entropy(q, reference.measure).value;
      errors.value[3][i] = std::abs(step.energy_value(q).total - reference_energy);
      const double fraction = (reference.error + solver) / errors.value[0][i];
      for (std::size_t m = 0; m < 4; ++m) errors.uncertainty[m][i] = fraction * multiple(metric_names[m]) * errors.value[m][i];
    }
    for (std::size_t m = 0; m < 4; ++m) {
      const double expected = order * multiple(metric_names[m]);
      const std::string id = fmt::format("order-{}-own-{}", name(scheme), m == 0 ? "w2" : m == 1 ? "l1" : m == 2 ? "kl" : "energy"), claim = fmt::format("{}: {} error at t = {:g} is of order h^{:g}", name(scheme), metric_names[m], t, expected),
                        source = scheme == Scheme::jko ? "AGS2008, theory.md 2.1" : "Matthes2019, Legendre2017, theory.md b8";
      if (!is_success(status)) {
        result.checks.push_back(analysis::inconclusive(id, claim, source, "a step did not converge: " + std::string(describe(status))));
        continue;
      }
      try {
        add_check(result, table, id, claim, source, expected, errors.h, errors.value[m], errors.uncertainty[m], m == 0 ? &figure : nullptr, std::string(name(scheme)), colour);
      } catch (const DomainError& e) {  // too few step sizes whose errors are above what they are uncertain by
        result.checks.push_back(analysis::inconclusive(id, claim, source, std::string("no asymptotic range: ") + e.what()));
      }
    }
    ++colour;
  }
  result.figures.push_back(std::move(figure));
  result.tables.push_back(std::move(table));
  return result;
}

}  // namespace

StudyResult order_in_h(const StudyOptions& options) {
  if (!options.settings.empty()) return own_orders(options);
  const int levels = options.scale == Scale::quick ? 7 : 9;
  const Index cells = options.scale == Scale::quick ? 200 : 800;
  StudyResult result;
  result.description = fmt::format(
      "The distance at time 1 between the scheme and the exact flow in four metrics: W2, L1 of the densities, relative entropy KL (of twice the order, as it is quadratic) and the free energy. "
      "Ornstein-Uhlenbeck (kappa = 1.3, mu = 0.4, beta = 2, from N(2, 2.89)) by Gaussian steps against the closed form; the double well x^4/4 - x^2/2 (beta = 2, from N(0.5, 0.3)) by quantile "
      "steps on {} cells against the same spatial discretisation extrapolated in the step size, so that only the error in time is seen. The range of step sizes of each fit is found automatically; "
      "lines are the fits error = C h^p exp(b h) over that range. Richardson extrapolation of the same flows gains an order a column; and JKO is closer, by one order, to the gradient flow of the modified energy "
      "F - (h/4)|dF|^2 than to that of F.", cells);
  Figure ou{"order-ou", "W2 error at t = 1 against h, Ornstein-Uhlenbeck: points measured, lines fitted over the range found.", "step size h", "W2 error", true, true, {}};
  Figure well{"order-double-well", "The same on the double well; spatial discretisation fixed.", "step size h", "W2 error", true, true, {}};
  Figure metrics{"order-metrics", "JKO on the double well in four metrics: first order, the relative entropy second.", "step size h", "error at t = 1", true, true, {}};
  Figure columns{"richardson", "Richardson extrapolation of JKO on the double well: 1, 2, 3 and 4 flows at h, h/2, ...; h is the coarsest.", "step size h", "W2 error", true, true, {}};
  Table table{"orders", "Orders found, with the half width of their interval, the range of h, the error at its fine end and the constant C.", {"case", "expected", "order", "half width", "range of h", "error", "C"}, {}};

  const Gaussian exact = OrnsteinUhlenbeck(ou_case::model()).law(ou_case::start(), 1);
  const GaussianStep gaussian{FreeEnergy(ou_case::model())};
  const Model well_model(double_well(), Vector{{1, 1, 0}}, 2);
  const QuantileStep quantile{FreeEnergy(well_model)};
  const auto start = QuantileFunction::gaussian(0.5, 0.3, cells, 6);
  const int finest = coarsest << (levels - 1);
  const int reference_steps = finest / 4;  // with VIM and three columns, of order six: far below the finest errors
  const auto reference = richardson(quantile, start, {.scheme = Scheme::vim, .h = 1.0 / reference_steps, .steps = reference_steps, .keep_every = reference_steps}, {.levels = 3}, options.observer).states.back();
  const double reference_energy = quantile.energy_value(reference.measure).total, exact_energy = gaussian.energy_value(exact).total;
  constexpr double epsilon = std::numeric_limits<double>::epsilon();
  double worst_bound = 0;
  int colour = 0;
  for (const auto& [scheme, order] : {std::pair{Scheme::jko, 1}, {Scheme::bdf2, 2}, {Scheme::vim, 2}}) {
    Errors of_ou(levels), of_well(levels);
    for (int i = 0; i < levels; ++i) {
      const int steps = coarsest << i;
      of_ou.h[i] = of_well.h[i] = 1.0 / steps;
      const FlowOptions flow{.scheme = scheme, .h = 1.0 / steps, .steps = steps, .keep_every = steps};
      const Gaussian g = Flow<GaussianStep>(gaussian, ou_case::start(), flow).run().final_state().measure;
      of_ou.value[0][i] = w2(g, exact), of_ou.value[1][i] = l1_distance(g, exact), of_ou.value[2][i] = relative_entropy(g, exact);
      of_ou.value[3][i] = std::abs(gaussian.energy_value(g).total - exact_energy);
      // Rounding grows at most linearly in the steps; the relative entropy is a difference of terms of size 1.
      for (std::size_t m = 0; m < 4; ++m) of_ou.uncertainty[m][i] = 16 * epsilon * (m == 2 ? 1 : steps);
      of_ou.uncertainty[1][i] += 1e-5 * of_ou.value[1][i];
      const auto run = Flow<QuantileStep>(quantile, start, flow).run(options.observer);
      const auto& q = run.final_state().measure;
      double solver = 0;
      for (const FlowRecord& record : run.records) {
        worst_bound = std::max(worst_bound, record.step.w2_bound);
        solver += record.step.w2_bound * std::exp(1.0);  // kappa = -1: an error grows at most by e until t = 1
      }
      of_well.value[0][i] = w2(q, reference.measure), of_well.value[1][i] = l1_distance(q, reference.measure, -4, 4), of_well.value[2][i] = relative_entropy(q, reference.measure).value;
      of_well.value[3][i] = std::abs(quantile.energy_value(q).total - reference_energy);
      // What the reference and the solver are uncertain by in W2, as a fraction of the error, carries over to the other metrics (twice for the quadratic one).
      const double fraction = (reference.error + solver) / of_well.value[0][i];
      for (std::size_t m = 0; m < 4; ++m) of_well.uncertainty[m][i] = fraction * multiple(metric_names[m]) * of_well.value[m][i];
    }
    const std::string source = scheme == Scheme::jko ? "AGS2008, theory.md 2.1" : "Matthes2019, Legendre2017, theory.md b8";
    for (std::size_t m = 0; m < 4; ++m) {
      const double expected = order * multiple(metric_names[m]);
      const std::string suffix = m == 0 ? "" : fmt::format("-{}", m == 1 ? "l1" : m == 2 ? "kl" : "energy");
      add_check(result, table, fmt::format("order-{}-ou{}", name(scheme), suffix), fmt::format("{}, Ornstein-Uhlenbeck: {} error at t = 1 is of order h^{:g}", name(scheme), metric_names[m], expected), source, expected,
                of_ou.h, of_ou.value[m], of_ou.uncertainty[m], m == 0 ? &ou : nullptr, std::string(name(scheme)), colour);
      add_check(result, table, fmt::format("order-{}-double-well{}", name(scheme), suffix), fmt::format("{}, double well: {} error at t = 1 is of order h^{:g}", name(scheme), metric_names[m], expected), source,
                expected, of_well.h, of_well.value[m], of_well.uncertainty[m], m == 0 ? &well : (scheme == Scheme::jko ? &metrics : nullptr), m == 0 ? std::string(name(scheme)) : metric_names[m],
                m == 0 ? colour : static_cast<int>(m));
      if (m == 0 && scheme == Scheme::jko) {
        metrics.series.push_back(well.series[0]);
        metrics.series.back().label = "W2";
        metrics.series.push_back(well.series[1]);
      }
    }
    ++colour;
  }

  // Richardson: the coarsest flow's h, one to four columns; and the estimate against the error.
  double covered = 0;
  columns.series.push_back(well.series[0]);
  columns.series.back().label = "jko";
  columns.series.push_back(well.series[1]);
  for (int column = 2; column <= 4; ++column) {
    const int points_used = 6;
    Vector h(points_used), error(points_used), uncertainty(points_used);
    for (int i = 0; i < points_used; ++i) {
      const int steps = coarsest << i;
      h[i] = 1.0 / steps;
      const auto r = richardson(quantile, start, {.h = h[i], .steps = steps, .keep_every = steps}, {.levels = column}).states.back();
      error[i] = w2(r.measure, reference.measure);
      uncertainty[i] = reference.error + 1e-11;  // each step's certificate is below 1e-11; a column's weights add to less than 4 of them, and the last flow's contraction damps the sum
      covered = std::max(covered, (error[i] - reference.error) / r.error);
    }
    add_check(result, table, fmt::format("order-richardson-{}", column), fmt::format("Richardson extrapolation of {} JKO flows on the double well has order {}", column, column), "theory.md 2.1", column, h, error, uncertainty, &columns,
              fmt::format("{} flows", column), column - 1);
  }
  result.checks.push_back(analysis::check_at_most("richardson-estimate", "the estimated error of the extrapolated flow is at least its error, for every h and number of flows above", "docs/methods/richardson.md", covered, 1, 0,
                                                  "largest error/estimate; the reference's own error is taken off"));

  // b6: JKO against the flow of the modified energy.
  {
    Vector h(levels), modified(levels);
    for (int i = 0; i < levels; ++i) {
      const int steps = coarsest << i;
      h[i] = 1.0 / steps;
      const Gaussian g = Flow<GaussianStep>(gaussian, ou_case::start(), {.h = h[i], .steps = steps, .keep_every = steps}).run().final_state().measure;
      modified[i] = w2(g, analysis::modified_flow(ou_case::model(), ou_case::start(), h[i], 1));
    }
    add_check(result, table, "order-modified-energy", "JKO follows the gradient flow of F - (h/4)|dF|^2 with error of order h^2", "HalmosHanin2025, theory.md b6", 2, h, modified, Vector::Constant(levels, 1e-12), &ou, "jko to modified flow", 3);
  }
  result.checks.push_back(analysis::check_at_most("certificate", "every quantile step is within 1e-9 of its exact discrete minimiser", "theory.md b7",
                                                  worst_bound, 1e-9, 0, "the smallest time error of the figure is above 1e-7"));
  result.figures = {std::move(ou), std::move(well), std::move(metrics), std::move(columns)};
  result.tables = {std::move(table)};
  return result;
}

}  // namespace jko::validation
