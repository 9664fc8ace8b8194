#include <jko/transport/grid_w2.hpp>

#include <jko/core/check.hpp>
#include <jko/energies/grid_energy.hpp>
#include <jko/transport/c_transform.hpp>
#include <jko/transport/separable_kernel.hpp>

#include "scaled_field.hpp"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

namespace jko {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double least_radius = 8, largest_radius = 36;  // of kernels, in standard deviations: e^{-32}, and e^{-648} near the end of double's range
constexpr double largest_unseen = 1e-12;
constexpr double tail = 1e-24;  // of the largest density: what is below has no mass that W2 could see, but logarithms that would leave double's range

/// Cubic convolution between the cell centres of two grids of the same box, one axis after another.
class Resampling {
 public:
  Resampling(const Grid& coarse, const Grid& fine) : coarse_(&coarse), fine_(&fine) {}

  /// Masses on the fine grid -> masses on the coarse one.
  [[nodiscard]] Vector restrict_mass(const Vector& mass) const { return run(mass, *fine_, *coarse_, false); }
  /// Values on the coarse grid -> values at the fine centres.
  [[nodiscard]] Vector prolong(const Vector& values) const { return run(values, *coarse_, *fine_, true); }

 private:
  [[nodiscard]] Vector run(Vector field, const Grid& from, const Grid& to, bool gather) const {
    Index inner = 1;
    const int d = from.dimension();
    for (int a = 0; a < d; ++a) {
      const Index n = from.cells[static_cast<std::size_t>(a)], m = to.cells[static_cast<std::size_t>(a)], outer = field.size() / (inner * n);
      const Index nodes = gather ? n : m, points = gather ? m : n;
      Vector next = Vector::Zero(inner * m * outer);
      for (Index p = 0; p < points; ++p) {
        const double at = (static_cast<double>(p) + 0.5) * static_cast<double>(nodes) / static_cast<double>(points) - 0.5;
        const double cell = std::floor(at), t = at - cell, s = 1 - t;
        const double w[4] = {-0.5 * t * s * s, 1 + t * t * (1.5 * t - 2.5), 1 + s * s * (1.5 * s - 2.5), -0.5 * s * t * t};
        for (int k = 0; k < 4; ++k) {
          if (w[k] == 0) continue;
          const Index node = inside(static_cast<Index>(cell) - 1 + k, nodes, from.boundary);
          const Index source = gather ? node : p, target = gather ? p : node;
          for (Index o = 0; o < outer; ++o) {
            next.segment(inner * (target + m * o), inner) += w[k] * field.segment(inner * (source + n * o), inner);
          }
        }
      }
      field.swap(next);
      inner *= m;
    }
    return field;
  }
  static Index inside(Index i, Index n, Boundary boundary) {
    if (boundary == Boundary::periodic) return (i % n + n) % n;
    const Index folded = (i % (2 * n) + 2 * n) % (2 * n);
    return folded < n ? folded : 2 * n - 1 - folded;
  }
  const Grid *coarse_, *fine_;
};

/// The densities of one level, and transport of strength epsilon between them.
class Level {
 public:
  Level(std::shared_ptr<const Grid> grid, Vector first, Vector second, int threads)
      : grid_(std::move(grid)), mu_(std::move(first)), nu_(std::move(second)), threads_(useful_threads(*grid_, threads)), volume_(grid_->cell_volume()) {
    log_mu_ = mu_.array().log();
    log_nu_ = nu_.array().log();
  }

  [[nodiscard]] const std::shared_ptr<const Grid>& grid() const { return grid_; }
  int applications = 0;

  void set_epsilon(double epsilon) {
    double longest = 0;
    for (int a = 0; a < grid_->dimension(); ++a) longest = std::max(longest, grid_->upper[a] - grid_->lower[a]);
    epsilon_ = epsilon;
    kernel_.emplace(grid_, epsilon, std::clamp(longest / std::sqrt(epsilon), least_radius, largest_radius), threads_);
  }

