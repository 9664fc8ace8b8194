// Euler, Elerian (Milstein), Ozaki, Shoji-Ozaki: laws that need b and sigma at the starting point only.
#include "diffusion_terms.hpp"
#include "dual.hpp"
#include "gaussian_terms.hpp"
#include "phi_functions.hpp"

#include <cmath>
#include <limits>
#include <numbers>

namespace jko::estimators {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

GaussianLaw<2> euler(double x, double dt, double b, double s) { return {x + b * dt, s * s * dt, {dt, 0}, {0, 2 * s * dt}}; }

Dual<3> phi_one(const Dual<3>& z) {
  const Phi f = phi(z.v);
  return z.chain(f.one, f.one - f.two);
}

/// [Iacus2008]: the linear equation dX = K X dt with the same mean. K is undefined where the mean changes sign; the form is not translation invariant.
GaussianLaw<3> ozaki(double x, double dt, const Dual<3>& b, const Dual<3>& slope, const Dual<3>& s) {
  const Dual<3> shift = b * dt * phi_one(slope * dt), rate = log1p(shift / x) / dt, variance = s * s * dt * phi_one(2.0 * dt * rate);
  return {x + shift.v, variance.v, shift.d, variance.d};
}

/// X' = x + b D + sigma W + sigma sigma'(W^2 - D)/2, a shifted chi-squared; written so that sigma' -> 0 is the Euler law.
Dual<3> elerian(double x, double next, double dt, const Dual<3>& b, const Dual<3>& s, const Dual<3>& slope) {
  const Dual<3> r = (next - x) - b * dt + 0.5 * dt * s * slope, inside = 1 + 2.0 * slope * r / s;
  if (!(inside.v > 0)) return -infinity;
  const Dual<3> root = sqrt(inside), z = 2.0 * r / (std::sqrt(dt) * s * (1 + root));
  Dual<3> out = -0.5 * z * z - log(s) - log(root) - 0.5 * std::log(2 * std::numbers::pi * dt);
  const double exponent = -2 * root.v / (slope.v * slope.v * dt);  // -infinity for sigma' = 0
  if (exponent > -40) out += log1p(exp(-2.0 * root / (slope * slope * dt)));
  return out;
}

}  // namespace

Jets::Jets(const Diffusion& diffusion, const ConstVectorRef& x, int drift_order, int diffusion_order) {
  using Coefficient = DiffusionFamily::Coefficient;
  const DiffusionFamily& family = diffusion.family();
  const Vector& theta = diffusion.parameters();
  const auto size = [&](std::vector<Vector>& value, std::vector<Matrix>& gradient, int orders) {
    for (int k = 0; k < orders; ++k) {
      value.emplace_back(x.size());
      gradient.emplace_back(theta.size(), x.size());
    }
  };
  size(b, db, drift_order + 1);
  if (drift_order >= 0) family.jet(Coefficient::drift, x, theta, b, db);
  size(s, ds, family.constant_diffusion() ? 1 : diffusion_order + 1);
  family.jet(Coefficient::diffusion, x, theta, s, ds);
  for (int k = static_cast<int>(s.size()); k <= diffusion_order; ++k) {
    s.emplace_back(Vector::Zero(x.size()));
    ds.emplace_back(Matrix::Zero(theta.size(), x.size()));
  }
}

Terms local_terms(const Transitions& data, const Diffusion& diffusion, Transition scheme) {
  const Index n = data.size(), count = diffusion.parameters().size();
  Terms out(count, n);
  Vector d_mean(count), d_variance(count);
  if (scheme != Transition::elerian) out.expected = Matrix::Zero(count, count);
  in_blocks(n, [&](Index first, Index size) {
    const Jets at(diffusion, data.from.segment(first, size), scheme == Transition::shoji_ozaki ? 2 : (scheme == Transition::ozaki ? 1 : 0), scheme == Transition::elerian ? 1 : 0);
    for (Index i = 0; i < size; ++i) {
      const Index t = first + i;
      const double x = data.from[t], next = data.next[t], dt = data.dt[t], b = at.b[0][i], s = at.s[0][i];
      if (!(s > 0)) {
        out.log_density[t] = -infinity;
        out.scores.col(t).setZero();
        continue;
      }
      switch (scheme) {
        case Transition::shoji_ozaki:
          add_gaussian<4>(shoji_ozaki(x, dt, b, at.b[1][i], at.b[2][i], s), next, {&at.db[0], &at.db[1], &at.db[2], &at.ds[0]}, i, t, d_mean, d_variance, out);
          break;
        case Transition::ozaki:
          add_gaussian<3>(ozaki(x, dt, Dual<3>::input(b, 0), Dual<3>::input(at.b[1][i], 1), Dual<3>::input(s, 2)), next, {&at.db[0], &at.db[1], &at.ds[0]}, i, t, d_mean, d_variance, out);
          break;
        case Transition::elerian: {
          const Dual<3> value = elerian(x, next, dt, Dual<3>::input(b, 0), Dual<3>::input(s, 1), Dual<3>::input(at.s[1][i], 2));
          out.log_density[t] = value.v;
          for (Index j = 0; j < count; ++j) out.scores(j, t) = value.d[0] * at.db[0](j, i) + value.d[1] * at.ds[0](j, i) + value.d[2] * at.ds[1](j, i);
          break;
        }
        default: add_gaussian<2>(euler(x, dt, b, s), next, {&at.db[0], &at.ds[0]}, i, t, d_mean, d_variance, out);
      }
    }
  });
  if (out.expected.size() > 0) out.expected = Matrix(out.expected.selfadjointView<Eigen::Upper>());
  return out;
}

}  // namespace jko::estimators
