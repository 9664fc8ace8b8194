#pragma once
/// Weighted point clouds.
#include <jko/core/types.hpp>

namespace jko {

/// A value: sum_i w_i delta_{x_i}. Coordinates: the points, column by column; the weights stay with the measure.
class Particles {
 public:
  Particles() = default;                     ///< empty, dimension 0
  explicit Particles(Matrix points);         ///< d x N, one point a column, equal weights
  Particles(Matrix points, Vector weights);  ///< throws unless finite, the weights >= 0 and their sum 1 to 1e-10

  [[nodiscard]] int dimension() const { return static_cast<int>(points_.rows()); }
  [[nodiscard]] Index size() const { return points_.cols(); }
  [[nodiscard]] const Matrix& points() const { return points_; }
  [[nodiscard]] const Vector& weights() const { return weights_; }
  [[nodiscard]] Vector coordinates() const { return points_.reshaped(); }
  [[nodiscard]] Particles with_coordinates(const ConstVectorRef& coordinates) const;
  [[nodiscard]] Vector mean() const;
  [[nodiscard]] Matrix covariance() const;   ///< sum_i w_i (x_i - mean)(x_i - mean)'

 private:
  Matrix points_;
  Vector weights_;
};

}  // namespace jko
