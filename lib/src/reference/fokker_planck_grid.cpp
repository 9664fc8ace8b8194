#include <jko/reference/fokker_planck_grid.hpp>

#include <jko/core/check.hpp>
#include <jko/core/parallel.hpp>
#include <jko/energies/grid_energy.hpp>

#include "../measures/line_solver.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <type_traits>
#include <utility>

namespace jko {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

/// T B(-D/T) = D/(1 - e^{-D/T}), the rate from the cell that lies D higher; max(D, 0) at T = 0.
double rate(double temperature, double difference) {
  if (temperature == 0) return std::max(difference, 0.0);
  const double z = difference / temperature;
  if (std::abs(z) < 1e-8) return temperature + 0.5 * difference;
  return -difference / std::expm1(-z);
}

}  // namespace

void FokkerPlanckGridOptions::validate() const {
  check_nonnegative("fokker_planck_grid", "negative_mass", negative_mass);
  check_positive("fokker_planck_grid", "tolerance", tolerance);
  check_at_least("fokker_planck_grid", "max_iterations", max_iterations, 1);
  check_at_least("fokker_planck_grid", "threads", threads, 1);
}

class FokkerPlanckGrid::Work {
 public:
  Work(FreeEnergy free_energy, std::shared_ptr<const Grid> on, FokkerPlanckGridOptions opts)
      : energy(std::move(free_energy)), grid(std::move(on)), options(opts) {
    options.validate();
    if (!grid) throw DomainError("fokker_planck_grid: the grid is missing");
    grid->validate();
    if (grid->boundary != Boundary::no_flux) throw DomainError("fokker_planck_grid: the grid is periodic, but only no-flux walls are solved");
    if (energy.dimension() != 0 && energy.dimension() != grid->dimension()) {
      throw DomainError(fmt::format("fokker_planck_grid: the energy has dimension {}, but the grid {}", energy.dimension(), grid->dimension()));
    }
    if (!energy.potential() && !energy.entropy() && !energy.porous_medium() && !energy.interaction()) throw DomainError("fokker_planck_grid: the energy has no parts");
    psi = Vector::Zero(grid->size());
    if (const auto* part = energy.potential()) {
      psi = part->potential->evaluate({0, 0}, grid->points(), part->theta).row(0).transpose();
      Index open = 0;
      for (const double v : psi) {
        if (!(v > -infinity)) throw DomainError("fokker_planck_grid: the potential is NaN or -inf at a cell centre");
        open += v < infinity;
      }
      obstacles = open < psi.size();
      if (open == 0) throw DomainError("fokker_planck_grid: the potential is +inf at every cell centre");
    }
    if (energy.congestion()) throw DomainError("fokker_planck_grid: congestion has no equation of this form; the entropic step takes it");
    if (energy.interaction()) {
      FreeEnergy only;
      only.add_interaction(energy.interaction()->kernel, energy.interaction()->theta);
      interaction.emplace(only, grid);
    }
    linear = !energy.porous_medium() && !energy.interaction();
    for (int a = 0; a < grid->dimension(); ++a) {
      up.emplace_back(grid->size());
      down.emplace_back(grid->size());
      solvers.emplace_back(*grid, a);
      strides.push_back(a == 0 ? 1 : strides.back() * grid->cells[static_cast<std::size_t>(a - 1)]);
    }
    if (linear) {
      shared = separable();
      assemble(Vector());
    }
  }

  /// Psi = sum of functions of one axis each, to rounding, and no obstacle: then every line of an axis has the same coefficients.
  [[nodiscard]] bool separable() const {
    if (!psi.allFinite()) return false;
    const double tolerance = 8 * std::numeric_limits<double>::epsilon() * std::max(psi.cwiseAbs().maxCoeff(), std::numeric_limits<double>::min());
    for (Index i = 0; i < psi.size(); ++i) {
      double sum = psi[0];
      Index rest = i;
      for (int a = grid->dimension() - 1; a >= 0; --a) {
        const Index stride = strides[static_cast<std::size_t>(a)];
        sum += psi[rest / stride * stride] - psi[0];
        rest %= stride;
      }
      if (!(std::abs(sum - psi[i]) <= tolerance)) return false;
    }
    return true;
  }

