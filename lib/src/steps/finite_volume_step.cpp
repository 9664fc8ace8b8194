#include <jko/steps/finite_volume_step.hpp>

#include <jko/core/check.hpp>
#include <jko/energies/grid_energy.hpp>
#include <jko/reference/fokker_planck_grid.hpp>

#include "../energies/local_energy.hpp"
#include "../measures/faces.hpp"
#include "../transport/dual_ascent.hpp"

#include <Eigen/SparseCholesky>
#include <Eigen/SparseCore>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <tuple>
#include <utility>
#include <vector>

namespace jko {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double epsilon = std::numeric_limits<double>::epsilon();

}  // namespace

void FiniteVolumeStepOptions::validate() const {
  check_positive("finite_volume_step", "tolerance", tolerance);
  check_at_least("finite_volume_step", "max_iterations", max_iterations, 1);
  check_at_least("finite_volume_step", "threads", threads, 1);
}

/// D/V, its gradient and Hessian, and the feasible density.
class FiniteVolumeStep::Dual {
 public:
  Dual(const FreeEnergy& energy, const GridDensity& from, double step, int threads)
      : grid(from.grid_ptr()), start(from.values()), h(step), discrete(energy, grid), local(energy), psi(discrete.potential()), preconditioner(grid, threads) {
    closed = !psi.allFinite();
    for (Index i = 0; i < start.size(); ++i) {
      if (start[i] > 0 && psi[i] == infinity) throw DomainError("finite_volume_step: the density has mass where the potential is +inf");
    }
  }

  /// Faces between cells that mass may enter: visit(i, j, h/dx^2).
  template <class Visit>
  void faces(const Visit& visit) const {
    for_each_face(*grid, [&](Index i, Index j, double width) {
      if (!closed || (psi[i] < infinity && psi[j] < infinity)) visit(i, j, h / (width * width));
    });
  }

  /// rho, its derivative and the gradient at phi; returns D/V.
  double evaluate(const Vector& potential) {
    phi = potential;
    Vector p = phi - psi;
    faces([&](Index i, Index j, double c) {
      const double difference = phi[i] - phi[j];
      p[difference > 0 ? i : j] += 0.5 * c * difference * difference;
    });
    rho.resize(p.size());
    mobility.resize(p.size());
    double value = 0;
    for (Index i = 0; i < p.size(); ++i) {
      const bool empty = !(psi[i] < infinity) || (local.temperature == 0 && !(p[i] > 0));
      rho[i] = empty ? 0 : local.density(p[i]);
      mobility[i] = empty ? 0 : local.mobility(rho[i]);
      value += start[i] * phi[i] - local.pressure(rho[i]);
    }
    gradient = start - balance(rho);
    return value;
  }

  /// B' t: t and what flows out less what flows in, in time h.
  [[nodiscard]] Vector balance(const Vector& t) const {
    Vector out = t;
    faces([&](Index i, Index j, double c) {
      const double difference = phi[i] - phi[j];
      const double flow = c * difference * t[difference > 0 ? i : j];
      out[i] += flow;
      out[j] -= flow;
    });
    return out;
  }
  /// B v: the derivative of phi + h/2 sum ((phi_K - phi_L)^+/dx)^2.
  [[nodiscard]] Vector bend(const Vector& v) const {
    Vector out = v;
    faces([&](Index i, Index j, double c) {
      const double difference = phi[i] - phi[j];
      out[difference > 0 ? i : j] += c * difference * (v[i] - v[j]);
    });
    return out;
  }
  /// The negative Hessian of D/V: B' diag(mobility) B + h (-div rho_up grad).
  [[nodiscard]] Vector hessian(const Vector& v) const {
    Vector out = balance(mobility.cwiseProduct(bend(v)));
    faces([&](Index i, Index j, double c) {
      const double flow = c * rho[phi[i] > phi[j] ? i : j] * (v[i] - v[j]);
      out[i] += flow;
      out[j] -= flow;
    });
    return out;
  }

