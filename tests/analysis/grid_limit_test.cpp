#include <jko/analysis/grid_limit.hpp>
#include <jko/analysis/offline_limit.hpp>
#include <jko/analysis/online_limit.hpp>
#include <jko/models/families.hpp>
#include <jko/problems/ornstein_uhlenbeck_flow.hpp>
#include <jko/reference/fokker_planck_grid.hpp>
#include <jko/reference/ornstein_uhlenbeck.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cmath>

using namespace jko;
using namespace jko::analysis;
using estimators::OnlineData;

namespace {

const auto problem = problems::non_commuting();
constexpr double t = 0.4;

GridDensity start_on(Index cells) {
  return problem.on_grid(std::make_shared<const Grid>(Grid{Vector{{-4.6, -5.4}}, Vector{{5, 5.4}}, {cells, cells}}), 0);
}

/// Mean and second moments of the plane, whose derivatives the coordinates (mean, vec covariance) give.
const std::vector<GridFunctional> moments{[](const ConstMatrixRef& x) { return Vector(x.row(0)); }, [](const ConstMatrixRef& x) { return Vector(x.row(1)); },
                                          [](const ConstMatrixRef& x) { return Vector(x.row(0).cwiseProduct(x.row(0))); }, [](const ConstMatrixRef& x) { return Vector(x.row(0).cwiseProduct(x.row(1))); },
                                          [](const ConstMatrixRef& x) { return Vector(x.row(1).cwiseProduct(x.row(1))); }};
/// d(moments) = transform d(m, vec Sigma).
Matrix transform(const Vector& m) {
  Matrix out = Matrix::Zero(5, 6);
  out(0, 0) = out(1, 1) = out(2, 2) = out(3, 3) = out(4, 5) = 1;
  out(2, 0) = 2 * m[0], out(3, 0) = m[1], out(3, 1) = m[0], out(4, 1) = 2 * m[1];
  return out;
}

}  // namespace

TEST_CASE("offline: the forced equation on a grid has the closed form's response, with second order") {
  const OrnsteinUhlenbeck process(problem.model());
  const Gaussian start = problem.jko(1, 0);
  const Matrix exact = transform(process.law(start, t).mean()) * process.sensitivity(start, t);
  std::array<double, 2> error{};
  for (int level = 0; level < 2; ++level) {
    const auto limit = grid_offline_limit(problem.model(), start_on(40 << level), t, 8 << level);
    error[static_cast<std::size_t>(level)] = (limit.pairing(moments) - exact).cwiseAbs().maxCoeff();
    CHECK(std::abs(limit.response.colwise().sum().maxCoeff()) * limit.grid->cell_volume() < 1e-12);
  }
  INFO(error[0] << " " << error[1]);
  CHECK(error[1] < 0.4 * error[0]);  // second order: a quarter; the order itself, with the size of the first error, is the assertion
  CHECK(error[0] < 0.2 * exact.cwiseAbs().maxCoeff());  // not asymptotic from nowhere
}

TEST_CASE("offline: columns are derivatives of the discrete density, up to the square of the time step") {
  const double step = 1e-5;
  const auto start = start_on(30);
  for (const Index j : {Index{1}, Index{4}, Index{5}}) {
    std::array<double, 2> error{};
    for (int level = 0; level < 2; ++level) {
      const int steps = 10 << level;
      const auto moved = [&](double sign) {
        Vector parameters = problem.model().parameters();
        parameters[j] += sign * step;
        const auto at = [&](int n) { return FokkerPlanckGrid(FreeEnergy(problem.model().with_parameters(parameters)), start.grid_ptr()).advance(start, t / n, n, GridStepping::implicit_euler).measure.values(); };
        return Vector(2 * at(2 * steps) - at(steps));
      };
      const Vector difference = (moved(1) - moved(-1)) / (2 * step);
      error[static_cast<std::size_t>(level)] = (difference - grid_offline_limit(problem.model(), start, t, steps).response.col(j)).cwiseAbs().maxCoeff() / difference.cwiseAbs().maxCoeff();
    }
    INFO(j << ": " << error[0] << " " << error[1]);
    CHECK(error[1] < 0.4 * error[0]);
    CHECK(error[0] < 0.1);
  }
}

