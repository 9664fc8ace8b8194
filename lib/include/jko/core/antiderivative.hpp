#pragma once
/// The integral of a smooth function as piecewise Chebyshev series, for evaluation at many points.
#include <jko/core/types.hpp>

#include <array>
#include <functional>
#include <vector>

namespace jko {

/// F(x) = int_lower^x f on [lower, upper] (lower = upper is allowed). The interval is cut into pieces, halved until the last two of the 17 coefficients of f are below 1e-14 of the
/// largest, or no longer fall, at the rounding of f (40 times at most, at an integrable singularity); error about 1e-15 of int |f|.
class Antiderivative {
 public:
  static constexpr int degree = 16;
  Antiderivative() = default;
  /// f maps a row of points to their values.
  Antiderivative(double lower, double upper, const std::function<Vector(const Matrix&)>& f);
  [[nodiscard]] bool ok() const { return ok_; }  ///< false where f is not finite
  [[nodiscard]] double operator()(double x) const;
  /// The x with F(x) = value, for f > 0.
  [[nodiscard]] double inverse(double value) const;
  /// F, f, f', ... up to the given order <= 4 at x, by differentiating the series: each order of f costs about two digits.
  [[nodiscard]] std::array<double, 5> derivatives(double x, int order) const;

 private:
  struct Piece {
    double lower, upper, end;  ///< end: F(upper)
    std::array<double, degree + 2> series;
  };
  bool ok_ = true;
  std::vector<Piece> pieces_;
};

}  // namespace jko
