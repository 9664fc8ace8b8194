#include <jko/measures/particles.hpp>

#include <jko/core/check.hpp>

#include <fmt/format.h>

#include <cmath>
#include <utility>

namespace jko {

Particles::Particles(Matrix points) : points_(std::move(points)) {
  check_at_least("particles", "number of points", points_.cols(), 1);
  check_finite("particles", "points", points_);
  weights_ = Vector::Constant(points_.cols(), 1.0 / static_cast<double>(points_.cols()));
}

Particles::Particles(Matrix points, Vector weights) : points_(std::move(points)), weights_(std::move(weights)) {
  check_at_least("particles", "number of points", points_.cols(), 1);
  check_finite("particles", "points", points_);
  check_size("particles", "weights", weights_.size(), points_.cols());
  check_finite("particles", "weights", weights_);
  if (weights_.minCoeff() < 0) throw DomainError(fmt::format("particles: the smallest weight is {}, but weights must be >= 0", weights_.minCoeff()));
  if (!(std::abs(weights_.sum() - 1) <= 1e-10)) throw DomainError(fmt::format("particles: the weights sum to {:.12g}, but must sum to 1", weights_.sum()));
}

Particles Particles::with_coordinates(const ConstVectorRef& coordinates) const {
  check_size("particles", "coordinates", coordinates.size(), points_.size());
  return {coordinates.reshaped(points_.rows(), points_.cols()), weights_};
}

Vector Particles::mean() const { return points_ * weights_; }

Matrix Particles::covariance() const {
  const Matrix centred = points_.colwise() - mean();
  return centred * weights_.asDiagonal() * centred.transpose();
}

}  // namespace jko