  void set_preconditioner() {
    // Empty cells need some weight for the inverse to exist; what they get does not matter, since their gradient is zero.
    const Vector weights = rho.cwiseMax(1e-30 * rho.maxCoeff());
    Vector diagonal(rho.size());
    for (Index i = 0; i < rho.size(); ++i) diagonal[i] = std::max(mobility[i], local.mobility(weights[i]));
    preconditioner.set(h * weights, std::move(diagonal));
    factored = false;
  }

  /// Hessian d = r by conjugate gradients to a relative tolerance in the preconditioned norm. Where phi carries mass across many cells the preconditioner, which knows of no
  /// transport, is poor: after `patience` products a sparse factorisation takes over in one and two dimensions, where its fill is moderate.
  [[nodiscard]] Vector solve(const Vector& right, double tolerance, int& products) {
    if (factored) return back_substitute(right);
    const bool direct = grid->dimension() <= 2;
    const int patience = 60, limit = !direct ? 2000 : outpaced ? 0 : patience;
    Vector d = Vector::Zero(right.size()), r = right, z = r;
    preconditioner.apply(z);
    Vector direction = z;
    double square = r.dot(z);
    const double goal = tolerance * tolerance * square;
    for (int k = 0; k < limit; ++k) {
      if (!(square > goal)) return d;
      const Vector product = hessian(direction);
      ++products;
      const double bends = direction.dot(product);
      if (!(bends > 0)) return d;
      d += square / bends * direction;
      r -= square / bends * product;
      z = r;
      preconditioner.apply(z);
      const double next = r.dot(z);
      direction = z + next / square * direction;
      square = next;
    }
    if (direct) {
      outpaced = true;
      factor();
      if (factored) return back_substitute(right);
    }
    return d;
  }

  /// The density that phi's flow makes of the start. Mass only falls to lower phi, so one pass in that order solves B' rho = start; nothing is subtracted.
  [[nodiscard]] Vector feasible() const {
    std::vector<Index> order(static_cast<std::size_t>(phi.size()));
    std::iota(order.begin(), order.end(), Index{0});
    std::sort(order.begin(), order.end(), [&](Index a, Index b) { return phi[a] > phi[b] || (phi[a] == phi[b] && a < b); });
    Vector out = start;
    for (const Index i : order) {
      if (!(psi[i] < infinity)) continue;
      double leaving = 0;
      const auto lower = [&](const auto& visit) {
        for_each_neighbour(*grid, i, [&](Index j, double width) {
          if (phi[j] < phi[i] && psi[j] < infinity) visit(j, h * (phi[i] - phi[j]) / (width * width));
        });
      };
      lower([&](Index, double rate) { leaving += rate; });
      out[i] /= 1 + leaving;
      lower([&](Index j, double rate) { out[j] += rate * out[i]; });
    }
    return out;
  }

  /// Without entropy rho has a kink in phi where it is empty, and ahead of a front it falls as ever higher powers of the width (a cell's flux is quadratic in rho): one Newton step moves the
  /// edge by a cell or so. Beside the edge D is therefore maximised over phi_K cell after cell, in the order of falling phi and back, which raises it. False where there is no edge.
  bool relax_front() {
    if (local.temperature > 0) return false;
    constexpr int rings = 2, sweeps = 8;  // of cells about the edge; of 4 to 32 sweeps 8 took the least time on Barenblatt's front at 128^2 to 512^2, and more rings saved nothing
    std::vector<char> mark(static_cast<std::size_t>(rho.size()), 0);
    bool any = false;
    faces([&](Index i, Index j, double) {
      if ((rho[i] > 0) == (rho[j] > 0)) return;
      mark[static_cast<std::size_t>(i)] = mark[static_cast<std::size_t>(j)] = 1;
      any = true;
    });
    for (Index i = 0; i < rho.size(); ++i) {
      if (rho[i] > 0 || !(start[i] > 0)) continue;  // emptied by the step's direction: no row of the Hessian brings it back
      mark[static_cast<std::size_t>(i)] = 1;
      any = true;
    }
    if (!any) return false;
    for (int ring = 0; ring < rings; ++ring) {
      std::vector<char> next = mark;
      faces([&](Index i, Index j, double) {
        next[static_cast<std::size_t>(i)] |= mark[static_cast<std::size_t>(j)];
        next[static_cast<std::size_t>(j)] |= mark[static_cast<std::size_t>(i)];
      });
      mark.swap(next);
    }
    std::vector<Index> zone;
    for (Index i = 0; i < rho.size(); ++i) {
      if (mark[static_cast<std::size_t>(i)] && psi[i] < infinity) zone.push_back(i);
    }
    std::sort(zone.begin(), zone.end(), [&](Index a, Index b) { return phi[a] > phi[b] || (phi[a] == phi[b] && a < b); });
    for (int sweep = 0; sweep < sweeps; ++sweep) {
      for (const Index i : zone) relax_cell(i);
      std::reverse(zone.begin(), zone.end());
    }
    return true;
  }

