#include <jko/steps/species_step.hpp>

#include <jko/core/check.hpp>
#include <jko/core/parallel.hpp>
#include <jko/transport/separable_kernel.hpp>

#include "../core/vector_math.hpp"
#include "../transport/scaled_field.hpp"
#include "kernel_radius.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <utility>

namespace jko {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double obstacle = 1e300;  // h Psi/epsilon of an obstacle
constexpr double unreached = -1e7;  // log a of a cell that no scaling reaches yet: without weight, but finite
constexpr int headroom = 860;       // as in entropic_step.cpp
constexpr Index block = 2048;

/// f(y) = A y + B e^{k y} of one species, and what its dual integrates.
struct Local {
  double mass = 1, a = 0.5, b = 0, k = 1, log_c = 0;

  struct Answer {
    double y, slope;  ///< f^{-1}(l), its derivative
  };
  [[nodiscard]] Answer answer(double l) const {
    if (b == 0) return {l / a, 1 / a};
    const auto omega = vector_math::wright_omega(k * l / a + log_c);
    return {(omega.log - log_c) / k, 1 / (a * (1 + omega.value))};
  }
  [[nodiscard]] double force(double y) const { return a * y + (b != 0 ? b * std::exp(std::min(k * y, 700.0)) : 0.0); }
  /// int_0^rho (l - f(log r)) dr.
  [[nodiscard]] double integral(double l, double y, double rho) const { return rho * (l - a * (y - 1) - (b != 0 ? b / (k + 1) * std::exp(std::min(k * y, 700.0)) : 0.0)); }
};

/// The scalar q(sigma) = Q sigma^k, sigma <= e^{log_cap}.
struct Coupling {
  double strength = 0, k = 1, log_cap = infinity;  // Q
  [[nodiscard]] double force(double log_total) const { return strength > 0 ? strength * std::exp(std::min(k * log_total, 700.0)) : 0.0; }
};

/// log sum_i M_i rho_i at given q, and its derivative in -q.
struct Total {
  double log, slope;
};
Total total_at(const std::vector<Local>& locals, const double* l, double q, Local::Answer* answers) {
  double top = -infinity;
  const std::size_t n = locals.size();
  for (std::size_t i = 0; i < n; ++i) {
    answers[i] = l[i] > -1e200 ? locals[i].answer(l[i] - q) : Local::Answer{-infinity, 0};
    top = std::max(top, answers[i].y);
  }
  if (top == -infinity) return {-infinity, 0};
  double sum = 0, slope = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const double part = locals[i].mass * std::exp(answers[i].y - top);
    sum += part;
    slope += part * answers[i].slope;
  }
  return {top + std::log(sum), slope / sum};
}

/// The answers of one cell, and g such that dq = g sum_i (M_i rho_i/sigma) dy_i, dy_i at fixed q: g = G/(1 + G S) with G = dq/d log sigma and S the mean of the slopes, 1/S where the cell
/// is full. `log_total` is a first guess, and the result.
double solve_cell(const std::vector<Local>& locals, const Coupling& coupling, const double* l, double& log_total, Local::Answer* answers, double& q) {
  q = 0;
  Total at = total_at(locals, l, 0, answers);
  if (at.log == -infinity) {
    log_total = -infinity;
    return 0;
  }
  double rate = 0;  // dq/d log sigma
  if (coupling.strength > 0) {
    // z = log sigma solves F(q(z)) = z, F falling: between F(q(F(0))) and F(0).
    double high = at.log, low = total_at(locals, l, coupling.force(high), answers).log;
    double z = log_total > low && log_total < high ? log_total : high;
    for (int i = 0; i < 200; ++i) {
      q = coupling.force(z);
      rate = coupling.k * q;
      at = total_at(locals, l, q, answers);
      const double off = at.log - z;
      (off > 0 ? low : high) = z;
      double next = z + off / (1 + at.slope * rate);
      if (!(next > low && next < high)) next = 0.5 * (low + high);
      const double moved = std::abs(next - z);
      if (moved <= 1e-15 * (1 + std::abs(z)) || high - low <= 1e-15 * (1 + std::abs(z))) break;
      z = next;
    }
  }
  bool full = false;
  if (at.log > coupling.log_cap) {
    full = true;
    double low = coupling.force(coupling.log_cap), high = infinity, here = std::max(q, low);
    at = total_at(locals, l, here, answers);
    if (at.log < coupling.log_cap) here = low, at = total_at(locals, l, here, answers);
    for (int i = 0; i < 200; ++i) {
      const double off = at.log - coupling.log_cap;
      (off > 0 ? low : high) = here;
      double next = here + off / at.slope;
      if (!(next > low && next < high)) next = high < infinity ? 0.5 * (low + high) : 2 * here + 1;
      const double moved = std::abs(next - here);
      if (moved <= 1e-15 * (1 + std::abs(here)) || off == 0) break;
      here = next;
      at = total_at(locals, l, here, answers);
    }
    q = here;
  }
  log_total = at.log;
  return full ? 1 / at.slope : rate / (1 + rate * at.slope);
}

