#include <jko/steps/entropic_step.hpp>

#include <jko/core/check.hpp>
#include <jko/core/parallel.hpp>
#include <jko/transport/c_transform.hpp>
#include <jko/transport/flux_bound.hpp>
#include <jko/transport/separable_kernel.hpp>

#include "../core/vector_math.hpp"
#include "../measures/grid_transfer.hpp"
#include "../transport/scaled_field.hpp"
#include "jko_dual.hpp"
#include "kernel_radius.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <string>
#include <utility>

namespace jko {
namespace {

namespace vm = vector_math;
constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double obstacle = 1e300;  // h Psi/epsilon of an obstacle: finite, so that the closed forms stay free of infinity - infinity
constexpr double unreached = -1e7;  // log a of a cell that no scaling reaches yet: without weight, but finite
constexpr int headroom = 860;       // a tile's largest mantissa is 2^860: with double's whole range used, scalings may vary by e^1300 within reach of a tile
constexpr int lanes = 8;            // sums run over eight interleaved accumulators, whatever the vector width

/// The pointwise problem f(y) = A y + B e^{k y} = L, y <= cap, for y = log rho. 
struct Proximal {
  double a = 0.5;           // A
  double b = 0, k = 0;      // B, m - 1; b = 0 without a porous-medium part
  double log_c = 0;         // log(B k/A)
  double cap = infinity;    // log rho_max
  double tail = -infinity;  // log of the density below which fast diffusion's B e^{k y} stays what it is there; then f there, and what that adds to
  double tail_force = -infinity, tail_excess = 0;  // int_0^rho f, rho above it

  void continue_below(double log_density) {
    const double pressure = b * std::exp(k * log_density);
    tail = log_density;
    tail_force = a * tail + pressure;
    tail_excess = pressure * std::exp(tail) * k / (k + 1);
  }
  [[nodiscard]] double force(double y) const { return a * y + (b != 0 ? b * std::exp(k * std::max(y, tail)) : 0.0); }
};

struct Sums {
  double value = 0, mass = 0;
};

/// From s = mantissa e^{shift} and v = h Psi/epsilon: y = log rho, rho, log b = y - log s, 1 - dy/dL, and sums of rho and of the dual's integrand
/// int (L - A y - B e^{k y}) d rho. Cells without s or with an obstacle get rho = 0 and log b = -infinity.
template <bool porous>
JKO_INLINE void proximal_loop(const double* s, double shift, const double* v, Index n, const Proximal& f, double* y, double* rho, double* log_b, double* damping, double* value) {
  const double inverse = 1 / f.a, scaled = f.k / f.a, bk = f.b / (f.k + 1);
  for (Index i = 0; i < n; ++i) {
    const double log_s = vm::log(s[i]) + shift;
    const double l = log_s - v[i];
    double here = l * inverse, derivative = inverse, pressure = 0;
    if constexpr (porous) {
      const vm::Omega omega = vm::wright_omega(scaled * l + f.log_c);
      here = (omega.log - f.log_c) / f.k;
      derivative = inverse / (1 + omega.value);
      pressure = omega.value * f.a / f.k;  // B e^{k y}
    }
    const bool capped = here > f.cap, dead = !(l > -1e200), thin = porous && l < f.tail_force;
    if constexpr (porous) {
      pressure = capped ? f.b * vm::exp(f.k * f.cap) : pressure;
      derivative = thin ? inverse : derivative;
      here = thin ? f.tail + (l - f.tail_force) * inverse : here;
    }
    here = capped ? f.cap : here;
    const double density = vm::exp(here);
    y[i] = dead ? -infinity : here;
    rho[i] = dead ? 0.0 : density;
    log_b[i] = dead ? -infinity : here - log_s;
    damping[i] = capped || dead ? 1.0 : 1.0 - derivative;
    // The integral of B rho^k is B e^{k y} rho/(k + 1) = (B/(k+1)) e^{k y} rho; below the tail density it is rho A.
    const double integral = density * (l - f.a * (here - 1) - (porous ? pressure / f.b * bk : 0.0));
    value[i] = dead ? 0.0 : (thin ? density * f.a : integral - f.tail_excess);
  }
}

JKO_VECTOR_CLONES void proximal_linear(const double* s, double shift, const double* v, Index n, const Proximal& f, double* __restrict y, double* __restrict rho, double* __restrict log_b,
                                       double* __restrict damping, double* __restrict value) {
  proximal_loop<false>(s, shift, v, n, f, y, rho, log_b, damping, value);
}
JKO_VECTOR_CLONES void proximal_porous(const double* s, double shift, const double* v, Index n, const Proximal& f, double* __restrict y, double* __restrict rho, double* __restrict log_b,
                                       double* __restrict damping, double* __restrict value) {
  proximal_loop<true>(s, shift, v, n, f, y, rho, log_b, damping, value);
}

/// delta = log mu - alpha - log t and weight = a t = mu e^{-delta}, zero where mu is; t = mantissa e^{shift}.
JKO_VECTOR_CLONES void mismatch(const double* mu, const double* log_mu, const double* alpha, const double* t, double shift, Index n, double* __restrict delta, double* __restrict weight,
                                double* __restrict violation) {
  for (Index i = 0; i < n; ++i) {
    const double off = log_mu[i] - alpha[i] - (vm::log(t[i]) + shift);
    delta[i] = mu[i] > 0.0 ? off : 0.0;
    const double first = mu[i] > 0.0 ? mu[i] * vm::exp(off > -690.0 ? -off : 690.0) : 0.0;  // finite however far off
    weight[i] = first;
    violation[i] = mu[i] > first ? mu[i] - first : first - mu[i];
  }
}

JKO_VECTOR_CLONES void logarithms(const double* x, Index n, double* __restrict out) {
  for (Index i = 0; i < n; ++i) out[i] = vm::log(x[i]);
}

/// out = x y, and out = x y/z with 0 where z = 0.
JKO_VECTOR_CLONES void products(const double* x, const double* y, Index n, double* __restrict out) {
  for (Index i = 0; i < n; ++i) out[i] = x[i] * y[i];
}
JKO_VECTOR_CLONES void quotients(const double* x, const double* z, Index n, double* __restrict out) {
  for (Index i = 0; i < n; ++i) out[i] = z[i] > 0.0 ? x[i] / z[i] : 0.0;
}

double total(const double* sum) { return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7])); }

