#include "linear_gaussian.hpp"

#include "phi_functions.hpp"

#include <cmath>
#include <limits>
#include <numbers>

namespace jko::estimators {
namespace {

using Coefficient = DiffusionFamily::Coefficient;
constexpr std::size_t most_groups = 64;
constexpr double same = 1e-11;  // relative: dt equal to the rounding of the times; a group takes the mean

}  // namespace

std::optional<LinearGaussian> LinearGaussian::of(const Transitions& data, const Diffusion& diffusion, Transition scheme) {
  const DiffusionFamily& family = diffusion.family();
  const int degree = family.drift_degree(diffusion.parameters());
  LinearGaussian out;
  out.euler_ = scheme == Transition::euler;
  const bool linear = scheme == Transition::shoji_ozaki || (scheme == Transition::exact && family.law() == DiffusionFamily::Law::vasicek);
  if (degree < 0 || degree >= most || !(out.euler_ || (linear && degree <= 1)) || !family.separable_diffusion()) return std::nullopt;
  const Index n = data.size();
  out.data_ = &data;
  out.terms_ = degree + 1;
  out.centre_ = data.from.mean();
  const double deviation = std::sqrt((data.from.array() - out.centre_).square().mean());
  if (deviation > 0) out.scale_ = deviation;
  // q = (sigma(x)/sigma(centre))^2, times dt for Euler.
  if (family.constant_diffusion()) {
    out.inverse_ = Vector::Ones(n);
  } else {
    const double reference = diffusion.diffusion(out.centre_);
    out.inverse_.resize(n);
    in_blocks(n, [&](Index first, Index size) {
      const Matrix sigma = family.evaluate(Coefficient::diffusion, {}, data.from.segment(first, size).transpose(), diffusion.parameters());
      out.inverse_.segment(first, size) = (reference / sigma.row(0).transpose().array()).square();
    });
    if (!(reference > 0) || !out.inverse_.allFinite()) return std::nullopt;
  }
  if (!out.euler_) {
    double known = -1;
    std::size_t current = 0;
    out.group_of_.resize(static_cast<std::size_t>(n));
    std::vector<double> steps;
    for (Index i = 0; i < n; ++i) {
      const double dt = data.dt[i];
      if (!(std::abs(dt - known) <= same * dt)) {
        current = 0;
        while (current < steps.size() && std::abs(dt - steps[current]) > same * dt) ++current;
        if (current == most_groups) return std::nullopt;
        if (current == steps.size()) steps.push_back(dt), out.groups_.emplace_back();
        known = steps[current];
      }
      out.group_of_[static_cast<std::size_t>(i)] = static_cast<unsigned char>(current);
      out.groups_[current].dt += dt;
      out.groups_[current].n += 1;
    }
    for (Group& group : out.groups_) group.dt /= group.n;
    if (out.groups_.size() == 1) out.group_of_.clear();
  } else {
    out.inverse_ = out.inverse_.cwiseQuotient(data.dt);
    out.groups_.resize(1);
    out.groups_[0].dt = 1;
    out.groups_[0].n = static_cast<double>(n);
  }
  // Four interleaved sums: as exact as one, and faster.
  constexpr int lanes = 4;
  struct Sums {
    double squares = 0, cross[most] = {}, moments[2 * most - 1] = {};
  };
  const Index highest = 2 * out.terms_ - 1;
  const bool grouped = !out.group_of_.empty();
  std::vector<Sums> sums(out.groups_.size() * lanes);
  double product = 1;  // of 1/q over a few transitions: one logarithm for them
  const bool unit = family.constant_diffusion() && !out.euler_;
  for (Index i = 0; i < n; ++i) {
    const std::size_t g = grouped ? out.group_of_[static_cast<std::size_t>(i)] : 0;
    Sums& s = sums[g * lanes + static_cast<std::size_t>(i) % lanes];
    const double y = data.next[i] - data.from[i], z = (data.from[i] - out.centre_) / out.scale_, t = out.euler_ ? data.dt[i] : 1, w = out.inverse_[i];
    s.squares += y * y * w;
    double a = y * t * w, b = t * t * w;
    for (Index k = 0; k < out.terms_; ++k, a *= z) s.cross[k] += a;
    for (Index k = 0; k < highest; ++k, b *= z) s.moments[k] += b;
    if (unit) continue;
    product *= w;
    if (!(product > 1e-100 && product < 1e100) || grouped || i % 8 == 7 || i == n - 1) out.groups_[g].logarithms -= std::log(product), product = 1;
  }
  for (std::size_t g = 0; g < out.groups_.size(); ++g) {
    for (std::size_t lane = 0; lane < lanes; ++lane) {
      const Sums& s = sums[g * lanes + lane];
      out.groups_[g].squares += s.squares;
      for (std::size_t k = 0; k < most; ++k) out.groups_[g].cross[k] += s.cross[k];
      for (std::size_t k = 0; k < 2 * most - 1; ++k) out.groups_[g].moments[k] += s.moments[k];
    }
  }
  return out;
}

LinearGaussian::Law LinearGaussian::law(const Diffusion& diffusion, double dt) const {
  const DiffusionFamily& family = diffusion.family();
  const Vector& theta = diffusion.parameters();
  const Matrix point = Matrix::Constant(1, 1, centre_);
  Law out{Vector(terms_), 0, Matrix(terms_, theta.size()), Vector(theta.size())};
  double factor = 1;
  for (int k = 0; k < terms_; ++k) {  // the Taylor series about the centre
    if (k > 0) factor *= scale_ / k;
    out.mean[k] = factor * family.evaluate(Coefficient::drift, {k, 0}, point, theta)(0, 0);
    out.d_mean.row(k) = factor * family.evaluate(Coefficient::drift, {k, 1}, point, theta).col(0).transpose();
  }
  const double sigma = family.evaluate(Coefficient::diffusion, {}, point, theta)(0, 0);
  out.variance = sigma > 0 ? sigma * sigma : 0;
  out.d_variance = 2 * sigma * family.evaluate(Coefficient::diffusion, {0, 1}, point, theta).col(0);
  if (euler_) return out;
  // Mean dt phi_1(L dt) b(x), variance sigma^2 dt phi_1(2 L dt), L = b'.
  const double slope = terms_ > 1 ? out.mean[1] / scale_ : 0;
  const Vector d_slope = terms_ > 1 ? Vector(out.d_mean.row(1).transpose() / scale_) : Vector::Zero(theta.size());
  const Phi f = phi(slope * dt);
  const DoubledPhi g = doubled(f, slope * dt);
  out.d_mean = Matrix(dt * f.one * out.d_mean + dt * dt * (f.one - f.two) * out.mean * d_slope.transpose());
  out.mean *= dt * f.one;
  out.d_variance = Vector(dt * g.one * out.d_variance + out.variance * 2 * dt * dt * (g.one - g.two) * d_slope);
  out.variance *= dt * g.one;
  return out;
}

LikelihoodValue LinearGaussian::operator()(const Diffusion& diffusion, bool with_scores) const {
  const Index count = diffusion.parameters().size(), n = data_->size();
  LikelihoodValue out;
  out.gradient = Vector::Zero(count);
  out.expected = Matrix::Zero(count, count);
  std::vector<Law> laws;
  for (const Group& group : groups_) {
    laws.push_back(law(diffusion, group.dt));
    const Law& l = laws.back();
    if (!(l.variance > 0 && std::isfinite(l.variance) && l.mean.allFinite() && l.d_mean.allFinite() && l.d_variance.allFinite())) {
      out.value = -std::numeric_limits<double>::infinity();
      return out;
    }
    Matrix design(terms_, terms_);
    Vector cross(terms_);
    for (Index k = 0; k < terms_; ++k) {
      cross[k] = group.cross[static_cast<std::size_t>(k)];
      for (Index m = 0; m < terms_; ++m) design(k, m) = group.moments[static_cast<std::size_t>(k + m)];
    }
    const double v = l.variance;
    const Vector residual = cross - design * l.mean;
    const double squares = group.squares - l.mean.dot(cross + residual);
    out.value -= 0.5 * (group.n * std::log(2 * std::numbers::pi * v) + group.logarithms + squares / v);
    out.gradient += l.d_mean.transpose() * residual / v + l.d_variance * (0.5 * (squares / v - group.n) / v);
    out.expected += l.d_mean.transpose() * design * l.d_mean / v + l.d_variance * l.d_variance.transpose() * (0.5 * group.n / (v * v));
  }
  if (!with_scores) return out;
  out.scores.resize(count, n);
  for (Index i = 0; i < n; ++i) {
    const Law& l = laws[group_of_.empty() ? 0 : group_of_[static_cast<std::size_t>(i)]];
    const double z = (data_->from[i] - centre_) / scale_, t = euler_ ? data_->dt[i] : 1, w = inverse_[i] / l.variance;
    double mean = 0;
    for (Index k = terms_ - 1; k >= 0; --k) mean = mean * z + l.mean[k];
    const double residual = data_->next[i] - data_->from[i] - t * mean, by_mean = residual * w * t, by_variance = 0.5 * (residual * residual * w - 1) / l.variance;
    const double *d_mean = l.d_mean.data(), *d_variance = l.d_variance.data();
    double* score = out.scores.data() + i * count;
    for (Index j = 0; j < count; ++j, d_mean += terms_) {
      double sum = 0;
      for (Index k = terms_ - 1; k >= 0; --k) sum = sum * z + d_mean[k];
      score[j] = by_mean * sum + by_variance * d_variance[j];
    }
  }
  return out;
}

}  // namespace jko::estimators
