#include <jko/steps/quantile_step.hpp>

#include <jko/core/check.hpp>
#include <jko/core/parallel.hpp>

#include "../core/vector_math.hpp"
#include "certificate.hpp"
#include "tridiagonal.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

namespace jko {
namespace {

constexpr double gauss_left = 0.21132486540518711775;  // (1 - 1/sqrt(3))/2
constexpr double gauss_right = 1 - gauss_left;
constexpr Index interaction_limit = 3000;
constexpr Index block = 256;         // cells evaluated at once: their buffers stay in the first-level cache
constexpr Index thread_block = 1 << 14;
constexpr int lanes = 8;             // sums run over eight interleaved accumulators, whatever the vector width
constexpr double infinity = std::numeric_limits<double>::infinity();

/// The two Gauss points of every cell, interleaved: 2N numbers.
Vector gauss_points(const Vector& nodes) {
  const Index cells = nodes.size() - 1;
  Vector points(2 * cells);
  for (Index i = 0; i < cells; ++i) {
    const double width = nodes[i + 1] - nodes[i];
    points[2 * i] = nodes[i] + gauss_left * width;
    points[2 * i + 1] = nodes[i] + gauss_right * width;
  }
  return points;
}

/// Adds the transpose of the interpolation nodes -> Gauss points.
void add_to_nodes(const Vector& at_points, Vector& nodes) {
  for (Index i = 0; 2 * i < at_points.size(); ++i) {
    nodes[i] += gauss_right * at_points[2 * i] + gauss_left * at_points[2 * i + 1];
    nodes[i + 1] += gauss_left * at_points[2 * i] + gauss_right * at_points[2 * i + 1];
  }
}

/// y = M x with M the mass matrix of the piecewise-linear functions of the mass coordinate.
Matrix mass_times(const Vector& masses, const ConstMatrixRef& x) {
  Matrix y = Matrix::Zero(x.rows(), x.cols());
  for (Index j = 0; j < x.cols(); ++j) {
    for (Index i = 0; i < masses.size(); ++i) {
      y(i, j) += masses[i] * (2 * x(i, j) + x(i + 1, j)) / 6;
      y(i + 1, j) += masses[i] * (x(i, j) + 2 * x(i + 1, j)) / 6;
    }
  }
  return y;
}

/// What the local terms of one block of cells need and give; `n` cells, arrays of at least that length.
struct Cells {
  double width[block + 1], inverse[block + 1];
  double points[2 * (block + 1)], first[2 * (block + 1)], second[2 * (block + 1)];  // left Gauss points, then the right ones
  double slope[block + 1], curvature[block + 1];                                     // internal energy in the width, times 1/mass
};

JKO_VECTOR_CLONES void widths(const double* __restrict x, Index n, double temperature, Cells& __restrict c) {
  for (Index i = 0; i < n; ++i) {
    const double width = x[i + 1] - x[i], inverse = 1 / width;
    c.width[i] = width;
    c.inverse[i] = inverse;
    c.points[i] = x[i] + gauss_left * width;
    c.points[n + i] = x[i] + gauss_right * width;
    c.slope[i] = -temperature * inverse;
    c.curvature[i] = temperature * inverse * inverse;
  }
}

/// Adds w log(w/dx).
JKO_VECTOR_CLONES void add_entropy(const double* __restrict w, const double* __restrict inverse, Index n, double* __restrict sum) {
  const auto term = [&](Index i) { return w[i] * vector_math::log(w[i] * inverse[i]); };
  Index i = 0;
  for (; i + lanes <= n; i += lanes) {
    for (int l = 0; l < lanes; ++l) sum[l] += term(i + l);
  }
  for (; i < n; ++i) sum[0] += term(i);
}

/// The nodes' gradient and Hessian from their left and right cells; cell 0 of the block lies left of node 0 of the output.
JKO_VECTOR_CLONES void nodes_from_cells(const double* __restrict x, const double* __restrict y, const double* __restrict w, Index n, double h_inverse,
                                        const Cells& __restrict c, double* __restrict from_left, double* __restrict from_right,
                                        double* __restrict left_diagonal, double* __restrict right_diagonal, double* __restrict off) {
  for (Index i = 0; i < n; ++i) {
    const double a = x[i] - y[i], b = x[i + 1] - y[i + 1];
    const double f1 = 0.5 * c.first[i], f2 = 0.5 * c.first[n + i], s1 = 0.5 * c.second[i], s2 = 0.5 * c.second[n + i];
    const double inertia = h_inverse / 6;
    from_right[i] = w[i] * (inertia * (2 * a + b) - c.slope[i] + gauss_right * f1 + gauss_left * f2);  // on the cell's left node
    from_left[i] = w[i] * (inertia * (a + 2 * b) + c.slope[i] + gauss_left * f1 + gauss_right * f2);   // on its right node
    const double stiff = 2 * inertia + c.curvature[i];
    right_diagonal[i] = w[i] * (stiff + gauss_right * gauss_right * s1 + gauss_left * gauss_left * s2);
    left_diagonal[i] = w[i] * (stiff + gauss_left * gauss_left * s1 + gauss_right * gauss_right * s2);
    off[i] = w[i] * (inertia - c.curvature[i] + gauss_left * gauss_right * (s1 + s2));
  }
}

struct Sums {
  double norm[lanes]{};      // sum of 6 g^2/(w_{i-1} + w_i), an upper bound of g' M^{-1} g
  double rounding[lanes]{};  // the same of the gradient's estimated rounding error
};

/// Nodes between two cells, from the left one's right node and the right one's left node, and their part of the norm.
JKO_VECTOR_CLONES void assemble(const double* __restrict from_left, const double* __restrict from_right, const double* __restrict left_diagonal, const double* __restrict right_diagonal,
                                const double* __restrict lump_inverse, Index n, double* __restrict gradient, double* __restrict diagonal, double* __restrict sum) {
  const auto node = [&](Index i) {
    const double g = from_left[i] + from_right[i];
    gradient[i] = g;
    diagonal[i] = left_diagonal[i] + right_diagonal[i];
    return g * g * lump_inverse[i];
  };
  Index i = 0;
  for (; i + lanes <= n; i += lanes) {
    for (int l = 0; l < lanes; ++l) sum[l] += node(i + l);
  }
  for (; i < n; ++i) sum[0] += node(i);
}

/// A rounding error epsilon |x| of the width moves the slope by curvature times that.
JKO_VECTOR_CLONES void add_rounding(const double* __restrict x, const double* __restrict w, Index n, const Cells& __restrict c, double* __restrict sum) {
  constexpr double epsilon = std::numeric_limits<double>::epsilon();
  const auto term = [&](Index i) {
    const double error = epsilon * (c.curvature[i] * std::max(std::abs(x[i]), std::abs(x[i + 1])) + std::abs(c.slope[i]));
    return 4 * w[i] * error * error;
  };
  Index i = 0;
  for (; i + lanes <= n; i += lanes) {
    for (int l = 0; l < lanes; ++l) sum[l] += term(i + l);
  }
  for (; i < n; ++i) sum[0] += term(i);
}

/// Largest relative shrinking of a cell along a direction.
JKO_VECTOR_CLONES void add_shrinking(const double* __restrict x, const double* __restrict p, Index n, double* __restrict shrink) {
  const auto relative = [&](Index i) { return (p[i] - p[i + 1]) / (x[i + 1] - x[i]); };
  Index i = 0;
  for (; i + lanes <= n; i += lanes) {
    for (int l = 0; l < lanes; ++l) {
      const double r = relative(i + l);
      shrink[l] = r > shrink[l] ? r : shrink[l];
    }
  }
  for (; i < n; ++i) shrink[0] = std::max(shrink[0], relative(i));
}

/// Whether some cell changes by more than half, or by more than 1e-9, of its width. Without a division: 1.0 in large and seen where so.
JKO_VECTOR_CLONES void add_changes(const double* __restrict x, const double* __restrict p, Index n, double* __restrict large, double* __restrict seen) {
  const auto update = [&](Index i, int l) {
    const double width = x[i + 1] - x[i], change = std::abs(p[i] - p[i + 1]);
    large[l] = change <= 0.5 * width ? large[l] : 1.0;
    seen[l] = change > 1e-9 * width ? 1.0 : seen[l];
  };
  Index i = 0;
  for (; i + lanes <= n; i += lanes) {
    for (int l = 0; l < lanes; ++l) update(i + l, l);
  }
  for (; i < n; ++i) update(i, 0);
}

JKO_VECTOR_CLONES void move(const double* __restrict x, const double* __restrict p, double t, Index n, double* __restrict out) {
  for (Index i = 0; i < n; ++i) out[i] = x[i] + t * p[i];
}

/// sum w (a^2 + ab + b^2)/3, the squared L2 norm of a piecewise-linear function of the mass.
JKO_VECTOR_CLONES void add_square(const double* __restrict x, const double* __restrict y, const double* __restrict w, Index n, double* __restrict sum) {
  const auto term = [&](Index i) {
    const double a = x[i] - y[i], b = x[i + 1] - y[i + 1];
    return w[i] * (a * a + a * b + b * b);
  };
  Index i = 0;
  for (; i + lanes <= n; i += lanes) {
    for (int l = 0; l < lanes; ++l) sum[l] += term(i + l);
  }
  for (; i < n; ++i) sum[0] += term(i);
}

double total(const double* sum) { return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7])); }
double largest(const double* values) { return *std::max_element(values, values + lanes); }