  /// h/2 sum rho_up ((phi_K - phi_L)/dx)^2.
  [[nodiscard]] double action(const Vector& density) const {
    double sum = 0;
    faces([&](Index i, Index j, double c) {
      const double difference = phi[i] - phi[j];
      sum += 0.5 * c * density[difference > 0 ? i : j] * difference * difference;
    });
    return sum;
  }

  /// The potential of a density: phi_K + h/2 sum_L ((phi_K - phi_L)^+/dx)^2 = u'(guess) + Psi. A cell answers to lower neighbours only, so cells are settled in the order of
  /// rising phi, as in fast marching, each by a quadratic equation.
  [[nodiscard]] Vector first_potential(const Vector& guess) const {
    struct Waiting {
      double phi;
      Index cell;
      bool operator<(const Waiting& other) const { return phi > other.phi || (phi == other.phi && cell > other.cell); }  // the lowest comes first
    };
    const double least = local.temperature > 0 ? std::numeric_limits<double>::min() : 0;
    Vector p = Vector::Zero(guess.size()), out = p;
    std::vector<Waiting> heap;
    for (Index i = 0; i < p.size(); ++i) {
      if (!(psi[i] < infinity)) continue;
      p[i] = out[i] = psi[i] + local.slope(std::max(guess[i], least));
      heap.push_back({out[i], i});
    }
    std::make_heap(heap.begin(), heap.end());
    std::vector<char> settled(static_cast<std::size_t>(p.size()), 0);
    while (!heap.empty()) {
      const Waiting lowest = heap.front();
      std::pop_heap(heap.begin(), heap.end());
      heap.pop_back();
      if (settled[static_cast<std::size_t>(lowest.cell)]) continue;
      settled[static_cast<std::size_t>(lowest.cell)] = 1;
      for_each_neighbour(*grid, lowest.cell, [&](Index j, double) {
        if (settled[static_cast<std::size_t>(j)] || !(psi[j] < infinity)) return;
        // x + sum c/2 (x + base - phi_L)^2 = p - base with x = phi - base, base the lowest's phi.
        double square = 0, line = 1, constant = lowest.phi - p[j];
        for_each_neighbour(*grid, j, [&](Index l, double width) {
          if (!settled[static_cast<std::size_t>(l)] || !(psi[l] < infinity)) return;
          const double c = h / (width * width), above = lowest.phi - out[l];
          square += 0.5 * c;
          line += c * above;
          constant += 0.5 * c * above * above;
        });
        const double x = -2 * constant / (line + std::sqrt(std::max(0.0, line * line - 4 * square * constant)));
        out[j] = lowest.phi + x;
        heap.push_back({out[j], j});
        std::push_heap(heap.begin(), heap.end());
      });
    }
    return out;
  }