JKO_VECTOR_CLONES void add_sum(const double* x, Index n, double* __restrict sum) {
  Index i = 0;
  for (; i + lanes <= n; i += lanes) {
    for (int l = 0; l < lanes; ++l) sum[l] += x[i + l];
  }
  for (; i < n; ++i) sum[0] += x[i];
}
/// sum of w x y.
JKO_VECTOR_CLONES void add_dot(const double* w, const double* x, const double* y, Index n, double* __restrict sum) {
  Index i = 0;
  for (; i + lanes <= n; i += lanes) {
    for (int l = 0; l < lanes; ++l) sum[l] += w[i + l] * x[i + l] * y[i + l];
  }
  for (; i < n; ++i) sum[0] += w[i] * x[i] * y[i];
}
/// x += step p, r -= step q; adds w r^2 to the sum and w |r| to the other.
JKO_VECTOR_CLONES void descend(double step, const double* p, const double* q, const double* w, Index n, double* __restrict x, double* __restrict r, double* __restrict sum,
                               double* __restrict absolute) {
  Index i = 0;
  const auto one = [&](Index j, int l) {
    x[j] += step * p[j];
    r[j] -= step * q[j];
    const double weighted = w[j] * r[j];
    sum[l] += weighted * r[j];
    absolute[l] += weighted > 0.0 ? weighted : -weighted;
  };
  for (; i + lanes <= n; i += lanes) {
    for (int l = 0; l < lanes; ++l) one(i + l, l);
  }
  for (; i < n; ++i) one(i, 0);
}
JKO_VECTOR_CLONES void combine(const double* r, double beta, Index n, double* __restrict p) {
  for (Index i = 0; i < n; ++i) p[i] = r[i] + beta * p[i];
}
/// q = p - average, and adds w p q.
JKO_VECTOR_CLONES void subtract_average(const double* p, const double* x, const double* t, const double* w, Index n, double* __restrict q, double* __restrict sum) {
  Index i = 0;
  const auto one = [&](Index j) {
    q[j] = p[j] - (t[j] > 0.0 ? x[j] / t[j] : 0.0);
    return w[j] * p[j] * q[j];
  };
  for (; i + lanes <= n; i += lanes) {
    for (int l = 0; l < lanes; ++l) sum[l] += one(i + l);
  }
  for (; i < n; ++i) sum[0] += one(i);
}

}  // namespace

void EntropicStepOptions::validate() const {
  check_nonnegative("entropic_step", "epsilon", epsilon);
  check_positive("entropic_step", "bias_target", bias_target);
  check_positive("entropic_step", "tolerance", tolerance);
  check_at_least("entropic_step", "max_iterations", max_iterations, 1);
  check_at_least("entropic_step", "max_outer", max_outer, 1);
  check_at_least("entropic_step", "certificate_iterations", certificate_iterations, 0);
  check_at_least("entropic_step", "threads", threads, 1);
}

double chosen_epsilon(const GridDensity& from, double bias_target) {
  const Grid& grid = from.grid();
  double floor = 0;
  for (int a = 0; a < grid.dimension(); ++a) {
    if (grid.cells[static_cast<std::size_t>(a)] > 1) floor = std::max(floor, std::pow(grid.width(a), 2));
  }
  if (floor == 0) floor = std::pow(grid.width(0), 2);
  const double fisher = fisher_information(grid, from.values());
  return fisher > 0 ? std::max(floor, 2.8 * std::sqrt(bias_target) * grid.dimension() / fisher) : floor;
}

/// The dual problem of one step and everything kept between its evaluations.
class EntropicStep::Work {
 public:
  Work(const FreeEnergy& energy, std::shared_ptr<const Grid> grid, int threads) : grid_(std::move(grid)), free_energy_(energy), threads_(useful_threads(*grid_, threads)) {}

  /// Built at the first call: coarser grids need none.
  [[nodiscard]] const GridEnergy& energy() const {
    if (!energy_) energy_ = std::make_unique<const GridEnergy>(free_energy_, grid_);
    return *energy_;
  }
  /// The work on a coarser grid of the same box, kept.
  [[nodiscard]] Work& coarser(const Grid& grid) {
    for (const auto& work : coarser_) {
      if (*work->grid_ == grid) return *work;
    }
    if (coarser_.size() >= 6) coarser_.erase(coarser_.begin());
    coarser_.push_back(std::make_unique<Work>(free_energy_, std::make_shared<const Grid>(grid), threads_));
    return *coarser_.back();
  }
  [[nodiscard]] const std::shared_ptr<const Grid>& grid() const { return grid_; }

  /// Scalings of the last solve.
  Vector alpha, y, rho, damping, log_b, delta, weight, congestion;
  ScaledField a, s, b, t;
  Vector mu, log_mu, shifted;  // shifted: h Psi/epsilon
  Proximal proximal;
  double epsilon = 0, h = 0;
  double tail_density = 0;  // of fast diffusion, > 0
  const SeparableKernel* kernel = nullptr;
  int applications = 0, newton_steps = 0;
  double dual = 0, violation = 0, mass = 0;
  double unreachable = 0;   // mass of the start that meets no b

  void set_start(const Vector& from) {
    mu = from;
    log_mu.resize(mu.size());
    logarithms(mu.data(), mu.size(), log_mu.data());
    // Subnormal densities have no logarithm here.
    for (Index i = 0; i < mu.size(); ++i) {
      if (log_mu[i] == -infinity) mu[i] = 0;
    }
  }

  /// potential: Psi plus what else acts linearly.
  void set_problem(double step, double eps, double radius, const Vector& potential) {
    h = step;
    epsilon = eps;
    kernel = &kernel_for(eps, radius);
    const double r = h / epsilon;
    double low = infinity;
    for (Index i = 0; i < potential.size(); ++i) low = std::min(low, potential[i]);
    shifted.resize(potential.size());
    for (Index i = 0; i < potential.size(); ++i) shifted[i] = potential[i] == infinity ? obstacle : std::min(r * (potential[i] - low), 1e100);
    const FreeEnergy& f = free_energy_;
    proximal = {};
    if (f.entropy()) proximal.a += r / f.entropy()->beta;
    if (const auto* part = f.porous_medium()) {
      proximal.k = part->exponent - 1;
      proximal.b = r * part->coefficient * part->exponent / proximal.k;
      proximal.log_c = std::log(proximal.b * proximal.k / proximal.a);
      if (proximal.k < 0) proximal.continue_below(std::log(tail_density));
    }
    if (f.congestion()) proximal.cap = std::log(f.congestion()->max_density);
    const Index n = mu.size();
    for (Vector* v : {&alpha, &y, &rho, &damping, &log_b, &delta, &weight}) {
      if (v->size() != n) v->setZero(n);
    }
    for (ScaledField* field : {&a, &s, &b, &t}) {
      field->mantissa.resize(n);
      field->exponent.assign(static_cast<std::size_t>(kernel->tiles()), SeparableKernel::empty_tile);
    }
  }

