#pragma once
/// Streaming moments of a random vector: memory that does not grow with the sample.
#include <jko/core/types.hpp>

#include <vector>

namespace jko::analysis {

/// Count, mean, covariance, and each coordinate's third and fourth central moment, updated by one observation or merged with another sample's
/// ([Pebay2008]). Merging is exact in real arithmetic but not associative in floating point: merge fixed blocks in order for bits that do not depend on a split
/// (design.hpp does). Cost: d^2/2 an observation.
class Moments {
 public:
  Moments() = default;                  ///< dimension 0
  explicit Moments(Index dimension);
  void add(const ConstVectorRef& x);
  void merge(const Moments& other);     ///< the same dimension, else ShapeError

  [[nodiscard]] Index dimension() const { return mean_.size(); }
  [[nodiscard]] double count() const { return count_; }
  [[nodiscard]] const Vector& mean() const { return mean_; }
  [[nodiscard]] Matrix covariance() const;         ///< divided by count - 1; NaN below two observations
  [[nodiscard]] Vector mean_error() const;         ///< sqrt(variance/count)
  [[nodiscard]] Vector skewness() const;           ///< m3/m2^{3/2}; 0 for a normal law, with s.e. sqrt(6/count)
  [[nodiscard]] Vector excess_kurtosis() const;    ///< m4/m2^2 - 3; 0 for a normal law, with s.e. sqrt(24/count)

  /// All numbers, for files; every bit is restored by unpack().
  [[nodiscard]] std::vector<double> pack() const;
  static Moments unpack(const std::vector<double>& packed, Index dimension);

 private:
  double count_ = 0;
  Vector mean_;
  Matrix second_;  // lower triangle of the sum of (x - mean)(x - mean)'
  Vector third_, fourth_;
};

}  // namespace jko::analysis