  /// Rates of every edge; `density` (the temperature of nonlinear energies is that of the edge's two values) is not read where linear.
  void assemble(const Vector& density) {
    const double base = energy.entropy() ? 1 / energy.entropy()->beta : 0;
    const auto* porous = energy.porous_medium();
    Vector field = psi;
    if (interaction) field += interaction->interaction(density);
    Vector pressure;
    if (porous) {
      pressure = porous->exponent == 2 ? Vector(density.array().square()) : Vector(density.array().max(0).pow(porous->exponent));
      pressure *= porous->coefficient;
    }
    for (int a = 0; a < grid->dimension(); ++a) {
      const auto axis = static_cast<std::size_t>(a);
      const Index n = grid->cells[axis], stride = strides[axis];
      const double scale = 1 / (grid->width(a) * grid->width(a));
      const auto edge = [&](Index i) {
        const double difference = field[i + stride] - field[i];
        if (!std::isfinite(difference)) {  // next to an obstacle
          up[axis][i] = down[axis][i] = 0;
          return;
        }
        double temperature = base;
        if (porous && density[i] + density[i + stride] > 0) {
          const double l = density[i], r = density[i + stride];
          // The secant of p; where it cancels, the tangent at the mean differs from it by (r-l)^2 p'''/24.
          temperature += std::abs(r - l) > 1e-5 * (l + r) ? (pressure[i + stride] - pressure[i]) / (r - l)
                                                          : porous->coefficient * porous->exponent * std::pow(0.5 * (l + r), porous->exponent - 1);
        }
        up[axis][i] = scale * rate(temperature, difference);
        down[axis][i] = scale * rate(temperature, -difference);
      };
      if (shared) {
        for (Index k = 0; k + 1 < n; ++k) edge(k * stride);
        // Packed for the solver, spread for apply().
        for (Index k = 0; k + 1 < n; ++k) {
          up[axis][k] = up[axis][k * stride];
          down[axis][k] = down[axis][k * stride];
        }
        continue;
      }
      parallel_blocks(psi.size(), 1 << 15, options.threads, [&](Index begin, Index end) {
        for (Index i = begin; i < end; ++i) {
          if (i / stride % n + 1 < n) edge(i);
          else up[axis][i] = down[axis][i] = 0;
        }
      });
    }
  }

  void factor(double s) {
    if (linear && s == factored_for) return;
    for (int a = 0; a < grid->dimension(); ++a) factor_axis(a, s);
    factored_for = s;  // read for linear energies only: the rates of the others change
  }
  void factor_axis(int a, double s) {
    const auto axis = static_cast<std::size_t>(a);
    solvers[axis].factor(up[axis].data(), down[axis].data(), s, shared, options.threads);
  }
  void reflect(int a, Vector& u) const { solvers[static_cast<std::size_t>(a)].reflect(u.data(), options.threads); }
  void solve(int a, Vector& u) const { solvers[static_cast<std::size_t>(a)].solve(u.data(), options.threads); }

  /// out += s A_a u.
  void add_axis(int a, double s, const double* u, double* out) const {
    const auto axis = static_cast<std::size_t>(a);
    const Index n = grid->cells[axis], stride = strides[axis], outer = psi.size() / (n * stride);
    const double* const u_rate = up[axis].data();
    const double* const d_rate = down[axis].data();
    for (Index o = 0; o < outer; ++o) {
      for (Index k = 0; k + 1 < n; ++k) {
        const Index at = stride * (k + n * o);
        for (Index l = 0; l < stride; ++l) {
          const Index i = at + l, c = shared ? k : i;
          const double flux = s * (u_rate[c] * u[i + stride] - d_rate[c] * u[i]);
          out[i] += flux;
          out[i + stride] -= flux;
        }
      }
    }
  }

