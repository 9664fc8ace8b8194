#include "studies.hpp"
#include "worst.hpp"

#include <jko/analysis/grid_limit.hpp>
#include <jko/analysis/online_limit.hpp>
#include <jko/analysis/statistics.hpp>
#include <jko/flows/flow.hpp>
#include <jko/models/families.hpp>
#include <jko/models/formula.hpp>
#include <jko/problems/ornstein_uhlenbeck_flow.hpp>
#include <jko/reference/fokker_planck_grid.hpp>
#include <jko/reference/ornstein_uhlenbeck.hpp>
#include <jko/steps/entropic_step.hpp>
#include <jko/steps/gaussian_step.hpp>

#include <Eigen/Cholesky>
#include <Eigen/LU>
#include <boost/math/distributions/normal.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

namespace jko::validation {
namespace {

using analysis::check_at_most;
using analysis::check_equal;
using estimators::OnlineData;

constexpr double t = 0.8;
// The distinct coordinates of a Gaussian in the plane: m_1, m_2, S_11, S_12, S_22.
constexpr std::array<Index, 5> distinct{0, 1, 2, 3, 5};
constexpr std::array names{"m1", "m2", "S11", "S12", "S22"};

Matrix chosen(const Matrix& full) {
  Matrix out(5, 5);
  for (std::size_t i = 0; i < 5; ++i) {
    for (std::size_t j = 0; j < 5; ++j) out(static_cast<Index>(i), static_cast<Index>(j)) = full(distinct[i], distinct[j]);
  }
  return out;
}
Vector chosen(const Vector& coordinates) {
  Vector out(5);
  for (std::size_t i = 0; i < 5; ++i) out[static_cast<Index>(i)] = coordinates[distinct[i]];
  return out;
}

/// n times the covariance of the maximum-likelihood estimates of (K, mu), beta known, from independent draws of N(mu, (beta K)^{-1}): Cov(K_ij, K_kl) = K_ik K_jl + K_il K_jk
/// (delta method on the sample covariance), Cov(mu) = (beta K)^{-1}, independent. In the order k_11, k_21, k_22, mu_1, mu_2, beta.
Matrix estimate_covariance(const Model& model) {
  const Matrix k = model.potential().quadratic(model.theta())->curvature;
  constexpr std::array<std::array<Index, 2>, 3> entry{{{0, 0}, {1, 0}, {1, 1}}};
  Matrix out = Matrix::Zero(6, 6);
  for (std::size_t a = 0; a < 3; ++a) {
    for (std::size_t b = 0; b < 3; ++b) {
      const auto [i, j] = entry[a];
      const auto [p, q] = entry[b];
      out(static_cast<Index>(a), static_cast<Index>(b)) = k(i, p) * k(j, q) + k(i, q) * k(j, p);
    }
  }
  out.block(3, 3, 2, 2) = (model.beta() * k).inverse();
  return out;
}

FlowResult<Gaussian> gaussian_flow(const Model& model, const Gaussian& start, int steps, Sensitivity sensitivity) {
  return Flow<GaussianStep>(GaussianStep(FreeEnergy(model)), start, {.h = t / steps, .steps = steps, .sensitivity = sensitivity, .keep_every = steps}).run();
}

/// A matrix at h, h/2, h/4 of a first-order method: the limit, and the largest last change.
std::pair<Matrix, double> extrapolate(const std::array<Matrix, 3>& at) {
  const Matrix once = 2 * at[1] - at[0], again = 2 * at[2] - at[1], value = (4 * again - once) / 3;
  return {value, (value - again).cwiseAbs().maxCoeff()};
}

void add_gaussian(StudyResult& result, const StudyOptions& options) {
  const bool quick = options.scale == Scale::quick;
  const auto problem = problems::non_commuting();
  const Model& model = problem.model();
  const Gaussian start = problem.jko(1, 0);
  const OrnsteinUhlenbeck process(model);
  const Matrix sigma = estimate_covariance(model), exact = process.sensitivity(start, t);
  Table table{"gaussian", "Ornstein-Uhlenbeck in the plane, K and Sigma_0 not commuting, t = 0.8: variances of the limit laws. JKO by exact sensitivities, h to 0, and the closed forms.",
              {"coordinate", "offline, JKO", "offline, closed form", "fresh, JKO", "fresh, closed form", "accumulated, JKO", "accumulated, closed form"}, {}};
  std::array<std::array<Matrix, 3>, 3> laws;  // offline, fresh, accumulated at three step sizes
  for (std::size_t level = 0; level < 3; ++level) {
    const int steps = 16 << level;
    const Matrix j = gaussian_flow(model, start, steps, Sensitivity::shared).final_state().tangent, each = gaussian_flow(model, start, steps, Sensitivity::per_step).final_state().tangent;
    laws[0][level] = j * sigma * j.transpose();
    for (const OnlineData data : {OnlineData::fresh, OnlineData::accumulated}) {
      laws[data == OnlineData::fresh ? 1 : 2][level] = each * estimators::online_covariance(sigma, steps, data) * each.transpose() * (steps / t);
    }
  }
  const std::array<Matrix, 3> theory{exact * sigma * exact.transpose(), analysis::gaussian_online_limit(model, start, t, sigma, OnlineData::fresh), analysis::gaussian_online_limit(model, start, t, sigma, OnlineData::accumulated)};
  constexpr std::array ids{"gaussian-offline", "gaussian-fresh", "gaussian-accumulated"};
  constexpr std::array claims{"n Cov of (mean, covariance) of the JKO flow tends to J Sigma J' as h to 0, J the closed form of d(law)/d(K, mu, beta)", "(m/h) Cov of (mean, covariance) with a fresh batch in every step tends to the Lyapunov equation's solution",
                              "(m/h) Cov with all data so far tends to the Lyapunov equation's solution"};
  std::array<Matrix, 3> limits;
  for (std::size_t i = 0; i < 3; ++i) {
    auto [value, error] = extrapolate(laws[i]);
    // Accumulated data: the scheme's own error is h log h, of which two extrapolations in powers of h leave a part that halving h shows.
    if (i == 2) value = 2 * laws[i][2] - laws[i][1], error = 2 * (value - laws[i][2]).cwiseAbs().maxCoeff();
    limits[i] = value;
    result.checks.push_back(check_at_most(ids[i], fmt::format("{} (all 36 entries)", claims[i]), i == 0 ? "theory.md 2.2, Theorem OFF" : "theory.md 2.3, Theorem ON", (value - theory[i]).cwiseAbs().maxCoeff(), 0, error,
                                          fmt::format("{}; the largest entry is {:.3g}", i == 2 ? "twice the last change on halving h, as the error is h log h" : "the largest last change of the extrapolation in h", theory[i].cwiseAbs().maxCoeff())));
  }
  for (std::size_t c = 0; c < 5; ++c) {
    const Index at = distinct[c];
    table.rows.push_back({names[c], fmt::format("{:.5f}", limits[0](at, at)), fmt::format("{:.5f}", theory[0](at, at)), fmt::format("{:.5f}", limits[1](at, at)), fmt::format("{:.5f}", theory[1](at, at)), fmt::format("{:.4f}", limits[2](at, at)), fmt::format("{:.4f}", theory[2](at, at))});
  }
  result.tables.push_back(std::move(table));

  // Replications. Offline: maximum likelihood from n stationary draws. Online: unbiased Gaussian estimates of covariance Sigma/m in every step.
  const int steps = 8;
  const double h = t / steps;
  const auto truth = gaussian_flow(model, start, steps, Sensitivity::shared), each = gaussian_flow(model, start, steps, Sensitivity::per_step);
  const Vector at_truth = chosen(truth.final_state().measure.coordinates());
  const Matrix offline = chosen(Matrix(truth.final_state().tangent * sigma * truth.final_state().tangent.transpose()));
  const Matrix online = chosen(Matrix(each.final_state().tangent * estimators::online_covariance(sigma, steps, OnlineData::fresh) * each.final_state().tangent.transpose())) / h;
  const Gaussian pi = process.stationary();
  const Matrix root = Matrix(pi.covariance().llt().matrixL()), noise = Matrix(sigma.topLeftCorner(5, 5).llt().matrixL());
  constexpr std::array<int, 4> sizes{400, 1600, 400, 1600};
  analysis::Design design{.name = "plane-limits", .recipe = "offline n = 400, 1600; online m = 400, 1600; 8 steps", .cells = {"offline, n = 400", "offline, n = 1600", "online, m = 400", "online, m = 1600"},
                          .dimension = 5, .replications = quick ? 2000 : 40000, .blocks = 40, .seed = options.seed, .worker = {}};
  enum class Learning { offline, online };
  const auto draw = [&](Learning learning, int n) -> analysis::Replicate {
    if (learning == Learning::offline) {
      return [&, n](RandomStream& random, VectorRef out) {
        // Sufficient statistics of n normal draws: the mean, and a Wishart matrix by Bartlett's decomposition.
        Vector mean(2);
        random.fill_normal(mean);
        const double lower = random.normal();
        Matrix a{{std::sqrt(2 * random.gamma(0.5 * (n - 1))), 0}, {lower, std::sqrt(2 * random.gamma(0.5 * (n - 2)))}};
        a = root * a;
        const Matrix k = (model.beta() / n * a * a.transpose()).inverse();
        Vector parameters(6);
        parameters << k(0, 0), k(1, 0), k(1, 1), pi.mean() + root * mean / std::sqrt(static_cast<double>(n)), model.beta();
        const auto run = gaussian_flow(model.with_parameters(parameters), start, steps, Sensitivity::none);
        if (!is_success(run.status)) return false;
        out = std::sqrt(static_cast<double>(n)) * (chosen(run.final_state().measure.coordinates()) - at_truth);
        return true;
      };
    }
    return [&, n](RandomStream& random, VectorRef out) {
      FlowOptions flow{.h = h, .steps = steps, .keep_every = steps};
      flow.parameters_at = [&](int) {
        Vector z(5), parameters = model.parameters();
        random.fill_normal(z);
        parameters.head(5) += noise * z / std::sqrt(static_cast<double>(n));
        return parameters;
      };
      const auto run = Flow<GaussianStep>(GaussianStep(FreeEnergy(model)), start, flow).run();
      if (!is_success(run.status)) return false;
      out = std::sqrt(n / h) * (chosen(run.final_state().measure.coordinates()) - at_truth);
      return true;
    };
  };
  design.worker = [&](Index cell) { return draw(cell < 2 ? Learning::offline : Learning::online, sizes[static_cast<std::size_t>(cell)]); };
  const auto cells = analysis::summarise(analysis::run_design(design, {.threads = options.threads, .observer = options.observer}));
  Table measured{"gaussian-replications", fmt::format("Variances over {} replications at h = {:g} (one s.e. in brackets), extrapolated in 1/n or 1/m, and the exact linear law at that h.", design.replications, h), {"law", "coordinate", "400", "1600", "extrapolated", "linear law"}, {}};
  for (const bool is_online : {false, true}) {
    const auto &small = cells[is_online ? 2 : 0], &large = cells[is_online ? 3 : 1];
    const Matrix& law = is_online ? online : offline;
    Worst worst;
    for (Index i = 0; i < 5; ++i) {
      for (Index j = 0; j <= i; ++j) {
        const double a = small.moments.covariance()(i, j), b = large.moments.covariance()(i, j), error = std::hypot(4 * large.covariance_error(i, j), small.covariance_error(i, j)) / 3;
        worst.add(fmt::format("({}, {})", names[static_cast<std::size_t>(i)], names[static_cast<std::size_t>(j)]), (4 * b - a) / 3, law(i, j), error);
        if (i == j) measured.rows.push_back({is_online ? "online, fresh" : "offline", names[static_cast<std::size_t>(i)], fmt::format("{:.4f} ({:.4f})", a, small.covariance_error(i, i)), fmt::format("{:.4f} ({:.4f})", b, large.covariance_error(i, i)), fmt::format("{:.4f} ({:.4f})", (4 * b - a) / 3, error), fmt::format("{:.4f}", law(i, i))});
      }
    }
    const std::string id = is_online ? "gaussian-online-replications" : "gaussian-offline-replications", claim = is_online ? "(m/h) Cov of the JKO flow in the plane with a fresh estimate in every step tends to its exact sensitivities' as m grows" : "n Cov of the JKO flow in the plane with maximum-likelihood estimates tends to J Sigma J' as n grows",
                      source = is_online ? "theory.md 2.3" : "theory.md 2.2";
    if (small.failed + large.failed > 0) {
      result.checks.push_back(analysis::inconclusive(id, claim, source, fmt::format("{} replications have no flow (an estimate of K or a step failed): what is left is a selection", small.failed + large.failed)));
      continue;
    }
    result.checks.push_back(worst.check(id, claim, source, static_cast<double>(design.blocks - 1), fmt::format("s.e. of the extrapolation in the sample size from the scatter of {} blocks of {} replications in all", design.blocks, design.replications)));
  }
  result.tables.push_back(std::move(measured));

  // Normality of every coordinate and of all jointly, and the covariance, where the sample size is large enough (1e6) for the law of the estimates not to show: one family.
  const int draws = quick ? 500 : 5000, large = 1000000;
  std::vector<analysis::Check> family;
  Figure figure{"plane-normality", fmt::format("Standardised coordinates of the limit law against normal quantiles: {} flows in the plane with maximum-likelihood estimates from n = 1e6 draws. Standardised by the exact linear law at h = {:g}.", draws, h), "normal quantile", "ordered value", false, false, {}};
  figure.series.push_back({"normal law", Series::Style::line, {-3.2, 3.2}, {-3.2, 3.2}, {}, {}, 6});
  for (const Learning learning : {Learning::offline, Learning::online}) {
    const std::string label = learning == Learning::offline ? "offline" : "online";
    const Matrix& law = learning == Learning::offline ? offline : online;
    const auto body = draw(learning, large);
    Matrix sample(5, draws);
    bool all = true;
    for (int r = 0; r < draws; ++r) {
      RandomStream random(options.seed, "plane-limits normality " + label, static_cast<std::uint64_t>(r));
      Vector outcome(5);
      all = body(random, outcome) && all;
      sample.col(r) = outcome;
    }
    if (!all) {
      result.checks.push_back(analysis::inconclusive("gaussian-" + label + "-normality", "the limit law is normal", "theory.md 2.2, 2.3", "a replication has no flow"));
      continue;
    }
    for (Index i = 0; i < 5; ++i) {
      const auto k = static_cast<std::size_t>(i);
      family.push_back(analysis::check_test(fmt::format("gaussian-{}-anderson-darling-{}", label, names[k]), fmt::format("{}: {} of the flow is normal over replications", label, names[k]), "theory.md 2.2, 2.3", analysis::anderson_darling(sample.row(i).transpose())));
      if (learning == Learning::online) continue;
      Vector ordered = sample.row(i).transpose() / std::sqrt(law(i, i));
      std::sort(ordered.begin(), ordered.end());
      Series points{names[k], Series::Style::points, {}, {}, {}, {}, static_cast<int>(i)};
      for (int q = 5; q < draws; q += draws / 50) points.x.push_back(boost::math::quantile(boost::math::normal(), (q + 0.5) / draws)), points.y.push_back(ordered[q]);
      figure.series.push_back(std::move(points));
    }
    const auto joint = analysis::mardia(sample);
    family.push_back(analysis::check_test("gaussian-" + label + "-mardia-skewness", label + ": mean and covariance are jointly normal (skewness)", "theory.md 2.2, 2.3", joint.skewness));
    family.push_back(analysis::check_test("gaussian-" + label + "-mardia-kurtosis", label + ": mean and covariance are jointly normal (kurtosis)", "theory.md 2.2, 2.3", joint.kurtosis));
    family.push_back(analysis::check_test("gaussian-" + label + "-covariance", label + ": their covariance is that of the exact linear law", "theory.md 2.2, 2.3", analysis::covariance_test(sample, law)));
  }
  analysis::decide_family(family);
  for (auto& check : family) result.checks.push_back(std::move(check));
  result.figures.push_back(std::move(figure));
}

/// A potential that is neither convex nor separable, on a grid: the forced equation and the gains against exact sensitivities of entropic JKO flows, and replications.
void add_grid(StudyResult& result, const StudyOptions& options) {
  const bool quick = options.scale == Scale::quick;
  const double time = 0.4, half = 3.4;
  const Index cells = quick ? 64 : 128;
  const Model model(formula("a*x1^4/4 - x1^2/2 + x2^2/2 + c*x1*x2", 2), Vector{{1, 0.4}}, 2);
  const auto start_on = [&](Index n) { return GridDensity::gaussian(std::make_shared<const Grid>(Grid{Vector{{-half, -half}}, Vector{{half, half}}, {n, n}}), Vector{{0.5, -0.3}}, Matrix{{0.3, 0}, {0, 0.2}}); };
  const std::vector<analysis::GridFunctional> phi{[](const ConstMatrixRef& x) { return Vector(x.row(0)); }, [](const ConstMatrixRef& x) { return Vector(x.row(0).array().square()); }, [](const ConstMatrixRef& x) { return Vector(x.row(0).cwiseProduct(x.row(1))); },
                                                  [](const ConstMatrixRef& x) { return Vector((x.row(0) + x.row(1)).array().cos()); }};
  constexpr std::array texts{"x", "x^2", "x y", "cos(x + y)"};
  // Any Sigma serves the equations; this one stands for estimates of (a, c, beta) of like errors, two of them correlated.
  const Matrix sigma{{1, 0.3, 0}, {0.3, 0.5, 0}, {0, 0, 0.4}};
  const auto fine = analysis::grid_offline_limit(model, start_on(cells), time, quick ? 16 : 40), coarse = analysis::grid_offline_limit(model, start_on(cells / 2), time, quick ? 8 : 20);
  const auto online = analysis::grid_online_limit(model, start_on(cells), time, quick ? 16 : 40, phi), online_coarse = analysis::grid_online_limit(model, start_on(cells / 2), time, quick ? 8 : 20, phi);
  const Matrix response = fine.pairing(phi);
  const double response_error = (response - coarse.pairing(phi)).cwiseAbs().maxCoeff();
  const auto functionals = [&](const Grid& grid) {
    Matrix out(static_cast<Index>(phi.size()), grid.size());
    for (std::size_t i = 0; i < phi.size(); ++i) out.row(static_cast<Index>(i)) = grid.cell_volume() * phi[i](grid.points()).transpose();
    return out;
  };
  // JKO: entropic steps with exact sensitivities at three h, and the change with twice the epsilon and with half the cells at the coarsest.
  // One thread: a kernel application on such a grid is shorter than the meeting of two threads on a busy machine.
  const double epsilon = std::pow(2 * half / static_cast<double>(cells), 2);
  Status status = Status::converged;
  const auto sensitivity = [&](Index n, int steps, double times, Sensitivity kind) {
    const auto start = start_on(n);
    const auto r = Flow<EntropicStep>(EntropicStep(FreeEnergy(model), {.epsilon = times * epsilon, .tolerance = 1e-9}), start, {.h = time / steps, .steps = steps, .sensitivity = kind, .keep_every = steps}).run(options.observer);
    if (!is_success(r.status)) status = r.status;
    return is_success(r.status) ? Matrix(functionals(start.grid()) * r.final_state().tangent) : Matrix(Matrix::Zero(4, kind == Sensitivity::shared ? 3 : 3 * steps));
  };
  std::array<Matrix, 3> at, covariance;
  const auto law = [&](Index n, int steps, double times) {
    const Matrix g = sensitivity(n, steps, times, Sensitivity::per_step);
    return Matrix(g * estimators::online_covariance(sigma, steps, OnlineData::fresh) * g.transpose() * (steps / time));
  };
  for (std::size_t level = 0; level < 3; ++level) {
    const int steps = 4 << level;
    at[level] = (4 * sensitivity(cells, steps, 1, Sensitivity::shared) - sensitivity(cells, steps, 2, Sensitivity::shared)) / 3;
    covariance[level] = (4 * law(cells, steps, 1) - law(cells, steps, 2)) / 3;
  }
  const Matrix twice = (4 * sensitivity(cells, 16, 2, Sensitivity::shared) - sensitivity(cells, 16, 4, Sensitivity::shared)) / 3, half_cells = sensitivity(cells / 2, 4, 4, Sensitivity::shared), same = sensitivity(cells, 4, 4, Sensitivity::shared);
  const Matrix law_twice = (4 * law(cells, 16, 2) - law(cells, 16, 4)) / 3, law_half = law(cells / 2, 4, 4), law_same = law(cells, 4, 4);
  const std::string off = "d<phi, rho^h>/d(a, c, beta) of the entropic JKO flow in the plane tends to the forced linear equation's response as h to 0 (12 entries)", on = "(m/h) Cov <phi, rho^h> with a fresh estimate in every step tends to the stochastic PDE's covariance (16 entries)";
  if (!is_success(status)) {
    result.checks.push_back(analysis::inconclusive("grid-offline", off, "theory.md 2.2", "an entropic step did not converge: " + std::string(describe(status))));
  } else {
    const auto [value, error] = extrapolate(at);
    const double bias = (at[2] - twice).cwiseAbs().maxCoeff(), width = (same - half_cells).cwiseAbs().maxCoeff();
    result.checks.push_back(check_at_most("grid-offline", off, "theory.md 2.2, Theorem OFF", (value - response).cwiseAbs().maxCoeff(), 0, error + bias + width + response_error,
                                          fmt::format("last change of the extrapolation in h {:.1e}, change with all epsilons doubled {:.1e}, with half the cells {:.1e}, the equation's change on refinement {:.1e}; the largest entry is {:.3g}", error, bias, width, response_error, response.cwiseAbs().maxCoeff())));
    const auto [cov, cov_error] = extrapolate(covariance);
    const Matrix theory = online.covariance(sigma);
    const double cov_bias = (covariance[2] - law_twice).cwiseAbs().maxCoeff(), cov_width = (law_same - law_half).cwiseAbs().maxCoeff(), theory_error = (theory - online_coarse.covariance(sigma)).cwiseAbs().maxCoeff();
    result.checks.push_back(check_at_most("grid-online", on, "theory.md 2.3, Theorem ON", (cov - theory).cwiseAbs().maxCoeff(), 0, cov_error + cov_bias + cov_width + theory_error,
                                          fmt::format("last change of the extrapolation in h {:.1e}, change with all epsilons doubled {:.1e}, with half the cells {:.1e}, the equation's change on refinement {:.1e}; the largest entry is {:.3g}", cov_error, cov_bias, cov_width, theory_error, theory.cwiseAbs().maxCoeff())));
    Table table{"grid", fmt::format("Psi = a x^4/4 - x^2/2 + y^2/2 + c x y, a = 1, c = 0.4, beta = 2, t = 0.4, {0} x {0} cells: responses to (a, c, beta) and online variances.", cells), {"phi", "response, JKO", "response, forced equation", "online variance, JKO", "online variance, stochastic PDE"}, {}};
    for (Index i = 0; i < 4; ++i) {
      table.rows.push_back({texts[static_cast<std::size_t>(i)], fmt::format("{:.4f} {:.4f} {:.4f}", value(i, 0), value(i, 1), value(i, 2)), fmt::format("{:.4f} {:.4f} {:.4f}", response(i, 0), response(i, 1), response(i, 2)), fmt::format("{:.5f}", cov(i, i)), fmt::format("{:.5f}", theory(i, i))});
    }
    result.tables.push_back(std::move(table));
  }
  // Duality: the integral of the gains is the response.
  const double dual_error = (online.pairing() - online_coarse.pairing()).cwiseAbs().maxCoeff();
  result.checks.push_back(check_at_most("grid-duality", "int_0^t q(s) ds = <phi, V_t>: backward and forward solves agree", "theory.md 2.2", (online.pairing() - response).cwiseAbs().maxCoeff(), 0, response_error + dual_error, "changes of both on refinement"));
  // Replications of the plug-in law: theta_n ~ N(theta, Sigma/n), the Fokker-Planck equation at theta_n.
  const int n = 400;
  // On 64 x 64 cells at either scale: the limit there is that of the refined solve or, at full scale, of the coarse one.
  const Index small = 64;
  const auto& limit = quick ? fine : coarse;
  const Matrix linear = limit.pairing(phi);
  const auto start = start_on(small);
  const Matrix phi_small = functionals(start.grid()), root = Matrix(sigma.llt().matrixL());
  const auto solve = [&](const Vector& parameters) {
    const auto r = FokkerPlanckGrid(FreeEnergy(model.with_parameters(parameters)), start.grid_ptr()).advance(start, time / 20, 20);
    return is_success(r.status) ? std::optional<Vector>(r.measure.values()) : std::nullopt;
  };
  const auto at_truth = solve(model.parameters());
  const char* replicated = "n Var <phi, rho_t(theta_n)> over replications is that of V_t";
  if (!at_truth) {
    result.checks.push_back(analysis::inconclusive("grid-replications", replicated, "theory.md 2.2, Theorem OFF", "the Fokker-Planck solve lost its sign: more time steps are needed"));
    return;
  }
  analysis::Design design{.name = "plane-limits grid", .recipe = fmt::format("n = {}, {} cells", n, small), .cells = {"n = 400"}, .dimension = 8, .replications = quick ? 400 : 4000, .blocks = 40, .seed = options.seed, .worker = {}};
  design.worker = [&](Index) -> analysis::Replicate {
    return [&](RandomStream& random, VectorRef out) {
      Vector z(3);
      random.fill_normal(z);
      const Vector move = root * z / std::sqrt(static_cast<double>(n));
      const auto there = solve(model.parameters() + move);
      if (!there) return false;
      out << std::sqrt(static_cast<double>(n)) * (phi_small * (*there - *at_truth)), std::sqrt(static_cast<double>(n)) * linear * move;
      return true;
    };
  };
  const auto cell = analysis::summarise(analysis::run_design(design, {.threads = options.threads, .observer = options.observer}))[0];
  Worst worst;
  const Matrix theory = linear * sigma * linear.transpose();
  for (Index i = 0; i < 4; ++i) worst.add(texts[static_cast<std::size_t>(i)], cell.moments.covariance()(i, i), theory(i, i), cell.covariance_error(i, i));
  result.checks.push_back(worst.check("grid-replications", replicated, "theory.md 2.2, Theorem OFF", static_cast<double>(design.blocks - 1), fmt::format("s.e. over {} replications at n = {}, by the scatter of {} blocks", design.replications, n, design.blocks)));
  double curvature = 0;
  for (Index i = 0; i < 4; ++i) curvature = std::max(curvature, std::abs(cell.moments.covariance()(i, i + 4) / std::sqrt(cell.moments.covariance()(i, i) * cell.moments.covariance()(i + 4, i + 4)) - 1));
  result.notes.push_back(fmt::format("On the grid, 1 - correlation of sqrt(n)(<phi, rho_t(theta_n)> - <phi, rho_t>) with <phi, response>(theta_n - theta) is at most {:.1e} at n = {}: the law is the linear one draw by draw.", curvature, n));
  // Figure: standard deviation of V_t along rows of cells.
  Figure figure{"plane-deviation", "Standard deviation of V_t(x, y) along three rows of cells, by the forced equation (lines) and over replications of n = 400 (points).", "x", "s.d. of sqrt(n) error of the density", false, false, {}};
  const Grid& grid = start.grid();
  std::array<std::vector<double>, 3> squares;
  constexpr std::array rows{-0.8, 0.0, 0.8};
  std::array<Index, 3> row{};
  for (std::size_t r = 0; r < 3; ++r) row[r] = static_cast<Index>((rows[r] + half) / grid.width(1)), squares[r].assign(static_cast<std::size_t>(small), 0.0);
  const int draws = quick ? 200 : 2000;
  int drawn = 0;  // those whose solve kept its sign
  for (int k = 0; k < draws; ++k) {
    RandomStream random(options.seed, "plane-limits figure", static_cast<std::uint64_t>(k));
    Vector z(3);
    random.fill_normal(z);
    const auto there = solve(model.parameters() + root * z / std::sqrt(static_cast<double>(n)));
    if (!there) continue;
    ++drawn;
    for (std::size_t r = 0; r < 3; ++r) {
      for (Index i = 0; i < small; ++i) squares[r][static_cast<std::size_t>(i)] += std::pow((*there)[i + small * row[r]] - (*at_truth)[i + small * row[r]], 2) * n;
    }
  }
  for (std::size_t r = 0; r < 3; ++r) {
    Series line{fmt::format("y = {:.2f}", grid.centres(1)[row[r]]), Series::Style::line, {}, {}, {}, {}, static_cast<int>(r)}, point{"", Series::Style::points, {}, {}, {}, {}, static_cast<int>(r)};
    for (Index i = 0; i < small; ++i) {
      const Index at_cell = i + small * row[r];
      if (std::abs(grid.centres(0)[i]) > 2.6) continue;
      line.x.push_back(grid.centres(0)[i]), line.y.push_back(std::sqrt(limit.response.row(at_cell).dot(sigma * limit.response.row(at_cell).transpose())));
      const double deviation = std::sqrt(squares[r][static_cast<std::size_t>(i)] / drawn);
      point.x.push_back(grid.centres(0)[i]), point.y.push_back(deviation), point.error.push_back(deviation / std::sqrt(2.0 * drawn));
    }
    figure.series.push_back(std::move(line)), figure.series.push_back(std::move(point));
  }
  result.figures.push_back(std::move(figure));
}

}  // namespace

StudyResult plane_limits(const StudyOptions& options) {
  StudyResult result;
  result.description =
      "The limit laws of statistical JKO in the plane. Gaussians (Ornstein-Uhlenbeck, K and the start's covariance do not commute): exact sensitivities of the JKO flow against the closed form (offline) and the Lyapunov equation (online, fresh and accumulated data), and replications "
      "with maximum-likelihood estimates (offline) or a fresh estimate in every step (online). Grids (a potential that is neither convex nor separable): the forced Fokker-Planck equation and the stochastic PDE's covariance against exact sensitivities of entropic JKO flows, extrapolated in h and epsilon, and replications of the plug-in law.";
  add_gaussian(result, options);
  add_grid(result, options);
  return result;
}

}  // namespace jko::validation
