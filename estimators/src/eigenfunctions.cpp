#include "eigenfunctions.hpp"

#include "diffusion_chain.hpp"

#include <Eigen/Eigenvalues>

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

namespace jko::estimators {
namespace {

constexpr Index cells = 160;     // of the coarse grid
constexpr Index taps = 8;        // of the interpolation
constexpr double tail = 60;      // of -log of the stationary mass over its largest: eigenfunctions beyond e^-30 of the norm have no digits, and no weight
constexpr Index stride = 2;      // between starting nodes of the coarse grid

/// log of the chain's stationary masses, from detailed balance, up to a constant.
Vector log_stationary(const DiffusionChain& chain) {
  Vector out = Vector::Zero(chain.size());
  for (Index i = 0; i + 1 < chain.size(); ++i) out[i + 1] = out[i] + std::log(chain.up()[i] / chain.down()[i + 1]);
  return out.array() - out.maxCoeff();
}

/// Weights and first node of the interpolation at a position, among n nodes.
struct Stencil {
  Index first;
  Vector weight;
  Stencil(double at, Index n) : first(std::clamp<Index>(static_cast<Index>(std::floor(at)) - taps / 2 + 1, 0, n - taps)), weight(taps) {
    for (Index a = 0; a < taps; ++a) {
      weight[a] = 1;
      for (Index b = 0; b < taps; ++b) {
        if (b != a) weight[a] *= (at - static_cast<double>(first + b)) / static_cast<double>(a - b);
      }
    }
  }
};

/// Everything at the data, by one grid. Columns: phi_k(x), phi_k(X'), lambda_k; then per data point slope and E[phi phi | x].
struct OnGrid {
  bool ok = false;
  Vector lambda;
  Matrix from, next, slope, product;
};

OnGrid on_grid(const Diffusion& diffusion, double lower, double upper, Index size, Index step, const ConstVectorRef& x, const ConstVectorRef& next, const ConstVectorRef& dt, int degree) {
  OnGrid out;
  const ChainGrid grid(diffusion, lower, upper, 0, size);
  if (!grid.ok()) return out;
  const DiffusionChain chain(diffusion, grid.x(), true);
  if (!chain.ok()) return out;
  const Index n = x.size(), count = diffusion.parameters().size();
  // Reversible: sqrt(pi) Q/sqrt(pi) is symmetric.
  const Vector below = (chain.up().head(size - 1).array() * chain.down().tail(size - 1).array()).sqrt();
  Eigen::SelfAdjointEigenSolver<Matrix> eigen;
  eigen.computeFromTridiagonal(Vector(-chain.up() - chain.down()), below);
  if (eigen.info() != Eigen::Success) return out;
  Vector mass = log_stationary(chain).array().exp();
  mass /= mass.sum();
  Matrix phi(size, degree);
  out.lambda.resize(degree);
  for (int k = 0; k < degree; ++k) {
    phi.col(k) = eigen.eigenvectors().col(size - 2 - k).cwiseQuotient(mass.cwiseSqrt());
    out.lambda[k] = -eigen.eigenvalues()[size - 2 - k];
  }
  if (!phi.allFinite()) return out;
  const Vector at = grid.position(x), after = grid.position(next);
  out.from.resize(degree, n), out.next.resize(degree, n);
  for (Index i = 0; i < n; ++i) {
    const Stencil a(at[i], size), b(after[i], size);
    out.from.col(i) = phi.middleRows(a.first, taps).transpose() * a.weight;
    out.next.col(i) = phi.middleRows(b.first, taps).transpose() * b.weight;
  }
  // Laws from every step-th node over the data's range, for each dt.
  const Index low = std::max<Index>(0, static_cast<Index>(std::floor(at.minCoeff())) - 4 * step), high = std::min(size - 1, static_cast<Index>(std::ceil(at.maxCoeff())) + 4 * step);
  const Index starts = (high - low) / step + 1;
  if (starts < taps) return out;
  Matrix unit = Matrix::Zero(starts, size);
  for (Index r = 0; r < starts; ++r) unit(r, low + r * step) = 1;
  Matrix products(size, degree * degree);
  for (int k = 0; k < degree; ++k) {
    for (int l = 0; l < degree; ++l) products.col(k * degree + l) = phi.col(k).cwiseProduct(phi.col(l));
  }
  out.slope.resize(degree * count, n), out.product.resize(degree * degree, n);
  std::map<double, std::vector<Index>> by_step;
  for (Index i = 0; i < n; ++i) {
    auto place = by_step.lower_bound(dt[i] * (1 - 1e-10));
    if (place == by_step.end() || place->first > dt[i] * (1 + 1e-10)) place = by_step.emplace(dt[i], std::vector<Index>()).first;
    place->second.push_back(i);
  }
  for (const auto& [time, list] : by_step) {
    const DiffusionChain::Rows law = chain.forward(time, {unit, {}});
    const Matrix second = (law.value * products).transpose();
    Matrix first(degree * count, starts);
    for (Index j = 0; j < count; ++j) first.middleRows(degree * j, degree) = (law.by_theta[static_cast<std::size_t>(j)] * phi).transpose();
    for (const Index i : list) {
      const Stencil s((at[i] - static_cast<double>(low)) / static_cast<double>(step), starts);
      out.slope.col(i) = first.middleCols(s.first, taps) * s.weight;
      out.product.col(i) = second.middleCols(s.first, taps) * s.weight;
    }
  }
  out.ok = true;
  return out;
}

}  // namespace

EigenMartingale eigen_martingale(const Diffusion& diffusion, const ConstVectorRef& x, const ConstVectorRef& next, const ConstVectorRef& dt, int degree) {
  EigenMartingale out;
  const double low = std::min(x.minCoeff(), next.minCoeff()), high = std::max(x.maxCoeff(), next.maxCoeff());
  // As far as the stationary law reaches, one range of the data beyond them at most.
  const LampertiMap map(diffusion, low, high, 0);
  if (!map.ok()) return out;
  const ChainGrid wide(diffusion, low, high, map.last() - map.first(), 3 * cells);
  if (!wide.ok()) return out;
  const DiffusionChain chain(diffusion, wide.x(), false);
  if (!chain.ok()) return out;
  const Vector log_mass = log_stationary(chain);
  Index first = 0, last = wide.x().size() - 1;
  while (wide.x()[first + 1] < low && log_mass[first] < -tail) ++first;
  while (wide.x()[last - 1] > high && log_mass[last] < -tail) --last;
  const double from = std::min(wide.x()[first], low), to = std::max(wide.x()[last], high);
  OnGrid coarse = on_grid(diffusion, from, to, cells, stride, x, next, dt, degree), fine = on_grid(diffusion, from, to, 2 * cells, 2 * stride, x, next, dt, degree);
  if (!coarse.ok || !fine.ok) return out;
  const Index n = x.size(), count = diffusion.parameters().size();
  Vector sign(degree);
  for (int k = 0; k < degree; ++k) sign[k] = coarse.from.row(k).dot(fine.from.row(k)) < 0 ? -1 : 1;
  const auto extrapolated = [](const auto& one, const auto& two) { return ((4 * two - one) / 3).eval(); };
  out.value.resize(degree, n), out.slope.resize(degree * count, n), out.variance.resize(degree * degree, n);
  for (int k = 0; k < degree; ++k) {
    fine.from.row(k) *= sign[k], fine.next.row(k) *= sign[k];
    for (Index j = 0; j < count; ++j) fine.slope.row(degree * j + k) *= sign[k];
    for (int l = 0; l < degree; ++l) fine.product.row(k * degree + l) *= sign[k] * sign[l];
  }
  const Vector lambda = extrapolated(coarse.lambda, fine.lambda);
  const Matrix start = extrapolated(coarse.from, fine.from), end = extrapolated(coarse.next, fine.next), product = extrapolated(coarse.product, fine.product);
  out.slope = extrapolated(coarse.slope, fine.slope);
  for (Index i = 0; i < n; ++i) {
    const Vector mean = start.col(i).cwiseProduct(Vector((-dt[i] * lambda.array()).exp()));
    out.value.col(i) = end.col(i) - mean;
    out.variance.col(i) = product.col(i) - (mean * mean.transpose()).reshaped();
  }
  out.ok = out.value.allFinite() && out.slope.allFinite() && out.variance.allFinite();
  return out;
}

}  // namespace jko::estimators
