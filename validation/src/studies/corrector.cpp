#include "ou_case.hpp"
#include "own_case.hpp"
#include "studies.hpp"

#include <jko/analysis/corrector.hpp>
#include <jko/flows/flow.hpp>
#include <jko/models/formula.hpp>
#include <jko/problems/ornstein_uhlenbeck_flow.hpp>
#include <jko/reference/ornstein_uhlenbeck.hpp>
#include <jko/steps/entropic_step.hpp>
#include <jko/steps/gaussian_step.hpp>
#include <jko/steps/quantile_step.hpp>

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <map>
#include <tuple>

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

/// A case on the line: the corrector's PDE against quantile flows.
struct Line {
  std::string id, label, text;
  Model model;
  double m0, v0, lower, upper, time;
};

void add_line(StudyResult& result, const Line& c, Scale scale) {
  const auto& [id, label, text, model, m0, v0, lower, upper, time] = c;
  const auto start = [mean = m0, variance = v0](double x) { return std::exp(-(x - mean) * (x - mean) / (2 * variance)); };
  const Index cells = scale == Scale::quick ? 800 : 1600;
  // The corrector's PDE at two resolutions: second order, so a third of their difference is the finer one's error.
  const auto coarse = analysis::first_order_corrector(model, start, lower, upper, cells / 2, time, 400), fine = analysis::first_order_corrector(model, start, lower, upper, cells, time, 800);
  Status status = Status::converged;
  const auto law_at = [&](Index n, int steps) {
    const auto r = Flow<QuantileStep>(QuantileStep(FreeEnergy(c.model)), QuantileFunction::gaussian(c.m0, c.v0, n), {.h = c.time / steps, .steps = steps, .keep_every = steps}).run();
    if (!is_success(r.status)) status = r.status;
    return r.final_state().measure;
  };
  std::array<QuantileFunction, 4> law;
  for (std::size_t level = 0; level < 4; ++level) {
    const int steps = 40 << level;
    law[level] = law_at(cells, steps);
  }
  const auto expectation = [](const QuantileFunction& q, const std::function<double(double)>& phi) {
    double sum = 0;
    for (Index i = 0; i < q.cells(); ++i) {
      const double a = q.nodes()[i], w = q.nodes()[i + 1] - a;
      sum += 0.5 * q.masses()[i] * (phi(a + w * (0.5 - 0.5 / std::sqrt(3.0))) + phi(a + w * (0.5 + 0.5 / std::sqrt(3.0))));
    }
    return sum;
  };
  Table table{id, text + ": the JKO side is 2 (E_h - E_{h/2})/h extrapolated in h.", {"functional", "JKO, extrapolated", "error", "corrector PDE", "error"}, {}};
  const std::array<std::pair<const char*, std::function<double(double)>>, 3> functionals{{{"x", [](double x) { return x; }}, {"x^2", [](double x) { return x * x; }}, {"cos x", [](double x) { return std::cos(x); }}}};
  for (const auto& [what, phi] : functionals) {
    std::array<double, 3> slopes{};
    for (std::size_t level = 0; level < 3; ++level) slopes[level] = 2 * (expectation(law[level], phi) - expectation(law[level + 1], phi)) * ((40 << level) / c.time);
    const auto e = extrapolate(slopes);
    const double pde = fine.pairing(phi), pde_error = std::abs(fine.pairing(phi) - coarse.pairing(phi)) / 3;
    // The spatial discretisations differ too: both are second order, and the quantile side's part is measured by halving its cells.
    std::array<QuantileFunction, 2> rough;
    for (std::size_t level = 0; level < 2; ++level) {
      const int steps = 40 << level;
      rough[level] = law_at(cells / 2, steps);
    }
    const double space = std::abs(2 * (expectation(rough[0], phi) - expectation(rough[1], phi)) * (40 / c.time) - slopes[0]) / 3;
    table.rows.push_back({what, fmt::format("{:.5f}", e.value), fmt::format("{:.1e}", e.error + space), fmt::format("{:.5f}", pde), fmt::format("{:.1e}", pde_error)});
    if (!is_success(status)) {
      result.checks.push_back(analysis::inconclusive(id + "-corrector", "(rho^h - rho)/h tends to eta", "theory.md 2.1, Theorem C", "a step did not converge: " + std::string(describe(status))));
      return;
    }
    result.checks.push_back(analysis::check_equal(fmt::format("{}-{}", id, what[0] == 'c' ? "cos" : what[1] == '^' ? "square" : "mean"), fmt::format("int phi (rho^h - rho)/h tends to int phi eta, phi = {}", what),
                                                  "theory.md 2.1, Theorem C, test T16", e.value, pde, 2 * (e.error + space + pde_error),
                                                  "twice the sum of the extrapolation's last change and both solvers' errors by refinement"));
  }
  Figure figure{"corrector-" + id, fmt::format("{} at t = {:g}: the corrector eta by its PDE (line) and 2 (rho^h - rho^(h/2))/h at two step sizes (points).", label, time), "x", "eta", false, false, {}};
  Series line{"eta, PDE", Series::Style::line, {}, {}, {}, {}, 0}, rough{fmt::format("h = {:g}", time / 40), Series::Style::points, {}, {}, {}, {}, 1}, good{fmt::format("h = {:g}", time / 160), Series::Style::points, {}, {}, {}, {}, 2};
  for (Index i = 0; i < fine.centres.size(); i += 4) {
    if (fine.density[i] < 1e-4 * fine.density.maxCoeff()) continue;
    line.x.push_back(fine.centres[i]);
    line.y.push_back(fine.eta[i]);
  }
  for (int i = 0; i <= 40; ++i) {
    const double x = line.x.front() + (line.x.back() - line.x.front()) * i / 40;
    rough.x.push_back(x), rough.y.push_back(2 * (law[0].density(x) - law[1].density(x)) * 40 / c.time);
    good.x.push_back(x), good.y.push_back(2 * (law[2].density(x) - law[3].density(x)) * 160 / c.time);
  }
  figure.series = {std::move(line), std::move(rough), std::move(good)};
  result.tables.push_back(std::move(table));
  result.figures.push_back(std::move(figure));
}

