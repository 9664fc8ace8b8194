#include "ou_case.hpp"
#include "studies.hpp"

#include <jko/analysis/corrector.hpp>
#include <jko/flows/flow.hpp>
#include <jko/reference/ornstein_uhlenbeck.hpp>
#include <jko/steps/gaussian_step.hpp>
#include <jko/steps/quantile_step.hpp>

#include <fmt/format.h>

#include <array>
#include <cmath>

namespace jko::validation {
namespace {

constexpr double t = 0.8;

/// A quantity at step sizes h, h/2, h/4 whose value is limit + a h + b h^2 + ...: the limit with an error estimate.
struct Extrapolated {
  double value, error;
};
Extrapolated extrapolate(const std::array<double, 3>& at) {
  const double once = 2 * at[1] - at[0], again = 2 * at[2] - at[1];  // a h removed
  const double value = (4 * again - once) / 3;
  return {value, std::abs(value - again)};
}

void add_ou(StudyResult& result) {
  const OrnsteinUhlenbeck process(ou_case::model());
  Figure figure{"corrector-ou", "Ornstein-Uhlenbeck: (rho^h - rho)/h in mean and variance at h = 0.08, 0.04, 0.02 (points, lighter is coarser) and the correctors (lines).", "time t", "(rho^h - rho)/h", false, false, {}};
  Table table{"ou", "Ornstein-Uhlenbeck at t = 0.8.", {"coordinate", "h = 0.02", "h = 0.01", "h = 0.005", "extrapolated", "corrector"}, {}};
  const Vector eta = process.corrector(ou_case::start(), t), exact = process.law(ou_case::start(), t).coordinates();
  std::array<Vector, 3> scaled;
  for (std::size_t level = 0; level < 3; ++level) {
    const int steps = 40 << level;
    const auto r = Flow<GaussianStep>(GaussianStep(FreeEnergy(ou_case::model())), ou_case::start(), {.h = t / steps, .steps = steps, .keep_every = steps}).run();
    scaled[level] = (r.final_state().measure.coordinates() - exact) * (steps / t);
  }
  for (Index i = 0; i < 2; ++i) {
    const char* what = i == 0 ? "mean" : "variance";
    const auto e = extrapolate({scaled[0][i], scaled[1][i], scaled[2][i]});
    table.rows.push_back({what, fmt::format("{:.6f}", scaled[0][i]), fmt::format("{:.6f}", scaled[1][i]), fmt::format("{:.6f}", scaled[2][i]), fmt::format("{:.7f}", e.value), fmt::format("{:.7f}", eta[i])});
    result.checks.push_back(analysis::check_equal(fmt::format("ou-{}", what), fmt::format("(rho^h - rho)/h tends to eta in the {}", what), "theory.md 2.1, Theorem C; HalmosHanin2025", e.value, eta[i],
                                                  e.error, "the last change of the extrapolation in h"));
  }
  int colour = 0;
  for (Index i = 0; i < 2; ++i, ++colour) {
    Series line{i == 0 ? "mean" : "variance", Series::Style::line, {}, {}, {}, {}, colour};
    for (int k = 1; k <= 40; ++k) {
      line.x.push_back(0.04 * k);
      line.y.push_back(process.corrector(ou_case::start(), 0.04 * k)[i]);
    }
    figure.series.push_back(std::move(line));
  }
  for (const double h : {0.08, 0.02}) {
    const int steps = static_cast<int>(std::lround(1.6 / h));
    const auto r = Flow<GaussianStep>(GaussianStep(FreeEnergy(ou_case::model())), ou_case::start(), {.h = h, .steps = steps}).run();
    for (Index i = 0; i < 2; ++i) {
      Series points{i == 0 ? fmt::format("h = {:g}", h) : "", Series::Style::points, {}, {}, {}, {}, h > 0.05 ? 5 : 6};
      for (std::size_t k = 1; k < r.states.size(); k += static_cast<std::size_t>(std::lround(0.08 / h))) {
        points.x.push_back(r.states[k].t);
        points.y.push_back((r.states[k].measure.coordinates()[i] - process.law(ou_case::start(), r.states[k].t).coordinates()[i]) / h);
      }
      figure.series.push_back(std::move(points));
    }
  }
  figure.caption = "Ornstein-Uhlenbeck: (rho^h - rho)/h in mean and variance at two step sizes (points) and the correctors eta (lines).";
  result.tables.push_back(std::move(table));
  result.figures.push_back(std::move(figure));
}

void add_double_well(StudyResult& result, Scale scale) {
  const Model model(double_well(), Vector{{1, 1, 0}}, 2);
  const double m0 = 0.5, v0 = 0.3;
  const auto start = [&](double x) { return std::exp(-(x - m0) * (x - m0) / (2 * v0)); };
  const Index cells = scale == Scale::quick ? 800 : 1600;
  // The corrector's PDE at two resolutions: second order, so a third of their difference is the finer one's error.
  const auto coarse = analysis::first_order_corrector(model, start, -4, 4, cells / 2, t, 400), fine = analysis::first_order_corrector(model, start, -4, 4, cells, t, 800);
  std::array<QuantileFunction, 4> law;
  for (std::size_t level = 0; level < 4; ++level) {
    const int steps = 40 << level;
    law[level] = Flow<QuantileStep>(QuantileStep(FreeEnergy(model)), QuantileFunction::gaussian(m0, v0, cells), {.h = t / steps, .steps = steps, .keep_every = steps}).run().final_state().measure;
  }
  const auto expectation = [](const QuantileFunction& q, const std::function<double(double)>& phi) {
    double sum = 0;
    for (Index i = 0; i < q.cells(); ++i) {
      const double a = q.nodes()[i], w = q.nodes()[i + 1] - a;
      sum += 0.5 * q.masses()[i] * (phi(a + w * (0.5 - 0.5 / std::sqrt(3.0))) + phi(a + w * (0.5 + 0.5 / std::sqrt(3.0))));
    }
    return sum;
  };
  Table table{"double-well", "Double well x^4/4 - x^2/2, beta = 2, from N(0.5, 0.3), t = 0.8: the JKO side is 2 (E_h - E_{h/2})/h extrapolated in h.", {"functional", "JKO, extrapolated", "error", "corrector PDE", "error"}, {}};
  const std::array<std::pair<const char*, std::function<double(double)>>, 3> functionals{{{"x", [](double x) { return x; }}, {"x^2", [](double x) { return x * x; }}, {"cos x", [](double x) { return std::cos(x); }}}};
  for (const auto& [what, phi] : functionals) {
    std::array<double, 3> slopes{};
    for (std::size_t level = 0; level < 3; ++level) slopes[level] = 2 * (expectation(law[level], phi) - expectation(law[level + 1], phi)) * ((40 << level) / t);
    const auto e = extrapolate(slopes);
    const double pde = fine.pairing(phi), pde_error = std::abs(fine.pairing(phi) - coarse.pairing(phi)) / 3;
    // The spatial discretisations differ too: both are second order, and the quantile side's part is measured by halving its cells.
    std::array<QuantileFunction, 2> rough;
    for (std::size_t level = 0; level < 2; ++level) {
      const int steps = 40 << level;
      rough[level] = Flow<QuantileStep>(QuantileStep(FreeEnergy(model)), QuantileFunction::gaussian(m0, v0, cells / 2), {.h = t / steps, .steps = steps, .keep_every = steps}).run().final_state().measure;
    }
    const double space = std::abs(2 * (expectation(rough[0], phi) - expectation(rough[1], phi)) * (40 / t) - slopes[0]) / 3;
    table.rows.push_back({what, fmt::format("{:.5f}", e.value), fmt::format("{:.1e}", e.error + space), fmt::format("{:.5f}", pde), fmt::format("{:.1e}", pde_error)});
    result.checks.push_back(analysis::check_equal(fmt::format("double-well-{}", what[0] == 'c' ? "cos" : what[1] == '^' ? "square" : "mean"), fmt::format("int phi (rho^h - rho)/h tends to int phi eta, phi = {}", what),
                                                  "theory.md 2.1, Theorem C, test T16", e.value, pde, 2 * (e.error + space + pde_error),
                                                  "twice the sum of the extrapolation's last change and both solvers' errors by refinement"));
  }
  Figure figure{"corrector-double-well", "Double well at t = 0.8: the corrector eta by its PDE (line) and 2 (rho^h - rho^{h/2})/h at h = 0.02 and 0.0025 (points).", "x", "eta", false, false, {}};
  Series line{"eta, PDE", Series::Style::line, {}, {}, {}, {}, 0}, rough{"h = 0.02", Series::Style::points, {}, {}, {}, {}, 1}, good{"h = 0.005", Series::Style::points, {}, {}, {}, {}, 2};
  for (Index i = 0; i < fine.centres.size(); i += 4) {
    if (std::abs(fine.centres[i]) > 2.6) continue;
    line.x.push_back(fine.centres[i]);
    line.y.push_back(fine.eta[i]);
  }
  for (double x = -2.5; x <= 2.5; x += 0.125) {
    rough.x.push_back(x), rough.y.push_back(2 * (law[0].density(x) - law[1].density(x)) * 40 / t);
    good.x.push_back(x), good.y.push_back(2 * (law[2].density(x) - law[3].density(x)) * 160 / t);
  }
  figure.caption = "Double well at t = 0.8: the corrector eta by its PDE (line) and 2 (rho^h - rho^(h/2))/h at two step sizes (points).";
  figure.series = {std::move(line), std::move(rough), std::move(good)};
  result.tables.push_back(std::move(table));
  result.figures.push_back(std::move(figure));
}

}  // namespace

StudyResult corrector(const StudyOptions& options) {
  StudyResult result;
  result.description =
      "JKO is a first-order scheme: rho^h = rho + h eta + O(h^2). The corrector eta solves d_t eta = L* eta - (1/4) d_x(rho d_x zeta), zeta = |mu'|^2 - (2/beta) d_t log rho. For "
      "Ornstein-Uhlenbeck it has a closed form in mean and variance (kappa = 1.3, mu = 0.4, beta = 2, from N(2, 2.89)). For the double well the PDE is solved by finite volumes and "
      "compared with differences of quantile flows at h and h/2, whose spatial discretisation is the same and cancels.";
  add_ou(result);
  add_double_well(result, options.scale);
  return result;
}

}  // namespace jko::validation
