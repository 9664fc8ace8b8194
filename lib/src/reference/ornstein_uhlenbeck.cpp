#include <jko/reference/ornstein_uhlenbeck.hpp>

#include <jko/core/check.hpp>

#include <Eigen/Eigenvalues>
#include <Eigen/LU>
#include <boost/math/quadrature/gauss.hpp>
#include <fmt/format.h>

#include <cmath>

namespace jko {
namespace {

/// int_0^t f(s) ds of a matrix function, by 15-point rules on 1, 2, 4, ... panels.
template <class F>
Matrix integral(double t, const F& f) {
  using Rule = boost::math::quadrature::gauss<double, 15>;
  Matrix before;
  for (int panels = 1; panels <= 1 << 14; panels *= 2) {
    Matrix sum;
    const double width = t / panels;
    for (int p = 0; p < panels; ++p) {
      for (std::size_t i = 0; i < Rule::abscissa().size(); ++i) {
        for (const double sign : {-1.0, 1.0}) {
          if (Rule::abscissa()[i] == 0 && sign > 0) continue;
          const double s = width * (p + 0.5 * (1 + sign * Rule::abscissa()[i]));
          const Matrix term = 0.5 * width * Rule::weights()[i] * f(s);
          if (sum.size() == 0) sum = term;
          else sum += term;
        }
      }
    }
    if (before.size() > 0 && (sum - before).cwiseAbs().maxCoeff() <= 1e-12 * (1 + sum.cwiseAbs().maxCoeff())) return sum;
    before = std::move(sum);
  }
  throw NotConverged("ornstein_uhlenbeck: the quadrature did not settle: t times the largest eigenvalue of K is too large");
}

}  // namespace

OrnsteinUhlenbeck::OrnsteinUhlenbeck(const Model& model) : model_(model), beta_(model.beta()) {
  const auto q = model.potential().quadratic(model.theta());
  if (!q) throw DomainError(fmt::format("ornstein_uhlenbeck: the potential {} is not quadratic", model.potential().describe()));
  k_ = q->curvature;
  mu_ = q->centre;
  const Eigen::SelfAdjointEigenSolver<Matrix> e(k_);
  vectors_ = e.eigenvectors();
  values_ = e.eigenvalues();
}

Matrix OrnsteinUhlenbeck::flow(double t) const { return vectors_ * (-t * values_.array()).exp().matrix().asDiagonal() * vectors_.transpose(); }

Gaussian OrnsteinUhlenbeck::law(const Gaussian& start, double t) const {
  check_nonnegative("ornstein_uhlenbeck", "time t", t);
  check_size("ornstein_uhlenbeck", "the start's dimension", start.dimension(), mu_.size());
  const Matrix decay = flow(t);
  const Vector spread = values_.unaryExpr([&](double k) { return std::abs(k * t) < 1e-8 ? 2 * t * (1 - k * t) / beta_ : -std::expm1(-2 * k * t) / (beta_ * k); });
  Matrix covariance = decay * start.covariance() * decay + vectors_ * spread.asDiagonal() * vectors_.transpose();
  covariance = Matrix(0.5 * (covariance + covariance.transpose()));
  return {mu_ + decay * (start.mean() - mu_), covariance};
}

Gaussian OrnsteinUhlenbeck::stationary() const {
  if (!(values_.minCoeff() > 0)) throw DomainError("ornstein_uhlenbeck: K is not positive definite, so there is no stationary law");
  return {mu_, vectors_ * (beta_ * values_).cwiseInverse().asDiagonal() * vectors_.transpose()};
}

Vector OrnsteinUhlenbeck::corrector(const Gaussian& start, double t) const {
  const Index d = mu_.size();
  check_nonnegative("ornstein_uhlenbeck", "time t", t);
  Vector out(d + d * d);
  out.head(d) = 0.5 * t * k_ * k_ * flow(t) * (start.mean() - mu_);
  const Matrix n = integral(t, [&](double s) {
    const Matrix sigma = law(start, s).covariance(), inverse = sigma.inverse();
    const Matrix b = -k_ + inverse / beta_, c = b * b - (inverse * b + b * inverse) / beta_;
    const Matrix decay = flow(t - s);
    return Matrix(0.5 * decay * (c * sigma + sigma * c) * decay);
  });
  out.tail(d * d) = n.reshaped();
  return out;
}

Matrix OrnsteinUhlenbeck::sensitivity(const Gaussian& start, double t) const {
  const Index d = mu_.size(), p = model_.theta().size();
  check_nonnegative("ornstein_uhlenbeck", "time t", t);
  const auto tangent = model_.potential().quadratic_tangent(model_.theta());
  Matrix out(d + d * d, p + 1);
  for (Index j = 0; j <= p; ++j) {
    const Matrix e = j < p ? tangent.curvature[static_cast<std::size_t>(j)] : Matrix::Zero(d, d);
    const Vector centre = j < p ? Vector(tangent.centre.col(j)) : Vector::Zero(d);
    const double beta = j < p ? 0 : 1;
    out.col(j).head(d) = integral(t, [&](double s) { return Matrix(flow(t - s) * (-e * (flow(s) * (start.mean() - mu_)) + k_ * centre)); });
    out.col(j).tail(d * d) = integral(t, [&](double s) {
                               const Matrix sigma = law(start, s).covariance(), decay = flow(t - s);
                               return Matrix(decay * (-e * sigma - sigma * e - 2 * beta / (beta_ * beta_) * Matrix::Identity(d, d)) * decay);
                             }).reshaped();
  }
  return out;
}

}  // namespace jko
