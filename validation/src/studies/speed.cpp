#include "studies.hpp"

#include <jko/core/random.hpp>
#include <jko/landau/blob.hpp>
#include <jko/measures/convert.hpp>
#include <jko/measures/gaussian_sums.hpp>
#include <jko/problems/ornstein_uhlenbeck_flow.hpp>
#include <jko/problems/self_similar.hpp>
#include <jko/reference/fokker_planck_grid.hpp>
#include <jko/steps/back_and_forth_step.hpp>
#include <jko/steps/entropic_step.hpp>
#include <jko/transport/exact.hpp>
#include <jko/transport/grid_w2.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ctime>

namespace jko::validation {
namespace {

using namespace analysis;

std::shared_ptr<const Grid> box(int d, double half, Index cells) {
  return std::make_shared<const Grid>(Grid{Vector::Constant(d, -half), Vector::Constant(d, half), std::vector<Index>(static_cast<std::size_t>(d), cells)});
}

/// One row of the table, and the check of its error.
struct Timed {
  std::string id, problem, size, method;
  double seconds = 0, error = 0, asked = 0;
  std::string peers;
  Status status = Status::converged;
};

/// CPU seconds of this process, the least of two runs: the first also fills caches.
template <class F>
double cpu(const F& f) {
  double best = 1e300;
  for (int run = 0; run < 2; ++run) {
    const std::clock_t begin = std::clock();
    f();
    best = std::min(best, static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC);
  }
  return best;
}

/// A JKO step that only dilates its start.
struct Dilation {
  std::string id, name;
  FreeEnergy energy;
  problems::SelfSimilar profile;
  double scale, h;
  [[nodiscard]] GridDensity at(const std::shared_ptr<const Grid>& grid, double l) const {
    const int d = profile.dimension();
    return std::isfinite(profile.support()) ? profile.on_grid(grid, l, 8) : GridDensity::gaussian(grid, Vector::Zero(d), l * l * Matrix::Identity(d, d));
  }
};

template <class Step, class Options>
Timed time_step(const Dilation& problem, Index cells, const Options& options, double asked, const std::string& method, const std::string& peers) {
  const auto grid = box(problem.profile.dimension(), 0.5, cells);
  const GridDensity from = problem.at(grid, problem.scale), exact = problem.at(grid, problem.profile.jko(problem.scale, problem.h));
  StepResult<GridDensity> result;
  const double seconds = cpu([&] { result = Step(problem.energy, options).advance(from, problem.h); });
  return {fmt::format("{}-{}-{}", problem.id, cells, method), problem.name, fmt::format("{}^{}", cells, grid->dimension()), method, seconds, l1_distance(result.measure, exact), asked, peers, result.status};
}

Timed time_w2(Index cells) {
  const auto grid = box(2, 0.5, cells);
  const Gaussian a(Vector{{-0.1, -0.05}}, Matrix{{0.004, 0.001}, {0.001, 0.006}}), b(Vector{{0.1, 0.05}}, Matrix{{0.007, -0.002}, {-0.002, 0.003}});
  const auto p = GridDensity::gaussian(grid, a.mean(), a.covariance()), q = GridDensity::gaussian(grid, b.mean(), b.covariance());
  GridW2 found;
  const double seconds = cpu([&] { found = grid_w2(p, q); });
  return {fmt::format("w2-{}", cells), "W2 between two Gaussians", fmt::format("{}^2", cells), "grid_w2", seconds, std::abs(found.value / w2(a, b) - 1), 1e-3,
          cells == 512 ? "back-and-forth 8.1 / 1.2e-3, GeomLoss 62 / 4.6e-4 (other smooth densities)" : "", found.status};
}

Timed time_fokker_planck(Index cells) {
  const auto problem = problems::non_commuting();
  const auto grid = box(2, 5, cells);
  const Gaussian end = problem.at(0.4).front();
  const auto start = problem.on_grid(grid, 0), exact = GridDensity::gaussian(grid, end.mean(), end.covariance());
  const int steps = static_cast<int>(cells / 8);
  FokkerPlanckGrid solver(FreeEnergy(problem.model()), grid);
  FokkerPlanckGridResult result;
  const double seconds = cpu([&] { result = solver.advance(start, 0.4 / steps, steps); }) / steps;
  // Second order in the width and the step together: 2.5e-4 at 256^2 with the same ratio.
  return {fmt::format("fokker-planck-{}", cells), "Fokker-Planck finite volumes, one step (OU, to t = 0.4)", fmt::format("{}^2", cells), "fokker_planck_grid", seconds, l1_distance(result.measure, exact),
          2.5e-4 * std::pow(256.0 / static_cast<double>(cells), 2), cells == 512 ? "SciPy sparse LU 0.024" : "", result.status};
}

Timed time_exact_transport(Index n, std::uint64_t seed) {
  Matrix x(2, n), y(2, n);
  RandomStream random(seed, "speed study");
  for (Index i = 0; i < n; ++i) random.fill_normal(x.col(i));
  for (Index i = 0; i < n; ++i) random.fill_normal(y.col(i));
  const Particles a(x), b(y.array() + 1.0);
  ExactTransport t;
  const double seconds = cpu([&] { t = exact_transport(a, b); });
  // The dual certifies the cost to rounding of sums of n terms.
  return {fmt::format("exact-transport-{}", n), "Exact transport between two clouds in the plane", fmt::format("n = {}", n), "exact_transport", seconds, t.gap() / t.cost,
          1e-15 * static_cast<double>(n), n == 2000 ? "POT 0.41, LEMON 0.36" : "", Status::converged};
}

Timed time_landau(Index cells, double dt) {
  const Bkw bkw(2, 1.0 / 16, 0.5);
  const auto grid = box(2, 4, cells);
  const Particles start = to_particles(GridDensity::from_density(grid, [&](const ConstMatrixRef& v) { return bkw.density(v, 0); }), 1e-12).measure;
  const double bandwidth = std::sqrt(0.64 * std::pow(grid->width(0), 1.98));
  LandauResult r;
  const double seconds = cpu([&] { r = landau_blob(bkw.kernel(), start, {.bandwidth = bandwidth, .dt = dt, .steps = static_cast<int>(std::lround(5 / dt)), .record_every = 1000}); });
  const Matrix centres = grid->points();
  const Vector exact = bkw.density(centres, 5);
  const double error = (GaussianSums(centres, r.particles.points(), bandwidth).value(r.particles.weights()) - exact).norm() / exact.norm();
  // The blob's error is of second order in the bandwidth, which is that of the width to 1 %.
  return {fmt::format("landau-{}", cells), fmt::format("Landau blob, BKW, T = 5, dt = {:g}", dt), fmt::format("{}^2", cells), "landau_blob", seconds, error, 1.8e-2 * std::pow(40.0 / static_cast<double>(cells), 2),
          cells == 40 ? "NumPy 4.2 / 1.8e-2" : "", r.status};
}

}  // namespace

StudyResult speed(const StudyOptions& options) {
  const bool quick = options.scale == Scale::quick;
  StudyResult result;
  result.description =
      "CPU seconds of one thread beside the error to a closed form, for one step of JKO on grids and for the particle codes. The times are this machine's and change from run to run: nothing is checked about them. "
      "The errors do not: each is held against the accuracy that the row asks for. Errors are L1 distances to the closed-form minimiser of the same step; relative for W2; a relative duality gap for exact transport; relative L2 for Landau. "
      "Public codes: CPU seconds / error of the same problem, measured once on another machine with the published back-and-forth program ([JacobsLeeLeger2021]), GeomLoss, POT, SciPy and NumPy.";
  FreeEnergy entropy, porous;
  entropy.add_entropy(1);
  porous.add_porous_medium(0.05, 2);
  const Dilation heat{"heat", "heat step, sigma = 0.06, h = 5e-4", entropy, problems::mckean_vlasov_gaussian(2, 1, 0, 0), 0.06, 5e-4};
  const Dilation heat3{"heat3", "heat step in 3-D, sigma = 0.06, h = 5e-4", entropy, problems::mckean_vlasov_gaussian(3, 1, 0, 0), 0.06, 5e-4};
  const Dilation medium{"porous-medium", "porous medium m = 2, Barenblatt R = 0.2, h = 0.005", porous, problems::barenblatt(2, 2, 0.05), 0.2, 0.005};
  const auto entropic = [&](const Dilation& p, Index n, const EntropicStepOptions& o, double asked, const std::string& peers) { return time_step<EntropicStep>(p, n, o, asked, "entropic", peers); };
  const auto forth = [&](const Dilation& p, Index n, const BackAndForthStepOptions& o, double asked) { return time_step<BackAndForthStep>(p, n, o, asked, "back_and_forth", ""); };

  std::vector<Timed> rows;
  rows.push_back(entropic(heat, 256, {.bias_target = 8e-6, .tolerance = 5e-7}, 1e-5, "2.85 / 1.35e-2"));
  rows.push_back(entropic(heat, 512, {.bias_target = 9e-6, .tolerance = 5e-7}, 1e-5, "12.9 / 1.28e-2"));
  rows.push_back(entropic(medium, 256, {.epsilon = 5e-5, .bias_target = 1e-4, .tolerance = 1e-5}, 1.5e-4, "0.87 / 1.6e-3; 11.4 / 4.3e-4"));
  rows.push_back(entropic(medium, 512, {.epsilon = 3.5e-5, .bias_target = 1e-4, .tolerance = 1e-5}, 1.3e-4, "3.8 / 2.4e-3; 33 / 1.3e-4"));
  rows.push_back(forth(heat, 128, {.tolerance = 1e-5}, 4e-5));
  rows.push_back(time_w2(quick ? 128 : 512));
  rows.push_back(time_fokker_planck(quick ? 128 : 512));
  rows.push_back(time_exact_transport(quick ? 500 : 2000, options.seed));
  rows.push_back(time_landau(quick ? 20 : 40, quick ? 0.1 : 0.05));
  if (!quick) {
    rows.push_back(entropic(medium, 1024, {.epsilon = 6e-5, .bias_target = 1e-4, .tolerance = 2e-5}, 5e-4, "15.6 / 2.7e-3"));
    rows.push_back(entropic(heat3, 128, {.bias_target = 6e-5, .tolerance = 5e-6}, 1e-4, ""));
    rows.push_back(forth(heat, 256, {.tolerance = 1e-5}, 1e-5));
    rows.push_back(forth(medium, 256, {.tolerance = 3e-4}, 4e-4));
  }

  Table table{"speed", "CPU seconds of one thread, the least of two runs, and errors.", {"problem", "size", "method", "CPU s", "error", "asked", "public codes, s / error"}, {}};
  for (const Timed& row : rows) {
    table.rows.push_back({row.problem, row.size, row.method, fmt::format("{:.2g}", row.seconds), fmt::format("{:.2e}", row.error), fmt::format("{:.1e}", row.asked), row.peers});
    const std::string claim = fmt::format("{}, {}: {} is within {:.2g} of the closed form", row.problem, row.size, row.method, row.asked);
    if (!is_success(row.status)) result.checks.push_back(inconclusive(row.id, claim, "derived", fmt::format("the solver did not converge: {}", describe(row.status))));
    else result.checks.push_back(check_at_most(row.id, claim, "derived", row.error, row.asked, 0, "none: the accuracy is what was asked for, and no random number decides it"));
  }
  result.tables.push_back(std::move(table));

  // The bits of a step with two threads.
  const auto grid = box(2, 0.5, 128);
  const GridDensity from = heat.at(grid, heat.scale);
  const Vector one = EntropicStep(entropy, {.threads = 1}).advance(from, heat.h).measure.values(), two = EntropicStep(entropy, {.threads = 2}).advance(from, heat.h).measure.values();
  result.checks.push_back(check_at_most("threads", "the entropic step's density is the same to the bit with one thread and two", "derived", (one - two).cwiseAbs().maxCoeff(), 0, 0, "none: equality"));
  return result;
}

}  // namespace jko::validation