double largest_level(const Grid& grid) {
  double side = infinity;
  for (int a = 0; a < grid.dimension(); ++a) {
    if (grid.cells[static_cast<std::size_t>(a)] > 1) side = std::min(side, grid.upper[a] - grid.lower[a]);
  }
  return 0.04 * side * side;
}

void check_measure(const SpeciesEnergy& energy, const std::vector<GridDensity>& measure) {
  if (measure.size() != energy.species.size()) throw ShapeError(fmt::format("species_step: there are {} densities, but {} species", measure.size(), energy.species.size()));
  for (const GridDensity& density : measure) {
    if (density.dimension() == 0) throw DomainError("species_step: a density is empty");
    if (!(density.grid() == measure.front().grid())) throw ShapeError("species_step: all species must live on the same grid");
  }
}

}  // namespace

void SpeciesEnergy::validate() const {
  if (species.empty()) throw DomainError("species_step: there is no species");
  std::set<std::string> names;
  for (const Species& s : species) {
    if (s.name.empty() || !names.insert(s.name).second) throw DomainError(fmt::format("species_step: the name '{}' is empty or given twice", s.name));
    check_positive("species_step", fmt::format("mass of {}", s.name), s.mass);
    if (s.energy.congestion()) throw DomainError(fmt::format("species_step: the energy of {} has a congestion of its own, but only the total density may be bounded", s.name));
    if (s.energy.porous_medium() && s.energy.porous_medium()->exponent < 1) throw DomainError(fmt::format("species_step: the energy of {} has fast diffusion (m < 1), which the entropic step takes for one species only", s.name));
    if (s.energy.dimension() != 0 && s.energy.dimension() != dimension()) throw ShapeError(fmt::format("species_step: the energy of {} has dimension {}, but another one {}", s.name, s.energy.dimension(), dimension()));
  }
  for (const CrossInteraction& pair : interactions) {
    if (pair.first >= species.size() || pair.second >= species.size() || pair.first == pair.second) throw DomainError("species_step: an interaction needs two different species; that of a species with itself belongs to its energy");
    if (!pair.kernel) throw DomainError("species_step: an interaction has no kernel");
    check_size("species_step", "parameters of an interaction", pair.theta.size(), pair.kernel->parameter_count());
    if (pair.kernel->dimension() != dimension()) throw ShapeError(fmt::format("species_step: an interaction has dimension {}, but another energy {}", pair.kernel->dimension(), dimension()));
  }
  if (pressure) {
    check_positive("species_step", "coefficient of the pressure", pressure->coefficient);
    if (!(pressure->exponent > 1) || !std::isfinite(pressure->exponent)) throw DomainError(fmt::format("species_step: exponent of the pressure is {:g}, but must be above 1", pressure->exponent));
  }
  if (congestion) check_positive("species_step", "congestion", *congestion);
}

double SpeciesEnergy::total_mass() const {
  double sum = 0;
  for (const Species& s : species) sum += s.mass;
  return sum;
}

int SpeciesEnergy::dimension() const {
  for (const Species& s : species) {
    if (s.energy.dimension() != 0) return s.energy.dimension();
  }
  return interactions.empty() || !interactions.front().kernel ? 0 : interactions.front().kernel->dimension();
}

void SpeciesStepOptions::validate() const {
  check_nonnegative("species_step", "epsilon", epsilon);
  check_positive("species_step", "bias_target", bias_target);
  check_positive("species_step", "tolerance", tolerance);
  check_at_least("species_step", "max_iterations", max_iterations, 1);
  check_at_least("species_step", "max_outer", max_outer, 1);
  check_at_least("species_step", "threads", threads, 1);
}

Vector total_density(const SpeciesEnergy& energy, const std::vector<GridDensity>& measure) {
  check_measure(energy, measure);
  Vector sigma = Vector::Zero(measure.front().grid().size());
  for (std::size_t i = 0; i < measure.size(); ++i) sigma += energy.species[i].mass * measure[i].values();
  return sigma;
}

/// The dual problem of one step: one set of fields a species.
class SpeciesStep::Work {
 public:
  struct Fields {
    Vector mu, log_mu, alpha, y, rho, log_s, log_b, slope, delta, weight, shifted;  // slope: dy/dL at fixed q
    ScaledField a, s, b, t;
    Vector x, residual, direction, image, average, trial;  // of the linear solves
    double low = 0;
  };

