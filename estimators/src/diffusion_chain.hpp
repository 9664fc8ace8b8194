#pragma once
/// A Markov chain on a grid in a one-dimensional diffusion's place: the finite-volume generator, its semigroup, and the derivatives of both in theta.
#include <jko/models/lamperti.hpp>

#include <vector>

namespace jko::estimators {

/// Nodes at equal distances of y = int dx/sigma, so that neighbours are about sigma(x) h apart. A grid may serve other parameters than those it was made for.
class ChainGrid {
 public:
  /// `cells` midpoints of [lower, upper] with `margin` in y on either side, or less where the state space ends. lower, upper inside the state space.
  ChainGrid(const Diffusion& diffusion, double lower, double upper, double margin, Index cells);
  [[nodiscard]] bool ok() const { return ok_; }          ///< false where sigma is not positive and finite
  [[nodiscard]] const Vector& x() const { return x_; }
  [[nodiscard]] const Vector& weight() const { return weight_; }  ///< sigma(x) h: the midpoint rule
  [[nodiscard]] double length() const { return map_.last() - map_.first(); }  ///< in y
  [[nodiscard]] Vector position(const ConstVectorRef& points) const;  ///< in cells: node i is at i

 private:
  LampertiMap map_;
  bool ok_;
  double h_ = 0;
  Vector x_, weight_;
};

/// Jumps to the neighbours only. With d-, d+ the distances and d the larger, s = sigma^2 q coth q, q = b d/sigma^2 (exponential fitting, [Ilin1969], [ScharfetterGummel1969]), the rates
///   up (s + b d-)/(d+ (d+ + d-)),   down (s - b d+)/(d- (d+ + d-))
/// are positive whatever b, the drift is b exactly and the variance s = sigma^2 + O(h^2). Both ends reflect. E[g(X_dt)] is off by O(h^2), with an expansion in h^2 for smooth g.
///
/// The spectrum is real and not positive, so exp(dt Q) = (1/2 pi i) int e^z (z - dt Q)^{-1} dz on Talbot's contour as optimised in [TrefethenWeidemanSchmelzer2006]: 24 points, 12 tridiagonal solves, absolute error below 1e-13
/// whatever dt and h. The derivative in theta is that of the same sum.
class DiffusionChain {
 public:
  DiffusionChain(const Diffusion& diffusion, const ConstVectorRef& nodes, bool with_gradient);
  [[nodiscard]] bool ok() const { return ok_; }  ///< false where a coefficient is not finite
  [[nodiscard]] Index size() const { return up_.size(); }
  [[nodiscard]] const Vector& up() const { return up_; }
  [[nodiscard]] const Vector& down() const { return down_; }
  [[nodiscard]] const Matrix& d_up() const { return d_up_; }      ///< P x n; empty without gradient
  [[nodiscard]] const Matrix& d_down() const { return d_down_; }

  /// Rows m exp(dt Q), and their derivatives in each parameter given those of m (empty: zero).
  struct Rows {
    Matrix value;
    std::vector<Matrix> by_theta;
  };
  [[nodiscard]] Rows forward(double dt, const Rows& rows) const;
  /// exp(dt Q): row i is the law at dt from node i.
  [[nodiscard]] Rows transition(double dt) const { return forward(dt, {Matrix::Identity(size(), size()), {}}); }

 private:
  bool ok_ = true;
  Vector up_, down_;
  Matrix d_up_, d_down_;
};

}  // namespace jko::estimators