  /// Scalings b from a density's logarithm (entries -infinity: no mass), then a from b. False where no mass of the start reaches any.
  [[nodiscard]] bool start_from(const Vector& log_density) {
    // Fast diffusion has algebraic tails whatever the start's.
    const double floor = proximal.tail;
    for (Index i = 0; i < log_density.size(); ++i) {
      const double l = std::min(std::max(log_density[i], floor), proximal.cap);
      log_b[i] = l == -infinity || shifted[i] == obstacle ? -infinity : l - (proximal.force(l) + shifted[i]);
      if (congestion.size() > 0) log_b[i] -= congestion[i] / epsilon;
    }
    return start_from_scaling();
  }
  /// Likewise from log b as it stands.
  [[nodiscard]] bool start_from_scaling() {
    from_logarithms(*kernel, log_b, b, threads_, headroom);
    apply(b, t);
    bool reached = false;
    for (Index tile = 0; tile < kernel->tiles(); ++tile) {
      const double shift = exponent(t, tile) * vm::ln2;
      kernel->for_each_run(tile, [&](Index begin, Index count) {
        logarithms(t.mantissa.data() + begin, count, delta.data() + begin);
        for (Index i = begin; i < begin + count; ++i) {
          const bool touched = mu[i] > 0 && delta[i] > -infinity;
          alpha[i] = touched ? log_mu[i] - (delta[i] + shift) : (mu[i] > 0 ? unreached : -infinity);
          reached = reached || touched;
        }
      });
    }
    return reached;
  }

  /// Keeps the multiplier of rho <= rho_max, epsilon (L - A y - B e^{k y}), which the density does not tell, for start_from().
  void keep_congestion() {
    if (proximal.cap == infinity) return;
    congestion.setZero(y.size());
    for (Index i = 0; i < y.size(); ++i) {
      // log s = y - log b.
      if (y[i] == proximal.cap) congestion[i] = epsilon * std::max(0.0, y[i] - log_b[i] - shifted[i] - proximal.force(y[i]));
    }
  }

  /// Everything at alpha.
  void evaluate() {
    const Index tiles = kernel->tiles();
    sums_.assign(static_cast<std::size_t>(5 * tiles), 0.0);
    from_logarithms(*kernel, alpha, a, threads_, headroom);
    apply(a, s);
    parallel_for(tiles, threads_, [&](Index tile) {
      const double shift = exponent(s, tile) * vm::ln2;
      double value[lanes]{}, amount[lanes]{};
      kernel->for_each_run(tile, [&](Index i, Index n) {
        double integrand[64];
        const auto f = proximal.b != 0 ? proximal_porous : proximal_linear;
        f(s.mantissa.data() + i, shift, shifted.data() + i, n, proximal, y.data() + i, rho.data() + i, log_b.data() + i, damping.data() + i, integrand);
        add_sum(integrand, n, value);
        add_sum(rho.data() + i, n, amount);
      });
      sums_[static_cast<std::size_t>(5 * tile)] = total(value);
      sums_[static_cast<std::size_t>(5 * tile + 1)] = total(amount);
    });
    from_logarithms(*kernel, log_b, b, threads_, headroom);
    apply(b, t);
    parallel_for(tiles, threads_, [&](Index tile) {
      const double shift = exponent(t, tile) * vm::ln2;
      double off[lanes]{}, linear[lanes]{}, lost = 0;
      kernel->for_each_run(tile, [&](Index i, Index n) {
        double difference[64];
        mismatch(mu.data() + i, log_mu.data() + i, alpha.data() + i, t.mantissa.data() + i, shift, n, delta.data() + i, weight.data() + i, difference);
        add_sum(difference, n, off);
        for (Index j = 0; j < n; ++j) linear[j % lanes] += mu[i + j] > 0 && alpha[i + j] != unreached ? mu[i + j] * alpha[i + j] : 0.0;
        // Mass that reaches nothing, or that nothing reaches yet.
        for (Index j = 0; j < n; ++j) {
          if (!std::isfinite(delta[i + j])) delta[i + j] = 0, lost += mu[i + j];
        }
      });
      sums_[static_cast<std::size_t>(5 * tile + 2)] = total(off);
      sums_[static_cast<std::size_t>(5 * tile + 3)] = total(linear);
      sums_[static_cast<std::size_t>(5 * tile + 4)] = lost;
    });
    const double volume = grid_->cell_volume();
    double sum[5]{};
    for (std::size_t i = 0; i < sums_.size(); ++i) sum[i % 5] += sums_[i];
    dual = volume * (sum[3] - sum[0]);
    mass = volume * sum[1];
    violation = volume * sum[2];
    unreachable = volume * sum[4];
  }

  /// Conjugate gradients for x - M x = rhs in L2(weight), M x = K[b (1 - d) q]/t, q = K[a x]/s, until the residual's norm is `reduction` of the first.
  /// Ends also where int |residual| weight dx <= absolute. Returns the iterations used; q stays in `average`.
  int solve(const Vector& rhs, double reduction, double absolute, int limit, Vector& x) {
    const Index n = rhs.size();
    x.setZero(n);
    residual_ = rhs;
    direction_ = rhs;
    image_.resize(n);
    absolute_.assign(static_cast<std::size_t>((n + block - 1) / block), 0.0);
    double norm = reduce([&](Index i, Index count, double* sum) { add_dot(weight.data() + i, residual_.data() + i, residual_.data() + i, count, sum); });
    const double goal = reduction * reduction * norm;
    int iterations = 0;
    double left = infinity;
    while (norm > goal && norm > 0 && left > absolute && iterations < limit) {
      ++iterations;
      average_over_plan(direction_);
      const double curvature = reduce([&](Index i, Index count, double* sum) {
        subtract_average(direction_.data() + i, second_.mantissa.data() + i, t.mantissa.data() + i, weight.data() + i, count, image_.data() + i, sum);
      });
      if (!(curvature > 0)) break;
      const double step = norm / curvature;
      const double next = reduce([&](Index i, Index count, double* sum) {
        double off[lanes]{};
        descend(step, direction_.data() + i, image_.data() + i, weight.data() + i, count, x.data() + i, residual_.data() + i, sum, off);
        absolute_[static_cast<std::size_t>(i / block)] = total(off);
      });
      left = 0;
      for (const double part : absolute_) left += part;
      left *= grid_->cell_volume();
      const double beta = next / norm;
      norm = next;
      run([&](Index i, Index count) { combine(residual_.data() + i, beta, count, direction_.data() + i); });
    }
    return iterations;
  }