  /// O(a, a)/epsilon for a = mu or nu; log u of u K u = a, continued beyond its support. The value lacks (violation)^2/2 over the dual's least curvature, 1 - (correlation)^2,
  /// which is epsilon over the variance or more: 0.01 on the levels used, so that a violation of 0.03 tolerance^{1/2} leaves a twentieth of the tolerance.
  double self(bool first, double tolerance, int limit, Vector& potential) {
    const Vector &a = first ? mu_ : nu_, &log_a = first ? log_mu_ : log_nu_;
    Vector log_u = 0.5 * log_a, log_s;
    double value = 0;
    // The averaged step halves every error: e^{-log 2 k}. 40 steps reach 1e-12.
    for (int k = 0; k < 40 && applications < limit; ++k) {
      from_logarithms(*kernel_, log_u, u_, threads_);
      apply(u_, s_);
      to_logarithms(*kernel_, s_, log_s, threads_);
      double violation = 0;
      value = 0;
      for (Index i = 0; i < a.size(); ++i) {
        if (!(a[i] > 0)) continue;
        const double log_v = log_a[i] - log_s[i];  // the second marginal is exact
        violation += a[i] * std::abs(std::expm1(std::min(log_u[i] - log_v, 30.0)));
        value += a[i] * (log_u[i] + log_v);
        log_u[i] = 0.5 * (log_u[i] + log_v);
      }
      if (violation * volume_ <= 0.03 * std::sqrt(tolerance)) break;
    }
    potential = -log_s;
    return value * volume_;
  }

  /// Sets log u from potentials divided by epsilon at every cell.
  void start(const Vector& log_u) {
    alpha_ = log_u;
    for (Index i = 0; i < alpha_.size(); ++i) {
      if (!(mu_[i] > 0) || !std::isfinite(alpha_[i])) alpha_[i] = -infinity;
    }
  }

  /// O(a, b)/epsilon to `tolerance` by Newton's decrement, from start().
  Status cross(double tolerance, int limit, double& value) {
    evaluate();
    Vector step, old_alpha;
    for (int k = 0; k < 100; ++k) {
      if (!std::isfinite(dual_) || !std::isfinite(violation_)) return Status::not_finite;
      if (applications >= limit) return Status::iteration_limit;
      if (violation_ > 0.5 && k < 4) {  // far off the quadratic model is of little use: scaling steps
        scale();
        continue;
      }
      const double decrement = newton(step, limit);
      value = dual_ + 0.5 * decrement;
      if (decrement <= 2 * tolerance) return Status::converged;
      old_alpha = alpha_;
      const double before = dual_, off = violation_;
      double length = 1;
      for (int halving = 0;; ++halving) {
        alpha_ = old_alpha + length * step;
        evaluate();
        if (violation_ < off || dual_ > before) break;
        if (halving == 3) {
          alpha_ = old_alpha;
          evaluate();
          scale();
          break;
        }
        length *= 0.5;
      }
    }
    return Status::iteration_limit;
  }

  /// The potential -log(K v) of the first marginal, at every cell that the plan's kernel reaches.
  [[nodiscard]] Vector potential() const { return -log_t_; }

 private:
  void apply(const ScaledField& in, ScaledField& out) {
    kernel_->apply(in, out);
    ++applications;
  }

