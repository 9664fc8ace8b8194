#include <jko/estimators/online_gradient.hpp>

#include <jko/core/check.hpp>

#include "maximise.hpp"

#include <Eigen/Cholesky>
#include <Eigen/Eigenvalues>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace jko::estimators {
namespace {

/// The inverse on the free parameters, in a matrix of the full size; false where it is singular.
bool restricted_inverse(const Matrix& a, const std::vector<Index>& free, Matrix& out) {
  out = Matrix::Zero(a.rows(), a.cols());
  if (free.empty()) return true;
  const Matrix block = a(free, free);
  if (!block.allFinite()) return false;
  const Vector scale = block.diagonal().cwiseMax(1e-300).cwiseSqrt().cwiseInverse();
  const Eigen::LDLT<Matrix> factor(scale.asDiagonal() * block * scale.asDiagonal());
  if (factor.info() != Eigen::Success || !factor.isPositive() || !(factor.vectorD().minCoeff() > 1e-12)) return false;
  out(free, free) = scale.asDiagonal() * factor.solve(Matrix(scale.asDiagonal()));
  return true;
}

std::vector<Index> positions(const std::vector<bool>& fixed, std::size_t count) {
  std::vector<Index> out;
  for (std::size_t i = 0; i < count; ++i) {
    if (!fixed[i]) out.push_back(static_cast<Index>(i));
  }
  return out;
}

}  // namespace

OnlineGradient::OnlineGradient(Model start, OnlineGradientOptions options) : start_(std::move(start)), options_(std::move(options)) {
  const auto count = static_cast<Index>(start_.parameter_list().size());
  fixed_ = options_.fixed.empty() ? std::vector<bool>(static_cast<std::size_t>(count), false) : options_.fixed;
  check_size("online_gradient", "the list of fixed parameters", static_cast<Index>(fixed_.size()), count);
  check_at_least("online_gradient", "warm_up", options_.warm_up, 2);
  check_positive("online_gradient", "rate", options_.rate);
  check_positive("online_gradient", "offset", options_.offset);
  check_nonnegative("online_gradient", "burn_in", options_.burn_in);
  if (!(options_.exponent > 0.5 && options_.exponent <= 1)) throw DomainError(fmt::format("online_gradient: exponent is {}, but must lie in (1/2, 1]", options_.exponent));
  x_ = start_.parameters();
  average_ = Vector::Zero(count);
  information_ = outer_ = Matrix::Zero(count, count);
  next_fit_ = options_.warm_up;
}

void OnlineGradient::move(const Vector& step) {
  const auto list = start_.parameter_list();
  for (Index i = 0; i < x_.size(); ++i) {
    const Parameter& p = list[static_cast<std::size_t>(i)];
    if (fixed_[static_cast<std::size_t>(i)]) continue;
    double next = x_[i] + step[i];
    if (next <= p.lower) next = p.positive ? x_[i] - 0.9 * (x_[i] - p.lower) : p.lower;
    x_[i] = std::min(next, p.upper);
  }
}

void OnlineGradient::gradient_step(const ConstVectorRef& from, const ConstVectorRef& to, double dt) {
  const Index d = from.size(), p = x_.size() - 1;
  const Potential& potential = start_.potential();
  const Vector theta = x_.head(p);
  const Matrix force = potential.evaluate({1, 0}, from, theta), by_theta = potential.evaluate({1, 1}, from, theta);
  const auto slope = by_theta.col(0).reshaped(d, p);
  const double weight = 0.5 * start_.beta();
  Vector score = Vector::Zero(p + 1);
  score.head(p) = -weight * (slope.transpose() * (to - from + force.col(0) * dt));
  const double alpha = options_.rate * std::pow(1 + time_ / options_.offset, -options_.exponent);
  if (time_ >= options_.burn_in) {
    information_.topLeftCorner(p, p) += weight * dt * slope.transpose() * slope;
    outer_ += score * score.transpose();
    averaged_ += dt;
  }
  move(alpha * score);
  if (time_ >= options_.burn_in) average_ += (dt / averaged_) * (x_ - average_);
  time_ += dt;
  ++n_;
  speed_ += ((to - from).squaredNorm() / (static_cast<double>(d) * dt) - speed_) / static_cast<double>(n_);
}

void OnlineGradient::likelihood_step(const Path& path) {
  if (!ready_) {
    waiting_.push_back(path);
    n_ += path.transitions();
    time_ += path.times[path.times.size() - 1] - path.times[0];
    if (n_ < next_fit_) return;
    const Fit first = estimators::fit(waiting_, start_, options_.transition, {.fixed = fixed_});
    if (!is_success(first.status)) {
      next_fit_ = 2 * n_;
      return;
    }
    x_ = first.estimate;
    const auto l = log_likelihood(waiting_, start_.with_parameters(x_), options_.transition, true);
    information_ = l.expected;
    outer_ = l.scores * l.scores.transpose();
    waiting_.clear();
    ready_ = true;
    return;
  }
  n_ += path.transitions();
  time_ += path.times[path.times.size() - 1] - path.times[0];
  const auto l = log_likelihood({path}, start_.with_parameters(x_), options_.transition, true);
  if (!std::isfinite(l.value)) return;  // no law there: the transition counts, but teaches nothing
  information_ += l.expected;
  outer_ += l.scores * l.scores.transpose();
  Matrix inverse;
  if (restricted_inverse(information_, positions(fixed_, fixed_.size()), inverse)) move(inverse * l.gradient);
}