  std::shared_ptr<const Grid> grid;
  Vector start;
  double h;
  GridEnergy discrete;
  LocalEnergy local;
  Vector psi;
  WeightedMetric preconditioner;
  Eigen::SimplicialLDLT<Eigen::SparseMatrix<double>> factors;
  bool factored = false, outpaced = false;  // conjugate gradients were, once
  bool closed = false;
  Vector phi, rho, mobility, gradient;  // of the last evaluation

 private:
  /// phi_K such that D's derivative there vanishes, by Newton's method kept in a bracket; the derivative falls with phi_K.
  void relax_cell(Index cell) {
    const auto open = [&](Index i, const auto& visit) {
      for_each_neighbour(*grid, i, [&](Index j, double width) {
        if (psi[j] < infinity) visit(j, h / (width * width));
      });
    };
    struct Neighbour {
      double phi, c, rest;  // its u'(rho) is rest + c/2 ((phi - x)^+)^2
    };
    std::array<Neighbour, 6> around;
    std::size_t count = 0;
    open(cell, [&](Index j, double c) {
      double rest = phi[j] - psi[j];
      open(j, [&](Index l, double width) {
        if (l != cell && phi[j] > phi[l]) rest += 0.5 * width * (phi[j] - phi[l]) * (phi[j] - phi[l]);
      });
      around[count++] = {phi[j], c, rest};
    });
    double lower = -infinity, upper = infinity, x = phi[cell];
    for (int k = 0; k < 50; ++k) {
      double p = x - psi[cell], leaving = 1, rates = 0, arriving = 0, bends = 0;
      for (std::size_t m = 0; m < count; ++m) {
        const auto [other, c, rest] = around[m];
        const double fall = x - other;
        if (fall > 0) {
          p += 0.5 * c * fall * fall;
          leaving += c * fall;
          rates += c;
        } else if (const double q = rest + 0.5 * c * fall * fall; q > 0) {
          const double r = local.density(q);
          arriving -= c * fall * r;
          bends += c * r + c * c * fall * fall * local.mobility(r);
        }
      }
      const double r = p > 0 ? local.density(p) : 0, slope = start[cell] + arriving - r * leaving;
      if (r > 0) bends += local.mobility(r) * leaving * leaving + r * rates;
      if (!(std::abs(slope) > epsilon * (start[cell] + arriving + r * leaving))) break;
      (slope > 0 ? lower : upper) = x;
      double next = bends > 0 ? x + slope / bends : std::max(x, psi[cell] + local.slope(start[cell]));  // from empty: as if nothing left
      if (!(next > lower && next < upper)) {
        if (!std::isfinite(lower + upper)) break;
        next = 0.5 * (lower + upper);
      }
      if (next == x) break;
      x = next;
    }
    phi[cell] = x;
  }

