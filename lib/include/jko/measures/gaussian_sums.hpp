#pragma once
/// Sums of a Gaussian kernel over pairs of points.
#include <jko/core/types.hpp>

#include <memory>

namespace jko {

struct GaussianSumsOptions {
  /// Pairs whose kernel is below tail * G(0) are left out: the error of a sum is at most tail * G(0) * sum |charges|. In [0, 1); 0 keeps every pair.
  double tail = 1e-15;
  int threads = 1;  ///< >= 1; the bits do not depend on it
  void validate() const;
};

/// G(z) = (2 pi s^2)^{-d/2} exp(-|z|^2/(2 s^2)) between n targets x_i and m sources y_j (d x n and d x m), prepared for repeated sums.
///
/// Points are ordered in rows, so that a tile of 32 targets meets only the sources within the radius s sqrt(-2 log tail) (filtered in the first three
/// coordinates); a tile's sums run in vector lanes, one target a lane, over the sources in a fixed order: neither threads nor vector width change a bit.
/// Cost: 1 to 2 ns for a pair within reach (docs/methods/gaussian_sums.md). For more than about 1e5 points with a wide kernel the
/// quadratic cost makes a grid the better choice.
/// Errors: DomainError for a bandwidth that is not positive or points that are not finite, ShapeError for sizes that do not fit.
class GaussianSums {
 public:
  GaussianSums(const ConstMatrixRef& points, double bandwidth, GaussianSumsOptions options = {});  ///< targets = sources, each point its own source too
  GaussianSums(const ConstMatrixRef& targets, const ConstMatrixRef& sources, double bandwidth, GaussianSumsOptions options = {});

  /// sum_j q_j G(x_i - y_j), size n.
  [[nodiscard]] Vector value(const ConstVectorRef& charges) const;
  struct ValueGradient {
    Vector value;     ///< n
    Matrix gradient;  ///< d x n: sum_j q_j grad G(x_i - y_j)
  };
  [[nodiscard]] ValueGradient value_gradient(const ConstVectorRef& charges) const;

  // For targets = sources (DomainError otherwise); w charges, a and b one number a point, v d x n.
  /// sum_j w_j (a_i + a_j) grad G(x_i - x_j)
  [[nodiscard]] Matrix pair_gradient(const ConstVectorRef& w, const ConstVectorRef& a) const;
  /// sum_j w_j grad G(x_i - x_j) . (v_i - v_j)
  [[nodiscard]] Vector directional(const ConstVectorRef& w, const ConstMatrixRef& v) const;
  /// sum_j w_j [(a_i + a_j) Hess G(x_i - x_j) (v_i - v_j) + (b_i + b_j) grad G(x_i - x_j)]
  [[nodiscard]] Matrix pair_hessian(const ConstVectorRef& w, const ConstVectorRef& a, const ConstVectorRef& b, const ConstMatrixRef& v) const;

  [[nodiscard]] double at_zero() const;    ///< G(0)
  [[nodiscard]] double pairs() const;      ///< pairs that a sum visits, padding of tiles included

 private:
  class Order;
  template <class Charges, class Body>
  void for_tiles(Index rows_out, MatrixRef out, const Charges& charges, const Body& body) const;
  void need_self() const;

  std::shared_ptr<const Order> targets_, sources_;
  double bandwidth_ = 1, normalisation_ = 1;
  GaussianSumsOptions options_;
};

}  // namespace jko