/// Theorem C in the plane for Gaussians: all coordinates of mean and covariance, K and Sigma_0 do not commute.
void add_plane_gaussian(StudyResult& result) {
  const auto problem = problems::non_commuting();
  const OrnsteinUhlenbeck process(problem.model());
  const Gaussian start = problem.jko(1, 0);
  const Vector eta = process.corrector(start, t), exact = process.law(start, t).coordinates();
  std::array<Vector, 3> scaled;
  for (std::size_t level = 0; level < 3; ++level) {
    const int steps = 40 << level;
    scaled[level] = (problem.jko(t / steps, steps).coordinates() - exact) * (steps / t);
  }
  Vector value(eta.size());
  double error = 0;
  for (Index i = 0; i < eta.size(); ++i) {
    const auto e = extrapolate({scaled[0][i], scaled[1][i], scaled[2][i]});
    value[i] = e.value, error = std::max(error, e.error);
  }
  result.checks.push_back(analysis::check_at_most("plane-gaussian", "(rho^h - rho)/h tends to eta in every coordinate of mean and covariance, K and Sigma_0 not commuting", "theory.md 2.1, Theorem C; HalmosHanin2025",
                                                  (value - eta).cwiseAbs().maxCoeff(), 0, error, fmt::format("the largest last change of the extrapolation in h; the largest coordinate of eta is {:.3g}", eta.cwiseAbs().maxCoeff())));
}

