#pragma once
/// Probability measures on the line through their quantile function: nodes x_0 < ... < x_N, cells of fixed mass w_i, the
/// quantile function linear in the mass within a cell, hence the density constant there, w_i/(x_{i+1} - x_i). W2 between
/// measures with the same masses is exactly the L2 norm of the difference of the nodes under a tridiagonal mass matrix.
#include <jko/core/types.hpp>

#include <array>
#include <functional>
#include <memory>

namespace jko {

/// A point of that L2 space; is_monotone() says whether it is a measure (extrapolations may not be).
class QuantileFunction {
 public:
  QuantileFunction() = default;
  /// masses: N >= 1 positive numbers with sum 1 to 1e-12 (shared between the steps of a flow); nodes: N + 1 finite numbers.
  QuantileFunction(std::shared_ptr<const Vector> masses, Vector nodes);

  /// Cells on [lower, upper], graded (their density follows the cube root of the law's, which is near the best for L1, with a uniform part for the
  /// tails), with masses from the distribution function; mass outside [lower, upper] (the
  /// tails) must be below max_outside; the masses are normalised. cdf and its complement keep both tails accurate.
  static QuantileFunction from_cdf(const std::function<double(double)>& cdf, const std::function<double(double)>& complement,
                                   double lower, double upper, Index cells, double max_outside = 1e-6);
  /// N(mean, variance) on mean +- width standard deviations (default: tail mass 1e-15 a side), graded cells.
  static QuantileFunction gaussian(double mean, double variance, Index cells, double width = 8.0);
  /// Cells graded likewise on [lower, upper] from a density (need not be normalised; must be finite, >= 0, and positive inside).
  static QuantileFunction from_density(const std::function<double(double)>& density, double lower, double upper, Index cells);

  [[nodiscard]] int dimension() const { return 1; }
  [[nodiscard]] Index cells() const { return nodes_.size() - 1; }
  [[nodiscard]] const Vector& nodes() const { return nodes_; }
  [[nodiscard]] const Vector& masses() const { return *masses_; }
  [[nodiscard]] const std::shared_ptr<const Vector>& masses_ptr() const { return masses_; }
  [[nodiscard]] const Vector& coordinates() const { return nodes_; }
  [[nodiscard]] QuantileFunction with_coordinates(Vector nodes) const;
  [[nodiscard]] bool is_monotone() const;
  [[nodiscard]] Vector mean() const;          ///< size 1, exact for the piecewise-constant density
  [[nodiscard]] Matrix covariance() const;    ///< 1 x 1, likewise
  [[nodiscard]] double cdf(double x) const;
  [[nodiscard]] double quantile(double probability) const;
  /// A smooth reconstruction of the density: the derivative of the cubic through the distribution function at four nodes (third order in the spacing),
  /// or, where that differs by more than a quarter, linear between the cells' midpoints; 0 outside. Its mass is 1 up to that order only.
  [[nodiscard]] double density(double x) const;
  struct LocalDensity {
    double value = 0;
    Index first = 0;                  ///< `gradient` belongs to the nodes first, ..., first + 3
    std::array<double, 4> gradient{};
  };
  [[nodiscard]] LocalDensity local_density(double x) const;  ///< density() with its derivatives in the nodes
  [[nodiscard]] Vector midpoints() const;                ///< (x_i + x_{i+1})/2
  [[nodiscard]] Vector cell_densities() const;           ///< w_i/(x_{i+1} - x_i)

 private:
  std::shared_ptr<const Vector> masses_;
  Vector nodes_;
};

/// sqrt of sum w_i (d_i^2 + d_i d_{i+1} + d_{i+1}^2)/3, d = a.nodes - b.nodes; the masses must be the same (ShapeError).
[[nodiscard]] double w2(const QuantileFunction& a, const QuantileFunction& b);
/// (1-s) a + s b in L2; exact geodesic for s in [0, 1].
[[nodiscard]] QuantileFunction geodesic(const QuantileFunction& a, const QuantileFunction& b, double s);
[[nodiscard]] Matrix geodesic_tangent(const QuantileFunction& a, const QuantileFunction& b, double s, const ConstMatrixRef& da,
                                      const ConstMatrixRef& db);
/// int |rho_a - rho_b| dx of the reconstructions density(), by the trapezoidal rule on the union of nodes.
[[nodiscard]] double l1_distance(const QuantileFunction& a, const QuantileFunction& b);

}  // namespace jko