TEST_CASE("online: the gains' covariance is the Gaussian closed form's, and their integral the offline response") {
  const Gaussian start = problem.jko(1, 0);
  const Matrix sigma = Vector{{1, 0.5, 2, 0.3, 0.2, 0}}.asDiagonal();
  const Matrix move = transform(OrnsteinUhlenbeck(problem.model()).law(start, t).mean());
  const auto coarse_start = start_on(40), fine_start = start_on(80);
  const auto coarse = grid_online_limit(problem.model(), coarse_start, t, 8, moments), fine = grid_online_limit(problem.model(), fine_start, t, 16, moments);
  const Matrix offline = grid_offline_limit(problem.model(), fine_start, t, 16).pairing(moments), offline_coarse = grid_offline_limit(problem.model(), coarse_start, t, 8).pairing(moments);
  // Whole changes on refinement: the finer errors are a third of them at order two.
  CHECK((fine.pairing() - offline).cwiseAbs().maxCoeff() <= (fine.pairing() - coarse.pairing()).cwiseAbs().maxCoeff() + (offline - offline_coarse).cwiseAbs().maxCoeff());
  for (const OnlineData data : {OnlineData::fresh, OnlineData::accumulated}) {
    const Matrix exact = move * gaussian_online_limit(problem.model(), start, t, sigma, data) * move.transpose();
    const double change = (fine.covariance(sigma, data) - coarse.covariance(sigma, data)).cwiseAbs().maxCoeff(), error = (fine.covariance(sigma, data) - exact).cwiseAbs().maxCoeff();
    INFO(error << " " << change << " of " << exact.cwiseAbs().maxCoeff());
    CHECK(error <= change);
    CHECK(change < 0.1 * exact.cwiseAbs().maxCoeff());
  }
}

TEST_CASE("in one dimension the grid's laws are those of the line") {
  const Model model(double_well(), Vector{{1, 1, 0}}, 2);
  const auto density = [](double x) { return std::exp(-(x - 0.5) * (x - 0.5) / 0.6); };
  const std::vector<GridFunctional> phi{[](const ConstMatrixRef& x) { return Vector(x.row(0)); }, [](const ConstMatrixRef& x) { return Vector(x.row(0).array().square()); }};
  const std::vector<Functional> on_line{[](double x) { return x; }, [](double x) { return x * x; }};
  const Matrix sigma = Vector{{1, 2, 0.5, 0}}.asDiagonal();
  std::array<Matrix, 2> offline, online, offline_line, online_line;
  for (std::size_t level = 0; level < 2; ++level) {
    const Index cells = 120 << level;
    const int steps = 20 << level;
    const auto start = GridDensity::from_density(std::make_shared<const Grid>(Grid{Vector{{-3.6}}, Vector{{3.6}}, {cells}}), [&](const ConstMatrixRef& x) { return Vector(x.row(0).transpose().unaryExpr(density)); });
    const LimitCase line{model, density, -3.6, 3.6, cells, t, steps};
    offline[level] = grid_offline_limit(model, start, t, steps).pairing(phi), offline_line[level] = offline_limit(line).pairing(on_line);
    online[level] = grid_online_limit(model, start, t, steps, phi).covariance(sigma), online_line[level] = online_limit(line).covariance(on_line, sigma);
  }
  const auto change = [](const std::array<Matrix, 2>& a, const std::array<Matrix, 2>& b) { return (a[1] - a[0]).cwiseAbs().maxCoeff() + (b[1] - b[0]).cwiseAbs().maxCoeff(); };
  CHECK((offline[1] - offline_line[1]).cwiseAbs().maxCoeff() <= change(offline, offline_line));
  CHECK((online[1] - online_line[1]).cwiseAbs().maxCoeff() <= change(online, online_line));
  CHECK(change(offline, offline_line) < 0.05 * offline[1].cwiseAbs().maxCoeff());
}