  Work(const SpeciesEnergy& energy, std::shared_ptr<const Grid> grid, int threads) : grid_(std::move(grid)), energy_(energy), threads_(useful_threads(*grid_, threads)) {
    for (const Species& s : energy.species) energies.emplace_back(s.energy, grid_);
    for (const CrossInteraction& pair : energy.interactions) {
      FreeEnergy kernel;
      kernel.add_interaction(pair.kernel, pair.theta);
      crosses.emplace_back(kernel, grid_);
    }
    fields.resize(energy.species.size());
    locals_.resize(fields.size());
  }

  std::vector<GridEnergy> energies, crosses;
  std::vector<Fields> fields;
  int applications = 0, newton_steps = 0;
  double violation = 0, dual = 0;
  double epsilon = 0, h = 0;
  std::unique_ptr<SeparableKernel> kernel;
  [[nodiscard]] const std::shared_ptr<const Grid>& grid() const { return grid_; }

  /// W*rho of all interactions, as a potential of each species.
  [[nodiscard]] std::vector<Vector> acting(const std::vector<Vector>& densities) const {
    std::vector<Vector> out;
    for (std::size_t i = 0; i < fields.size(); ++i) out.push_back(energies[i].interaction(densities[i]));
    for (std::size_t k = 0; k < crosses.size(); ++k) {
      const std::size_t i = energy_.interactions[k].first, j = energy_.interactions[k].second;
      out[i] += energy_.species[j].mass * crosses[k].interaction(densities[j]);
      out[j] += energy_.species[i].mass * crosses[k].interaction(densities[i]);
    }
    return out;
  }

  void set_start(const std::vector<GridDensity>& from) {
    for (std::size_t i = 0; i < fields.size(); ++i) {
      Fields& f = fields[i];
      f.mu = from[i].values();
      const Index n = f.mu.size();
      f.log_mu.resize(n);
      for (Index c = 0; c < n; ++c) {
        if (!(f.mu[c] >= std::numeric_limits<double>::min())) f.mu[c] = 0;  // subnormal densities have no logarithm here
        f.log_mu[c] = f.mu[c] > 0 ? std::log(f.mu[c]) : -infinity;
      }
      for (Vector* v : {&f.alpha, &f.y, &f.rho, &f.log_s, &f.log_b, &f.slope, &f.delta, &f.weight, &f.shifted, &f.image, &f.average, &f.trial}) v->setZero(n);
      f.low = infinity;
    }
    log_total_.setConstant(fields.front().mu.size(), infinity);
    coupling_slope_.setZero(fields.front().mu.size());
  }

  void set_problem(double step, double eps, double radius, const std::vector<Vector>& potentials) {
    h = step;
    if (!kernel || epsilon != eps || radius != radius_) kernel = std::make_unique<SeparableKernel>(grid_, eps, radius, threads_, KernelTiles::narrow);
    epsilon = eps;
    radius_ = radius;
    const double r = h / epsilon;
    for (std::size_t i = 0; i < fields.size(); ++i) {
      Fields& f = fields[i];
      // The same reference in all outer iterations: a shift would have to be undone by log a.
      if (f.low == infinity) f.low = potentials[i].minCoeff();
      for (Index c = 0; c < f.mu.size(); ++c) f.shifted[c] = potentials[i][c] == infinity ? obstacle : std::min(r * (potentials[i][c] - f.low), 1e100);
      const FreeEnergy& energy = energy_.species[i].energy;
      Local& local = locals_[i];
      local = {.mass = energy_.species[i].mass};
      if (energy.entropy()) local.a += r / energy.entropy()->beta;
      if (const auto* part = energy.porous_medium()) {
        local.k = part->exponent - 1;
        local.b = r * part->coefficient * part->exponent / local.k;
        local.log_c = std::log(local.b * local.k / local.a);
      }
    }
    coupling_ = {};
    if (energy_.pressure) {
      coupling_.k = energy_.pressure->exponent - 1;
      coupling_.strength = r * energy_.pressure->coefficient * energy_.pressure->exponent / coupling_.k;
    }
    if (energy_.congestion) coupling_.log_cap = std::log(*energy_.congestion);
  }