  /// first_ = b (1 - d) K[a x]/s, second_ = K of that, both as scaled fields; `average` = K[a x]/s.
  void average_over_plan(const Vector& x) {
    push_forward(x);
    run([&](Index i, Index n) {
      products(average.data() + i, damping.data() + i, n, first_.mantissa.data() + i);
      products(first_.mantissa.data() + i, b.mantissa.data() + i, n, scaled_.mantissa.data() + i);
    });
    scaled_.exponent = b.exponent;
    apply(scaled_, second_);
  }
  /// `average` = K[a x]/s, the change of log s with a change x of log a.
  void push_forward(const Vector& x) {
    scaled_.mantissa.resize(x.size());
    scaled_.exponent = a.exponent;
    run([&](Index i, Index n) { products(a.mantissa.data() + i, x.data() + i, n, scaled_.mantissa.data() + i); });
    apply(scaled_, first_);
    average.resize(x.size());
    run([&](Index i, Index n) { quotients(first_.mantissa.data() + i, s.mantissa.data() + i, n, average.data() + i); });
  }
  /// K[b x]/t at each cell.
  [[nodiscard]] Vector pulled_back(const Vector& x) {
    scaled_.mantissa = b.mantissa.cwiseProduct(x);
    scaled_.exponent = b.exponent;
    apply(scaled_, second_);
    Vector out(x.size());
    quotients(second_.mantissa.data(), t.mantissa.data(), x.size(), out.data());
    return out;
  }
  /// K[x/t]/s for x given on cells without mass.
  [[nodiscard]] Vector pushed_source(const Vector& x) {
    scaled_.mantissa.resize(x.size());
    quotients(x.data(), t.mantissa.data(), x.size(), scaled_.mantissa.data());
    scaled_.exponent.resize(t.exponent.size());
    for (std::size_t i = 0; i < t.exponent.size(); ++i) scaled_.exponent[i] = t.exponent[i] == SeparableKernel::empty_tile ? SeparableKernel::empty_tile : -t.exponent[i];
    apply(scaled_, first_);
    Vector out = Vector::Zero(x.size());
    for (Index tile = 0; tile < kernel->tiles(); ++tile) {
      const int difference = first_.exponent[static_cast<std::size_t>(tile)] - s.exponent[static_cast<std::size_t>(tile)];
      kernel->for_each_run(tile, [&](Index i, Index n) {
        for (Index j = i; j < i + n; ++j) {
          if (!(s.mantissa[j] > 0)) continue;
          int above = 0, below = 0;  // the quotient of mantissas may leave double's range where the quotient does not
          const double quotient = std::frexp(first_.mantissa[j], &above) / std::frexp(s.mantissa[j], &below);
          out[j] = std::ldexp(quotient, std::clamp(above - below + difference, -2000, 2000));
        }
      });
    }
    return out;
  }

  [[nodiscard]] Status maximise(double tolerance, int limit);
  [[nodiscard]] double mass_beyond(double radius);
  [[nodiscard]] double stiffness(const Vector& density) const;

  Vector average;

 private:
  [[nodiscard]] static double exponent(const ScaledField& f, Index tile) { return static_cast<double>(f.exponent[static_cast<std::size_t>(tile)]); }

  void apply(const ScaledField& in, ScaledField& out) {
    kernel->apply(in, out);
    ++applications;
  }

  /// visit(begin, count) over all cells, in fixed blocks.
  template <class Visit>
  void run(const Visit& visit) const {
    parallel_blocks(mu.size(), block, threads_, [&](Index begin, Index end) { visit(begin, end - begin); });
  }
  template <class Add>
  [[nodiscard]] double reduce(const Add& add) {
    parts_.assign(static_cast<std::size_t>((mu.size() + block - 1) / block), 0.0);
    parallel_blocks(mu.size(), block, threads_, [&](Index begin, Index end) {
      double sum[lanes]{};
      add(begin, end - begin, sum);
      parts_[static_cast<std::size_t>(begin / block)] = total(sum);
    });
    double all = 0;
    for (const double part : parts_) all += part;
    return all;
  }

  /// Fast diffusion moves its thin tails by tens of sqrt(epsilon).
  [[nodiscard]] KernelTiles tiles() const {
    const auto* part = free_energy_.porous_medium();
    return part && part->exponent < 1 ? KernelTiles::narrow : KernelTiles::wide;
  }
  const SeparableKernel& kernel_for(double eps, double radius) {
    for (const auto& [key, k] : kernels_) {
      if (key == std::pair{eps, radius}) return *k;
    }
    if (kernels_.size() >= 8) kernels_.erase(kernels_.begin());
    kernels_.emplace_back(std::pair{eps, radius}, std::make_unique<SeparableKernel>(grid_, eps, radius, threads_, tiles()));
    return *kernels_.back().second;
  }

  static constexpr Index block = 4096;
  std::shared_ptr<const Grid> grid_;
  FreeEnergy free_energy_;
  mutable std::unique_ptr<const GridEnergy> energy_;
  std::vector<std::unique_ptr<Work>> coarser_;
  int threads_;
  std::vector<std::pair<std::pair<double, double>, std::unique_ptr<SeparableKernel>>> kernels_;
  std::vector<double> sums_, parts_, absolute_;
  Vector residual_, direction_, image_, step_, old_alpha_, old_delta_, old_y_;
  ScaledField scaled_, first_, second_;
};

EntropicStep::EntropicStep(FreeEnergy energy, EntropicStepOptions options) : energy_(std::move(energy)), options_(options) {
  options_.validate();
  if (energy_.dimension() > 3) throw ShapeError(fmt::format("entropic_step: the energy has dimension {}, but grids have at most 3", energy_.dimension()));
}

void EntropicStep::set_parameters(const ConstVectorRef& parameters) {
  energy_.set_parameters(parameters);
  work_.reset();
}

EnergyValue EntropicStep::energy_value(const GridDensity& measure) const {
  if (work_ && *work_->grid() == measure.grid()) return work_->energy().value(measure.values());
  return GridEnergy(energy_, measure.grid_ptr()).value(measure.values());
}