  void evaluate() {
    from_logarithms(*kernel_, alpha_, u_, threads_);
    apply(u_, s_);
    Vector log_s;
    to_logarithms(*kernel_, s_, log_s, threads_);
    Vector log_v = log_nu_ - log_s;
    dual_ = 0;
    double unseen = 0;  // mass of cells where a sum left double's range: tails, or the kernel is too narrow
    for (Index i = 0; i < nu_.size(); ++i) {
      if (nu_[i] > 0 && log_s[i] > -infinity) {
        dual_ += nu_[i] * log_v[i];
      } else {
        unseen += nu_[i];
        log_v[i] = -infinity;
      }
    }
    from_logarithms(*kernel_, log_v, v_, threads_);
    apply(v_, t_);
    to_logarithms(*kernel_, t_, log_t_, threads_);
    delta_.setZero(mu_.size());
    weight_.setZero(mu_.size());
    violation_ = 0;
    for (Index i = 0; i < mu_.size(); ++i) {
      if (!(mu_[i] > 0) || !(log_t_[i] > -infinity)) {
        unseen += mu_[i];
        continue;
      }
      dual_ += mu_[i] * alpha_[i];
      delta_[i] = log_mu_[i] - alpha_[i] - log_t_[i];
      weight_[i] = std::exp(alpha_[i] + log_t_[i]);
      violation_ += std::abs(mu_[i] - weight_[i]);
    }
    dual_ *= volume_;
    violation_ *= volume_;
    if (unseen * volume_ > largest_unseen) violation_ = infinity;
  }

  void scale() {
    alpha_ += delta_;
    evaluate();
  }

  /// Solves (I - M) step = log(mu/p) in L2(p), p the first marginal and M f = E[E[f(X) | Y] | X], to a tenth or the violation; returns the decrement <mu - p, step>, twice what the quadratic
  /// model says the dual lacks.
  double newton(Vector& step, int limit) {
    const Index n = mu_.size();
    step.setZero(n);
    Vector residual(n), image(n);
    // log(mu/p) for (mu - p)/p: the same near the solution, and tails that are off by large factors do not drown the rest.
    for (Index i = 0; i < n; ++i) residual[i] = weight_[i] > 0 ? std::clamp(delta_[i], -5.0, 5.0) : 0.0;
    // Constants change nothing: I - M does not see them, and the right-hand side must not have any.
    residual.array() -= weight_.dot(residual) / weight_.sum();
    Vector direction = residual;
    const auto dot = [&](const Vector& x, const Vector& y) { return weight_.dot(x.cwiseProduct(y)) * volume_; };
    double norm = dot(residual, residual);
    const double reduction = std::clamp(violation_, 1e-3, 0.1), goal = reduction * reduction * norm;
    for (int k = 0; k < 100 && norm > goal && applications < limit; ++k) {
      average(direction, image);
      image = direction - image;
      const double curvature = dot(direction, image);
      if (!(curvature > 0)) break;
      const double length = norm / curvature;
      step += length * direction;
      residual -= length * image;
      const double next = dot(residual, residual);
      direction = residual + next / norm * direction;
      norm = next;
    }
    double decrement = 0;
    for (Index i = 0; i < n; ++i) {
      step[i] = std::clamp(step[i], -10.0, 10.0);
      decrement += (mu_[i] - weight_[i]) * step[i];
    }
    return std::abs(decrement) * volume_;
  }

  /// M x = K[v K[u x]/s]/t.
  void average(const Vector& x, Vector& out) {
    scaled_.mantissa = u_.mantissa.cwiseProduct(x);
    scaled_.exponent = u_.exponent;
    apply(scaled_, first_);
    // first_ has the exponents of s_, as both come from the same tiles.
    scaled_.mantissa = (s_.mantissa.array() > 0).select(v_.mantissa.array() * first_.mantissa.array() / s_.mantissa.array(), 0.0);
    scaled_.exponent = v_.exponent;
    apply(scaled_, first_);
    out = (t_.mantissa.array() > 0).select(first_.mantissa.array() / t_.mantissa.array(), 0.0);
  }