  /// Only cells that hold mass or are reached by it have a row: a front leaves most of a box out.
  void factor() {
    using Sparse = Eigen::SparseMatrix<double>;
    place.assign(static_cast<std::size_t>(rho.size()), -1);
    cells.clear();
    const auto number = [&](Index i) {
      Index& at = place[static_cast<std::size_t>(i)];
      if (at < 0) {
        at = static_cast<Index>(cells.size());
        cells.push_back(i);
      }
      return at;
    };
    std::vector<Eigen::Triplet<double>> map, flow;
    for (Index i = 0; i < rho.size(); ++i) {
      if (mobility[i] > 0) number(i);
    }
    Vector diagonal = Vector::Ones(rho.size());
    faces([&](Index i, Index j, double c) {
      const double difference = phi[i] - phi[j];
      const Index up = difference > 0 ? i : j, down = difference > 0 ? j : i;
      const double rate = c * std::abs(difference), push = c * rho[up];
      if (!(mobility[up] > 0) && !(push > 0)) return;
      const Index from = number(up), to = number(down);
      diagonal[up] += rate;
      if (mobility[up] > 0) map.emplace_back(from, to, -rate);
      for (const auto& [row, column, sign] : {std::tuple{from, from, 1}, {to, to, 1}, {from, to, -1}, {to, from, -1}}) flow.emplace_back(row, column, sign * push);
    });
    const auto size = static_cast<Index>(cells.size());
    Vector weights(size);
    for (Index k = 0; k < size; ++k) {
      const Index i = cells[static_cast<std::size_t>(k)];
      weights[k] = mobility[i];
      if (mobility[i] > 0) map.emplace_back(k, k, diagonal[i]);
    }
    Sparse b(size, size), matrix(size, size), identity(size, size);
    b.setFromTriplets(map.begin(), map.end());
    matrix.setFromTriplets(flow.begin(), flow.end());
    matrix += Sparse(b.transpose() * Sparse(weights.asDiagonal() * b));
    // Rounding of the rows of nearly empty cells: any pivot will do, of the size of the rounding of the others.
    identity.setIdentity();
    matrix += epsilon * matrix.diagonal().maxCoeff() * identity;
    factors.compute(matrix);
    factored = factors.info() == Eigen::Success;
  }
  [[nodiscard]] Vector back_substitute(const Vector& right) const {
    Vector inner(static_cast<Index>(cells.size())), out = Vector::Zero(right.size());
    for (std::size_t k = 0; k < cells.size(); ++k) inner[static_cast<Index>(k)] = right[cells[k]];
    inner = factors.solve(inner);
    for (std::size_t k = 0; k < cells.size(); ++k) out[cells[k]] = inner[static_cast<Index>(k)];
    return out;
  }
  std::vector<Index> place, cells;  // of the factors' rows
};

FiniteVolumeStep::FiniteVolumeStep(FreeEnergy energy, FiniteVolumeStepOptions options) : energy_(std::move(energy)), options_(options) {
  options_.validate();
  if (energy_.interaction()) throw DomainError("finite_volume_step: an interaction is not local; the entropic step takes it");
  if (energy_.congestion()) throw DomainError("finite_volume_step: congestion is not supported; the entropic step takes it");
  if (energy_.porous_medium() && energy_.porous_medium()->exponent < 1) {
    throw DomainError("finite_volume_step: fast diffusion (m < 1) is not supported; the entropic step takes it");
  }
  if (!energy_.entropy() && !energy_.porous_medium()) throw DomainError("finite_volume_step: the energy needs entropy or a porous-medium part");
}

EnergyValue FiniteVolumeStep::energy_value(const GridDensity& measure) const { return GridEnergy(energy_, measure.grid_ptr()).value(measure.values()); }

