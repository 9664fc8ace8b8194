#include <jko/models/lamperti.hpp>

#include <jko/core/check.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace jko {
namespace {

using Coefficient = DiffusionFamily::Coefficient;

/// Follows dx/dy = sigma(x) from x for the distance `margin` (its sign gives the direction) by the classical Runge-Kutta rule; only where it ends matters.
/// Stops short of the end of the state space.
double march(const Diffusion& diffusion, double x, double margin) {
  const DiffusionFamily::Interval space = diffusion.family().state_space();
  constexpr int steps = 40;
  const double h = margin / steps, end = margin < 0 ? space.lower : space.upper;
  const auto inside = [&](double z) { return z > space.lower && z < space.upper; };
  for (int i = 0; i < steps; ++i) {
    double slope[4], z = x;
    bool out = false;
    for (int stage = 0; stage < 4 && !out; ++stage) {
      slope[stage] = diffusion.diffusion(z);
      z = x + (stage == 2 ? h : 0.5 * h) * slope[stage];
      out = stage < 3 && !inside(z);
    }
    const double next = out ? end : x + h / 6 * (slope[0] + 2 * slope[1] + 2 * slope[2] + slope[3]);
    // A millionth of the way short of the boundary: what happens beyond is invisible to a process that does not reach it.
    if (!inside(next)) return std::isfinite(end) ? end + 1e-6 * (x - end) : x;
    x = next;
  }
  return x;
}

/// b/sigma - sigma'/2 at a row of points.
Vector unit_drift(const Diffusion& diffusion, const ConstMatrixRef& x) {
  const auto row = [&](Coefficient c, int order) { return Vector(diffusion.family().evaluate(c, {order, 0}, x, diffusion.parameters()).row(0).transpose()); };
  return row(Coefficient::drift, 0).cwiseQuotient(row(Coefficient::diffusion, 0)) - 0.5 * row(Coefficient::diffusion, 1);
}

class LampertiPotential final : public Potential {
 public:
  LampertiPotential(std::string text, double first, double last, Antiderivative value) : text_(std::move(text)), first_(first), last_(last), value_(std::move(value)) {}
  [[nodiscard]] int dimension() const override { return 1; }
  [[nodiscard]] const std::vector<Parameter>& parameters() const override {
    static const std::vector<Parameter> none;
    return none;
  }
  [[nodiscard]] std::string describe() const override { return text_; }
  using Potential::evaluate;
  void evaluate(Derivative which, const ConstMatrixRef& points, const ConstVectorRef&, MatrixRef out) const override {
    if (which.theta > 0) return;  // no rows
    if (which.x > 4) throw DomainError("lamperti: derivatives of the potential beyond the fourth are not offered");
    for (Index i = 0; i < points.cols(); ++i) out(0, i) = at(points(0, i), which.x)[static_cast<std::size_t>(which.x)];
  }
  void jet(const double* x, Index n, const ConstVectorRef&, double* value, double* first, double* second) const override {
    const int order = second != nullptr ? 2 : (first != nullptr ? 1 : 0);
    for (Index i = 0; i < n; ++i) {
      const auto f = at(x[i], order);
      if (value != nullptr) value[i] = f[0];
      if (first != nullptr) first[i] = f[1];
      if (second != nullptr) second[i] = f[2];
    }
  }

 private:
  /// Beyond the range: the derivatives of the end, and an infinite value.
  [[nodiscard]] std::array<double, 5> at(double y, int order) const {
    auto out = value_.derivatives(std::clamp(y, first_, last_), order);
    if (!(y >= first_ && y <= last_)) out[0] = std::numeric_limits<double>::infinity();
    return out;
  }