  std::shared_ptr<const Grid> grid_;
  Vector mu_, nu_, log_mu_, log_nu_;
  int threads_;
  double volume_, epsilon_ = 0, dual_ = 0, violation_ = 0;
  std::optional<SeparableKernel> kernel_;
  Vector alpha_, delta_, weight_, log_t_;
  ScaledField u_, v_, s_, t_, scaled_, first_;
};

/// The grid of a level, `resolution` cells to sqrt(epsilon) where the given one has as many, and the densities on it.
Level make_level(const GridDensity& a, const GridDensity& b, double epsilon, double resolution, int threads) {
  const Grid& fine = a.grid();
  Grid coarse = fine;
  for (int axis = 0; axis < fine.dimension(); ++axis) {
    Index& n = coarse.cells[static_cast<std::size_t>(axis)];
    const double wanted = std::max(4.0, resolution * (fine.upper[axis] - fine.lower[axis]) / std::sqrt(epsilon));
    // Whole numbers of cells only: others would beat with the lattice.
    Index ratio = std::max<Index>(1, static_cast<Index>(static_cast<double>(n) / wanted));
    while (n % ratio != 0) --ratio;
    n /= ratio;
  }
  const auto grid = coarse == fine ? a.grid_ptr() : std::make_shared<const Grid>(coarse);
  const auto density = [&](const GridDensity& m) {
    // The weights are negative two cells away: that is cut with the tails.
    Vector v = coarse == fine ? m.values() : Resampling(*grid, fine).restrict_mass(m.values());
    const double least = tail * v.maxCoeff();
    for (double& x : v) x = x > least ? x : 0.0;
    return Vector(v / (v.sum() * grid->cell_volume()));
  };
  return {grid, density(a), density(b), threads};
}

/// Potentials where a kernel's sum left double's range: the c-concave continuation from the other cells.
Vector completed(const std::shared_ptr<const Grid>& grid, Vector phi) {
  bool holes = false, any = false;
  for (double& p : phi) {
    any = any || std::isfinite(p);
    holes = holes || !std::isfinite(p);
    if (!std::isfinite(p)) p = -infinity;
  }
  if (!holes || !any) return phi;
  const CTransform transform(grid);
  const Vector closed = transform(transform(phi));
  for (Index i = 0; i < phi.size(); ++i) {
    if (phi[i] == -infinity) phi[i] = closed[i];
  }
  return phi;
}

}  // namespace

void GridW2Options::validate() const {
  check_positive("grid_w2", "relative", relative);
  check_nonnegative("grid_w2", "absolute", absolute);
  check_at_least("grid_w2", "max_applications", max_applications, 1);
  check_at_least("grid_w2", "threads", threads, 1);
}