/// Calls body(begin, end, sum[lanes]) over fixed blocks and adds their sums in order.
template <class Body>
double block_sum(Index n, int threads, const Body& body) {
  std::vector<double> parts(static_cast<std::size_t>((n + thread_block - 1) / thread_block));
  parallel_blocks(n, thread_block, threads, [&](Index begin, Index end) {
    double sum[lanes]{};
    body(begin, end, sum);
    parts[static_cast<std::size_t>(begin / thread_block)] = total(sum);
  });
  double all = 0;
  for (const double part : parts) all += part;
  return all;
}

JKO_VECTOR_CLONES bool increases(const double* __restrict x, Index n) {
  double bad[lanes]{};
  Index i = 1;
  for (; i + lanes <= n; i += lanes) {
    for (int l = 0; l < lanes; ++l) bad[l] = x[i + l] > x[i + l - 1] ? bad[l] : 1.0;
  }
  for (; i < n; ++i) bad[0] = x[i] > x[i - 1] ? bad[0] : 1.0;
  return std::none_of(bad, bad + lanes, [](double b) { return b != 0; });
}

/// Finite and strictly increasing: between finite ends nothing else can be.
bool increases(const Vector& nodes) {
  return std::isfinite(nodes[0]) && std::isfinite(nodes[nodes.size() - 1]) && increases(nodes.data(), nodes.size());
}