  std::string text_;
  double first_, last_;
  Antiderivative value_;
};

const Diffusion& checked(const Diffusion& diffusion, double lower, double upper) {
  const auto [begin, end] = diffusion.family().state_space();
  check_finite("lamperti", "lower", lower);
  check_finite("lamperti", "upper", upper);
  if (!(lower < upper)) throw DomainError(fmt::format("lamperti: the range is [{}, {}], but lower must be below upper", lower, upper));
  if (!(lower > begin && upper < end)) throw DomainError(fmt::format("lamperti: the range is [{}, {}], but must lie inside the state space ({}, {})", lower, upper, begin, end));
  return diffusion;
}

Model unit_model(const Diffusion& diffusion, const LampertiMap& map) {
  if (!map.ok()) throw DomainError(fmt::format("lamperti: sigma of {} must be positive and finite in the range", diffusion.family().describe()));
  Antiderivative value(map.first(), map.last(), [&](const Matrix& y) -> Vector {
    return -unit_drift(diffusion, map.inverse(Vector(y.row(0).transpose())).transpose());
  });
  if (!value.ok()) throw DomainError(fmt::format("lamperti: the coefficients of {} must be finite in the range", diffusion.family().describe()));
  return {std::make_shared<LampertiPotential>(fmt::format("the Lamperti transform of {}", diffusion.family().describe()), map.first(), map.last(), std::move(value)), Vector(), 2.0};
}

}  // namespace

LampertiMap::LampertiMap(const Diffusion& diffusion, double lower, double upper, double margin) : centre_(0.5 * (lower + upper)) {
  if (diffusion.family().constant_diffusion()) {
    scale_ = diffusion.diffusion(centre_);
    ok_ = scale_ > 0 && std::isfinite(scale_);
    first_ = (lower - centre_) / scale_ - margin;
    last_ = (upper - centre_) / scale_ + margin;
    return;
  }
  const double begin = march(diffusion, lower, -margin), end = march(diffusion, upper, margin);
  integral_ = Antiderivative(begin, end, [&](const Matrix& x) -> Vector {
    const Vector sigma = diffusion.family().evaluate(Coefficient::diffusion, {}, x, diffusion.parameters()).row(0).transpose();
    if (!(sigma.minCoeff() > 0)) ok_ = false;
    return sigma.cwiseInverse();
  });
  ok_ = ok_ && integral_.ok();
  if (!ok_) return;
  shift_ = integral_(centre_);
  first_ = -shift_;
  last_ = integral_(end) - shift_;
}

Vector LampertiMap::forward(const ConstVectorRef& x) const {
  if (scale_ > 0) return (x.array() - centre_) / scale_;
  return x.unaryExpr([this](double value) { return integral_(value) - shift_; });
}

Vector LampertiMap::inverse(const ConstVectorRef& y) const {
  if (scale_ > 0) return centre_ + scale_ * y.array();
  return y.unaryExpr([this](double value) { return integral_.inverse(value + shift_); });
}

Lamperti::Lamperti(const Diffusion& diffusion, double lower, double upper)
    : diffusion_(checked(diffusion, lower, upper)), map_(diffusion, lower, upper, 0), lower_(lower), upper_(upper), model_(unit_model(diffusion, map_)) {
  constexpr Index points = 400;
  const Vector y = Vector::LinSpaced(points, map_.first() + 1e-3 * (map_.last() - map_.first()), map_.last() - 1.3e-3 * (map_.last() - map_.first()));
  const Vector drift = unit_drift(diffusion_, map_.inverse(y).transpose()), slope = model_.potential().evaluate({1, 0}, y.transpose(), Vector()).row(0).transpose();
  error_ = ((slope + drift).array().abs() / (1 + drift.array().abs())).maxCoeff();
}

Vector Lamperti::forward(const ConstVectorRef& x) const {
  for (const double v : x) check_in("lamperti", "a point x", v, lower_, upper_);
  return map_.forward(x);
}

Vector Lamperti::inverse(const ConstVectorRef& y) const {
  for (const double v : y) check_in("lamperti", "a point y", v, map_.first(), map_.last());
  return map_.inverse(y);
}

QuantileFunction Lamperti::forward(const QuantileFunction& law) const { return law.with_coordinates(forward(law.nodes())); }
QuantileFunction Lamperti::inverse(const QuantileFunction& law) const { return law.with_coordinates(inverse(law.nodes())); }

Vector Lamperti::density(const ConstVectorRef& x, const ConstVectorRef& density_of_y) const {
  check_size("lamperti", "the density", density_of_y.size(), x.size());
  const Vector sigma = diffusion_.family().evaluate(Coefficient::diffusion, {}, x.transpose(), diffusion_.parameters()).row(0).transpose();
  return density_of_y.cwiseQuotient(sigma);
}

}  // namespace jko