  /// out = (I + s A_1) u in two dimensions, in one sweep over the rows.
  void explicit_rows(double s, const double* __restrict u, double* __restrict out) const {
    const Index n = grid->cells[1], length = strides[1];
    std::vector<double> from_below(static_cast<std::size_t>(length), 0.0);
    double* const __restrict flux = from_below.data();
    for (Index k = 0; k < n; ++k, u += length, out += length) {
      if (k + 1 == n) {
        for (Index l = 0; l < length; ++l) out[l] = u[l] - flux[l];
        break;
      }
      const Index at = shared ? k : k * length;
      const double *const __restrict u_rate = up[1].data() + at, *const __restrict d_rate = down[1].data() + at;
      const auto row = [&](auto step) {
        for (Index l = 0; l < length; ++l) {
          const double f = s * (u_rate[step * l] * u[l + length] - d_rate[step * l] * u[l]);
          out[l] = u[l] + (f - flux[l]);
          flux[l] = f;
        }
      };
      if (shared) row(std::integral_constant<Index, 0>());
      else row(std::integral_constant<Index, 1>());
    }
  }

  [[nodiscard]] double l1(const Vector& a, const Vector& b) const { return (a - b).cwiseAbs().sum() * grid->cell_volume(); }

  /// One step of implicit Euler: rho' = prod_a (I - dt A_a(rho'))^{-1} rho, by iteration on the coefficients where nonlinear.
  Status euler(const Vector& from, double dt, Vector& to, FokkerPlanckGridResult& report) {
    if (linear) {
      to = from;
      factor(dt);
      for (int a = 0; a < grid->dimension(); ++a) solve(a, to);
      return Status::converged;
    }
    to = from;
    Vector next;
    double change = infinity;
    for (int j = 0; j < options.max_iterations; ++j) {
      ++report.iterations;
      assemble(to);
      next = from;
      for (int a = 0; a < grid->dimension(); ++a) {
        factor_axis(a, dt);
        solve(a, next);
      }
      change = l1(next, to);
      to.swap(next);
      if (!std::isfinite(change)) return Status::not_finite;
      if (change <= options.tolerance) break;
    }
    report.residual = std::max(report.residual, change);
    return change <= options.tolerance ? Status::converged : Status::iteration_limit;
  }

  /// Steps of Crank-Nicolson, split by axes; the sign is looked at after the last.
  Status crank_nicolson(const Vector& from, Vector& u, double dt, int steps, FokkerPlanckGridResult& report) {
    const int d = grid->dimension();
    if (steps == 0 || d != 2) u = from;
    if (steps == 0) return Status::converged;
    if (d != 3) factor(0.5 * dt);
    if (d == 1) {
      for (int k = 0; k < steps; ++k) reflect(0, u);
    } else if (d == 2) {
      // Peaceman-Rachford: u' = (I - Y)^{-1}(I + X)(I - X)^{-1}(I + Y) u with X, Y = dt/2 A_0, dt/2 A_1. A product of steps is a product of
      // reflections between the first (I + Y) and the last (I - Y)^{-1}.
      u.resize(from.size());
      explicit_rows(0.5 * dt, from.data(), u.data());
      for (int k = 0; k < steps; ++k) {
        reflect(0, u);
        if (k + 1 < steps) reflect(1, u);
        else solve(1, u);
      }
    } else {  // Strang
      for (int a = 0; a < 3; ++a) factor_axis(a, a == 2 ? 0.5 * dt : 0.25 * dt);
      factored_for = -1;
      for (int k = 0; k < steps; ++k) {
        for (const int a : {0, 1, 2, 1, 0}) reflect(a, u);
      }
    }
    return keep_positive(u, report);
  }

  /// Cuts negative cells off where their mass allows it.
  Status keep_positive(Vector& u, FokkerPlanckGridResult& report) const {
    if (u.minCoeff() >= 0) return Status::converged;
    if (!u.allFinite()) return Status::not_finite;
    const double negative = -u.cwiseMin(0.0).sum() * grid->cell_volume();
    if (negative > options.negative_mass) return Status::order_lost;
    report.negative_mass = std::max(report.negative_mass, negative);
    u = u.cwiseMax(0.0);
    u /= u.sum() * grid->cell_volume();
    return Status::converged;
  }