/// F by parts.
EnergyValue energy_of(const FreeEnergy& energy, const Vector& masses, const Vector& nodes, int threads) {
  EnergyValue value;
  const auto add = [&](const char* part, double amount) {
    value.parts.emplace_back(part, amount);
    value.total += amount;
  };
  const auto* potential = energy.potential();
  const auto* entropy = energy.entropy();
  const auto* porous = energy.porous_medium();
  // The three local parts in one pass.
  const Index cells = masses.size();
  std::vector<std::array<double, 3>> parts(static_cast<std::size_t>((cells + thread_block - 1) / thread_block));
  parallel_blocks(cells, thread_block, threads, [&](Index begin, Index end) {
    using Array = Eigen::Map<Eigen::ArrayXd>;
    Cells c;
    std::array<double, 3> sum{};
    double logs[lanes]{};
    for (Index b = begin; b < end; b += block) {
      const Index n = std::min(block, end - b);
      widths(nodes.data() + b, n, 0, c);
      const Eigen::Map<const Eigen::ArrayXd> mass(masses.data() + b, n);
      if (potential) {
        potential->potential->jet(c.points, 2 * n, potential->theta, c.first, nullptr, nullptr);
        sum[0] += 0.5 * (mass * (Array(c.first, n) + Array(c.first + n, n))).sum();
      }
      if (entropy) add_entropy(mass.data(), c.inverse, n, logs);
      if (porous) sum[2] += (mass * (mass * Array(c.inverse, n)).pow(porous->exponent - 1)).sum();
    }
    sum[1] = total(logs);
    parts[static_cast<std::size_t>(begin / thread_block)] = sum;
  });
  std::array<double, 3> sum{};
  for (const auto& part : parts) {
    for (std::size_t k = 0; k < 3; ++k) sum[k] += part[k];
  }
  if (potential) add("potential", sum[0]);
  if (entropy) add("entropy", sum[1] / entropy->beta);
  if (porous) add("porous_medium", porous->coefficient / (porous->exponent - 1) * sum[2]);
  if (const auto* part = energy.interaction()) {
    const Vector points = gauss_points(nodes);
    double both = 0;
    Vector differences(points.size()), kernel(points.size());
    for (Index p = 0; p < points.size(); ++p) {
      differences = points[p] - points.array();
      part->kernel->jet(differences.data(), differences.size(), part->theta, kernel.data(), nullptr, nullptr);
      double row = 0;
      for (Index q = 0; q < points.size(); ++q) row += 0.5 * masses[q / 2] * kernel[q];
      both += 0.5 * masses[p / 2] * row;
    }
    add("interaction", 0.5 * both);
  }
  return value;
}

}  // namespace