/// Theorem C on a grid of the plane for a potential that is neither convex nor separable.
void add_plane(StudyResult& result, const StudyOptions& options) {
  const bool quick = options.scale == Scale::quick;
  const double time = 0.4, half = 3.4;
  const Index cells = quick ? 112 : 224;
  const Model model(formula("x1^4/4 - x1^2/2 + x2^2/2 + c*x1*x2", 2), Vector{{0.4}}, 2);
  const auto grid_of = [&](Index n) { return std::make_shared<const Grid>(Grid{Vector{{-half, -half}}, Vector{{half, half}}, {n, n}}); };
  const auto start_on = [&](const std::shared_ptr<const Grid>& grid) { return GridDensity::gaussian(grid, Vector{{0.5, -0.3}}, Matrix{{0.3, 0}, {0, 0.2}}); };
  const auto coarse_grid = grid_of(cells / 2), fine_grid = grid_of(cells);
  const auto coarse = analysis::first_order_corrector(model, start_on(coarse_grid), time, quick ? 20 : 60), fine = analysis::first_order_corrector(model, start_on(fine_grid), time, quick ? 40 : 120);
  /// 2 (rho^h - rho^{h/2})/h at three h. The entropic step's bias is of second order in epsilon; epsilon and 2 epsilon remove it, and what the same with 2 and 4 epsilon changes is the error.
  const double epsilon = std::pow(2 * half / static_cast<double>(cells / 2), 2) / 2;
  std::map<std::tuple<Index, int, double>, Vector> laws;
  Status status = Status::converged;
  const auto law = [&](Index n, int steps, double times) -> const Vector& {
    Vector& out = laws[{n, steps, times}];
    if (out.size() == 0) {
      const auto r = Flow<EntropicStep>(EntropicStep(FreeEnergy(model), {.epsilon = times * epsilon, .tolerance = 1e-9, .threads = options.threads}), start_on(grid_of(n)), {.h = time / steps, .steps = steps, .keep_every = steps}).run(options.observer);
      if (!is_success(r.status)) status = r.status;
      out = r.final_state().measure.values();
    }
    return out;
  };
  const int first = 4;
  const auto slope_of = [&](Index n, int level, double times) {
    const int steps = first << level;
    return Vector(2 * (law(n, steps, times) - law(n, 2 * steps, times)) * (steps / time));
  };
  const auto debiased = [&](Index n, int level) { return Vector((4 * slope_of(n, level, 1) - slope_of(n, level, 2)) / 3); };
  const std::array<Vector, 3> slopes{debiased(cells, 0), debiased(cells, 1), debiased(cells, 2)};
  const Vector twice = (4 * slope_of(cells, 2, 2) - slope_of(cells, 2, 4)) / 3, rough = slope_of(cells / 2, 0, 2), same = slope_of(cells, 0, 2);
  Table table{"plane", fmt::format("Psi = x^4/4 - x^2/2 + y^2/2 + 0.4 x y, beta = 2, from N((0.5, -0.3), diag(0.3, 0.2)), t = 0.4, {0} x {0} cells: the JKO side is 2 (E_h - E_(h/2))/h of entropic steps, extrapolated in h and epsilon.", cells),
              {"functional", "h = 0.1", "0.05", "0.025", "extrapolated", "in h", "in epsilon", "in width", "corrector PDE", "error"}, {}};
  struct Plane {
    const char *id, *text;
    double (*phi)(double, double);
  };
  const std::array<Plane, 4> functionals{{{"x", "x", [](double x, double) { return x; }}, {"xx", "x^2", [](double x, double) { return x * x; }}, {"xy", "x y", [](double x, double y) { return x * y; }}, {"cos", "cos(x + y)", [](double x, double y) { return std::cos(x + y); }}}};
  const auto on = [](const Grid& grid, const Plane& f) {
    const Matrix points = grid.points();
    Vector out(points.cols());
    for (Index i = 0; i < out.size(); ++i) out[i] = f.phi(points(0, i), points(1, i)) * grid.cell_volume();
    return out;
  };
  for (const Plane& f : functionals) {
    const std::string id = std::string("plane-") + f.id, claim = fmt::format("int phi (rho^h - rho)/h tends to int phi eta in the plane, phi = {}", f.text), source = "theory.md 2.1, Theorem C";
    if (!is_success(status)) {
      result.checks.push_back(analysis::inconclusive(id, claim, source, "an entropic step did not converge: " + std::string(describe(status))));
      continue;
    }
    const Vector phi = on(*fine_grid, f), phi_coarse = on(*coarse_grid, f);
    const auto e = extrapolate({phi.dot(slopes[0]), phi.dot(slopes[1]), phi.dot(slopes[2])});
    const double bias = std::abs(phi.dot(slopes[2] - twice)), width = std::abs(phi.dot(same) - phi_coarse.dot(rough));
    const double pde = phi.dot(fine.eta), pde_error = std::abs(pde - phi_coarse.dot(coarse.eta));
    table.rows.push_back({f.text, fmt::format("{:.5f}", phi.dot(slopes[0])), fmt::format("{:.5f}", phi.dot(slopes[1])), fmt::format("{:.5f}", phi.dot(slopes[2])), fmt::format("{:.5f}", e.value), fmt::format("{:.1e}", e.error), fmt::format("{:.1e}", bias), fmt::format("{:.1e}", width),
                          fmt::format("{:.5f}", pde), fmt::format("{:.1e}", pde_error)});
    result.checks.push_back(analysis::check_equal(id, claim, source, e.value, pde, e.error + bias + width + pde_error, "last change of the extrapolation in h, change of the extrapolation in epsilon with all epsilons doubled, changes of both sides on half the cells (the PDE's with half the time steps too)"));
  }
  Figure figure{"corrector-plane", "The potential x^4/4 - x^2/2 + y^2/2 + 0.4 x y at t = 0.4: the corrector eta by its PDE (lines) and 2 (rho^h - rho^(h/2))/h at h = 0.025 (points) along two rows of cells.", "x", "eta", false, false, {}};
  int colour = 0;
  for (const double y : {-0.6, 0.3}) {
    const Index row = static_cast<Index>((y + half) / fine_grid->width(1));
    Series line{fmt::format("y = {:.2f}", fine_grid->centres(1)[row]), Series::Style::line, {}, {}, {}, {}, colour}, points{"", Series::Style::points, {}, {}, {}, {}, colour};
    for (Index i = 0; i < cells; ++i) {
      const double x = fine_grid->centres(0)[i];
      if (std::abs(x) > 2.5) continue;
      line.x.push_back(x), line.y.push_back(fine.eta[i + cells * row]);
      if (i % 2 == 0) points.x.push_back(x), points.y.push_back(slopes[2][i + cells * row]);
    }
    figure.series.push_back(std::move(line)), figure.series.push_back(std::move(points));
    ++colour;
  }
  result.tables.push_back(std::move(table));
  result.figures.push_back(std::move(figure));
}

}  // namespace

