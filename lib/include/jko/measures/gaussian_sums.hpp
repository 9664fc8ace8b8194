#pragma once
/// Sums of a Gaussian kernel over pairs of points.
#include <jko/core/types.hpp>

#include <memory>

namespace jko {

class GriddedSums;

/// How value(), value_gradient() and pair_gradient() are computed; the other sums are direct always.
enum class GaussianMethod {
  automatic,  ///< gridded where that is allowed and its estimated cost is below two thirds of the direct sum's
  direct,     ///< pair by pair: forces of pairs cancel to the bit of their sum's rounding
  gridded,    ///< spread to a grid, convolved there and gathered; 1e-13 <= tail, at most three dimensions and 2^27 cells
};

struct GaussianSumsOptions {
  /// Direct: pairs whose kernel is below tail * G(0) are left out, so that the error of a sum is at most tail * G(0) * sum |charges|. In [0, 1); 0 keeps every pair.
  /// Gridded: the same bound, and tail * G(0)/s * sum |charges| for each component of a gradient (lib/src/measures/gridded_sums.hpp derives it).
  double tail = 1e-15;
  GaussianMethod method = GaussianMethod::automatic;
  int threads = 1;  ///< >= 1; the bits do not depend on it
  void validate() const;
};

/// G(z) = (2 pi s^2)^{-d/2} exp(-|z|^2/(2 s^2)) between n targets x_i and m sources y_j (d x n and d x m), prepared for repeated sums.
///
/// Points are ordered in rows, so that a tile of 32 targets meets only the sources within the radius s sqrt(-2 log tail) (filtered in the first three
/// coordinates); a tile's sums run in vector lanes, one target a lane, over the sources in a fixed order: neither threads nor vector width change a bit.
/// Cost: 1 to 2 ns for a pair within reach; gridded 0.1 to 0.4 us a point in the plane, whatever the pairs (docs/methods/gaussian_sums.md). The default tail
/// keeps sums direct: a grid needs tail >= 1e-13.
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

  [[nodiscard]] bool gridded() const { return grid_ != nullptr; }  ///< whether the grid was chosen
  [[nodiscard]] double at_zero() const;    ///< G(0)
  [[nodiscard]] double pairs() const;      ///< pairs that a sum visits, padding of tiles included

 private:
  class Order;
  void choose(const ConstMatrixRef& targets, const ConstMatrixRef& sources);
  template <class Charges, class Body>
  void for_tiles(Index rows_out, MatrixRef out, const Charges& charges, const Body& body) const;
  void need_self() const;

  std::shared_ptr<const Order> targets_, sources_;
  std::shared_ptr<const GriddedSums> grid_;  // null: direct
  double bandwidth_ = 1, normalisation_ = 1;
  GaussianSumsOptions options_;
};

}  // namespace jko