  /// Scalings b from the densities of the start.
  void start_from_density() {
    for (Index c = 0; c < fields.front().mu.size(); ++c) {
      double sigma = 0;
      for (std::size_t i = 0; i < fields.size(); ++i) sigma += locals_[i].mass * fields[i].mu[c];
      const double q = sigma > 0 ? coupling_.force(std::log(sigma)) : 0;
      for (std::size_t i = 0; i < fields.size(); ++i) {
        Fields& f = fields[i];
        f.log_b[c] = f.mu[c] > 0 && f.shifted[c] < obstacle ? f.log_mu[c] - (locals_[i].force(f.log_mu[c]) + f.shifted[c] + q) : -infinity;
      }
    }
  }
  /// What a solve says about the next smaller epsilon.
  struct Level {
    std::vector<Vector> y, potential;  // log rho; epsilon (log b - log rho/2), minus the potential of the transport
  };
  [[nodiscard]] Level level() const {
    Level out;
    for (const Fields& f : fields) {
      out.y.push_back(f.y);
      out.potential.push_back((f.y.array() > -infinity).select(epsilon * (f.log_b.array() - 0.5 * f.y.array()), -infinity));
    }
    return out;
  }
  /// Scalings b from the last solve, and from that before (may be empty): both fields are a + b epsilon^2 + ..., and epsilon^2 falls by 16 from level to level.
  void start_from(const Level& last, const Level& before) {
    for (std::size_t i = 0; i < fields.size(); ++i) {
      for (Index c = 0; c < fields[i].mu.size(); ++c) {
        double y = last.y[i][c], potential = last.potential[i][c];
        if (!before.y.empty() && before.y[i][c] > -infinity && std::abs(y - before.y[i][c]) < 16) {
          y += (y - before.y[i][c]) / 16;
          potential += (potential - before.potential[i][c]) / 16;
        }
        fields[i].log_b[c] = y > -infinity ? 0.5 * y + potential / epsilon : -infinity;
      }
    }
  }
  /// New potentials under the densities of the last solve.
  void change_potentials(const std::vector<Vector>& potentials) {
    std::vector<Vector> old;
    for (const Fields& f : fields) old.push_back(f.shifted);
    set_problem(h, epsilon, radius_, potentials);
    for (std::size_t i = 0; i < fields.size(); ++i) {
      for (Index c = 0; c < old[i].size(); ++c) {
        if (old[i][c] < obstacle) fields[i].log_b[c] -= fields[i].shifted[c] - old[i][c];
      }
    }
  }
  /// a from b. False where a species meets no b.
  [[nodiscard]] bool scale() {
    for (Fields& f : fields) {
      from_logarithms(*kernel, f.log_b, f.b, threads_, headroom);
      apply(f.b, f.t);
      to_logarithms(*kernel, f.t, f.trial, threads_);
      bool reached = false;
      for (Index c = 0; c < f.mu.size(); ++c) {
        const bool touched = f.mu[c] > 0 && f.trial[c] > -infinity;
        f.alpha[c] = touched ? f.log_mu[c] - f.trial[c] : (f.mu[c] > 0 ? unreached : -infinity);
        reached = reached || touched;
      }
      if (!reached) return false;
    }
    return true;
  }

  /// Everything at the alphas.
  void evaluate() {
    const std::size_t n = fields.size();
    for (Fields& f : fields) {
      from_logarithms(*kernel, f.alpha, f.a, threads_, headroom);
      apply(f.a, f.s);
      to_logarithms(*kernel, f.s, f.log_s, threads_);
    }
    const double value = sum_blocks([&](Index begin, Index end) {
      std::vector<double> l(n);
      std::vector<Local::Answer> answers(n);
      double sum = 0;
      for (Index c = begin; c < end; ++c) {
        for (std::size_t i = 0; i < n; ++i) l[i] = fields[i].shifted[c] == obstacle ? -infinity : fields[i].log_s[c] - fields[i].shifted[c];
        double q = 0;
        coupling_slope_[c] = solve_cell(locals_, coupling_, l.data(), log_total_[c], answers.data(), q);
        if (coupling_.strength > 0 && log_total_[c] > -infinity) sum -= coupling_.strength / (coupling_.k + 1) * std::exp(std::min((coupling_.k + 1) * log_total_[c], 700.0));
        for (std::size_t i = 0; i < n; ++i) {
          Fields& f = fields[i];
          const bool dead = answers[i].y == -infinity;
          f.y[c] = answers[i].y;
          f.rho[c] = dead ? 0.0 : std::exp(std::min(answers[i].y, 700.0));
          f.slope[c] = answers[i].slope;
          f.log_b[c] = dead ? -infinity : f.y[c] - f.log_s[c];
          if (!dead) sum += locals_[i].mass * locals_[i].integral(l[i], f.y[c], f.rho[c]);
        }
      }
      return sum;
    });
    double linear = 0, off = 0;
    for (std::size_t i = 0; i < n; ++i) {
      Fields& f = fields[i];
      from_logarithms(*kernel, f.log_b, f.b, threads_, headroom);
      apply(f.b, f.t);
      to_logarithms(*kernel, f.t, f.trial, threads_);
      const double mass = locals_[i].mass;
      off += sum_blocks([&](Index begin, Index end) {
        double sum = 0;
        for (Index c = begin; c < end; ++c) {
          double delta = f.mu[c] > 0 ? f.log_mu[c] - f.alpha[c] - f.trial[c] : 0.0;
          const double first = f.mu[c] > 0 ? f.mu[c] * std::exp(std::clamp(-delta, -690.0, 690.0)) : 0.0;
          if (!std::isfinite(delta)) delta = 0;  // mass that reaches nothing, or that nothing reaches yet
          f.delta[c] = delta;
          f.weight[c] = mass * first;
          sum += mass * std::abs(f.mu[c] - first);
        }
        return sum;
      });
      linear += mass * sum_blocks([&](Index begin, Index end) {
        double sum = 0;
        for (Index c = begin; c < end; ++c) sum += f.mu[c] > 0 && f.alpha[c] != unreached ? f.mu[c] * f.alpha[c] : 0.0;
        return sum;
      });
    }
    const double volume = grid_->cell_volume();
    dual = volume * (linear - value);
    violation = volume * off / energy_.total_mass();
  }