/// The discrete problem min J and everything that is kept between its evaluations.
class QuantileStep::Work {
 public:
  Work(const FreeEnergy& energy, std::shared_ptr<const Vector> masses, int threads) : masses_(std::move(masses)), threads_(threads) {
    set_energy(energy);
    const Vector& w = *masses_;
    const Index n = w.size();
    lump_inverse_.resize(n + 1);
    lump_inverse_[0] = 6 / w[0];
    lump_inverse_[n] = 6 / w[n - 1];
    for (Index i = 1; i < n; ++i) lump_inverse_[i] = 6 / (w[i - 1] + w[i]);
    Vector diagonal = Vector::Zero(n + 1);
    diagonal.head(n) += w / 3;
    diagonal.tail(n) += w / 3;
    mass_off_ = w / 6;
    (void)mass_matrix_.factor(diagonal, mass_off_, threads_);  // diagonally dominant: cannot fail
    gradient_.resize(n + 1);
    diagonal_.resize(n + 1);
    off_.resize(n);
  }
  void set_energy(const FreeEnergy& energy) { energy_ = &energy; }

  [[nodiscard]] const Vector& masses() const { return *masses_; }
  [[nodiscard]] bool serves(const std::shared_ptr<const Vector>& masses) const { return masses_ == masses; }
  [[nodiscard]] const Vector& gradient() const { return gradient_; }
  [[nodiscard]] double norm_bound() const { return norm_bound_; }
  [[nodiscard]] double rounding() const { return rounding_; }

  [[nodiscard]] double moved_squared(const Vector& x, const Vector& y) const {
    return block_sum(masses().size(), threads_, [&](Index begin, Index end, double* sum) {
             add_square(x.data() + begin, y.data() + begin, masses().data() + begin, end - begin, sum);
           }) / 3;
  }

  /// J; infinite where the order is lost.
  [[nodiscard]] double objective(const Vector& x, const Vector& y, double h) const {
    if (!increases(x)) return infinity;
    return energy_of(*energy_, masses(), x, threads_).total + moved_squared(x, y) / (2 * h);
  }