namespace {

/// Kernels wider than a fifth of the box's shortest side bring nothing.
double largest_level(const Grid& grid) {
  double side = infinity;
  for (int a = 0; a < grid.dimension(); ++a) {
    if (grid.cells[static_cast<std::size_t>(a)] > 1) side = std::min(side, grid.upper[a] - grid.lower[a]);
  }
  return 0.04 * side * side;
}

/// The density below which fast diffusion's slope may be held. Where a thin tail of the start becomes algebraic, T(x) = x + h grad F'(rho) is small beside x, so that
/// rho = C r^{-2/(1-m)} with C = (2 h c m/(1-m))^{1/(1-m)}, which holds |S^{d-1}| C r^{-p}/p beyond r, p = 2/(1-m) - d: half the target for this r, and half of it
/// in the whole box at this density, whichever is larger. 0 where there is no fast diffusion.
double chosen_tail(const FreeEnergy& energy, const Grid& grid, double h, double target) {
  const auto* part = energy.porous_medium();
  if (!part || part->exponent >= 1) return 0;
  const double d = grid.dimension(), fast = 1 - part->exponent, power = 2 / fast, p = power - d;
  const double box = std::max(std::numeric_limits<double>::min(), 0.5 * target / (grid.cell_volume() * static_cast<double>(grid.size())));
  if (p <= 0) return box;
  const double log_c = std::log(2 * h * part->coefficient * part->exponent / fast) / fast, sphere = 2 * std::pow(std::numbers::pi, d / 2) / std::tgamma(d / 2);
  const double log_r = (std::log(sphere / (p * 0.5 * target)) + log_c) / p;
  return std::max(box, std::exp(log_c - power * log_r));
}

/// The coarsest grid of the box on which the sampled kernel of variance epsilon is a heat kernel: cells of sqrt(epsilon/0.75), where sampling errs by
/// 2 exp(-2 pi^2 0.75) = 7e-7, far below what a start needs.
Grid coarsened(const Grid& grid, double epsilon) {
  Grid coarse = grid;
  for (int a = 0; a < grid.dimension(); ++a) {
    Index& n = coarse.cells[static_cast<std::size_t>(a)];
    const double side = grid.upper[a] - grid.lower[a];
    const auto most = static_cast<Index>(std::sqrt(epsilon / 0.75) / side * static_cast<double>(n));
    if (most < 2) continue;
    Index ratio = most;
    while (n % ratio != 0) --ratio;
    n = 2 * ratio > most ? n / ratio : static_cast<Index>(std::ceil(static_cast<double>(n) / static_cast<double>(most)));
  }
  return coarse;
}

}  // namespace

/// Maximises the dual from the scalings present. `limit` is in kernel applications.
Status EntropicStep::Work::maximise(double tolerance, int limit) {
  evaluate();
  int without_progress = 0, scalings = 0;
  // Fast diffusion: log a changes by thousands in the tails where log rho changes by one, so there the step is taken in log rho, b follows from it and a from b.
  const bool in_density = proximal.k < 0;
  const double cap_force = proximal.cap < infinity ? proximal.force(proximal.cap) : infinity;
  const double cap_slope = proximal.cap < infinity ? proximal.a + proximal.b * proximal.k * std::exp(proximal.k * proximal.cap) : 1;
  double best = violation, lost = infinity;
  int losing = 0;
  while (!(violation <= tolerance)) {
    if (!std::isfinite(violation) || !std::isfinite(dual)) return Status::not_finite;
    if (applications >= limit) return Status::iteration_limit;
    // b out of double's range beside the largest of its tile: no iteration of this epsilon brings that mass back.
    losing = unreachable > tolerance && unreachable >= 0.9 * lost ? losing + 1 : 0;
    lost = unreachable;
    if (losing >= 4) return Status::not_finite;
    // Where the first marginal is far off the quadratic model is of little use: a few scaling steps first.
    bool scaled = violation > 0.3 && scalings < 4;
    if (!scaled) {
      const double before = dual, off = violation;
      // The first marginal is first e^{delta}: to first order the violation that the step leaves is int |residual| weight.
      solve(delta, std::min(0.1, violation), 0.5 * tolerance, 200, step_);
      ++newton_steps;
      if (in_density) {
        push_forward(step_);
        old_y_ = y;
        for (Index i = 0; i < step_.size(); ++i) {
          double change = (1 - damping[i]) * average[i];
          if (y[i] == proximal.cap) {  // log rho goes on beyond the cap along f's tangent there, so that it tells L
            old_y_[i] += (y[i] - log_b[i] - shifted[i] - cap_force) / cap_slope;
            change = average[i] / cap_slope;
          }
          step_[i] = std::clamp(change, -2.0, 2.0);
        }
      } else {
        // The quadratic model is trusted for a factor e^10; cells that are off by more go on with their scaling step.
        for (Index i = 0; i < step_.size(); ++i) {
          if (!(std::abs(delta[i]) <= 10)) step_[i] = delta[i];
          else step_[i] = std::clamp(step_[i], -10.0, 10.0);
        }
      }
      old_alpha_ = alpha;
      old_delta_ = delta;
      double length = 1;
      for (int halving = 0;; ++halving) {
        if (in_density) {
          for (Index i = 0; i < step_.size(); ++i) {
            if (old_y_[i] == -infinity) continue;
            const double l = old_y_[i] + length * step_[i];
            log_b[i] = l <= proximal.cap ? l - (proximal.force(l) + shifted[i]) : proximal.cap - (cap_force + (l - proximal.cap) * cap_slope + shifted[i]);
          }
          if (!start_from_scaling()) return Status::not_finite;
        } else {
          alpha = old_alpha_ + length * step_;
        }
        evaluate();
        // The dual is known to rounding only: near the maximum the violation decides.
        if (violation < off || (dual > before + 1e-14 * std::abs(before) && (!in_density || violation < 2 * off))) break;
        if (halving == 3) {
          scaled = true;
          alpha = old_alpha_;
          delta = old_delta_;
          break;
        }
        length *= 0.5;
      }
    }
    if (scaled) {
      // The dual's curvature in this metric is at most 1 + max(0, dy/dL - 1) <= 1/A where A < 1: half steps without entropy.
      ++scalings;
      alpha += std::min(1.0, proximal.a) * delta;
      evaluate();
    }
    without_progress = violation < 0.9 * best ? 0 : without_progress + 1;
    best = std::min(best, violation);
    // A plan that needs a longer reach shows as a dual that grows while the violation stays.
    if (without_progress >= (violation > 1e-3 ? 8 : 30)) return violation < 1e-9 ? Status::stalled : Status::iteration_limit;
  }
  return Status::converged;
}

/// L1 norm of the second marginal's part that moves farther than `radius` standard deviations along an axis.
double EntropicStep::Work::mass_beyond(double radius) {
  const SeparableKernel inner(grid_, epsilon, radius, threads_, tiles());
  inner.apply(a, first_);
  ++applications;
  double beyond = 0;
  for (Index tile = 0; tile < inner.tiles(); ++tile) {
    const int e = first_.exponent[static_cast<std::size_t>(tile)] + b.exponent[static_cast<std::size_t>(tile)];
    const double half = std::ldexp(1.0, -headroom / 2), factor = std::ldexp(1.0, std::clamp(e + headroom, -1022, 1000));
    inner.for_each_run(tile, [&](Index i, Index n) {
      for (Index j = i; j < i + n; ++j) beyond += std::abs(rho[j] - (half * b.mantissa[j]) * (half * first_.mantissa[j]) * factor);
    });
  }
  return beyond * grid_->cell_volume();
}

