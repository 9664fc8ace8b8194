#include <jko/analysis/moments.hpp>

#include <jko/core/check.hpp>

#include <cmath>
#include <limits>

namespace jko::analysis {

Moments::Moments(Index dimension)
    : mean_(Vector::Zero(dimension)), second_(Matrix::Zero(dimension, dimension)), third_(Vector::Zero(dimension)), fourth_(Vector::Zero(dimension)) {
  check_at_least("moments", "dimension", dimension, 1);
}

void Moments::add(const ConstVectorRef& x) {
  check_size("moments", "the observation", x.size(), dimension());
  const double before = count_, n = before + 1, share = before / n;
  const Vector delta = x - mean_;
  const auto d = delta.array();
  const Eigen::ArrayXd variance = second_.diagonal();
  fourth_.array() += d.square().square() * share * (before * before - before + 1) / (n * n) + 6 * d.square() * variance / (n * n) - 4 * d * third_.array() / n;
  third_.array() += d.cube() * share * (before - 1) / n - 3 * d * variance / n;
  for (Index j = 0; j < dimension(); ++j) second_.col(j).tail(dimension() - j) += share * delta[j] * delta.tail(dimension() - j);
  mean_ += delta / n;
  count_ = n;
}

void Moments::merge(const Moments& other) {
  check_size("moments", "the other sample", other.dimension(), dimension());
  if (other.count_ == 0) return;
  const double a = count_, b = other.count_, n = a + b;
  const Vector delta = other.mean_ - mean_;
  const auto d = delta.array();
  const Eigen::ArrayXd va = second_.diagonal(), vb = other.second_.diagonal();
  fourth_.array() += other.fourth_.array() + d.square().square() * a * b * (a * a - a * b + b * b) / (n * n * n) + 6 * d.square() * (a * a * vb + b * b * va) / (n * n) +
                     4 * d * (a * other.third_.array() - b * third_.array()) / n;
  third_.array() += other.third_.array() + d.cube() * a * b * (a - b) / (n * n) + 3 * d * (a * vb - b * va) / n;
  for (Index j = 0; j < dimension(); ++j) {
    const Index rest = dimension() - j;
    second_.col(j).tail(rest) += other.second_.col(j).tail(rest) + a * b / n * delta[j] * delta.tail(rest);
  }
  mean_ += b / n * delta;
  count_ = n;
}

Matrix Moments::covariance() const {
  if (count_ < 2) return Matrix::Constant(dimension(), dimension(), std::numeric_limits<double>::quiet_NaN());
  return Matrix(second_.selfadjointView<Eigen::Lower>()) / (count_ - 1);
}
Vector Moments::mean_error() const { return (covariance().diagonal() / count_).cwiseSqrt(); }
Vector Moments::skewness() const { return third_.array() / count_ / (second_.diagonal().array() / count_).pow(1.5); }
Vector Moments::excess_kurtosis() const { return fourth_.array() * count_ / second_.diagonal().array().square() - 3; }

std::vector<double> Moments::pack() const {
  std::vector<double> out{count_};
  const auto append = [&](const Vector& v) { out.insert(out.end(), v.data(), v.data() + v.size()); };
  append(mean_);
  for (Index j = 0; j < dimension(); ++j) append(second_.col(j).tail(dimension() - j));
  append(third_);
  append(fourth_);
  return out;
}

Moments Moments::unpack(const std::vector<double>& packed, Index dimension) {
  Moments out(dimension);
  check_size("moments", "the packed moments", static_cast<Index>(packed.size()), 1 + 3 * dimension + dimension * (dimension + 1) / 2);
  const double* at = packed.data();
  out.count_ = *at++;
  const auto take = [&](auto&& v) {
    for (Index i = 0; i < v.size(); ++i) v[i] = *at++;
  };
  take(out.mean_);
  for (Index j = 0; j < dimension; ++j) take(out.second_.col(j).tail(dimension - j));
  take(out.third_);
  take(out.fourth_);
  return out;
}

}  // namespace jko::analysis
