#include "numerical_moments.hpp"

#include "diffusion_chain.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>

namespace jko::estimators {
namespace {

using List = std::vector<Index>;
constexpr Index taps = 8;            // of the interpolation between starting nodes
constexpr double cells_per_step = 6; // in sqrt(dt), the spread of y
constexpr double cells_in_range = 60;  // at least, over the data: the coefficients' own scale
constexpr double reach = 10;         // sqrt(dt)'s of y beyond the points: what starts there passes it with probability e^-50 in a drift of no account
constexpr double most_cells = 2e4;   // over the data: more says that sigma is out of proportion (the points are thousands of sqrt(dt)'s of y apart)
constexpr Index spectrum = 12;       // Chebyshev points in dt

/// order (P + 1) x n: the moments, then their derivatives in each parameter.
struct Block {
  Matrix values;
  bool ok = true;
};

/// sum_k P_ik (x_k - x_i)^q, and with dP, at nodes `first, first + stride, ...`; then by interpolation at the points.
Block on_grid(const Diffusion& diffusion, const ChainGrid& grid, const Vector& points, double dt, int order, Index stride) {
  const Vector& x = grid.x();
  const Index n = x.size(), count = diffusion.parameters().size();
  Block out{Matrix(order * (count + 1), points.size())};
  const DiffusionChain chain(diffusion, x, true);
  out.ok = chain.ok();
  if (!out.ok) return out;
  const Vector position = grid.position(points);
  const Index low = std::max<Index>(0, static_cast<Index>(std::floor(position.minCoeff())) - 4 * stride);
  Index starts = std::min((n - 1 - low) / stride + 1, (static_cast<Index>(std::ceil(position.maxCoeff())) + 4 * stride - low) / stride + 1);
  starts = std::max(starts, std::min(taps, (n - 1 - low) / stride + 1));
  Matrix unit = Matrix::Zero(starts, n);
  for (Index r = 0; r < starts; ++r) unit(r, low + r * stride) = 1;
  const DiffusionChain::Rows law = chain.forward(dt, {std::move(unit), {}});
  Matrix node(out.values.rows(), starts);
  Vector power(n), move(n);
  for (Index r = 0; r < starts; ++r) {
    move = x.array() - x[low + r * stride];
    power.setOnes();
    for (int q = 0; q < order; ++q) {
      power = power.cwiseProduct(move);
      node(q, r) = law.value.row(r).dot(power);
      for (Index j = 0; j < count; ++j) node(order * (j + 1) + q, r) = law.by_theta[static_cast<std::size_t>(j)].row(r).dot(power);
    }
  }
  const Index used = std::min(taps, starts);
  Vector weight(used);
  for (Index i = 0; i < points.size(); ++i) {
    const double at = (position[i] - static_cast<double>(low)) / static_cast<double>(stride);
    const Index begin = std::clamp<Index>(static_cast<Index>(std::floor(at)) - used / 2 + 1, 0, starts - used);
    for (Index a = 0; a < used; ++a) {
      double w = 1;
      for (Index b = 0; b < used; ++b) {
        if (b != a) w *= (at - static_cast<double>(begin + b)) / static_cast<double>(a - b);
      }
      weight[a] = w;
    }
    out.values.col(i).noalias() = node.middleCols(begin, used) * weight;
  }
  return out;
}

/// At points that share a time step, extrapolated from two grids; a patch of points at a time.
void at_step(const Diffusion& diffusion, const Vector& x, double dt, int order, Matrix& values, double& error) {
  const Index n = x.size();
  List by_place(static_cast<std::size_t>(n));
  std::iota(by_place.begin(), by_place.end(), Index{0});
  std::stable_sort(by_place.begin(), by_place.end(), [&](Index a, Index b) { return x[a] < x[b]; });
  const double low = x[by_place.front()], high = x[by_place.back()], root = std::sqrt(dt);
  const LampertiMap map(diffusion, low, high, 0);
  values.setConstant(std::numeric_limits<double>::quiet_NaN());
  if (!map.ok()) return;
  const double range = map.last() - map.first(), spacing = std::min(root / cells_per_step, std::max(range, root) / cells_in_range);
  if (!(range / spacing <= most_cells)) return;
  const double core = 2 * reach * root;
  const Vector y = map.forward(x(by_place));
  for (std::size_t begin = 0, end = 0; begin < by_place.size(); begin = end) {
    const double from = y[static_cast<Index>(begin)];
    while (end < by_place.size() && y[static_cast<Index>(end)] <= from + core) ++end;
    const List group(by_place.begin() + static_cast<std::ptrdiff_t>(begin), by_place.begin() + static_cast<std::ptrdiff_t>(end));
    const Vector points = x(group);
    const double length = y[static_cast<Index>(end) - 1] - from + 2 * reach * root;
    const auto cells = static_cast<Index>(std::ceil(length / spacing));
    const ChainGrid coarse(diffusion, points[0], points[points.size() - 1], reach * root, cells), fine(diffusion, points[0], points[points.size() - 1], reach * root, 2 * cells);
    if (!coarse.ok() || !fine.ok()) return;
    // Starting nodes two thirds of sqrt(dt) apart at most, and no more than 1/15 of the range: the moments are smooth on that scale.
    const Block one = on_grid(diffusion, coarse, points, dt, order, 4), two = on_grid(diffusion, fine, points, dt, order, 8);
    if (!one.ok || !two.ok) return;
    for (std::size_t k = 0; k < group.size(); ++k) {
      const auto at = static_cast<Index>(k);
      const Vector move = (two.values.col(at) - one.values.col(at)) / 3;
      values.col(group[k]) = two.values.col(at) + move;
      const double deviation = std::sqrt(two.values(std::min(1, order - 1), at));
      double unit = 1;
      for (int q = 0; q < order; ++q) {
        unit *= deviation;
        error = std::max(error, std::abs(move[q]) / unit);
      }
    }
  }
}

}  // namespace

ConditionalMoments numerical_moments(const Diffusion& diffusion, const ConstVectorRef& x, const ConstVectorRef& dt, int order) {
  const Index n = x.size(), count = diffusion.parameters().size();
  Matrix all(order * (count + 1), n);
  double error = 0;
  List by_step(static_cast<std::size_t>(n));
  std::iota(by_step.begin(), by_step.end(), Index{0});
  std::stable_sort(by_step.begin(), by_step.end(), [&](Index a, Index b) { return dt[a] < dt[b]; });
  for (std::size_t begin = 0, end = 0; begin < by_step.size(); begin = end) {
    // Steps within a factor of four; those that are equal to rounding count once.
    const double first = dt[by_step[begin]];
    std::vector<double> distinct;
    while (end < by_step.size() && dt[by_step[end]] <= 4 * first) {
      const double step = dt[by_step[end++]];
      if (distinct.empty() || step > distinct.back() * (1 + 1e-10)) distinct.push_back(step);
    }
    const List group(by_step.begin() + static_cast<std::ptrdiff_t>(begin), by_step.begin() + static_cast<std::ptrdiff_t>(end));
    const Vector points = x(group);
    Matrix part(all.rows(), points.size());
    if (static_cast<Index>(distinct.size()) <= spectrum) {
      std::size_t at = 0;
      for (const double step : distinct) {
        List same, place;
        while (at < group.size() && dt[group[at]] <= step * (1 + 1e-10)) same.push_back(group[at]), place.push_back(static_cast<Index>(at++));
        Matrix values(all.rows(), static_cast<Index>(same.size()));
        at_step(diffusion, x(same), step, order, values, error);
        part(Eigen::all, place) = values;
      }
    } else {
      // The moments over dt^{k/2}, rounded up, are smooth in dt: Chebyshev points and the barycentric formula.
      const double last = distinct.back(), middle = 0.5 * (first + last), half = 0.5 * (last - first);
      Vector node(spectrum), sign(spectrum);
      std::vector<Matrix> table;
      for (Index c = 0; c < spectrum; ++c) {
        const double angle = std::numbers::pi * (static_cast<double>(c) + 0.5) / spectrum;
        node[c] = middle + half * std::cos(angle);
        sign[c] = (c % 2 == 0 ? 1 : -1) * std::sin(angle);
        table.emplace_back(all.rows(), points.size());
        at_step(diffusion, points, node[c], order, table.back(), error);
      }
      for (Index i = 0; i < points.size(); ++i) {
        const double step = dt[group[static_cast<std::size_t>(i)]];
        Vector weight(spectrum);
        Index hit = -1;
        for (Index c = 0; c < spectrum; ++c) {
          if (step == node[c]) hit = c;
          weight[c] = sign[c] / (step - node[c]);
        }
        if (hit >= 0) weight = Vector::Unit(spectrum, hit);
        else weight /= weight.sum();
        for (Index r = 0; r < part.rows(); ++r) {
          const auto half_power = static_cast<double>((r % order + 2) / 2);
          double sum = 0;
          for (Index c = 0; c < spectrum; ++c) sum += weight[c] * table[static_cast<std::size_t>(c)](r, i) * std::pow(step / node[c], half_power);
          part(r, i) = sum;
        }
      }
    }
    all(Eigen::all, group) = part;
  }
  ConditionalMoments out{all.topRows(order), {}, error};
  for (Index j = 0; j < count; ++j) out.by_theta.emplace_back(all.middleRows(order * (j + 1), order));
  return out;
}

}  // namespace jko::estimators