void OnlineGradient::update(const ConstVectorRef& from, const ConstVectorRef& to, double dt) {
  check_size("online_gradient", "dimension of the data", from.size(), start_.dimension());
  check_size("online_gradient", "dimension of the data", to.size(), start_.dimension());
  check_finite("online_gradient", "a value", from);
  check_finite("online_gradient", "a value", to);
  check_positive("online_gradient", "the time step", dt);
  if (options_.method == OnlineMethod::stochastic_gradient) return gradient_step(from, to, dt);
  Path path{Vector{{0.0, dt}}, Matrix(from.size(), 2)};
  path.values.col(0) = from;
  path.values.col(1) = to;
  likelihood_step(path);
}

void OnlineGradient::update(const Path& path) {
  path.validate();
  for (Index i = 0; i < path.transitions(); ++i) update(path.values.col(i), path.values.col(i + 1), path.times[i + 1] - path.times[i]);
}

Fit OnlineGradient::fit() const {
  Fit out = prepared_fit(start_, {.fixed = fixed_});
  const Index count = x_.size();
  out.n = n_;
  out.duration = time_;
  out.iterations = static_cast<int>(n_);
  out.covariance = out.sandwich = Matrix::Zero(count, count);
  if (options_.method == OnlineMethod::recursive_likelihood) {
    out.estimator = fmt::format("recursive likelihood, {}", name(options_.transition));
    out.theorem = "recursive maximum likelihood, n -> infinity; as the batch likelihood of the same scheme";
    if (!ready_) return out;
    out.estimate = x_;
    Matrix inverse;
    const bool regular = restricted_inverse(information_, positions(fixed_, fixed_.size()), inverse);
    out.status = !x_.allFinite() ? Status::not_finite : (regular ? Status::converged : Status::singular_information);
    if (!regular) return out;
    out.covariance = inverse;
    out.sandwich = inverse * outer_ * inverse;
    return out;
  }
  const Index p = count - 1;
  const bool averages = options_.exponent < 1;
  out.estimator = averages ? "stochastic gradient in continuous time, averaged" : "stochastic gradient in continuous time";
  out.theorem = averages ? "averaged iterates, t -> infinity, dt -> 0: as least squares on the drift" : "last iterate with steps C/t, t -> infinity, dt -> 0";
  if (n_ == 0 || !(averaged_ > 0)) return out;
  const bool beta_free = !fixed_.back();
  out.estimate = averages ? average_ : x_;
  const double beta = beta_free ? 2 / speed_ : start_.beta();
  out.estimate[p] = beta;
  if (!out.estimate.allFinite()) {
    out.status = Status::not_finite;
    return out;
  }
  if (beta_free) out.covariance(p, p) = out.sandwich(p, p) = 2 * beta * beta / static_cast<double>(n_ * start_.dimension());
  const auto free = positions(fixed_, static_cast<std::size_t>(p));
  out.status = Status::converged;
  if (free.empty()) return out;
  const Matrix h = Matrix(information_(free, free)) / averaged_, j = Matrix(outer_(free, free)) / averaged_;
  const double noise = start_.beta() / beta;  // the model's J is this times H
  if (averages) {
    Matrix inverse;
    if (!restricted_inverse(information_, free, inverse)) {
      out.status = Status::singular_information;
      return out;
    }
    out.covariance += noise * inverse;
    out.sandwich += inverse * outer_ * inverse;
    return out;
  }
  // t Cov -> S with (c H - 1/2) S + S (c H - 1/2) = c^2 J, c = rate offset.
  const double c = options_.rate * options_.offset;
  const Eigen::SelfAdjointEigenSolver<Matrix> e(h);
  if (!(2 * c * e.eigenvalues()[0] > 1)) {
    out.status = Status::singular_information;
    out.warnings.push_back(fmt::format("rate * offset = {:.4g} is too small for the slowest direction, whose information per unit time is {:.4g}: their product must exceed 1/2", c, e.eigenvalues()[0]));
    return out;
  }
  const auto solve = [&](const Matrix& right) {
    Matrix s = e.eigenvectors().transpose() * right * e.eigenvectors();
    for (Index a = 0; a < s.rows(); ++a) {
      for (Index b = 0; b < s.cols(); ++b) s(a, b) *= c * c / ((c * (e.eigenvalues()[a] + e.eigenvalues()[b]) - 1) * time_);
    }
    return Matrix(e.eigenvectors() * s * e.eigenvectors().transpose());
  };
  out.covariance(free, free) = solve(noise * h);
  out.sandwich(free, free) = solve(j);
  return out;
}

std::vector<Fit> online_gradient_fits(const std::vector<Panel>& batches, const Model& start, const OnlineGradientOptions& options) {
  OnlineGradient estimator(start, options);
  std::vector<Fit> out;
  for (const Panel& batch : batches) {
    for (const Path& path : batch) estimator.update(path);
    out.push_back(estimator.fit());
    if (!is_success(out.back().status)) throw NotConverged(fmt::format("online_gradient_fits: batch {}: {}", out.size(), describe(out.back().status)));
  }
  return out;
}

}  // namespace jko::estimators
