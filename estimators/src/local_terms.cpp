// Euler, Elerian (Milstein), Ozaki, Shoji-Ozaki: laws that need b and sigma at the starting point only.
#include "diffusion_terms.hpp"
#include "dual.hpp"
#include "phi_functions.hpp"

#include <cmath>
#include <limits>
#include <numbers>

namespace jko::estimators {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

template <int N>
struct Law {
  Dual<N> mean, variance;
};

template <int N>
Dual<N> phi_one(const Dual<N>& z) {
  const Phi f = phi(z.v);
  return z.chain(f.one, f.one - f.two);
}
template <int N>
Dual<N> phi_two(const Dual<N>& z) {
  const Phi f = phi(z.v);
  return z.chain(f.two, f.two - 2 * f.three);
}

Law<2> euler(double x, double dt, const Dual<2>& b, const Dual<2>& s) { return {x + b * dt, s * s * dt}; }

/// The drift replaced by its local linearisation with the Ito term; sigma frozen.
Law<4> shoji_ozaki(double x, double dt, const Dual<4>& b, const Dual<4>& slope, const Dual<4>& bend, const Dual<4>& s) {
  const Dual<4> z = slope * dt, square = s * s;
  return {x + b * dt * phi_one(z) + 0.5 * dt * dt * square * bend * phi_two(z), square * dt * phi_one(2.0 * z)};
}

/// [Iacus2008]: the linear equation dX = K X dt with the same mean. K is undefined where the mean changes sign; the form is not translation invariant.
Law<3> ozaki(double x, double dt, const Dual<3>& b, const Dual<3>& slope, const Dual<3>& s) {
  const Dual<3> shift = b * dt * phi_one(slope * dt), rate = log1p(shift / x) / dt;
  return {x + shift, s * s * dt * phi_one(2.0 * dt * rate)};
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

/// Accumulates a Gaussian law into the terms.
template <int N>
void add(const Law<N>& law, double next, const std::array<const Matrix*, static_cast<std::size_t>(N)>& inputs, Index i, Vector& d_mean, Vector& d_variance, Terms& out) {
  const double v = law.variance.v, residual = next - law.mean.v, z = residual / v;
  if (!(v > 0 && std::isfinite(v) && std::isfinite(residual))) {
    out.log_density[i] = -infinity;
    return;
  }
  out.log_density[i] = -0.5 * (std::log(2 * std::numbers::pi * v) + residual * z);
  const Index count = out.scores.rows();
  for (Index j = 0; j < count; ++j) {
    double m = 0, s = 0;
    for (std::size_t k = 0; k < N; ++k) {
      const double by = (*inputs[k])(j, i);
      m += law.mean.d[k] * by;
      s += law.variance.d[k] * by;
    }
    d_mean[j] = m;
    d_variance[j] = s;
    out.scores(j, i) = m * z + 0.5 * s * (z * z - 1 / v);
  }
  for (Index a = 0; a < count; ++a) {
    for (Index b = a; b < count; ++b) out.expected(a, b) += d_mean[a] * d_mean[b] / v + 0.5 * d_variance[a] * d_variance[b] / (v * v);
  }
}

}  // namespace

Jets::Jets(const Diffusion& diffusion, const ConstVectorRef& x, int drift_order, int diffusion_order) {
  using Coefficient = DiffusionFamily::Coefficient;
  const DiffusionFamily& family = diffusion.family();
  const Matrix points = x.transpose();
  const Vector& theta = diffusion.parameters();
  for (int k = 0; k <= drift_order; ++k) {
    b.emplace_back(family.evaluate(Coefficient::drift, {k, 0}, points, theta).row(0).transpose());
    db.push_back(family.evaluate(Coefficient::drift, {k, 1}, points, theta));
  }
  for (int k = 0; k <= diffusion_order; ++k) {
    if (k > 0 && family.constant_diffusion()) {
      s.emplace_back(Vector::Zero(x.size()));
      ds.emplace_back(Matrix::Zero(theta.size(), x.size()));
      continue;
    }
    s.emplace_back(family.evaluate(Coefficient::diffusion, {k, 0}, points, theta).row(0).transpose());
    ds.push_back(family.evaluate(Coefficient::diffusion, {k, 1}, points, theta));
  }
}

Terms local_terms(const Transitions& data, const Diffusion& diffusion, Transition scheme) {
  const Vector from = data.from(), next = data.next();
  const Index n = data.size(), count = diffusion.parameters().size();
  const Jets at(diffusion, from, scheme == Transition::shoji_ozaki ? 2 : (scheme == Transition::ozaki ? 1 : 0), scheme == Transition::elerian ? 1 : 0);
  Terms out(count, n);
  out.scores.setZero();
  Vector d_mean(count), d_variance(count);
  if (scheme != Transition::elerian) out.expected = Matrix::Zero(count, count);
  for (Index i = 0; i < n; ++i) {
    const double x = from[i], dt = data.dt[i], b = at.b[0][i], s = at.s[0][i];
    if (!(s > 0)) {
      out.log_density[i] = -infinity;
      continue;
    }
    switch (scheme) {
      case Transition::shoji_ozaki:
        add<4>(shoji_ozaki(x, dt, Dual<4>::input(b, 0), Dual<4>::input(at.b[1][i], 1), Dual<4>::input(at.b[2][i], 2), Dual<4>::input(s, 3)), next[i], {&at.db[0], &at.db[1], &at.db[2], &at.ds[0]}, i,
               d_mean, d_variance, out);
        break;
      case Transition::ozaki:
        add<3>(ozaki(x, dt, Dual<3>::input(b, 0), Dual<3>::input(at.b[1][i], 1), Dual<3>::input(s, 2)), next[i], {&at.db[0], &at.db[1], &at.ds[0]}, i, d_mean, d_variance, out);
        break;
      case Transition::elerian: {
        const Dual<3> value = elerian(x, next[i], dt, Dual<3>::input(b, 0), Dual<3>::input(s, 1), Dual<3>::input(at.s[1][i], 2));
        out.log_density[i] = value.v;
        for (Index j = 0; j < count; ++j) out.scores(j, i) = value.d[0] * at.db[0](j, i) + value.d[1] * at.ds[0](j, i) + value.d[2] * at.ds[1](j, i);
        break;
      }
      default: add<2>(euler(x, dt, Dual<2>::input(b, 0), Dual<2>::input(s, 1)), next[i], {&at.db[0], &at.ds[0]}, i, d_mean, d_variance, out);
    }
  }
  if (out.expected.size() > 0) out.expected = Matrix(out.expected.selfadjointView<Eigen::Upper>());
  return out;
}

}  // namespace jko::estimators