StepResult<GridDensity> FiniteVolumeStep::advance(const GridDensity& from, double h) {
  check_positive("finite_volume_step", "step size h", h);
  if (from.dimension() == 0) throw DomainError("finite_volume_step: the start is empty");
  dual_ = std::make_shared<Dual>(energy_, from, h, options_.threads);
  Dual& dual = *dual_;
  const double volume = dual.grid->cell_volume();
  report_ = {};
  StepResult<GridDensity> out;
  out.measure = from;
  // One step of implicit Euler is first order close to the minimiser and has its support; its solver knows walls only.
  const bool walls = from.grid().boundary == Boundary::no_flux;
  const FokkerPlanckGridOptions euler{.tolerance = 1e-3, .threads = options_.threads};
  Vector phi = dual.first_potential(walls ? FokkerPlanckGrid(energy_, from.grid_ptr(), euler).advance(from, h, 1, GridStepping::implicit_euler).measure.values() : from.values());
  double value = dual.evaluate(phi);
  out.status = Status::iteration_limit;
  for (;;) {
    report_.l1_residual = dual.gradient.cwiseAbs().sum() * volume;
    if (!std::isfinite(value) || !std::isfinite(report_.l1_residual)) {
      out.status = Status::not_finite;
      return out;
    }
    if (report_.l1_residual <= options_.tolerance) {
      out.status = Status::converged;
      break;
    }
    if (out.iterations == options_.max_iterations) break;
    ++out.iterations;
    dual.set_preconditioner();
    // Forcing terms that make the convergence superlinear.
    const Vector gradient = dual.gradient, direction = dual.solve(gradient, std::min(0.1, report_.l1_residual), report_.products);
    const double slope = gradient.dot(direction), before = value, rounding = 16 * epsilon * std::abs(value);
    const Vector begin = phi;
    bool taken = false;
    for (double t = 1; t > 1e-12 && !taken; t *= 0.5) {  // Armijo; where the rise drowns in rounding, a smaller gradient
      phi = begin + t * direction;
      value = dual.evaluate(phi);
      if (std::isfinite(value) && dual.relax_front()) {
        phi = dual.phi;
        value = dual.evaluate(phi);
      }
      if (!std::isfinite(value)) continue;
      taken = value >= before + 1e-4 * t * slope || (value >= before - rounding && dual.gradient.cwiseAbs().sum() < gradient.cwiseAbs().sum());
    }
    if (!taken) {
      phi = begin;
      value = dual.evaluate(phi);
      out.status = Status::stalled;
      break;
    }
  }
  report_.potential = phi;
  report_.dual_value = value * volume;
  Vector density = dual.feasible();
  const double action = dual.action(density) * volume;
  density /= density.sum() * volume;  // rounding
  out.measure = from.with_coordinates(density);
  out.energy = dual.discrete.value(density);
  out.objective = report_.primal_value = out.energy.total + action;
  out.gap = std::max(0.0, report_.primal_value - report_.dual_value);
  out.residual = report_.l1_residual;
  out.w2_moved = std::sqrt(2 * h * action);
  // Fenchel and Young: J - D is at least the Bregman distance of u to rho_phi, for the minimiser and for the result. Entropy:
  // int |a - b| <= ((2/3) (int a + 2 b) KL)^{1/2} with KL for unequal masses; m = 2: c ||.||_2^2 >= c L1^2/|box|.
  const double box = volume * static_cast<double>(density.size());
  double distance = std::numeric_limits<double>::quiet_NaN();
  if (dual.local.temperature > 0) distance = std::sqrt(2.0 / 3 * (1 + 2 * dual.rho.sum() * volume) * out.gap / dual.local.temperature);
  else if (dual.local.exponent == 2) distance = std::sqrt(box * out.gap / dual.local.coefficient);
  report_.l1_bound = distance + (density - dual.rho).cwiseAbs().sum() * volume;
  return out;
}

Matrix FiniteVolumeStep::tangent(const ConstMatrixRef& from_tangent, const ConstMatrixRef& parameter_tangent) const {
  if (!dual_ || report_.potential.size() == 0) throw DomainError("finite_volume_step: tangent() needs an advance() before it");
  Dual& dual = *dual_;
  const Index rows = dual.start.size(), columns = std::max(from_tangent.cols(), parameter_tangent.cols());
  // start = B(phi)' rho, rho = (u*)'(p(phi) - parameters): d(start) = Hessian d(phi) + B' d(rho at fixed phi).
  Matrix fixed = Matrix::Zero(rows, columns), side = Matrix::Zero(rows, columns);
  if (from_tangent.size() > 0) {
    check_size("finite_volume_step", "the start's tangent", from_tangent.rows(), rows);
    side += from_tangent;
  }
  if (parameter_tangent.size() > 0) {
    check_size("finite_volume_step", "the parameter tangent", parameter_tangent.rows(), energy_.parameters().size());
    fixed -= dual.mobility.asDiagonal() * (dual.discrete.parameter_variation(dual.rho) * parameter_tangent);
  }
  dual.set_preconditioner();
  Matrix out(rows, columns);
  int products = 0;
  for (Index j = 0; j < columns; ++j) {
    const Vector answer = dual.solve(side.col(j) - dual.balance(fixed.col(j)), 1e-10, products);
    out.col(j) = dual.mobility.cwiseProduct(dual.bend(answer)) + fixed.col(j);
  }
  return out;
}

}  // namespace jko