  [[nodiscard]] Status maximise(double tolerance, int limit) {
    evaluate();
    int without_progress = 0, scalings = 0;
    double best = violation, least = 1;
    for (const Local& local : locals_) least = std::min(least, local.a);
    std::vector<Vector> alpha(fields.size()), delta(fields.size());
    while (!(violation <= tolerance)) {
      if (!std::isfinite(violation) || !std::isfinite(dual)) return Status::not_finite;
      if (applications >= limit) return Status::iteration_limit;
      bool scaled = violation > 0.3 && scalings < 4;
      for (std::size_t i = 0; i < fields.size(); ++i) alpha[i] = fields[i].alpha, delta[i] = fields[i].delta;
      if (!scaled) {
        const double before = dual, off = violation;
        solve(std::min(0.1, violation), 0.5 * tolerance * energy_.total_mass(), 200);
        ++newton_steps;
        // The quadratic model is trusted for a factor e^10; cells that are off by more go on with their scaling step.
        for (std::size_t i = 0; i < fields.size(); ++i) {
          Vector& x = fields[i].x;
          for (Index c = 0; c < x.size(); ++c) x[c] = std::abs(delta[i][c]) <= 10 ? std::clamp(x[c], -10.0, 10.0) : delta[i][c];
        }
        double length = 1;
        for (int halving = 0;; ++halving) {
          for (std::size_t i = 0; i < fields.size(); ++i) fields[i].alpha = alpha[i] + length * fields[i].x;
          evaluate();
          // The dual is known to rounding only: near the maximum the violation decides.
          if (violation < off || dual > before + 1e-14 * std::abs(before)) break;
          if (halving == 3) {
            scaled = true;
            break;
          }
          length *= 0.5;
        }
      }
      if (scaled) {
        ++scalings;
        for (std::size_t i = 0; i < fields.size(); ++i) fields[i].alpha = alpha[i] + std::min(1.0, least) * delta[i];
        evaluate();
      }
      without_progress = violation < 0.9 * best ? 0 : without_progress + 1;
      best = std::min(best, violation);
      if (without_progress >= (violation > 1e-3 ? 8 : 30)) return violation < 1e-9 ? Status::stalled : Status::iteration_limit;
    }
    return Status::converged;
  }

  /// Mass of the second marginals that moves farther than `radius` standard deviations along an axis, over the whole mass.
  [[nodiscard]] double mass_beyond(double radius) {
    const SeparableKernel inner(grid_, epsilon, radius, threads_, KernelTiles::narrow);
    double beyond = 0;
    for (std::size_t i = 0; i < fields.size(); ++i) {
      Fields& f = fields[i];
      inner.apply(f.a, first_);
      ++applications;
      to_logarithms(inner, first_, f.trial, threads_);
      for (Index c = 0; c < f.rho.size(); ++c) beyond += locals_[i].mass * std::abs(f.rho[c] - (f.rho[c] > 0 ? std::exp(std::min(f.log_b[c] + f.trial[c], 700.0)) : 0.0));
    }
    return beyond * grid_->cell_volume() / energy_.total_mass();
  }

  /// As in entropic_step.cpp, with what the pressure adds.
  [[nodiscard]] double stiffness() const {
    if (energy_.congestion) return infinity;
    double most = 0, sigma = 0;
    for (std::size_t i = 0; i < fields.size(); ++i) {
      const double top = fields[i].mu.maxCoeff();
      most = std::max(most, locals_[i].a - 0.5 + (locals_[i].b != 0 ? locals_[i].b * locals_[i].k * std::pow(top, locals_[i].k) : 0.0));
      sigma += locals_[i].mass * top;
    }
    return most + coupling_.k * coupling_.force(std::log(sigma));
  }

 private:
  void apply(const ScaledField& in, ScaledField& out) {
    kernel->apply(in, out);
    ++applications;
  }
  template <class Add>
  [[nodiscard]] double sum_blocks(const Add& add) {
    const Index n = fields.front().mu.size();
    parts_.assign(static_cast<std::size_t>((n + block - 1) / block), 0.0);
    parallel_blocks(n, block, threads_, [&](Index begin, Index end) { parts_[static_cast<std::size_t>(begin / block)] = add(begin, end); });
    double all = 0;
    for (const double part : parts_) all += part;
    return all;
  }