  /// Gradient and Hessian of J at x; false where they are not finite. The rounding error of the gradient is estimated on request, else the last estimate stays.
  [[nodiscard]] bool differentiate(const Vector& x, const Vector& y, double h, bool with_rounding = true) {
    factored_ = false;
    const Index cells = masses().size();
    const double temperature = energy_->entropy() ? 1 / energy_->entropy()->beta : 0;
    const auto* potential = energy_->potential();
    const auto* porous = energy_->porous_medium();
    if (energy_->interaction()) interact(x);
    const std::size_t parts = static_cast<std::size_t>((cells + 1 + thread_block - 1) / thread_block);
    std::vector<double> norms(parts), roundings(parts);
    // Blocks of nodes; each computes the cell left of its first node again, so that blocks do not wait for each other.
    parallel_blocks(cells + 1, thread_block, threads_, [&](Index first_node, Index end_node) {
      Sums sums;
      Cells c;
      double from_left[block + 2], from_right[block + 2], left_diagonal[block + 2], right_diagonal[block + 2], off[block + 2];
      for (Index node = first_node; node < end_node; node += block) {
        const Index nodes = std::min(block, end_node - node);
        const Index begin = std::max<Index>(node - 1, 0), end = std::min(node + nodes, cells), n = end - begin;
        const double* const w = masses().data() + begin;
        widths(x.data() + begin, n, temperature, c);
        if (porous) {
          using Array = Eigen::Map<Eigen::ArrayXd>;
          const Eigen::ArrayXd pressure = porous->coefficient * (Eigen::Map<const Eigen::ArrayXd>(w, n) * Array(c.inverse, n)).pow(porous->exponent - 1) * Array(c.inverse, n);
          Array(c.slope, n) -= pressure;
          Array(c.curvature, n) += porous->exponent * pressure * Array(c.inverse, n);
        }
        if (potential) {
          potential->potential->jet(c.points, 2 * n, potential->theta, nullptr, c.first, c.second);
        } else {
          std::fill(c.first, c.first + 2 * n, 0.0);
          std::fill(c.second, c.second + 2 * n, 0.0);
        }
        if (force_.size() > 0) {
          for (Index i = 0; i < n; ++i) {
            c.first[i] += force_[2 * (begin + i)];
            c.first[n + i] += force_[2 * (begin + i) + 1];
            c.second[i] += stiffness_[2 * (begin + i)];
            c.second[n + i] += stiffness_[2 * (begin + i) + 1];
          }
        }
        nodes_from_cells(x.data() + begin, y.data() + begin, w, n, 1 / h, c, from_left, from_right, left_diagonal, right_diagonal, off);
        // Node node + i lies between the block's cells skip + i - 1 and skip + i; the ends of the line have one cell only.
        const Index skip = node - begin, first = 1 - skip;  // the line's first node is the block's first and has no cell to its left
        from_right[n] = right_diagonal[n] = 0;
        if (first == 1) {
          gradient_[0] = from_right[0];
          diagonal_[0] = right_diagonal[0];
          sums.norm[0] += gradient_[0] * gradient_[0] * lump_inverse_[0];
        }
        const Index at = node + first;
        assemble(from_left + skip + first - 1, from_right + skip + first, left_diagonal + skip + first - 1, right_diagonal + skip + first, lump_inverse_.data() + at, nodes - first, gradient_.data() + at,
                 diagonal_.data() + at, sums.norm);
        std::copy(off + skip, off + n, off_.data() + node);
        if (with_rounding) add_rounding(x.data() + begin, w, n, c, sums.rounding);
      }
      const auto part = static_cast<std::size_t>(first_node / thread_block);
      norms[part] = total(sums.norm);
      roundings[part] = total(sums.rounding);
    });
    double norm = 0, rounding = 0;
    for (std::size_t part = 0; part < parts; ++part) norm += norms[part], rounding += roundings[part];
    norm_bound_ = std::sqrt(norm);
    if (with_rounding) rounding_ = std::sqrt(rounding);
    return std::isfinite(norm) && std::isfinite(rounding);
  }

  /// sqrt(g' M^{-1} g) of the last gradient.
  [[nodiscard]] double dual_norm() {
    scratch_ = gradient_;
    mass_matrix_.solve(mass_off_, scratch_, threads_);
    return std::sqrt(std::max(0.0, gradient_.dot(scratch_.col(0))));
  }

  /// Solves with the Hessian of the last differentiate(), in place; false where it is not positive definite.
  [[nodiscard]] bool solve(MatrixRef columns) {
    if (!factored_) {
      if (!hessian_.factor(diagonal_, off_, threads_)) return false;
      factored_ = true;
    }
    if (coupling_.size() == 0) {
      hessian_.solve(off_, columns, threads_);
      return true;
    }
    // Conjugate gradients on (tridiagonal - P' B P), preconditioned by the tridiagonal part.
    const auto product = [&](const Vector& x) {
      const Index n = x.size();
      Vector y = diagonal_.cwiseProduct(x);
      y.head(n - 1) += off_.cwiseProduct(x.tail(n - 1));
      y.tail(n - 1) += off_.cwiseProduct(x.head(n - 1));
      Vector coupled = Vector::Zero(n);
      add_to_nodes(coupling_ * gauss_points(x), coupled);
      return Vector(y - coupled);
    };
    for (Index j = 0; j < columns.cols(); ++j) {
      Vector r = columns.col(j), x = Vector::Zero(r.size());
      Matrix z = r;
      hessian_.solve(off_, z);
      Vector p = z;
      double rz = r.dot(z.col(0));
      const double goal = 1e-28 * rz;  // relative error 1e-14 in the preconditioner's norm: rounding level
      for (int i = 0; i < 500 && rz > goal; ++i) {
        const Vector hp = product(p);
        const double curvature = p.dot(hp);
        if (!(curvature > 0)) return false;
        const double alpha = rz / curvature;
        x += alpha * p;
        r -= alpha * hp;
        z = r;
        hessian_.solve(off_, z);
        const double next = r.dot(z.col(0));
        p = z + (next / rz) * p;
        rz = next;
      }
      columns.col(j) = x;
    }
    return true;
  }

