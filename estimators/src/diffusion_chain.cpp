#include "diffusion_chain.hpp"

#include <algorithm>
#include <cmath>
#include <complex>
#include <numbers>

namespace jko::estimators {
namespace {

using Coefficient = DiffusionFamily::Coefficient;
using Complex = std::complex<double>;
constexpr int points = 24;  // of the contour: 3.89^-24 = 7e-15

/// q coth q and its derivative.
struct Fitted {
  double value, slope;
};
Fitted fitted(double q) {
  if (std::abs(q) < 1e-2) {  // 1 + q^2/3 - q^4/45 + 2 q^6/945
    const double s = q * q;
    return {1 + s * (1.0 / 3 - s * (1.0 / 45 - s * (2.0 / 945))), q * (2.0 / 3 - s * (4.0 / 45 - s * (12.0 / 945)))};
  }
  const double tangent = std::tanh(q), inverse = 1 / tangent;
  const double sinh = std::abs(q) < 350 ? std::sinh(q) : 1e150;
  return {q * inverse, inverse - q / (sinh * sinh)};
}

/// One point of the contour: z and the factor of the resolvent, for Re(factor R(z)); the conjugate points are in it.
struct Pole {
  Complex z, factor;
};
std::vector<Pole> contour() {
  std::vector<Pole> out;
  const double n = points;
  for (int k = 0; k < points / 2; ++k) {
    const double theta = (2 * k + 1) * std::numbers::pi / n, a = 0.6407 * theta, cotangent = 1 / std::tan(a), sine = std::sin(a);
    const Complex z = n * Complex(0.5017 * theta * cotangent - 0.6122, 0.2645 * theta), slope = n * Complex(0.5017 * (cotangent - a / (sine * sine)), 0.2645);
    out.push_back({z, 2.0 / n * std::exp(z) * slope * Complex(0, -1)});
  }
  return out;
}

/// Rows of complex numbers, a column a node.
struct Planes {
  Matrix re, im;
};

}  // namespace

ChainGrid::ChainGrid(const Diffusion& diffusion, double lower, double upper, double margin, Index cells) : map_(diffusion, lower, upper, margin), ok_(map_.ok()) {
  if (!ok_) return;
  h_ = length() / static_cast<double>(cells);
  Vector y(cells);
  for (Index i = 0; i < cells; ++i) y[i] = map_.first() + (static_cast<double>(i) + 0.5) * h_;
  x_ = map_.inverse(y);
  weight_ = h_ * diffusion.family().evaluate(Coefficient::diffusion, {}, x_.transpose(), diffusion.parameters()).row(0).transpose();
  ok_ = std::isfinite(h_) && h_ > 0 && weight_.allFinite() && (x_.tail(cells - 1) - x_.head(cells - 1)).minCoeff() > 0;
}

Vector ChainGrid::position(const ConstVectorRef& where) const { return (map_.forward(where).array() - map_.first()) / h_ - 0.5; }

DiffusionChain::DiffusionChain(const Diffusion& diffusion, const ConstVectorRef& nodes, bool with_gradient) {
  const Index n = nodes.size();
  const Matrix x = nodes.transpose();
  const auto evaluate = [&](Coefficient c, int order) { return diffusion.family().evaluate(c, {0, order}, x, diffusion.parameters()); };
  const Matrix b = evaluate(Coefficient::drift, 0), sigma = evaluate(Coefficient::diffusion, 0);
  Matrix db, dsigma;
  if (with_gradient) db = evaluate(Coefficient::drift, 1), dsigma = evaluate(Coefficient::diffusion, 1);
  ok_ = b.allFinite() && sigma.allFinite() && sigma.minCoeff() > 0 && (!with_gradient || (db.allFinite() && dsigma.allFinite()));
  up_ = down_ = Vector::Zero(n);
  if (!ok_) return;
  d_up_ = d_down_ = Matrix::Zero(db.rows(), with_gradient ? n : 0);
  for (Index i = 0; i < n; ++i) {
    const double above = i + 1 < n ? nodes[i + 1] - nodes[i] : nodes[i] - nodes[i - 1], below = i > 0 ? nodes[i] - nodes[i - 1] : above;
    const double d = std::max(above, below), s2 = sigma(0, i) * sigma(0, i), q = b(0, i) * d / s2, sum = above + below;
    const Fitted f = fitted(q);
    const double s = s2 * f.value;
    // A jump beyond an end lands where it began: the mirror image.
    if (i + 1 < n) up_[i] = (s + b(0, i) * below) / (above * sum);
    if (i > 0) down_[i] = (s - b(0, i) * above) / (below * sum);
    for (Index j = 0; j < db.rows(); ++j) {
      const double d_s2 = 2 * sigma(0, i) * dsigma(j, i), ds = d_s2 * f.value + s2 * f.slope * (db(j, i) * d - q * d_s2) / s2;
      if (i + 1 < n) d_up_(j, i) = (ds + db(j, i) * below) / (above * sum);
      if (i > 0) d_down_(j, i) = (ds - db(j, i) * above) / (below * sum);
    }
  }
}

DiffusionChain::Rows DiffusionChain::forward(double dt, const Rows& rows) const {
  static const std::vector<Pole> poles = contour();
  const Index n = size(), r = rows.value.rows(), count = d_up_.rows();
  Rows out{Matrix::Zero(r, n), std::vector<Matrix>(static_cast<std::size_t>(count), Matrix::Zero(r, n))};
  constexpr Index block = 32;  // rows at once: their planes stay in the cache
  std::vector<Complex> diagonal(static_cast<std::size_t>(n));
  for (const Pole& pole : poles) {
    // X (z - dt Q) = M, node by node: -dt up[k-1] X_{k-1} + (z + dt (up[k] + down[k])) X_k - dt down[k+1] X_{k+1} = M_k, by elimination without pivoting.
    for (Index k = 0; k < n; ++k) {
      Complex pivot = pole.z + dt * (up_[k] + down_[k]);
      if (k > 0) pivot -= dt * dt * up_[k - 1] * down_[k] * diagonal[static_cast<std::size_t>(k - 1)];
      diagonal[static_cast<std::size_t>(k)] = 1.0 / pivot;
    }
    const auto solve = [&](Planes& m) {
      for (Index k = 1; k < n; ++k) {
        const Complex l = dt * up_[k - 1] * diagonal[static_cast<std::size_t>(k - 1)];
        m.re.col(k) += l.real() * m.re.col(k - 1) - l.imag() * m.im.col(k - 1);
        m.im.col(k) += l.real() * m.im.col(k - 1) + l.imag() * m.re.col(k - 1);
      }
      Vector re, im;
      for (Index k = n - 1; k >= 0; --k) {
        re = m.re.col(k), im = m.im.col(k);
        if (k + 1 < n) re += dt * down_[k + 1] * m.re.col(k + 1), im += dt * down_[k + 1] * m.im.col(k + 1);
        const Complex w = diagonal[static_cast<std::size_t>(k)];
        m.re.col(k) = w.real() * re - w.imag() * im;
        m.im.col(k) = w.real() * im + w.imag() * re;
      }
    };
    for (Index first = 0; first < r; first += block) {
      const Index size = std::min(block, r - first);
      Planes x{rows.value.middleRows(first, size), Matrix::Zero(size, n)};
      solve(x);
      out.value.middleRows(first, size) += pole.factor.real() * x.re - pole.factor.imag() * x.im;
      for (Index j = 0; j < count; ++j) {
        const auto p = static_cast<std::size_t>(j);
        // dX (z - dt Q) = dM + dt X dQ
        Planes d{rows.by_theta.empty() ? Matrix::Zero(size, n) : Matrix(rows.by_theta[p].middleRows(first, size)), Matrix::Zero(size, n)};
        const auto add = [&](Matrix& to, const Matrix& from) {
          for (Index k = 0; k < n; ++k) {
            to.col(k) -= dt * (d_up_(j, k) + d_down_(j, k)) * from.col(k);
            if (k > 0) to.col(k) += dt * d_up_(j, k - 1) * from.col(k - 1);
            if (k + 1 < n) to.col(k) += dt * d_down_(j, k + 1) * from.col(k + 1);
          }
        };
        add(d.re, x.re);
        add(d.im, x.im);
        solve(d);
        out.by_theta[p].middleRows(first, size) += pole.factor.real() * d.re - pole.factor.imag() * d.im;
      }
    }
  }
  return out;
}

}  // namespace jko::estimators