  /// image = x - M x for x = direction: with p_i = K[a_i x_i]/s_i the change of log s_i and dy_i that of log rho_i, M x = K[b_i (p_i - dy_i)]/t_i.
  void multiply() {
    for (Fields& f : fields) {
      scaled_.mantissa = f.a.mantissa.cwiseProduct(f.direction);
      scaled_.exponent = f.a.exponent;
      apply(scaled_, first_);
      f.average = (f.s.mantissa.array() > 0).select(first_.mantissa.array() / f.s.mantissa.array(), 0.0);
    }
    const std::size_t n = fields.size();
    parallel_blocks(fields.front().mu.size(), block, threads_, [&](Index begin, Index end) {
      for (Index c = begin; c < end; ++c) {
        double q = 0;
        for (std::size_t i = 0; i < n && coupling_slope_[c] > 0; ++i) {
          // M rho/sigma, where either may leave double's range.
          const double share = fields[i].y[c] > -infinity ? locals_[i].mass * std::exp(fields[i].y[c] - log_total_[c]) : 0.0;
          q += coupling_slope_[c] * share * fields[i].slope[c] * fields[i].average[c];
        }
        for (Fields& f : fields) f.trial[c] = f.average[c] - f.slope[c] * (f.average[c] - q);
      }
    });
    for (Fields& f : fields) {
      scaled_.mantissa = f.b.mantissa.cwiseProduct(f.trial);
      scaled_.exponent = f.b.exponent;
      apply(scaled_, first_);
      f.image = f.direction.array() - (f.t.mantissa.array() > 0).select(first_.mantissa.array() / f.t.mantissa.array(), 0.0);
    }
  }

  /// Conjugate gradients for x - M x = delta in the sum of L2(weight_i), until the residual's norm is `reduction` of the first or its L1 norm is below `absolute`.
  void solve(double reduction, double absolute, int limit) {
    for (Fields& f : fields) {
      f.x.setZero(f.mu.size());
      f.residual = f.direction = f.delta;
    }
    const auto dot = [&](auto&& of) {
      double all = 0;
      for (Fields& f : fields) {
        all += sum_blocks([&](Index begin, Index end) {
          double sum = 0;
          for (Index c = begin; c < end; ++c) sum += f.weight[c] * of(f, c);
          return sum;
        });
      }
      return all;
    };
    double norm = dot([](const Fields& f, Index c) { return f.residual[c] * f.residual[c]; }), left = infinity;
    const double goal = reduction * reduction * norm;
    for (int iteration = 0; norm > goal && norm > 0 && left > absolute && iteration < limit; ++iteration) {
      multiply();
      const double curvature = dot([](const Fields& f, Index c) { return f.direction[c] * f.image[c]; });
      if (!(curvature > 0)) break;
      const double step = norm / curvature;
      for (Fields& f : fields) {
        f.x += step * f.direction;
        f.residual -= step * f.image;
      }
      const double next = dot([](const Fields& f, Index c) { return f.residual[c] * f.residual[c]; });
      left = grid_->cell_volume() * dot([](const Fields& f, Index c) { return std::abs(f.residual[c]); });
      for (Fields& f : fields) f.direction = f.residual + next / norm * f.direction;
      norm = next;
    }
  }

  std::shared_ptr<const Grid> grid_;
  SpeciesEnergy energy_;
  int threads_;
  double radius_ = 0;
  std::vector<Local> locals_;
  Coupling coupling_;
  Vector log_total_, coupling_slope_;  // log sigma, g of solve_cell()
  std::vector<double> parts_;
  ScaledField scaled_, first_;
};

SpeciesStep::SpeciesStep(SpeciesEnergy energy, SpeciesStepOptions options) : energy_(std::move(energy)), options_(options) {
  energy_.validate();
  options_.validate();
  if (energy_.dimension() > 3) throw ShapeError(fmt::format("species_step: the energy has dimension {}, but grids have at most 3", energy_.dimension()));
}

EnergyValue SpeciesStep::energy_value(const std::vector<GridDensity>& measure) const {
  check_measure(energy_, measure);
  const auto& grid = measure.front().grid_ptr();
  std::shared_ptr<Work> work = work_ && *work_->grid() == *grid ? work_ : std::make_shared<Work>(energy_, grid, options_.threads);
  const double volume = grid->cell_volume();
  EnergyValue out;
  for (std::size_t i = 0; i < measure.size(); ++i) {
    for (const auto& [part, value] : work->energies[i].value(measure[i].values()).parts) out.parts.emplace_back(energy_.species[i].name + "." + part, energy_.species[i].mass * value);
  }
  double cross = 0;
  for (std::size_t k = 0; k < work->crosses.size(); ++k) {
    const std::size_t i = energy_.interactions[k].first, j = energy_.interactions[k].second;
    cross += energy_.species[i].mass * energy_.species[j].mass * volume * measure[i].values().dot(work->crosses[k].interaction(measure[j].values()));
  }
  if (!work->crosses.empty()) out.parts.emplace_back("interaction", cross);
  const Vector sigma = total_density(energy_, measure);
  if (energy_.pressure) out.parts.emplace_back("pressure", energy_.pressure->coefficient / (energy_.pressure->exponent - 1) * sigma.array().pow(energy_.pressure->exponent).sum() * volume);
  if (energy_.congestion) out.parts.emplace_back("congestion", sigma.maxCoeff() <= *energy_.congestion * (1 + 1e-12) ? 0.0 : infinity);
  for (const auto& [part, value] : out.parts) out.total += value;
  return out;
}