StudyResult corrector(const StudyOptions& options) {
  StudyResult result;
  if (!options.settings.empty()) {
    const OwnCase own = own_cases(options, {}).front();
    result.description = own.text + ": the corrector by its PDE (finite volumes) against differences of quantile flows at h and h/2.";
    if (own.unresolved.empty()) add_line(result, {"own", "Own model", own.text, own.grid.model, own.mean, own.variance, own.grid.lower, own.grid.upper, own.grid.t}, options.scale);
    else result.checks.push_back(analysis::inconclusive("own-corrector", "(rho^h - rho)/h tends to eta", "theory.md 2.1, Theorem C", own.why_unresolved()));
    return result;
  }
  result.description =
      "JKO is a first-order scheme: rho^h = rho + h eta + O(h^2). The corrector eta solves d_t eta = L* eta - (1/4) d_x(rho d_x zeta), zeta = |mu'|^2 - (2/beta) d_t log rho. For "
      "Ornstein-Uhlenbeck it has a closed form in mean and variance (kappa = 1.3, mu = 0.4, beta = 2, from N(2, 2.89)). For the double well the PDE is solved by finite volumes and "
      "compared with differences of quantile flows at h and h/2, whose spatial discretisation is the same and cancels. In the plane a potential that is neither convex nor separable is treated likewise with entropic steps on a grid, whose bias in epsilon is extrapolated away.";
  add_ou(result);
  add_line(result, {"double-well", "Double well", "Double well x^4/4 - x^2/2, beta = 2, from N(0.5, 0.3), t = 0.8", Model(double_well(), Vector{{1, 1, 0}}, 2), 0.5, 0.3, -4, 4, t}, options.scale);
  add_plane_gaussian(result);
  add_plane(result, options);
  return result;
}

}  // namespace jko::validation
