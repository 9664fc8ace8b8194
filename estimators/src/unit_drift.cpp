#include "unit_drift.hpp"

#include "dual.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace jko::estimators {
namespace {

using Coefficient = DiffusionFamily::Coefficient;
constexpr double nan = std::numeric_limits<double>::quiet_NaN();

}  // namespace

UnitDrift::UnitDrift(const Diffusion& diffusion, double lower, double upper, double margin) : diffusion_(diffusion), map_(diffusion, lower, upper, margin), ok_(map_.ok()), centre_(0.5 * (lower + upper)) {
  if (!ok_) return;
  const Vector ends = map_.inverse(Vector{{map_.first(), map_.last()}});
  const double begin = std::min(ends[0], lower), end = std::max(ends[1], upper);
  const auto evaluate = [this](Coefficient c, int order, const Matrix& x) { return diffusion_.family().evaluate(c, {0, order}, x, diffusion_.parameters()); };
  const Matrix probe = Vector::LinSpaced(9, begin, end).transpose(), slope = evaluate(Coefficient::diffusion, 1, probe);
  for (Index j = 0; j < count(); ++j) {
    d_map_.emplace_back();
    if (slope.row(j).isZero(0)) continue;
    d_map_.back().emplace(begin, end, [&](const Matrix& x) -> Vector {
      return (evaluate(Coefficient::diffusion, 1, x).row(j).array() / evaluate(Coefficient::diffusion, 0, x).row(0).array().square()).transpose();
    });
    ok_ = ok_ && d_map_.back()->ok();
    if (!ok_) return;
  }
}

Matrix UnitDrift::d_forward(const ConstVectorRef& x) const {
  Matrix out = Matrix::Zero(count(), x.size());
  for (Index j = 0; j < count(); ++j) {
    const auto& integral = d_map_[static_cast<std::size_t>(j)];
    for (Index i = 0; integral && i < x.size(); ++i) out(j, i) = (*integral)(centre_) - (*integral)(x[i]);
  }
  return out;
}

UnitDrift::Jet UnitDrift::at_x(const ConstVectorRef& x) const {
  using Number = Dual<7>;
  const Index n = x.size();
  const Jets jets(diffusion_, x, 2, 3);
  Jet out;
  for (int k = 0; k < 3; ++k) out.value[k].resize(n), out.by_theta[k] = Matrix::Zero(count(), n);
  for (Index i = 0; i < n; ++i) {
    const Number b0 = Number::input(jets.b[0][i], 0), b1 = Number::input(jets.b[1][i], 1), b2 = Number::input(jets.b[2][i], 2);
    const Number s0 = Number::input(jets.s[0][i], 3), s1 = Number::input(jets.s[1][i], 4), s2 = Number::input(jets.s[2][i], 5), s3 = Number::input(jets.s[3][i], 6);
    const Number r = Number(1.0) / s0, r2 = r * r;
    // x-derivatives of b/sigma - sigma'/2; then d/dy = sigma d/dx.
    const Number first = b1 * r - b0 * s1 * r2 - 0.5 * s2, second = b2 * r - 2.0 * (b1 * s1 * r2) - b0 * s2 * r2 + 2.0 * (b0 * s1 * s1 * r2 * r) - 0.5 * s3;
    const Number mu[3] = {b0 * r - 0.5 * s1, s0 * first, s0 * (s1 * first + s0 * second)};
    for (int k = 0; k < 3; ++k) {
      out.value[k][i] = mu[k].v;
      for (Index j = 0; j < count(); ++j) {
        double sum = 0;
        for (std::size_t q = 0; q < 3; ++q) sum += mu[k].d[q] * jets.db[q](j, i);
        for (std::size_t q = 0; q < 4; ++q) sum += mu[k].d[q + 3] * jets.ds[q](j, i);
        out.by_theta[k](j, i) = sum;
      }
    }
  }
  return out;
}

UnitDrift::Jet UnitDrift::at_y(const ConstVectorRef& y) const {
  const Index n = y.size();
  Vector inside(n);
  for (Index i = 0; i < n; ++i) inside[i] = y[i] > map_.first() && y[i] < map_.last() ? y[i] : 0;
  const Vector x = map_.inverse(inside);
  Jet out = at_x(x);
  const Matrix moved = d_forward(x);
  // At fixed x the point y moves: take that out.
  for (int k = 0; k < 2; ++k) out.by_theta[k] -= moved * out.value[k + 1].asDiagonal();
  out.by_theta[2].resize(0, 0);
  for (Index i = 0; i < n; ++i) {
    if (y[i] > map_.first() && y[i] < map_.last()) continue;
    for (int k = 0; k < 3; ++k) out.value[k][i] = nan;
  }
  return out;
}

}  // namespace jko::estimators