  /// The step length at which the first cell vanishes.
  [[nodiscard]] double longest_step(const Vector& x, const ConstVectorRef& direction) const {
    double shrink[lanes]{};
    add_shrinking(x.data(), direction.data(), masses().size(), shrink);
    const double most = largest(shrink);
    return most > 0 ? 1 / most : infinity;
  }
  struct Changes {
    bool large;  ///< a cell changes by more than half its width (or by NaN)
    bool seen;   ///< a cell changes by more than 1e-9 of its width
  };
  [[nodiscard]] Changes changes(const Vector& x, const ConstVectorRef& direction) const {
    double large[lanes]{}, seen[lanes]{};
    add_changes(x.data(), direction.data(), masses().size(), large, seen);
    return {largest(large) > 0, largest(seen) > 0};
  }

  Vector x;          // of the last advance
  double h = 0;
  Vector before;     // buffers of advance()
  Matrix direction;

 private:
  /// Force and stiffness of the interaction at the Gauss points (per unit of their mass), and the coupling of the points.
  void interact(const Vector& nodes) {
    const auto* part = energy_->interaction();
    const Vector points = gauss_points(nodes);
    const Index n = points.size();
    coupling_.resize(n, n);
    force_ = stiffness_ = Vector::Zero(n);
    Vector differences(n), slope(n);
    for (Index q = 0; q < n; ++q) {
      differences = points[q] - points.array();
      part->kernel->jet(differences.data(), n, part->theta, nullptr, slope.data(), coupling_.col(q).data());
      const double mass = 0.5 * masses()[q / 2];
      for (Index p = 0; p < n; ++p) {
        const double weight = 0.5 * masses()[p / 2];
        force_[q] += weight * slope[p];
        stiffness_[q] += weight * coupling_(p, q);
        coupling_(p, q) *= mass * weight;
      }
    }
  }

  const FreeEnergy* energy_ = nullptr;
  std::shared_ptr<const Vector> masses_;
  int threads_;
  Vector lump_inverse_, mass_off_;
  Tridiagonal mass_matrix_, hessian_;
  Vector gradient_, diagonal_, off_;
  Matrix scratch_;
  Vector force_, stiffness_;  // interaction; empty without
  Matrix coupling_;
  double norm_bound_ = 0, rounding_ = 0;
  bool factored_ = false;
};

void QuantileStepOptions::validate() const {
  check_positive("quantile_step", "tolerance", tolerance);
  check_at_least("quantile_step", "max_iterations", max_iterations, 1);
  check_at_least("quantile_step", "threads", threads, 1);
}

QuantileStep::QuantileStep(FreeEnergy energy, QuantileStepOptions options) : energy_(std::move(energy)), options_(options) {
  options_.validate();
  if (energy_.dimension() > 1) {
    throw DomainError(fmt::format("quantile_step: the energy has dimension {}, but must be one-dimensional", energy_.dimension()));
  }
  if (energy_.congestion()) throw DomainError("quantile_step: the energy has a congestion part; use the entropic step");
}

EnergyValue QuantileStep::energy_value(const QuantileFunction& measure) const {
  return energy_of(energy_, measure.masses(), measure.nodes(), options_.threads);
}