/// The largest h F''(rho) rho/epsilon, which decides how many iterations a solve takes; infinite under congestion.
double EntropicStep::Work::stiffness(const Vector& density) const {
  if (proximal.cap < infinity) return infinity;
  const double top = density.maxCoeff();
  return proximal.a - 0.5 + (proximal.b != 0 && top > 0 ? proximal.b * proximal.k * std::pow(proximal.k > 0 ? top : std::max(density.mean(), 1e-300), proximal.k) : 0.0);
}

namespace {

/// Why the dual of jko_dual.hpp does not apply; empty where it does.
std::string why_uncertified(const FreeEnergy& energy, const Grid& grid, const Vector& linear, InteractionScheme interaction) {
  if (grid.boundary == Boundary::periodic) return "the certificate's transport is for boxes with walls, but the grid is periodic";
  if (energy.interaction() && interaction == InteractionScheme::implicit_outer) return "an implicit interaction's objective has no dual here; a semi-implicit one is certified";
  if (energy.congestion()) return "no push-forward is known to keep below the congestion's density";
  if (energy.porous_medium() && energy.porous_medium()->exponent < 1) return "fast diffusion (m < 1) has no finite dual near vacuum";
  if (!energy.entropy() && !energy.porous_medium()) return "without entropy or porous medium the dual does not give the density";
  if (!linear.allFinite()) return "obstacles have no interpolated transport";
  return {};
}

/// phi = -h (Psi + u'(e^y)). Where the solver has no density (y = -infinity): with entropy the c-concave continuation from the other cells.
Vector dual_potential(const JkoDual& dual, const Vector& y) {
  const LocalEnergy& u = dual.local;
  Vector phi(y.size());
  bool holes = false;
  for (Index i = 0; i < y.size(); ++i) {
    const double pressure = u.coefficient > 0 ? u.coefficient * u.exponent / (u.exponent - 1) * std::exp((u.exponent - 1) * y[i]) : 0.0;
    const bool hole = u.temperature > 0 && y[i] == -infinity;
    phi[i] = hole ? -infinity : -dual.h * (dual.psi[i] + (u.temperature > 0 ? u.temperature * (y[i] + 1) : 0.0) + pressure);
    holes = holes || hole;
  }
  if (!holes) return phi;
  const CTransform transform(dual.grid);
  const Vector closed = transform(transform(phi));
  for (Index i = 0; i < y.size(); ++i) {
    if (phi[i] == -infinity) phi[i] = closed[i];
  }
  return phi;
}

}  // namespace

std::string EntropicStep::uncertified(const std::shared_ptr<const Grid>& grid) const {
  return why_uncertified(energy_, *grid, GridEnergy(energy_, grid).potential(), options_.interaction);
}

