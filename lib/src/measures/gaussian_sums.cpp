#include <jko/measures/gaussian_sums.hpp>

#include <jko/core/check.hpp>
#include <jko/core/parallel.hpp>

#include "../core/vector_math.hpp"
#include "gridded_sums.hpp"
#include "vector_exp.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>
#include <vector>

namespace jko {
namespace {

constexpr Index lanes = 32;  // targets of a tile

/// A tile's view of the work. Everything is in the order's own numbering; coordinate k of point i is at [k * stride + i].
struct Tile {
  Index d = 0;
  const double* x = nullptr;      // targets, d x lanes (coordinate k at k * lanes)
  const double* own = nullptr;    // the targets' own charges, row c at c * lanes
  const double* y = nullptr;      // sources
  Index y_stride = 0;
  const double* charges = nullptr;  // row c of the sources' charges at c * y_stride
  Index begin = 0, end = 0;       // sources
  double exponent = 0;            // -1/(2 s^2)
  double* out = nullptr;          // row r at r * lanes
};

template <Index D>
constexpr Index size_of(Index d) { return D > 0 ? D : d; }

template <Index D>
[[gnu::always_inline]] inline void kernel_of(const Tile& t, Index j, double* __restrict g) {
  const Index d = size_of<D>(t.d);
  for (Index i = 0; i < lanes; ++i) {
    const double z = t.x[i] - t.y[j];
    g[i] = z * z;
  }
  for (Index k = 1; k < d; ++k) {
    for (Index i = 0; i < lanes; ++i) {
      const double z = t.x[k * lanes + i] - t.y[k * t.y_stride + j];
      g[i] += z * z;
    }
  }
  for (Index i = 0; i < lanes; ++i) g[i] = exp_nonpositive(t.exponent * g[i]);
}

/// out[0] += q g
template <Index D>
[[gnu::always_inline]] inline void value_body(const Tile& t) {
  double g[lanes], sum[lanes];
  std::copy_n(t.out, lanes, sum);
  for (Index j = t.begin; j < t.end; ++j) {
    kernel_of<D>(t, j, g);
    const double q = t.charges[j];
    for (Index i = 0; i < lanes; ++i) sum[i] += q * g[i];
  }
  std::copy_n(sum, lanes, t.out);
}

/// out[0] += q g, out[1 + k] += q g z_k
template <Index D>
[[gnu::always_inline]] inline void gradient_body(const Tile& t) {
  const Index d = size_of<D>(t.d);
  double g[lanes];
  for (Index j = t.begin; j < t.end; ++j) {
    kernel_of<D>(t, j, g);
    const double q = t.charges[j];
    for (Index i = 0; i < lanes; ++i) {
      g[i] *= q;
      t.out[i] += g[i];
    }
    for (Index k = 0; k < d; ++k) {
      double* const sum = t.out + (1 + k) * lanes;
      const double* const x = t.x + k * lanes;
      const double y = t.y[k * t.y_stride + j];
      for (Index i = 0; i < lanes; ++i) sum[i] += g[i] * (x[i] - y);
    }
  }
}

/// charges w, a; out[k] += w_j (a_i + a_j) g z_k
template <Index D>
[[gnu::always_inline]] inline void pair_gradient_body(const Tile& t) {
  const Index d = size_of<D>(t.d);
  double g[lanes];
  for (Index j = t.begin; j < t.end; ++j) {
    kernel_of<D>(t, j, g);
    const double w = t.charges[j], a = t.charges[t.y_stride + j];
    for (Index i = 0; i < lanes; ++i) g[i] *= w * (t.own[lanes + i] + a);
    for (Index k = 0; k < d; ++k) {
      double* const sum = t.out + k * lanes;
      const double* const x = t.x + k * lanes;
      const double y = t.y[k * t.y_stride + j];
      for (Index i = 0; i < lanes; ++i) sum[i] += g[i] * (x[i] - y);
    }
  }
}

/// charges w, a, b, v; with p = z . (v_i - v_j)/s^2: out[k] += w_j g ([(a_i + a_j) p - (b_i + b_j)] z_k - (a_i + a_j) (v_i - v_j)_k)
template <Index D>
[[gnu::always_inline]] inline void hessian_body(const Tile& t) {
  const Index d = size_of<D>(t.d);
  const double inverse_square = -2 * t.exponent;
  double g[lanes], p[lanes], q[lanes];
  for (Index j = t.begin; j < t.end; ++j) {
    kernel_of<D>(t, j, g);
    const double w = t.charges[j], a = t.charges[t.y_stride + j], b = t.charges[2 * t.y_stride + j];
    for (Index i = 0; i < lanes; ++i) p[i] = 0;
    for (Index k = 0; k < d; ++k) {
      const double y = t.y[k * t.y_stride + j], v = t.charges[(3 + k) * t.y_stride + j];
      for (Index i = 0; i < lanes; ++i) p[i] += (t.x[k * lanes + i] - y) * (t.own[(3 + k) * lanes + i] - v);
    }
    for (Index i = 0; i < lanes; ++i) {
      const double wg = w * g[i], sum_a = t.own[lanes + i] + a;
      q[i] = wg * sum_a;
      p[i] = wg * (sum_a * inverse_square * p[i] - (t.own[2 * lanes + i] + b));
    }
    for (Index k = 0; k < d; ++k) {
      double* const sum = t.out + k * lanes;
      const double y = t.y[k * t.y_stride + j], v = t.charges[(3 + k) * t.y_stride + j];
      for (Index i = 0; i < lanes; ++i) sum[i] += p[i] * (t.x[k * lanes + i] - y) - q[i] * (t.own[(3 + k) * lanes + i] - v);
    }
  }
}

/// charges w, v; out[0] += w_j g z . (v_i - v_j)
template <Index D>
[[gnu::always_inline]] inline void directional_body(const Tile& t) {
  const Index d = size_of<D>(t.d);
  double g[lanes], p[lanes];
  for (Index j = t.begin; j < t.end; ++j) {
    kernel_of<D>(t, j, g);
    for (Index i = 0; i < lanes; ++i) p[i] = 0;
    for (Index k = 0; k < d; ++k) {
      const double y = t.y[k * t.y_stride + j], v = t.charges[(1 + k) * t.y_stride + j];
      for (Index i = 0; i < lanes; ++i) p[i] += (t.x[k * lanes + i] - y) * (t.own[(1 + k) * lanes + i] - v);
    }
    const double w = t.charges[j];
    for (Index i = 0; i < lanes; ++i) t.out[i] += w * g[i] * p[i];
  }
}

#define JKO_TILE(name)                        \
  JKO_VECTOR_CLONES void name(const Tile& t) { \
    switch (t.d) {                            \
      case 1: name##_body<1>(t); break;       \
      case 2: name##_body<2>(t); break;       \
      case 3: name##_body<3>(t); break;       \
      default: name##_body<0>(t);             \
    }                                         \
  }
JKO_TILE(value)
JKO_TILE(gradient)
JKO_TILE(pair_gradient)
JKO_TILE(hessian)
JKO_TILE(directional)
#undef JKO_TILE

}  // namespace

void GaussianSumsOptions::validate() const {
  if (!(tail >= 0 && tail < 1)) throw DomainError(fmt::format("gaussian_sums: tail is {}, but must lie in [0, 1)", tail));
  check_at_least("gaussian_sums", "threads", threads, 1);
}

/// Points in rows: bins of half the radius in coordinates 2 and 3 (where there are any), ordered by coordinate 1 within a row.
class GaussianSums::Order {
 public:
  Order(const ConstMatrixRef& points, double radius) : d_(points.rows()), n_(points.cols()) {
    check_at_least("gaussian_sums", "the dimension", d_, 1);
    check_at_least("gaussian_sums", "the number of points", n_, 1);
    check_finite("gaussian_sums", "points", points);
    std::vector<std::array<Index, 2>> bins(static_cast<std::size_t>(n_), {0, 0});
    for (Index axis = 1; axis < std::min<Index>(d_, 3); ++axis) {
      const double low = points.row(axis).minCoeff(), high = points.row(axis).maxCoeff();
      // At most 1024 bins, whatever the radius: wider bins only visit more pairs.
      const double wanted = std::isfinite(radius) ? std::clamp((high - low) / (0.5 * radius), 1.0, 1024.0) : 1.0;
      const auto count = static_cast<Index>(wanted);
      const std::size_t a = static_cast<std::size_t>(axis - 1);
      low_[a] = low;
      width_[a] = count > 1 ? (high - low) / static_cast<double>(count) : std::numeric_limits<double>::infinity();
      count_[a] = count;
      for (Index i = 0; i < n_; ++i) bins[static_cast<std::size_t>(i)][a] = bin(a, points(axis, i));
    }
    order_.resize(static_cast<std::size_t>(n_));
    std::iota(order_.begin(), order_.end(), Index{0});
    const auto row_of = [&](Index i) { return bins[static_cast<std::size_t>(i)][0] + count_[0] * bins[static_cast<std::size_t>(i)][1]; };
    std::sort(order_.begin(), order_.end(), [&](Index a, Index b) {
      const Index ra = row_of(a), rb = row_of(b);
      if (ra != rb) return ra < rb;
      return points(0, a) != points(0, b) ? points(0, a) < points(0, b) : a < b;
    });
    x_.resize(n_, d_);
    start_.assign(static_cast<std::size_t>(count_[0] * count_[1]) + 1, 0);
    for (Index i = 0; i < n_; ++i) {
      x_.row(i) = points.col(order_[static_cast<std::size_t>(i)]).transpose();
      ++start_[static_cast<std::size_t>(row_of(order_[static_cast<std::size_t>(i)])) + 1];
    }
    std::partial_sum(start_.begin(), start_.end(), start_.begin());
    for (Index row = 0; row < count_[0] * count_[1]; ++row) {
      for (Index at = start(row); at < start(row + 1); at += lanes) tiles_.push_back({at, std::min(at + lanes, start(row + 1))});
    }
  }

