#include "ou_case.hpp"
#include "studies.hpp"

#include <jko/analysis/order_fit.hpp>
#include <jko/flows/flow.hpp>
#include <jko/steps/gaussian_step.hpp>
#include <jko/steps/quantile_step.hpp>

#include <fmt/format.h>

#include <cmath>

namespace jko::validation {
namespace {

constexpr int coarsest = 10;  // steps to time 1
constexpr int levels = 6;

/// Adds one scheme's curve, table rows and check. The fit uses the last four levels; the tolerance is how far the local order
/// still moves between the last two pairs of levels, doubled, plus four standard errors of the fitted line.
void add_scheme(StudyResult& result, Figure& figure, Table& table, const std::string& label, double order, const Vector& h,
                const Vector& error, int colour) {
  const Index n = h.size();
  const auto fit = analysis::fit_order(h.tail(4), error.tail(4));
  const auto local = [&](Index i) { return std::log(error[i] / error[i + 1]) / std::log(h[i] / h[i + 1]); };
  const double tolerance = 2 * std::abs(local(n - 2) - local(n - 3)) + 4 * fit.slope_error;
  result.checks.push_back(analysis::check_equal(
      "order-" + label, fmt::format("{}: W2 error at t = 1 is of order h^{:.0f}", label, order),
      label.starts_with("jko") ? "AGS2008, theory.md 2.1" : "Matthes2019, Legendre2017, theory.md b8", fit.slope, order, tolerance,
      "twice the change of the local order between the two finest pairs (the next term of the expansion) plus 4 s.e. of the line"));
  Series points{label, Series::Style::points, {h.data(), h.data() + n}, {error.data(), error.data() + n}, {}, {}, colour};
  Series line{"", Series::Style::line, points.x, {}, {}, {}, colour};
  for (const double x : points.x) line.y.push_back(std::exp(fit.intercept) * std::pow(x, fit.slope));
  figure.series.push_back(std::move(points));
  figure.series.push_back(std::move(line));
  for (Index i = 0; i < n; ++i) {
    table.rows.push_back({label, fmt::format("{:.6g}", h[i]), fmt::format("{:.4e}", error[i]), i == 0 ? "" : fmt::format("{:.3f}", local(i - 1))});
  }
}

}  // namespace

StudyResult order_in_h(const StudyOptions& options) {
  StudyResult result;
  result.description =
      "The W2 distance at time 1 between the scheme and the exact law. Ornstein-Uhlenbeck (kappa = 1.3, mu = 0.4, beta = 2, from N(2, 2.89)) by "
      "Gaussian steps against the closed form; the double well x^4/4 - x^2/2 (beta = 2, from N(0.5, 0.3)) by quantile steps on 400 cells against the same "
      "spatial discretisation at a step 16 times finer with VIM, so that only the error in time is seen. Lines are fits to the four finest steps.";
  Figure ou{"order-ou", "W2 error at t = 1 against h, Ornstein-Uhlenbeck: points measured, lines fitted.", "step size h", "W2 error", true, true, {}};
  Figure well{"order-double-well", "The same on the double well; spatial discretisation fixed.", "step size h", "W2 error", true, true, {}};
  Table table{"errors", "Errors and local orders.", {"case", "h", "W2 error", "local order"}, {}};
  const double decay = std::exp(-ou_case::kappa), stationary = 1 / (ou_case::beta * ou_case::kappa);
  const Gaussian exact(Vector::Constant(1, ou_case::mu + decay * (ou_case::m0 - ou_case::mu)),
                       Matrix::Constant(1, 1, stationary + decay * decay * (ou_case::v0 - stationary)));
  const Model double_well_model(double_well(), (Vector(3) << 1, 1, 0).finished(), 2);
  const auto start = QuantileFunction::gaussian(0.5, 0.3, 400, 6);
  const int finest = coarsest << (levels - 1);
  const auto reference = Flow<QuantileStep>(QuantileStep(FreeEnergy(double_well_model)), start,
                                            {.scheme = Scheme::vim, .h = 1.0 / (16 * finest), .steps = 16 * finest, .keep_every = 1 << 20})
                             .run(options.observer);
  double worst_bound = 0;
  int colour = 0;
  for (const auto& [scheme, order] : {std::pair{Scheme::jko, 1.0}, {Scheme::bdf2, 2.0}, {Scheme::vim, 2.0}}) {
    Vector h(levels), error_ou(levels), error_well(levels);
    for (int i = 0; i < levels; ++i) {
      const int steps = coarsest << i;
      h[i] = 1.0 / steps;
      const FlowOptions flow{.scheme = scheme, .h = h[i], .steps = steps, .keep_every = 1 << 20};
      error_ou[i] = w2(Flow<GaussianStep>(GaussianStep(FreeEnergy(ou_case::model())), ou_case::start(), flow).run().final_state().measure, exact);
      const auto run = Flow<QuantileStep>(QuantileStep(FreeEnergy(double_well_model)), start, flow).run(options.observer);
      error_well[i] = w2(run.final_state().measure, reference.final_state().measure);
      for (const FlowRecord& record : run.records) worst_bound = std::max(worst_bound, record.step.w2_bound);
    }
    add_scheme(result, ou, table, fmt::format("{}-ou", name(scheme)), order, h, error_ou, colour);
    add_scheme(result, well, table, fmt::format("{}-double-well", name(scheme)), order, h, error_well, colour);
    ++colour;
  }
  result.checks.push_back(analysis::check_at_most("certificate", "every quantile step is within 1e-9 of its exact discrete minimiser", "theory.md b7",
                                                  worst_bound, 1e-9, 0, "the smallest time error of the figure is above 1e-7"));
  result.figures = {std::move(ou), std::move(well)};
  result.tables = {std::move(table)};
  return result;
}

}  // namespace jko::validation