GridW2 grid_w2(const GridDensity& a, const GridDensity& b, const GridW2Options& options) {
  options.validate();
  if (a.dimension() == 0 || b.dimension() == 0) throw DomainError("grid_w2: a density is empty");
  if (!(a.grid() == b.grid())) throw ShapeError("grid_w2: the grids differ");
  const Grid& grid = a.grid();
  double widest = 0, narrowest = infinity, side = infinity;
  for (int axis = 0; axis < grid.dimension(); ++axis) {
    if (grid.cells[static_cast<std::size_t>(axis)] == 1) continue;
    widest = std::max(widest, grid.width(axis));
    narrowest = std::min(narrowest, grid.width(axis));
    side = std::min(side, grid.upper[axis] - grid.lower[axis]);
  }
  GridW2 out;
  if (widest == 0 || a.values() == b.values()) {  // a single cell
    out.status = Status::converged;
    out.error = 0;
    return out;
  }
  const double absolute = options.absolute > 0 ? options.absolute : 1e-4 * narrowest;
  const double fisher = std::max(fisher_information(grid, a.values()), fisher_information(grid, b.values()));
  const double floor = widest * widest;
  // Three levels at least; and no wider than a fifth of the box.
  double epsilon = std::max(4 * floor, std::min(fisher > 0 ? 2.0 * grid.dimension() / fisher : infinity, 0.04 * side * side));

  std::shared_ptr<const Grid> last;  // of the last level
  Vector potential, before;          // debiased, on it; that of the level before, on the given grid
  double s_before = 0, e_before = 0;
  const auto finish = [&](Status status) {
    out.status = status;
    if (potential.size() > 0 && potential.allFinite()) {
      const Vector phi = *last == grid ? potential : Resampling(*last, grid).prolong(potential);
      const CTransform transform(a.grid_ptr(), options.threads);
      const Vector other = transform(phi), closed = transform(other);
      out.atoms_lower = std::sqrt(std::max(0.0, 2 * (closed.dot(a.values()) + other.dot(b.values())) * grid.cell_volume()));
      if (before.size() > 0 && before.allFinite()) out.potential = (4 * phi - before) / 3;
    }
    return out;
  };
  double resolution = 3;
  for (int level = 0; epsilon >= floor * (1 - 1e-12); ++level, epsilon *= 0.5) {
    double cross = 0, self[2]{};
    Vector first, second;
    const int limit = options.max_applications;
    for (;;) {
      Level here = make_level(a, b, epsilon, resolution, options.threads);
      here.applications = out.kernel_applications;
      Status status = Status::converged;
      // A start is the last level's debiased potential, which hardly depends on epsilon, over epsilon, plus the self potential, which has the rest.
      Vector start;
      if (level == 0) {
        // From a wide kernel, for which any start will do, down by fours.
        double wide = epsilon;
        while (wide < side * side) wide *= 4;
        start = Vector::Zero(here.grid()->size());
        for (; wide > 1.5 * epsilon && is_success(status); wide /= 4) {
          here.set_epsilon(wide);
          (void)here.self(true, 1e-2, limit, first);
          here.start(start / wide + first);
          status = here.cross(1e-2, limit, cross);
          start = completed(here.grid(), wide * (here.potential() - first));
        }
      } else {
        start = *last == *here.grid() ? potential : Resampling(*last, *here.grid()).prolong(potential);
      }
      if (is_success(status)) {
        here.set_epsilon(epsilon);
        // In units of epsilon: W2^2/2, as far as it is known, to a two-hundredth of what is asked for, since the extrapolation adds 5/3 of it. Rounding bounds it below.
        const double scale = std::max(std::abs(s_before), 0.5 * absolute * absolute);
        const double tolerance = level == 0 ? 1e-4 : std::max(0.005 * options.relative * scale / epsilon, 1e-12);
        self[0] = here.self(true, tolerance, limit, first);
        self[1] = here.self(false, tolerance, limit, second);
        here.start(start / epsilon + first);
        status = here.cross(tolerance, limit, cross);
      }
      out.kernel_applications = here.applications;
      if (here.applications >= limit) return finish(Status::iteration_limit);
      if (is_success(status)) {
        if (last) before = *last == grid ? potential : Resampling(*last, grid).prolong(potential);
        last = here.grid();
        potential = completed(last, epsilon * (here.potential() - first));
        break;
      }
      // Logarithms that vary by more than double's range within a tile of the kernel: more cells to sqrt(epsilon) help, where there are any.
      if (*here.grid() == grid) return finish(Status::stalled);
      resolution *= 2;
    }
    out.epsilon = epsilon;
    out.cells = last->size();
    out.levels = level + 1;
    const double s = epsilon * (cross - 0.5 * (self[0] + self[1]));
    if (level > 0) {
      const double e = (4 * s - s_before) / 3;
      out.value = std::sqrt(2 * std::max(0.0, e));
      if (level > 1) {
        out.error = std::abs(out.value - std::sqrt(2 * std::max(0.0, e_before)));
        if (out.error <= std::max(options.relative * out.value, absolute)) return finish(Status::converged);
      }
      e_before = e;
    }
    s_before = s;
  }
  return finish(Status::stalled);
}

double w2(const GridDensity& a, const GridDensity& b) {
  const GridW2 found = grid_w2(a, b);
  require(found.status, "w2 of grid densities");
  return found.value;
}

}  // namespace jko