StepResult<GridDensity> EntropicStep::advance(const GridDensity& from, double h, const Vector& guess) {
  check_positive("entropic_step", "step size h", h);
  if (from.dimension() == 0) throw DomainError("entropic_step: the start is empty");
  const Grid& grid = from.grid();
  const bool certified = options_.certificate == EntropicCertificate::dual_bounds;
  const double gib = (certified ? 400 + 50 * std::ldexp(1.0, grid.dimension()) : 300) * static_cast<double>(grid.size()) / std::ldexp(1.0, 30);
  if (gib > options_.memory_limit) throw DomainError(fmt::format("entropic_step: {:.3g} cells would take about {:.1f} GiB, but memory_limit is {:g}", static_cast<double>(grid.size()), gib, options_.memory_limit));
  double epsilon = options_.epsilon;
  if (epsilon == 0) epsilon = chosen_epsilon(from, options_.bias_target);
  for (int axis = 0; axis < grid.dimension(); ++axis) {
    if (grid.cells[static_cast<std::size_t>(axis)] == 1) continue;
    const double least = 0.5 * grid.width(axis) * grid.width(axis);
    if (epsilon < least) throw DomainError(fmt::format("entropic_step: epsilon is {:g}, but must be at least half the squared cell width, {:g}: below it the sampled kernel is no heat kernel", epsilon, least));
  }
  if (!work_ || !(*work_->grid() == grid)) work_ = std::make_shared<Work>(energy_, from.grid_ptr(), options_.threads);
  Work& w = *work_;
  StepResult<GridDensity> result;
  result.measure = from;
  report_ = {};
  report_.epsilon = epsilon;
  w.applications = w.newton_steps = 0;
  w.congestion.resize(0);
  w.set_start(from.values());
  const Index n = grid.size();
  const double volume = grid.cell_volume();
  const double tail_density = chosen_tail(energy_, grid, h, options_.bias_target);
  w.tail_density = tail_density;
  const bool interacts = energy_.interaction() != nullptr;
  const int limit = 2 * options_.max_iterations;

  // Densities to start from, as logarithms.
  const bool guessed = guess.size() == n;
  Vector density = guessed ? guess : from.values();
  for (Index i = 0; i < n; ++i) {
    if (!(density[i] > 0) || !std::isfinite(density[i])) density[i] = 0;
  }
  double radius = default_radius;
  Vector potential = w.energy().potential();
  Vector acting = interacts ? w.energy().interaction(options_.interaction == InteractionScheme::semi_implicit ? from.values() : density) : Vector();
  Vector logarithm;
  const auto take_logarithm = [&](const Vector& v) {
    logarithm.resize(v.size());
    for (Index i = 0; i < v.size(); ++i) logarithm[i] = v[i] > 0 ? std::log(v[i]) : -infinity;
  };
  take_logarithm(density);

  Status status = Status::not_run;
  const int outers = interacts && options_.interaction == InteractionScheme::implicit_outer ? options_.max_outer : 1;
  for (int outer = 0; outer < outers; ++outer) {
    ++report_.outer_iterations;
    const Vector linear = interacts ? Vector(potential + acting) : potential;
    // Coarser problems first, each the start of the next: larger epsilons down by fours, then the coarsest grid that epsilon itself allows. Their solutions
    // need not be good: where one fails, the next begins with what there is.
    struct Stage {
      double epsilon, reach;
      Grid grid;
    };
    std::vector<Stage> stages;
    if (outer == 0) {
      w.set_problem(h, epsilon, radius, linear);
      int level = 0;
      if (!guessed) {
        double stiff = w.stiffness(density);
        while (stiff > 2 && level < 5 && std::pow(4.0, level + 1) * epsilon < largest_level(grid)) {
          ++level;
          stiff /= 4;
        }
      }
      for (; level >= 0; --level) {
        const double here = epsilon * std::pow(4.0, level);
        const Grid coarse = coarsened(grid, here);
        if (level > 0 || 5 * coarse.size() <= 2 * n) stages.push_back({here, default_radius, coarse});
      }
    }
    double reach = default_radius;
    Vector before;  // log rho of the last larger epsilon
    const Grid* before_grid = nullptr;
    Vector congested, scaling;
    for (std::size_t k = 0; k < stages.size(); ++k) {
      const Stage& stage = stages[k];
      Work& c = stage.grid == grid ? w : w.coarser(stage.grid);
      const int applied = w.applications, stepped = w.newton_steps;
      const double next_epsilon = k + 1 < stages.size() ? stages[k + 1].epsilon : epsilon;
      const Grid& next_grid = k + 1 < stages.size() ? stages[k + 1].grid : grid;
      c.applications = c.newton_steps = 0;
      c.tail_density = tail_density;
      c.set_start(sampled(grid, stage.grid, from.values()));
      const Vector acts = interpolated(grid, stage.grid, linear);
      if (k == 0) {
        density = sampled(grid, stage.grid, density);
        take_logarithm(density);
      }
      c.congestion = congested;
      const double goal = std::max(options_.tolerance, stage.epsilon > epsilon ? 1e-4 : 1e-5);
      Status reached = Status::not_run;
      for (;; reach = std::min(2 * reach, largest_radius)) {
        c.set_problem(h, stage.epsilon, reach, acts);
        if (!c.start_from(logarithm)) break;
        reached = c.maximise(goal, limit);
        // Where it fails the plan may need a longer reach: without it the dual is unbounded.
        if (reached == Status::converged || reach >= largest_radius || c.applications >= limit) break;
      }
      w.applications = applied + c.applications;
      w.newton_steps = stepped + c.newton_steps;
      Vector better = reached == Status::converged ? c.y : logarithm;
      if (reached == Status::converged) {
        c.keep_congestion();
        if (next_epsilon < stage.epsilon) {
          reach = next_radius(c, reach);
          // log rho is a + b epsilon^2 + ...: extrapolated from this level and the one before to the next.
          if (before.size() > 0) {
            const Vector last = interpolated(*before_grid, stage.grid, before);
            for (Index i = 0; i < last.size(); ++i) {
              // epsilon^2 falls by 16 from level to level: the next change is a sixteenth of the last.
              const double change = (c.y[i] - last[i]) / 16;
              if (std::abs(change) < 1) better[i] += change;
            }
          }
          before = c.y;
          before_grid = &stage.grid;
        }
      }
      scaling = reached == Status::converged && next_epsilon == stage.epsilon && tail_density == 0 ? interpolated(stage.grid, next_grid, c.log_b) : Vector();
      logarithm = interpolated(stage.grid, next_grid, better);
      congested = c.congestion.size() > 0 ? interpolated(stage.grid, next_grid, c.congestion) : Vector();
    }
    radius = std::max(radius, reach);
    w.set_problem(h, epsilon, radius, linear);
    w.congestion = congested;
    if (outer == 0) {
      for (;; radius = std::min(2 * radius, largest_radius)) {
        w.set_problem(h, epsilon, radius, linear);
        if (scaling.size() > 0) {
          for (Index i = 0; i < n; ++i) w.log_b[i] = w.shifted[i] == obstacle ? -infinity : scaling[i];
        }
        if (!(scaling.size() > 0 ? w.start_from_scaling() : w.start_from(logarithm))) {
          status = Status::not_finite;
          break;
        }
        status = w.maximise(options_.tolerance, limit);
        if (status == Status::converged || radius >= largest_radius || w.applications >= limit) break;
      }
    } else {
      status = w.maximise(options_.tolerance, limit);
    }
    status = grow_radius(w, radius, std::max(options_.tolerance, options_.bias_target), status, [&] {
      w.set_problem(h, epsilon, radius, linear);
      return w.maximise(options_.tolerance, limit);
    });
    if (status != Status::converged || outers == 1) break;
    const double change = (w.rho / w.mass - density).cwiseAbs().sum() * volume;
    report_.interaction_residual = change;
    density = w.rho / w.mass;
    if (change <= 10 * options_.tolerance) break;
    if (outer + 1 == outers) status = Status::iteration_limit;
    acting = w.energy().interaction(density);
  }
  report_.radius = radius;
  report_.kernel_applications = w.applications;
  report_.newton_steps = w.newton_steps;
  report_.tail_density = tail_density;
  result.iterations = (w.applications + 1) / 2;
  result.status = status;
  result.residual = w.violation;
  if (!is_success(status) && options_.epsilon == 0 && (w.applications < limit || tail_density > 0)) {
    // Mass moves too far for this epsilon (or Newton's method met scalings that are too steep, as fast diffusion's, which may use up all iterations): the next larger ones, blurring more, may do, as long as
    // two of them agree to a tenth of the mass and the expansion's last term is at most a tenth of W2^2.
    EntropicStepOptions larger = options_;
    larger.bias = BiasEstimate::two_epsilons;
    for (larger.epsilon = 4 * epsilon; larger.epsilon < largest_level(grid); larger.epsilon *= 4) {
      EntropicStep other(energy_, larger);
      auto next = other.advance(from, h, guess);
      if (!is_success(next.status)) continue;
      const double last = 0.125 * larger.epsilon * larger.epsilon * (fisher_information(grid, from.values()) + fisher_information(grid, next.measure.values()));
      if (!(other.report_.bias <= 0.1 && last <= 0.1 * next.w2_moved * next.w2_moved)) break;
      report_ = other.report_;
      report_.raised = true;
      work_ = other.work_;
      return next;
    }
  }
  if (!std::isfinite(w.mass) || !(w.mass > 0.5)) {
    if (is_success(status)) result.status = Status::not_finite;
    return result;
  }
  // The second marginal's mass differs from one by at most the residual; a density has mass one.
  Vector values = w.rho / w.mass;
  values /= values.sum() * volume;
  if (const auto* part = energy_.congestion()) {
    // Scaling may lift full cells above rho_max by the residual: what is cut there goes to the others in proportion, which converges geometrically.
    for (int k = 0; k < 50 && values.maxCoeff() > part->max_density; ++k) {
      double full = 0, rest = 0;
      for (double& v : values) {
        v = std::min(v, part->max_density);
        (v == part->max_density ? full : rest) += v;
      }
      const double factor = (1 / volume - full) / rest;
      if (!(rest > 0) || !(factor >= 1)) break;
      for (double& v : values) v = v == part->max_density ? v : v * factor;
    }
  }
  for (const double v : values) report_.tail_mass += v < tail_density ? v * volume : 0.0;
  result.measure = GridDensity(from.grid_ptr(), std::move(values));
  const Vector& rho = result.measure.values();
  double cost = 0;
  for (Index i = 0; i < n; ++i) {
    if (w.mu[i] > 0) cost += w.mu[i] * w.alpha[i];
    if (w.rho[i] > 0) cost += w.rho[i] * w.log_b[i];
  }
  const double squared = 2 * epsilon * cost * volume - epsilon * (entropy(grid, w.mu) + entropy(grid, rho)) -
                         0.125 * epsilon * epsilon * (fisher_information(grid, w.mu) + fisher_information(grid, rho));
  result.w2_moved = std::sqrt(std::max(0.0, squared));
  result.energy = w.energy().value(rho);
  result.objective = result.energy.total + result.w2_moved * result.w2_moved / (2 * h);
  if (certified) {
    const Vector linear = interacts ? Vector(potential + acting) : potential;
    report_.uncertified = why_uncertified(energy_, grid, linear, options_.interaction);
    if (report_.uncertified.empty()) {
      JkoDual dual(energy_, from, linear, h, options_.threads);
      const Vector phi = dual_potential(dual, w.y);
      Vector best = phi, gradient;
      report_.dual_value = dual.evaluate(phi, gradient) * volume / h;
      const double rounding = (rho - dual.density).cwiseAbs().sum() * volume;
      const DualAscentResult ascent = dual_ascent(dual, best, {std::numeric_limits<double>::min(), options_.certificate_iterations});
      const JkoBounds bounds = jko_bounds(dual, best, ascent.value);
      report_.best_dual_value = bounds.dual_value;
      report_.primal_value = bounds.primal_value;
      report_.l1_feasible = (rho - dual.pushed).cwiseAbs().sum() * volume;
      result.gap = std::max(bounds.gap, bounds.primal_value - report_.dual_value);
      // From the result's own potential, or from the better one by the triangle inequality.
      if (bounds.strength > 0) report_.l1_bound = std::min(bounds.l1_bound(result.gap) + rounding, bounds.l1_bound(bounds.gap) + (rho - dual.density).cwiseAbs().sum() * volume);
      // b7 for q+, and a flux from the result to it.
      if (const auto convexity = energy_.convexity(); convexity && 1 + h * convexity->kappa > 0) {
        const GridDensity feasible(from.grid_ptr(), bounds.positive / (bounds.positive.sum() * volume));
        report_.w2_feasible = flux_bound(result.measure, feasible, {.threads = options_.threads}).value;
        result.w2_bound = report_.w2_feasible + std::sqrt(2 * h * std::max(0.0, bounds.positive_value - bounds.dual_value) / (1 + h * convexity->kappa));
      }
    }
  }
  if (is_success(result.status) && options_.bias == BiasEstimate::two_epsilons) {
    EntropicStepOptions doubled = options_;
    doubled.epsilon = 2 * epsilon;
    doubled.bias = BiasEstimate::none;
    doubled.certificate = EntropicCertificate::none;
    EntropicStep other(energy_, doubled);
    const auto coarser = other.advance(from, h, rho);
    if (is_success(coarser.status)) report_.bias = l1_distance(coarser.measure, result.measure) / 3;
  }
  return result;
}