  FreeEnergy energy;
  std::shared_ptr<const Grid> grid;
  FokkerPlanckGridOptions options;
  Vector psi;
  std::optional<GridEnergy> interaction;
  bool linear = false, shared = false, obstacles = false;
  std::vector<Vector> up, down;  // per axis, of the edge to the right of each cell; where shared, of the first line only
  std::vector<LineSolver> solvers;
  std::vector<Index> strides;
  double factored_for = -1;
};

FokkerPlanckGrid::FokkerPlanckGrid(FreeEnergy energy, std::shared_ptr<const Grid> grid, FokkerPlanckGridOptions options)
    : work_(std::make_unique<Work>(std::move(energy), std::move(grid), options)) {}
FokkerPlanckGrid::~FokkerPlanckGrid() = default;
FokkerPlanckGrid::FokkerPlanckGrid(FokkerPlanckGrid&&) noexcept = default;
FokkerPlanckGrid& FokkerPlanckGrid::operator=(FokkerPlanckGrid&&) noexcept = default;

GridDensity FokkerPlanckGrid::stationary() const {
  if (!work_->linear || !work_->energy.entropy()) throw DomainError("fokker_planck_grid: only a potential with entropy has the stationary density exp(-beta Psi)");
  // Vectorised exponentials need not vanish at -inf.
  Vector weight = (work_->psi.array() < infinity).select((work_->energy.entropy()->beta * (work_->psi.minCoeff() - work_->psi.array())).exp(), 0.0);
  weight /= weight.sum() * work_->grid->cell_volume();
  return {work_->grid, std::move(weight)};
}

Vector FokkerPlanckGrid::apply(const ConstVectorRef& density) const {
  check_size("fokker_planck_grid", "the density", density.size(), work_->psi.size());
  if (!work_->linear) work_->assemble(density);
  const Vector u = density;
  Vector out = Vector::Zero(density.size());
  for (int a = 0; a < work_->grid->dimension(); ++a) work_->add_axis(a, 1, u.data(), out.data());
  return out;
}

FokkerPlanckGridResult FokkerPlanckGrid::advance(const GridDensity& density, double dt, int steps, GridStepping method) {
  Work& w = *work_;
  check_positive("fokker_planck_grid", "time step dt", dt);
  check_at_least("fokker_planck_grid", "steps", steps, 0);
  if (density.dimension() == 0 || !(density.grid() == *w.grid)) throw ShapeError("fokker_planck_grid: the density lives on another grid");
  for (Index i = 0; w.obstacles && i < w.psi.size(); ++i) {
    if (w.psi[i] == infinity && density.values()[i] > 0) throw DomainError("fokker_planck_grid: the density has mass where the potential is +inf");
  }
  FokkerPlanckGridResult out;
  out.status = Status::converged;
  Vector good, u, half;
  if (w.linear && method == GridStepping::second_order) {
    out.status = w.crank_nicolson(density.values(), good, dt, steps, out);
    if (is_success(out.status)) out.steps = steps;
    else good = density.values();
  } else {
    good = density.values();
    for (int k = 0; k < steps && is_success(out.status); ++k) {
      if (method == GridStepping::implicit_euler) {
        out.status = w.euler(good, dt, u, out);
      } else {
        // The rates half-way, from implicit Euler; with them the step is linear.
        out.status = w.euler(good, 0.5 * dt, half, out);
        if (is_success(out.status)) {
          w.assemble(half);
          out.status = w.crank_nicolson(good, u, dt, 1, out);
        }
      }
      if (!is_success(out.status)) break;
      good.swap(u);
      ++out.steps;
    }
  }
  good /= good.sum() * w.grid->cell_volume();  // rounding of many steps
  out.measure = GridDensity(w.grid, std::move(good));
  return out;
}

}  // namespace jko