  [[nodiscard]] Index dimension() const { return d_; }
  [[nodiscard]] Index size() const { return n_; }
  [[nodiscard]] const Matrix& points() const { return x_; }  // n x d, in order
  [[nodiscard]] Index original(Index i) const { return order_[static_cast<std::size_t>(i)]; }
  struct Range {
    Index begin, end;
  };
  [[nodiscard]] const std::vector<Range>& tiles() const { return tiles_; }

  /// Calls body(begin, end) on the sources that may lie within `radius` of the box [low, high].
  template <class Body>
  void near(const double* low, const double* high, double radius, const Body& body) const {
    if (!std::isfinite(radius)) return body(Index{0}, n_);
    std::array<Range, 2> reach{{{0, 0}, {0, 0}}};
    for (std::size_t a = 0; a < 2; ++a) {
      if (static_cast<Index>(a) + 1 < d_) reach[a] = {bin(a, low[a + 1] - radius), bin(a, high[a + 1] + radius)};
    }
    for (Index second = reach[1].begin; second <= reach[1].end; ++second) {
      for (Index first = reach[0].begin; first <= reach[0].end; ++first) {
        const Index row = first + count_[0] * second;
        const double* const x = x_.data();
        const Index begin = std::lower_bound(x + start(row), x + start(row + 1), low[0] - radius) - x;
        const Index end = std::upper_bound(x + begin, x + start(row + 1), high[0] + radius) - x;
        if (begin < end) body(begin, end);
      }
    }
  }