StepResult<std::vector<GridDensity>> SpeciesStep::advance(const std::vector<GridDensity>& from, double h) {
  check_positive("species_step", "step size h", h);
  check_measure(energy_, from);
  const auto& grid_pointer = from.front().grid_ptr();
  const Grid& grid = *grid_pointer;
  const std::size_t count = from.size();
  const double volume = grid.cell_volume(), all = energy_.total_mass();
  const double gib = 300 * static_cast<double>(grid.size()) * static_cast<double>(count) / std::ldexp(1.0, 30);
  if (gib > options_.memory_limit) throw DomainError(fmt::format("species_step: {:.3g} cells and {} species would take about {:.1f} GiB, but memory_limit is {:g}", static_cast<double>(grid.size()), count, gib, options_.memory_limit));
  double epsilon = options_.epsilon;
  if (epsilon == 0) {
    epsilon = infinity;
    for (const GridDensity& density : from) epsilon = std::min(epsilon, chosen_epsilon(density, options_.bias_target));
  }
  for (int axis = 0; axis < grid.dimension(); ++axis) {
    if (grid.cells[static_cast<std::size_t>(axis)] == 1) continue;
    const double least = 0.5 * grid.width(axis) * grid.width(axis);
    if (epsilon < least) throw DomainError(fmt::format("species_step: epsilon is {:g}, but must be at least half the squared cell width, {:g}: below it the sampled kernel is no heat kernel", epsilon, least));
  }
  if (!work_ || !(*work_->grid() == grid)) work_ = std::make_shared<Work>(energy_, grid_pointer, options_.threads);
  Work& w = *work_;
  report_ = {};
  report_.epsilon = epsilon;
  w.applications = w.newton_steps = 0;
  w.set_start(from);
  StepResult<std::vector<GridDensity>> result;
  result.measure = from;
  if (energy_.congestion) {
    // Cells with an obstacle for one species only still have room for the others: an upper bound of the room.
    double room = 0;
    for (Index c = 0; c < grid.size(); ++c) {
      bool open = false;
      for (const GridEnergy& e : w.energies) open = open || e.potential()[c] < infinity;
      room += open ? volume * *energy_.congestion : 0.0;
    }
    if (room < all * (1 - 1e-12)) {
      result.status = Status::not_finite;
      return result;
    }
  }

  bool interacts = !energy_.interactions.empty();
  for (const Species& s : energy_.species) interacts = interacts || s.energy.interaction();
  std::vector<Vector> densities;
  for (const GridDensity& density : from) densities.push_back(density.values());
  std::vector<Vector> acting;
  const auto potentials = [&] {
    std::vector<Vector> out;
    for (std::size_t i = 0; i < count; ++i) out.push_back(interacts ? Vector(w.energies[i].potential() + acting[i]) : w.energies[i].potential());
    return out;
  };
  if (interacts) acting = w.acting(densities);
  const int limit = 2 * options_.max_iterations * static_cast<int>(count);
  const int outers = interacts && options_.interaction == InteractionScheme::implicit_outer ? options_.max_outer : 1;
  double radius = default_radius;
  Status status = Status::not_run;
  for (int outer = 0; outer < outers; ++outer) {
    ++report_.outer_iterations;
    const std::vector<Vector> linear = potentials();
    if (outer == 0) {
      int level = 0;
      w.set_problem(h, epsilon, radius, linear);
      for (double stiff = w.stiffness(); stiff > 2 && level < 5 && std::pow(4.0, level + 1) * epsilon < largest_level(grid); stiff /= 4) ++level;
      Work::Level last, before;
      for (; level >= 0; --level) {
        const double here = epsilon * std::pow(4.0, level);
        for (;; radius = std::min(2 * radius, largest_radius)) {
          w.set_problem(h, here, radius, linear);
          if (last.y.empty()) w.start_from_density();
          else w.start_from(last, before);
          status = w.scale() ? w.maximise(level > 0 ? std::max(options_.tolerance, 1e-4) : options_.tolerance, limit) : Status::not_finite;
          // Where it fails the plans may need a longer reach: without it the dual is unbounded.
          if (status == Status::converged || radius >= largest_radius || w.applications >= limit) break;
        }
        if (level == 0) break;
        if (status != Status::converged) {
          radius = default_radius;
          continue;
        }
        radius = next_radius(w, radius);
        before = std::move(last);
        last = w.level();
      }
    } else {
      w.change_potentials(linear);
      status = w.scale() ? w.maximise(options_.tolerance, limit) : Status::not_finite;
    }
    status = grow_radius(w, radius, std::max(options_.tolerance, options_.bias_target), status, [&] {
      w.set_problem(h, epsilon, radius, linear);
      return w.maximise(options_.tolerance, limit);
    });
    if (status != Status::converged) break;
    double change = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const Vector next = w.fields[i].rho / (w.fields[i].rho.sum() * volume);
      change += energy_.species[i].mass * (next - densities[i]).cwiseAbs().sum() * volume / all;
      densities[i] = next;
    }
    if (outers == 1) break;
    report_.interaction_residual = change;
    if (change <= 10 * options_.tolerance) break;
    if (outer + 1 == outers) status = Status::iteration_limit;
    else acting = w.acting(densities);
  }
  report_.radius = radius;
  report_.kernel_applications = w.applications;
  report_.newton_steps = w.newton_steps;
  result.status = status;
  result.iterations = w.applications / (2 * static_cast<int>(count));
  result.residual = w.violation;
  if (!is_success(status) && options_.epsilon == 0 && w.applications < limit) {
    // As in entropic_step.cpp: mass moves too far for this epsilon; a larger one may do, as long as two of them agree to a tenth of the mass.
    SpeciesStepOptions larger = options_, doubled = options_;
    for (larger.epsilon = 4 * epsilon; larger.epsilon < largest_level(grid); larger.epsilon *= 4) {
      SpeciesStep other(energy_, larger);
      auto next = other.advance(from, h);
      if (!is_success(next.status)) continue;
      doubled.epsilon = 2 * larger.epsilon;
      const auto coarser = SpeciesStep(energy_, doubled).advance(from, h);
      if (!is_success(coarser.status)) break;
      double bias = 0;
      for (std::size_t i = 0; i < count; ++i) bias = std::max(bias, l1_distance(next.measure[i], coarser.measure[i]) / 3);
      if (!(bias <= 0.1)) break;
      report_ = other.report_;
      report_.raised = true;
      report_.bias = bias;
      work_ = other.work_;
      return next;
    }
  }
  if (!is_success(status)) return result;
  if (energy_.congestion) {
    // Scaling to mass one may lift full cells above the bound by the residual: what is cut there goes to the species' other cells in proportion.
    for (int k = 0; k < 50; ++k) {
      Vector sigma = Vector::Zero(grid.size());
      for (std::size_t i = 0; i < count; ++i) sigma += energy_.species[i].mass * densities[i];
      if (!(sigma.maxCoeff() > *energy_.congestion)) break;
      for (std::size_t i = 0; i < count; ++i) {
        double full = 0, rest = 0;
        for (Index c = 0; c < grid.size(); ++c) {
          double& v = densities[i][c];
          if (sigma[c] >= *energy_.congestion) v *= *energy_.congestion / sigma[c], full += v;
          else rest += v;
        }
        const double factor = (1 / volume - full) / rest;
        if (!(rest > 0) || !(factor >= 1)) continue;
        for (Index c = 0; c < grid.size(); ++c) {
          if (sigma[c] < *energy_.congestion) densities[i][c] *= factor;
        }
      }
    }
  }
  report_.w2_moved.resize(static_cast<Index>(count));
  double squared = 0;
  for (std::size_t i = 0; i < count; ++i) {
    densities[i] /= densities[i].sum() * volume;
    const Work::Fields& f = w.fields[i];
    double cost = 0;
    for (Index c = 0; c < grid.size(); ++c) {
      if (f.mu[c] > 0) cost += f.mu[c] * f.alpha[c];
      if (f.rho[c] > 0) cost += f.rho[c] * f.log_b[c];
    }
    const double moved = std::max(0.0, 2 * epsilon * cost * volume - epsilon * (entropy(grid, f.mu) + entropy(grid, densities[i])) -
                                           0.125 * epsilon * epsilon * (fisher_information(grid, f.mu) + fisher_information(grid, densities[i])));
    report_.w2_moved[static_cast<Index>(i)] = std::sqrt(moved);
    squared += energy_.species[i].mass * moved;
    result.measure[i] = GridDensity(grid_pointer, densities[i]);
  }
  report_.largest_total = total_density(energy_, result.measure).maxCoeff();
  result.w2_moved = std::sqrt(squared);
  result.energy = energy_value(result.measure);
  result.objective = result.energy.total + squared / (2 * h);
  return result;
}

}  // namespace jko