StepResult<QuantileFunction> QuantileStep::advance(const QuantileFunction& from, double h, const Vector& guess) {
  check_positive("quantile_step", "step size h", h);
  if (energy_.interaction() && from.cells() > interaction_limit) {
    throw DomainError(fmt::format("quantile_step: an interaction on {} cells would take {:.1f} GB, but at most {} cells are allowed",
                                  from.cells(), 32e-9 * static_cast<double>(from.cells() * from.cells()), interaction_limit));
  }
  // A copy of a step shares its buffers until one of them advances.
  if (!work_ || work_.use_count() > 1 || !work_->serves(from.masses_ptr())) work_ = std::make_shared<Work>(energy_, from.masses_ptr(), options_.threads);
  Work& work = *work_;
  work.set_energy(energy_);
  work.h = h;
  const Vector& y = from.nodes();
  Vector& x = work.x;
  if (guess.size() == y.size() && increases(guess)) {
    x = guess;
  } else if (from.is_monotone()) {
    x = y;
  } else {  // the sorted nodes, pulled apart
    x = y;
    std::sort(x.data(), x.data() + x.size());
    const double gap = std::max(x[x.size() - 1] - x[0], 1.0) * 1e-6 / static_cast<double>(x.size());
    for (Index i = 1; i < x.size(); ++i) x[i] = std::max(x[i], x[i - 1] + gap);
  }
  StepResult<QuantileFunction> result;
  const auto convexity = energy_.convexity();
  const double modulus = 1 + h * (convexity ? convexity->kappa : 0.0);
  const bool certified = convexity && modulus > 0;
  const double scale = std::max(1.0, std::sqrt(std::max(0.0, from.covariance()(0, 0))));
  const double goal = options_.tolerance * scale * std::max(modulus, 1e-300) / h;

  double residual = infinity, best = infinity, value = std::nan("");
  int without_progress = 0;
  Vector& before = work.before;  // where the last unguarded step began, its direction and the norm there
  Matrix& direction = work.direction;
  double norm_before = infinity;
  bool unguarded = false;
  result.status = Status::iteration_limit;
  // Line search on J from `begin` along `direction`, at most to the step length t.
  const auto search = [&](const Vector& begin, double t) {
    if (std::isnan(value)) value = work.objective(begin, y, h);
    const double slope = work.gradient().dot(direction.col(0));
    const double noise = 1e-13 * (1 + std::abs(value));  // rounding of J
    for (int halvings = 0; halvings < 60; ++halvings, t *= 0.5) {
      Vector trial = begin + t * direction.col(0);
      const double trial_value = work.objective(trial, y, h);
      if (trial_value <= value + 1e-4 * t * slope + noise) {
        x = std::move(trial);
        value = trial_value;
        return true;
      }
    }
    return false;
  };
  for (int iteration = 0;; ++iteration) {
    // After a full step no cell has changed by more than half: the estimate of the rounding error before it still serves.
    bool finite = work.differentiate(x, y, h, !unguarded);
    if (unguarded && (!finite || work.norm_bound() > 0.9 * norm_before)) {
      // The full step did not pay: go back and let J judge it.
      x = before;
      value = std::nan("");
      unguarded = false;
      (void)work.differentiate(x, y, h);
      if (!search(before, 0.5)) {
        residual = work.dual_norm();
        result.status = residual <= 16 * work.rounding() ? Status::converged : Status::stalled;
        break;
      }
      finite = work.differentiate(x, y, h);
    }
    if (!finite) {
      result.status = Status::not_finite;
      break;
    }
    result.iterations = iteration;
    // The lumped bound overestimates the norm by at most sqrt 3: the exact norm is worth its solve only where it decides.
    residual = work.norm_bound();
    if (residual <= std::max(goal, 4 * work.rounding())) {
      result.status = Status::converged;
      break;
    }
    if (residual <= 2 * std::max(goal, 4 * work.rounding()) || iteration == options_.max_iterations) {
      residual = work.dual_norm();
      if (residual <= goal || residual <= 4 * work.rounding()) {
        result.status = Status::converged;
        break;
      }
    }
    if (residual < 0.5 * best) {
      best = residual;
      without_progress = 0;
    } else if (++without_progress > 20) {
      residual = work.dual_norm();
      result.status = Status::stalled;
      break;
    }
    if (iteration == options_.max_iterations) break;
    direction = -work.gradient();
    if (!work.solve(direction)) {
      residual = work.dual_norm();
      // Derivatives can be finite where the energy itself is not: log(x) left of zero.
      result.status = std::isfinite(work.objective(x, y, h)) ? Status::step_not_convex : Status::not_finite;
      break;
    }
    const auto change = work.changes(x, direction.col(0));
    // Cells that change by less than half keep the quadratic model honest; the next gradient confirms it. Steps too small to be seen in J or
    // in the norm (a change below 1e-9) are taken as they are.
    if (!change.large) {
      before.swap(x);
      x.resize(y.size());
      norm_before = change.seen ? work.norm_bound() : infinity;
      unguarded = true;
      move(before.data(), direction.data(), 1, x.size(), x.data());
      value = std::nan("");
    } else {
      unguarded = false;
      const Vector begin = x;
      if (!search(begin, std::min(1.0, 0.95 * work.longest_step(x, direction.col(0))))) {
        residual = work.dual_norm();
        result.status = std::isfinite(value) ? Status::stalled : Status::not_finite;
        break;
      }
    }
    if (!(std::max(-x[0], x[x.size() - 1]) < 1e100)) {
      result.status = Status::no_minimiser;
      break;
    }
  }
  result.measure = from.with_coordinates(x.allFinite() ? x : y);
  result.residual = residual;
  if (certified) certify_by_residual(result, h, modulus);
  if (convexity && !(modulus > 0)) result.status = Status::step_not_convex;
  const double moved = work.moved_squared(x, y);
  result.w2_moved = std::sqrt(moved);
  result.energy = energy_of(energy_, work.masses(), x, options_.threads);
  result.objective = result.energy.total + moved / (2 * h);
  if (is_success(result.status) && !std::isfinite(result.objective)) result.status = Status::not_finite;
  return result;
}