 private:
  [[nodiscard]] Index bin(std::size_t a, double x) const {
    return static_cast<Index>(std::clamp(std::floor((x - low_[a]) / width_[a]), 0.0, static_cast<double>(count_[a] - 1)));
  }
  [[nodiscard]] Index start(Index row) const { return start_[static_cast<std::size_t>(row)]; }

  Index d_, n_;
  Matrix x_;
  std::array<double, 2> low_{0, 0}, width_{1, 1};
  std::array<Index, 2> count_{1, 1};
  std::vector<Index> order_, start_;
  std::vector<Range> tiles_;
};

namespace {

double radius_of(double bandwidth, double tail) {
  return tail > 0 ? bandwidth * std::sqrt(-2 * std::log(tail)) : std::numeric_limits<double>::infinity();
}

}  // namespace

GaussianSums::GaussianSums(const ConstMatrixRef& points, double bandwidth, GaussianSumsOptions options) : bandwidth_(bandwidth), options_(options) {
  options_.validate();
  check_positive("gaussian_sums", "bandwidth", bandwidth);
  targets_ = sources_ = std::make_shared<const Order>(points, radius_of(bandwidth, options.tail));
  normalisation_ = std::pow(2 * std::numbers::pi * bandwidth * bandwidth, -0.5 * static_cast<double>(points.rows()));
  choose(points, points);
}

GaussianSums::GaussianSums(const ConstMatrixRef& targets, const ConstMatrixRef& sources, double bandwidth, GaussianSumsOptions options) : bandwidth_(bandwidth), options_(options) {
  options_.validate();
  check_positive("gaussian_sums", "bandwidth", bandwidth);
  check_size("gaussian_sums", "the targets' dimension", targets.rows(), sources.rows());
  sources_ = std::make_shared<const Order>(sources, radius_of(bandwidth, options.tail));
  targets_ = std::make_shared<const Order>(targets, radius_of(bandwidth, options.tail));
  normalisation_ = std::pow(2 * std::numbers::pi * bandwidth * bandwidth, -0.5 * static_cast<double>(sources.rows()));
  choose(targets, sources);
}

void GaussianSums::choose(const ConstMatrixRef& targets, const ConstMatrixRef& sources) {
  constexpr double most_cells = 0x1p27, finest_tail = 1e-13;
  if (options_.method == GaussianMethod::direct) return;
  const bool forced = options_.method == GaussianMethod::gridded;
  if (sources.rows() > 3 || options_.tail < finest_tail) {
    if (!forced) return;
    throw DomainError(fmt::format("gaussian_sums: gridded sums need at most three dimensions and tail >= {:g}, but have {} and {:g}", finest_tail, sources.rows(), options_.tail));
  }
  const Vector low = sources.rowwise().minCoeff().cwiseMin(targets.rowwise().minCoeff()), high = sources.rowwise().maxCoeff().cwiseMax(targets.rowwise().maxCoeff());
  const GriddedSums::Plan plan = GriddedSums::plan(low, high, bandwidth_, options_.tail);
  if (plan.size() > most_cells) {
    if (!forced) return;
    throw DomainError(fmt::format("gaussian_sums: the grid would have {:.3g} cells, but at most {:.3g} are allowed", plan.size(), most_cells));
  }
  constexpr double pair = 1.2;  // nanoseconds of a pair with its gradient (docs/methods/gaussian_sums.md)
  if (!forced && 1.5 * plan.nanoseconds(static_cast<double>(targets.cols() + sources.cols()), true) > pair * pairs()) return;
  grid_ = std::make_shared<const GriddedSums>(plan, targets, sources, bandwidth_, options_.threads);
}

void GaussianSums::need_self() const {
  if (targets_ != sources_) throw DomainError("gaussian_sums: this sum needs targets that are the sources");
}

template <class Charges, class Body>
void GaussianSums::for_tiles(Index rows_out, MatrixRef out, const Charges& charges, const Body& body) const {
  const Order& targets = *targets_;
  const Order& sources = *sources_;
  const Index d = targets.dimension(), rows = charges.cols();
  Matrix sorted(sources.size(), rows);
  for (Index i = 0; i < sources.size(); ++i) sorted.row(i) = charges.row(sources.original(i));
  const double radius = radius_of(bandwidth_, options_.tail);
  const bool self = targets_ == sources_;
  parallel_for(static_cast<Index>(targets.tiles().size()), options_.threads, [&](Index tile) {
    const auto [begin, end] = targets.tiles()[static_cast<std::size_t>(tile)];
    std::vector<double> x(static_cast<std::size_t>(lanes * d)), own(static_cast<std::size_t>(lanes * rows)), sums(static_cast<std::size_t>(lanes * rows_out), 0.0);
    std::vector<double> low(static_cast<std::size_t>(d)), high(static_cast<std::size_t>(d));
    // A short tile repeats its last target.
    for (Index k = 0; k < d; ++k) {
      for (Index i = 0; i < lanes; ++i) x[static_cast<std::size_t>(k * lanes + i)] = targets.points()(std::min(begin + i, end - 1), k);
      const auto column = targets.points().col(k).segment(begin, end - begin);
      low[static_cast<std::size_t>(k)] = column.minCoeff();
      high[static_cast<std::size_t>(k)] = column.maxCoeff();
    }
    if (self) {
      for (Index c = 0; c < rows; ++c) {
        for (Index i = 0; i < lanes; ++i) own[static_cast<std::size_t>(c * lanes + i)] = sorted(std::min(begin + i, end - 1), c);
      }
    }
    sources.near(low.data(), high.data(), radius, [&](Index first, Index last) {
      body({d, x.data(), own.data(), sources.points().data(), sources.size(), sorted.data(), first, last, -0.5 / (bandwidth_ * bandwidth_), sums.data()});
    });
    for (Index i = begin; i < end; ++i) {
      for (Index r = 0; r < rows_out; ++r) out(r, targets.original(i)) = sums[static_cast<std::size_t>(r * lanes + i - begin)];
    }
  });
}

Vector GaussianSums::value(const ConstVectorRef& charges) const {
  check_size("gaussian_sums", "charges", charges.size(), sources_->size());
  if (grid_) return grid_->sum(charges, false).row(0).transpose();
  Matrix out(1, targets_->size());
  for_tiles(1, out, charges, [](const Tile& t) { jko::value(t); });
  return normalisation_ * out.row(0).transpose();
}

GaussianSums::ValueGradient GaussianSums::value_gradient(const ConstVectorRef& charges) const {
  check_size("gaussian_sums", "charges", charges.size(), sources_->size());
  const Index d = targets_->dimension();
  if (grid_) {
    const Matrix sums = grid_->sum(charges, true);
    return {sums.row(0).transpose(), sums.bottomRows(d)};
  }
  Matrix out(1 + d, targets_->size());
  for_tiles(1 + d, out, charges, [](const Tile& t) { jko::gradient(t); });
  return {normalisation_ * out.row(0).transpose(), -normalisation_ / (bandwidth_ * bandwidth_) * out.bottomRows(d)};
}

Matrix GaussianSums::pair_gradient(const ConstVectorRef& w, const ConstVectorRef& a) const {
  need_self();
  check_size("gaussian_sums", "charges", w.size(), sources_->size());
  check_size("gaussian_sums", "a", a.size(), sources_->size());
  if (grid_) {
    const Index d = targets_->dimension();
    const Matrix own = grid_->sum(w, true), other = grid_->sum(w.cwiseProduct(a), true);
    return own.bottomRows(d) * a.asDiagonal() + other.bottomRows(d);
  }
  Matrix charges(w.size(), 2), out(targets_->dimension(), targets_->size());
  charges << w, a;
  for_tiles(out.rows(), out, charges, [](const Tile& t) { jko::pair_gradient(t); });
  return -normalisation_ / (bandwidth_ * bandwidth_) * out;
}

Vector GaussianSums::directional(const ConstVectorRef& w, const ConstMatrixRef& v) const {
  need_self();
  check_size("gaussian_sums", "charges", w.size(), sources_->size());
  check_size("gaussian_sums", "directions", v.cols(), sources_->size());
  Matrix charges(w.size(), 1 + v.rows()), out(1, targets_->size());
  charges << w, v.transpose();
  for_tiles(1, out, charges, [](const Tile& t) { jko::directional(t); });
  return -normalisation_ / (bandwidth_ * bandwidth_) * out.row(0).transpose();
}

Matrix GaussianSums::pair_hessian(const ConstVectorRef& w, const ConstVectorRef& a, const ConstVectorRef& b, const ConstMatrixRef& v) const {
  need_self();
  check_size("gaussian_sums", "charges", w.size(), sources_->size());
  check_size("gaussian_sums", "a", a.size(), sources_->size());
  check_size("gaussian_sums", "b", b.size(), sources_->size());
  check_size("gaussian_sums", "directions", v.cols(), sources_->size());
  Matrix charges(w.size(), 3 + v.rows()), out(targets_->dimension(), targets_->size());
  charges << w, a, b, v.transpose();
  for_tiles(out.rows(), out, charges, [](const Tile& t) { hessian(t); });
  return normalisation_ / (bandwidth_ * bandwidth_) * out;
}

double GaussianSums::at_zero() const { return normalisation_; }

double GaussianSums::pairs() const {
  double total = 0;
  const double radius = radius_of(bandwidth_, options_.tail);
  for (const auto& [begin, end] : targets_->tiles()) {
    const Matrix box = targets_->points().middleRows(begin, end - begin);
    const Vector low = box.colwise().minCoeff(), high = box.colwise().maxCoeff();
    sources_->near(low.data(), high.data(), radius, [&](Index first, Index last) { total += static_cast<double>(lanes * (last - first)); });
  }
  return total;
}

}  // namespace jko
