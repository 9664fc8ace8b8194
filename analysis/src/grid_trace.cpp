#include <jko/analysis/grid_trace.hpp>

#include <jko/core/check.hpp>
#include <jko/energies/grid_energy.hpp>
#include <jko/steps/back_and_forth_step.hpp>
#include <jko/steps/entropic_step.hpp>

#include <Eigen/Cholesky>
#include <Eigen/Eigenvalues>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace jko::analysis {
namespace {

constexpr double epsilon = std::numeric_limits<double>::epsilon();
constexpr double unknown = std::numeric_limits<double>::quiet_NaN();

/// sup |grad mu| over the vertices shared by 2^d cells: second order, and no differences across walls are needed.
double largest_gradient(const Grid& grid, const Vector& mu) {
  const int d = grid.dimension();
  std::vector<Index> stride(static_cast<std::size_t>(d), 1);
  for (int a = 1; a < d; ++a) stride[static_cast<std::size_t>(a)] = stride[static_cast<std::size_t>(a - 1)] * grid.cells[static_cast<std::size_t>(a - 1)];
  double largest = 0;
  for (Index cell = 0; cell < grid.size(); ++cell) {
    bool vertex = true;
    for (int a = 0; a < d; ++a) vertex = vertex && (cell / stride[static_cast<std::size_t>(a)]) % grid.cells[static_cast<std::size_t>(a)] + 1 < grid.cells[static_cast<std::size_t>(a)];
    if (!vertex) continue;
    double square = 0;
    for (int a = 0; a < d; ++a) {
      double sum = 0;  // of the differences along axis a over the 2^{d-1} edges of the dual cell
      for (int corner = 0; corner < 1 << d; ++corner) {
        Index at = cell;
        for (int b = 0; b < d; ++b) at += (corner >> b & 1) * stride[static_cast<std::size_t>(b)];
        sum += (corner >> a & 1) ? mu[at] : -mu[at];
      }
      square += std::pow(sum / ((1 << (d - 1)) * grid.width(a)), 2);
    }
    largest = std::max(largest, square);
  }
  return std::sqrt(largest);
}

FlowTrace::Point point(const GridEnergy& energy, const GridDensity& measure, double t) {
  const Vector& rho = measure.values();
  FlowTrace::Point out;
  out.t = t;
  out.energy = energy.value(rho).total;
  out.slope = energy.slope(rho);
  if (rho.minCoeff() > 0) out.lipschitz = largest_gradient(measure.grid(), energy.first_variation(rho));
  return out;
}

bool residual_in_l2(const EntropicStep&) { return false; }  // it is the L1 violation of a marginal
bool residual_in_l2(const BackAndForthStep&) { return true; }

}  // namespace

template <class Step>
FlowTrace trace_grid_flow(Step step, const GridDensity& start, double h, int steps, std::vector<GridDensity>* states) {
  check_positive("trace_grid_flow", "step size h", h);
  check_at_least("trace_grid_flow", "steps", steps, 1);
  const GridEnergy energy(step.energy(), start.grid_ptr());
  FlowTrace trace;
  std::string cells;
  for (const Index n : start.grid().cells) cells += (cells.empty() ? "" : " x ") + std::to_string(n);
  trace.measure = fmt::format("density on {} cells", cells);
  trace.dimension = start.dimension();
  trace.convexity = step.energy().convexity();
  trace.lipschitz_unknown = "the density vanishes in a cell, or was not positive";
  trace.status = Status::converged;
  trace.points.push_back(point(energy, start, 0));
  std::vector<GridDensity> all{start};
  for (int k = 1; k <= steps; ++k) {
    auto result = step.advance(all.back(), h);
    if (!is_success(result.status) && result.status != Status::stalled) {
      trace.status = result.status;
      break;
    }
    all.push_back(std::move(result.measure));
    trace.points.push_back(point(energy, all.back(), k * h));
    trace.steps.push_back({h, result.w2_moved, residual_in_l2(step) ? result.residual : unknown, result.gap, result.w2_bound, unknown});
    // Sums over cells: rounding by the number of terms.
    trace.energy_error = std::max(trace.energy_error, static_cast<double>(start.grid().size()) * epsilon * std::abs(trace.points.back().energy));
  }
  if (states) *states = std::move(all);
  return trace;
}

FlowTrace trace_refined(FlowTrace fine, const std::vector<FlowTrace>& others, SolverErrors solver) {
  for (const FlowTrace& other : others) {
    if (other.status != Status::converged) fine.status = other.status;
    if (fine.status != Status::converged) return fine;
    check_size("trace_refined", "the points of the other trace", static_cast<Index>(other.points.size()), static_cast<Index>(fine.points.size()));
    double energy = 0, slope = 0, distance = 0, lipschitz = 0;
    const auto grow = [](double& largest, double a, double b) {
      if (std::isfinite(a) && std::isfinite(b)) largest = std::max(largest, std::abs(a - b));
    };
    for (std::size_t k = 0; k < fine.points.size(); ++k) {
      const auto &a = fine.points[k], &b = other.points[k];
      grow(energy, a.energy, b.energy), grow(slope, a.slope, b.slope), grow(distance, a.to_minimiser, b.to_minimiser), grow(lipschitz, a.lipschitz, b.lipschitz);
      if (k > 0) grow(distance, fine.steps[k - 1].moved, other.steps[k - 1].moved);
    }
    fine.energy_error += energy, fine.slope_error += slope, fine.distance_error += distance, fine.lipschitz_error += lipschitz;
    if (std::isfinite(fine.minimum) && std::isfinite(other.minimum)) fine.minimum_error += std::abs(fine.minimum - other.minimum);
  }
  if (solver == SolverErrors::compared) {
    for (auto& step : fine.steps) step.residual = step.gap = step.w2_bound = step.residual_sup = 0;
  }
  return fine;
}

GaussianProxy gaussian_proxy(const GridDensity& density) {
  const Grid& grid = density.grid();
  Matrix covariance = density.covariance();
  for (int a = 0; a < grid.dimension(); ++a) covariance(a, a) -= std::pow(grid.width(a), 2) / 12;  // of the values at the centres
  const Gaussian gaussian(density.mean(), covariance);
  const Eigen::LLT<Matrix> factor(covariance);
  const Matrix points = grid.points().colwise() - gaussian.mean();
  const Vector distance = factor.matrixL().solve(points).colwise().squaredNorm().transpose();
  const double normaliser = std::log(2 * std::numbers::pi) * grid.dimension() + 2 * factor.matrixLLT().diagonal().array().log().sum();
  double kl = 0, size = 0;
  for (Index i = 0; i < grid.size(); ++i) {
    const double rho = density.values()[i];
    if (!(rho > 0)) continue;
    const double term = std::log(rho) + 0.5 * (normaliser + distance[i]);
    kl += rho * term, size += rho * (std::abs(std::log(rho)) + 0.5 * std::abs(normaliser + distance[i]));
  }
  const double volume = grid.cell_volume(), rounding = static_cast<double>(grid.size() + 8) * epsilon * size * volume;
  const double spread = Eigen::SelfAdjointEigenSolver<Matrix>(covariance, Eigen::EigenvaluesOnly).eigenvalues().maxCoeff();
  return {gaussian, std::sqrt(2 * spread * (std::max(0.0, kl * volume) + rounding))};
}

template FlowTrace trace_grid_flow<EntropicStep>(EntropicStep, const GridDensity&, double, int, std::vector<GridDensity>*);
template FlowTrace trace_grid_flow<BackAndForthStep>(BackAndForthStep, const GridDensity&, double, int, std::vector<GridDensity>*);

}  // namespace jko::analysis