Matrix QuantileStep::tangent(const ConstMatrixRef& from_tangent, const ConstMatrixRef& parameter_tangent) const {
  if (!work_) throw DomainError("quantile_step: tangent() needs an advance() before it");
  const Vector& masses = work_->masses();
  const Vector& result = work_->x;
  const Index nodes = result.size();
  Matrix columns = Matrix::Zero(nodes, std::max(from_tangent.cols(), parameter_tangent.cols()));
  if (from_tangent.size() > 0) {
    check_size("quantile_step", "the start's tangent", from_tangent.rows(), nodes);
    columns += mass_times(masses, from_tangent) / work_->h;
  }
  if (parameter_tangent.size() > 0) {
    check_size("quantile_step", "the parameter tangent", parameter_tangent.rows(), energy_.parameters().size());
    // d(grad F)/d(parameters), one column a parameter, in the order of FreeEnergy::parameters().
    Matrix mixed = Matrix::Zero(nodes, parameter_tangent.rows());
    Index at = 0;
    const Vector points = gauss_points(result);
    if (const auto* part = energy_.potential()) {
      const Matrix derivative = part->potential->evaluate({1, 1}, points.transpose(), part->theta);
      for (Index j = 0; j < derivative.rows(); ++j) {
        Vector weighted = derivative.row(j).transpose();
        for (Index p = 0; p < weighted.size(); ++p) weighted[p] *= 0.5 * masses[p / 2];
        Vector column = Vector::Zero(nodes);
        add_to_nodes(weighted, column);
        mixed.col(at++) = column;
      }
    }
    const auto add_widths = [&](Index column, auto slope) {  // slope(i) = derivative in the width of cell i
      for (Index i = 0; i < masses.size(); ++i) {
        mixed(i, column) -= slope(i);
        mixed(i + 1, column) += slope(i);
      }
    };
    if (const auto* part = energy_.entropy()) {
      add_widths(at++, [&](Index i) { return masses[i] / ((result[i + 1] - result[i]) * part->beta * part->beta); });
    }
    if (const auto* part = energy_.porous_medium()) {
      add_widths(at++, [&](Index i) {
        const double width = result[i + 1] - result[i];
        return -masses[i] * std::pow(masses[i] / width, part->exponent - 1) / width;
      });
    }
    if (const auto* part = energy_.interaction()) {
      const Index n = points.size();
      Matrix forces = Matrix::Zero(n, part->theta.size());
      for (Index q = 0; q < n; ++q) {
        const Matrix differences = (points[q] - points.array()).matrix().transpose();
        const Matrix derivative = part->kernel->evaluate({1, 1}, differences, part->theta);
        for (Index p = 0; p < n; ++p) forces.row(q) += 0.25 * masses[q / 2] * masses[p / 2] * derivative.col(p).transpose();
      }
      for (Index j = 0; j < forces.cols(); ++j) {
        Vector column = Vector::Zero(nodes);
        add_to_nodes(forces.col(j), column);
        mixed.col(at++) = column;
      }
    }
    columns -= mixed * parameter_tangent;
  }
  if (!work_->solve(columns)) throw DomainError("quantile_step: tangent() needs a step whose Hessian is positive definite");
  return columns;
}

}  // namespace jko