Matrix EntropicStep::tangent(const ConstMatrixRef& from_tangent, const ConstMatrixRef& parameter_tangent) const {
  if (!work_ || work_->mu.size() == 0) throw DomainError("entropic_step: tangent() needs an advance() before it");
  Work& w = *work_;
  const Index n = w.mu.size(), columns = std::max(from_tangent.cols(), parameter_tangent.cols());
  const bool from_given = from_tangent.size() > 0, parameters_given = parameter_tangent.size() > 0;
  if (from_given) check_size("entropic_step", "the start's tangent", from_tangent.rows(), n);
  if (parameters_given) check_size("entropic_step", "the parameter tangent", parameter_tangent.rows(), energy_.parameters().size());
  const double strength = w.h / w.epsilon, volume = w.grid()->cell_volume();
  const bool interacts = energy_.interaction() != nullptr, implicit = options_.interaction == InteractionScheme::implicit_outer;
  // Semi-implicitly the interaction acts as a potential made from the start.
  Matrix variation;
  if (parameters_given) {
    variation = w.energy().parameter_variation(w.rho);
    if (interacts && !implicit) {
      const Index p = energy_.interaction()->theta.size();
      variation.rightCols(p) = w.energy().parameter_variation(w.mu).rightCols(p);
    }
  }
  Matrix out(n, columns);
  Vector source(n), force(n), x, change;
  for (Index j = 0; j < columns; ++j) {
    // alpha + log t(b(s(alpha))) = log mu: with q = d log s = K[a dalpha + da]/s and d log b = (dy/dL)(q - force) - q,
    //   dalpha - M dalpha = dmu/mu + K[b (1 - dy/dL) q0]/t + K[b (dy/dL) force]/t,   d rho = rho (dy/dL) (q + q0 - force),
    // where q0 comes from mass that enters cells empty before, da = dmu/t there.
    Vector start = Vector::Zero(n), empty = Vector::Zero(n);
    bool enters = false;
    if (from_given) {
      for (Index i = 0; i < n; ++i) {
        if (w.mu[i] > 0) start[i] = from_tangent(i, j) / w.mu[i];
        else if (from_tangent(i, j) != 0) empty[i] = from_tangent(i, j), enters = true;
      }
    }
    const Vector entering = enters ? w.pushed_source(empty) : Vector();
    Vector fixed = Vector::Zero(n);
    if (parameters_given) fixed = strength * (variation * parameter_tangent.col(j));
    if (interacts && !implicit && from_given) fixed += strength * w.energy().interaction(from_tangent.col(j));
    force = fixed;
    change = Vector::Zero(n);
    for (int outer = 0; outer < options_.max_outer; ++outer) {
      Vector drive = (1 - w.damping.array()) * force.array();
      if (enters) drive.array() += w.damping.array() * entering.array();
      source = start + w.pulled_back(drive);
      w.solve(source, 1e-10, 0, 1000, x);
      w.average_over_plan(x);
      Vector response = w.average;
      if (enters) response += entering;
      const Vector next = w.rho.array() / w.mass * (1 - w.damping.array()) * (response - force).array();
      const double moved = (next - change).cwiseAbs().sum() * volume, size = next.cwiseAbs().sum() * volume;
      change = next;
      if (!interacts || !implicit || moved <= 1e-9 * size) break;
      force = fixed + strength * w.energy().interaction(change);
    }
    out.col(j) = change;
  }
  return out;
}

}  // namespace jko
