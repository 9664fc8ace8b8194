#include "interpolated_transform.hpp"

#include "../core/vector_math.hpp"
#include "../measures/grid_lines.hpp"
#include "lower_envelope.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

namespace jko {
namespace {

/// Lines are kept with two mirrored cells on either side.
constexpr Index ghosts = 2;

void mirror(double* f, Index n) {  // f[0] is the first cell
  f[-1] = f[0];
  f[-2] = f[n > 1 ? 1 : 0];
  f[n] = f[n - 1];
  f[n + 1] = f[n > 1 ? n - 2 : 0];
}

void fold(double* q, Index n) {
  q[0] += q[-1];
  q[n > 1 ? 1 : 0] += q[-2];
  q[n - 1] += q[n];
  q[n > 1 ? n - 2 : 0] += q[n + 1];
}

struct Weights {
  double w[4];
};

inline Weights cubic_convolution(double t) {
  const double s = 1 - t;
  return {{-0.5 * t * s * s, 1 + t * t * (1.5 * t - 2.5), 1 + s * s * (1.5 * s - 2.5), -0.5 * s * t * t}};
}

inline Weights cubic_spline(double t) {
  const double s = 1 - t;
  return {{s * s * s / 6, 2.0 / 3 - t * t * (1 - 0.5 * t), 2.0 / 3 - s * s * (1 - 0.5 * s), t * t * t / 6}};
}

/// The left end of a position's interval; positions are at least -1/2, and casting truncates.
inline Index interval(double position) { return static_cast<Index>(position + 1.0) - 1; }

/// Particle j of a line lies at this cell coordinate.
inline double particle(Index j, Index samples) { return (static_cast<double>(j) + 0.5) / static_cast<double>(samples) - 0.5; }

struct Minimum {
  double value, position;
};

/// The minimum of (x - y)^2/2 + (I f)(x) at the stationary point in an interval [cell, cell + 1] where it turns upward, moved into the interval.
JKO_INLINE Minimum minimum_in(const double* f, Index cell, double y, double end) {
  const double a = f[cell - 1], b = f[cell], c = f[cell + 1], d = f[cell + 2];
  const double c0 = (a + 4 * b + c) / 6, c1 = 0.5 * (c - a), c2 = 0.5 * (a + c) - b, c3 = (d - a) / 6 + 0.5 * (b - c);
  const double r = static_cast<double>(cell) - y;
  // (t + r) + c1 + 2 c2 t + 3 c3 t^2 = 0.
  const double A = 3 * c3, B = 1 + 2 * c2, C = c1 + r, discriminant = B * B - 4 * A * C;
  double t = discriminant >= 0 ? -2 * C / (B + std::sqrt(discriminant)) : 0;
  t = t >= 0 ? (t <= 1 ? t : 1) : 0;  // NaN (0/0) goes to 0
  const double p = std::min(std::max(static_cast<double>(cell) + t, -0.5), end);
  t = p - static_cast<double>(cell);
  const double distance = p - y;
  return {0.5 * distance * distance + c0 + t * (c1 + t * (c2 + t * c3)), p};
}

/// Refines the lattice minimisers of (i - y)^2/2 + (I f)(i) for the particles y: coefficients f with ghosts, in units of width^2. Where the lattice values are
/// convex, the minimum lies beside the lattice's; else `reach` intervals on either side are searched.
JKO_VECTOR_CLONES void refine(const double* f, const std::int32_t* lattice, Index n, Index count, Index samples, bool convex, double* value, double* position) {
  constexpr Index reach = 3;
  const double end = static_cast<double>(n) - 0.5;
  for (Index j = 0; j < count; ++j) {
    const Index i = lattice[j];
    const double y = particle(j, samples), node_distance = static_cast<double>(i) - y;
    const double slope = node_distance + 0.5 * (f[i + 1] - f[i - 1]);
    Minimum best = minimum_in(f, slope < 0 ? i : i - 1, y, end);
    const double node = 0.5 * node_distance * node_distance + (f[i - 1] + 4 * f[i] + f[i + 1]) / 6;
    if (!(best.value < node)) best = {node, static_cast<double>(i)};
    if (!convex) {
      for (Index cell = std::max<Index>(i - reach, -1); cell <= std::min(i + reach - 1, n - 1); ++cell) {
        const Minimum other = minimum_in(f, cell, y, end);
        if (other.value < best.value) best = other;
      }
    }
    value[j] = best.value;
    position[j] = best.position;
  }
}

void scatter(const double* mass, const double* position, Index count, double* q) {
  for (Index j = 0; j < count; ++j) {
    const Index cell = interval(position[j]);
    const Weights k = cubic_spline(position[j] - static_cast<double>(cell));
    for (int m = 0; m < 4; ++m) q[cell - 1 + m] += mass[j] * k.w[m];
  }
}

/// Lines of a pass in groups of neighbours, as in GridLines, for fields whose lines have different lengths before and after.
template <class Body>
void for_each_group(Index stride, Index outer, Index length, int threads, const Body& body) {
  constexpr Index group = GridLines::group;
  const Index per_outer = (stride + group - 1) / group;
  parallel_blocks(outer * per_outer, std::max<Index>(1, 32768 / (length * std::min(group, stride))), threads, [&](Index begin, Index end) {
    for (Index g = begin; g < end; ++g) {
      const Index inner = g % per_outer * group;
      body(inner, g / per_outer, std::min(group, stride - inner));
    }
  });
}

void read(const double* field, Index first, Index stride, Index cells, Index lines, double* out) {
  for (Index k = 0; k < cells; ++k) {
    for (Index l = 0; l < lines; ++l) out[l * cells + k] = field[first + l + stride * k];
  }
}

void write(const double* lines_in, Index first, Index stride, Index cells, Index lines, double* field) {
  for (Index k = 0; k < cells; ++k) {
    for (Index l = 0; l < lines; ++l) field[first + l + stride * k] = lines_in[l * cells + k];
  }
}

}  // namespace

InterpolatedTransform::InterpolatedTransform(std::shared_ptr<const Grid> grid, int threads, Index samples)
    : grid_(std::move(grid)), threads_(threads), samples_(samples) {
  Index stride = 1, rest = grid_->size();
  const std::vector<double> ones(static_cast<std::size_t>(*std::max_element(grid_->cells.begin(), grid_->cells.end())), 1.0);
  for (int a = 0; a < grid_->dimension(); ++a) {
    const Index n = grid_->cells[static_cast<std::size_t>(a)];
    rest /= n;
    Pass pass{n, stride, rest, grid_->width(a), {}};
    pass.position.resize(static_cast<std::size_t>(stride * n * samples_ * rest));
    passes_.push_back(std::move(pass));
    stride *= n * samples_;
    // Coefficients c of values v: (c_{i-1} + 4 c_i + c_{i+1})/6 = v_i, mirrored: I - s A of a unit graph Laplacian with s = -1/6.
    filters_.emplace_back(*grid_, a);
    filters_.back().factor(ones.data(), ones.data(), -1.0 / 6, true, threads_);
  }
}

void InterpolatedTransform::filter(Vector& field) const {
  for (const LineSolver& f : filters_) f.solve(field.data(), threads_);
}

Vector InterpolatedTransform::particles(const Vector& mu) const {
  Vector field = mu;
  for (const Pass& pass : passes_) {
    const Index n = pass.cells, count = n * samples_;
    Vector next(pass.stride * count * pass.outer);
    for_each_group(pass.stride, pass.outer, count, threads_, [&](Index inner, Index outer, Index lines) {
      std::vector<double> in(static_cast<std::size_t>(lines * n)), out(static_cast<std::size_t>(lines * count)), padded(static_cast<std::size_t>(n + 2 * ghosts));
      read(field.data(), inner + pass.stride * n * outer, pass.stride, n, lines, in.data());
      double* const f = padded.data() + ghosts;
      for (Index l = 0; l < lines; ++l) {
        std::copy_n(in.data() + l * n, n, f);
        mirror(f, n);
        for (Index j = 0; j < count; ++j) {
          const double y = particle(j, samples_);
          const Index cell = interval(y);
          const Weights k = cubic_convolution(y - static_cast<double>(cell));
          double sum = 0;
          for (int m = 0; m < 4; ++m) sum += k.w[m] * f[cell - 1 + m];
          out[static_cast<std::size_t>(l * count + j)] = std::max(sum, 0.0) / static_cast<double>(samples_);
        }
      }
      write(out.data(), inner + pass.stride * count * outer, pass.stride, count, lines, next.data());
    });
    field.swap(next);
  }
  return field * (mu.sum() / field.sum());
}

void InterpolatedTransform::transform(const Vector& phi, Vector& result) {
  Vector field = -phi;
  filter(field);
  for (Pass& pass : passes_) {
    const Index n = pass.cells, count = n * samples_;
    const double scale = pass.width * pass.width, inverse = 1 / scale;
    result.resize(pass.stride * count * pass.outer);
    for_each_group(pass.stride, pass.outer, count, threads_, [&](Index inner, Index outer, Index lines) {
      thread_local LowerEnvelope envelope;
      thread_local std::vector<double> in, out, padded, nodes, positions;
      thread_local std::vector<std::int32_t> lattice;
      in.resize(static_cast<std::size_t>(lines * n));
      out.resize(static_cast<std::size_t>(lines * count));
      positions.resize(out.size());
      padded.resize(static_cast<std::size_t>(n + 2 * ghosts));
      nodes.resize(static_cast<std::size_t>(n));
      lattice.resize(static_cast<std::size_t>(count));
      read(field.data(), inner + pass.stride * n * outer, pass.stride, n, lines, in.data());
      double* const f = padded.data() + ghosts;
      for (Index l = 0; l < lines; ++l) {
        for (Index k = 0; k < n; ++k) f[k] = in[static_cast<std::size_t>(l * n + k)] * inverse;
        mirror(f, n);
        for (Index k = 0; k < n; ++k) nodes[static_cast<std::size_t>(k)] = (f[k - 1] + 4 * f[k] + f[k + 1]) / 6;
        const bool convex = envelope.argmin(nodes.data(), n, count, particle(0, samples_), lattice.data(), samples_);
        double* const line = out.data() + l * count;
        refine(f, lattice.data(), n, count, samples_, convex, line, positions.data() + l * count);
        for (Index k = 0; k < count; ++k) line[k] *= scale;
      }
      const Index first = inner + pass.stride * count * outer;
      write(out.data(), first, pass.stride, count, lines, result.data());
      write(positions.data(), first, pass.stride, count, lines, pass.position.data());
    });
    if (&pass != &passes_.back()) field.swap(result);
  }
}

void InterpolatedTransform::deposit(const Vector& particles, Vector& result) const {
  Vector field = particles;
  for (auto pass = passes_.rbegin(); pass != passes_.rend(); ++pass) {
    const Index n = pass->cells, count = n * samples_;
    result.resize(pass->stride * n * pass->outer);
    for_each_group(pass->stride, pass->outer, count, threads_, [&](Index inner, Index outer, Index lines) {
      thread_local std::vector<double> in, out, padded, positions;
      in.resize(static_cast<std::size_t>(lines * count));
      positions.resize(in.size());
      out.resize(static_cast<std::size_t>(lines * n));
      padded.resize(static_cast<std::size_t>(n + 2 * ghosts));
      const Index first = inner + pass->stride * count * outer;
      read(field.data(), first, pass->stride, count, lines, in.data());
      read(pass->position.data(), first, pass->stride, count, lines, positions.data());
      double* const q = padded.data() + ghosts;
      for (Index l = 0; l < lines; ++l) {
        std::fill(padded.begin(), padded.end(), 0.0);
        scatter(in.data() + l * count, positions.data() + l * count, count, q);
        fold(q, n);
        std::copy_n(q, n, out.data() + l * n);
      }
      write(out.data(), inner + pass->stride * n * outer, pass->stride, n, lines, result.data());
    });
    field.swap(result);
  }
  result.swap(field);
  filter(result);
}

InterpolatedTransform::Feasible InterpolatedTransform::deposit_positive(const Vector& particles, Vector& result) const {
  // Pass by pass, each with its own filter: the filters of different axes commute, so that this is deposit() where nothing is negative.
  Vector field = particles;
  Feasible out;
  const double total = particles.sum();
  for (auto pass = passes_.rbegin(); pass != passes_.rend(); ++pass) {
    const Index n = pass->cells, count = n * samples_;
    const double scale = pass->width * pass->width;
    result.resize(pass->stride * n * pass->outer);
    const double cut = 1e-12 * field.maxCoeff();
    std::vector<double> mass(static_cast<std::size_t>(count)), position(mass.size()), narrow(static_cast<std::size_t>(n + 2 * ghosts)), broad(narrow.size());
    std::vector<Index> reach(static_cast<std::size_t>(n));  // cells to the nearest negative one
    std::vector<char> wide(mass.size());
    const auto line_grid = std::make_shared<const Grid>(Grid{Vector::Zero(1), Vector::Ones(1), {n}});
    LineSolver line_filter(*line_grid, 0);
    const std::vector<double> ones(static_cast<std::size_t>(n), 1.0);
    line_filter.factor(ones.data(), ones.data(), -1.0 / 6, true, 1);
    double* const q = narrow.data() + ghosts;
    double* const b = broad.data() + ghosts;
    for (Index o = 0; o < pass->outer; ++o) {
      for (Index inner = 0; inner < pass->stride; ++inner) {
        const Index first = inner + pass->stride * count * o;
        for (Index j = 0; j < count; ++j) {
          mass[static_cast<std::size_t>(j)] = field[first + pass->stride * j];
          position[static_cast<std::size_t>(j)] = pass->position[static_cast<std::size_t>(first + pass->stride * j)];
        }
        std::fill(wide.begin(), wide.end(), 0);
        for (Index radius = 2;; ++radius) {
          std::fill(narrow.begin(), narrow.end(), 0.0);
          std::fill(broad.begin(), broad.end(), 0.0);
          for (std::size_t j = 0; j < mass.size(); ++j) scatter(&mass[j], &position[j], 1, wide[j] ? b : q);
          fold(q, n);
          fold(b, n);
          line_filter.solve(q, 1);
          bool negative = false;
          for (Index i = 0; i < n; ++i) reach[static_cast<std::size_t>(i)] = q[i] + b[i] < -cut ? 0 : n;
          for (Index i = 1; i < n; ++i) reach[static_cast<std::size_t>(i)] = std::min(reach[static_cast<std::size_t>(i)], reach[static_cast<std::size_t>(i - 1)] + 1);
          for (Index i = n - 2; i >= 0; --i) reach[static_cast<std::size_t>(i)] = std::min(reach[static_cast<std::size_t>(i)], reach[static_cast<std::size_t>(i + 1)] + 1);
          for (std::size_t j = 0; j < mass.size(); ++j) {
            const auto cell = std::clamp<Index>(static_cast<Index>(std::lround(position[j])), 0, n - 1);
            if (!wide[j] && mass[j] > 0 && reach[static_cast<std::size_t>(cell)] <= radius) wide[j] = negative = true;
          }
          // Without a particle in reach the next round looks farther; once it looks everywhere, all particles are wide or nothing is negative.
          if (!negative && (radius > n || *std::min_element(reach.begin(), reach.end()) > 0)) break;
        }
        for (std::size_t j = 0; j < mass.size(); ++j) {
          const double distance = position[j] - particle(static_cast<Index>(j), samples_);
          out.cost += mass[j] * scale * (0.5 * distance * distance + (wide[j] ? 1.0 / 6 : 0.0));
          if (wide[j]) out.spread += mass[j] / total;
        }
        for (Index i = 0; i < n; ++i) result[inner + pass->stride * (i + n * o)] = std::max(q[i] + b[i], 0.0);
      }
    }
    field.swap(result);
  }
  result.swap(field);
  return out;
}

}  // namespace jko
