#include "lamperti_map.hpp"

#include <cmath>

namespace jko::estimators {
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

}  // namespace jko::estimators
