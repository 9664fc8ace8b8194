// Strang splitting ([PilipovicSamsonDitlevsen2024]): half a step of the nonlinear flow, a whole step of the linear stochastic equation, half a step of the nonlinear flow.
#include "diffusion_terms.hpp"
#include "phi_functions.hpp"
#include "spectral_function.hpp"
#include "unit_drift.hpp"

#include <jko/core/error.hpp>

#include <Eigen/Cholesky>
#include <Eigen/LU>
#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <numbers>

namespace jko::estimators {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr int newton_steps = 50;

/// The drift of the linear part, c + A (x - r), r a fixed point of the drift F: that which damped Newton steps reach from the origin, so that it depends on theta alone. Where there is none (or F' is singular) r = 0, and
/// c = F(0) stays in the linear part. N = F - c - A (x - r) is what is left, of second order at r. All derivatives in theta are total: r moves with it.
struct Linear {
  Vector r, c;
  Matrix a, d_r, d_c;        // d_r, d_c: d x p
  std::vector<Matrix> d_a;
};

/// F and its derivatives at columns of points: drift d x n, slope d^2 x n, laplacian gradient-like parts below.
class Drift {
 public:
  virtual ~Drift() = default;
  [[nodiscard]] virtual Index dimension() const = 0;
  [[nodiscard]] virtual Index count() const = 0;  ///< parameters of the drift
  /// The derivative of order `which` of F: d^{1 + which.x} p^{which.theta} rows, the component of F fastest.
  [[nodiscard]] virtual Matrix operator()(Derivative which, const ConstMatrixRef& points) const = 0;
};

class PotentialDrift final : public Drift {
 public:
  explicit PotentialDrift(const Model& model) : model_(model) {}
  [[nodiscard]] Index dimension() const override { return model_.dimension(); }
  [[nodiscard]] Index count() const override { return model_.theta().size(); }
  [[nodiscard]] Matrix operator()(Derivative which, const ConstMatrixRef& points) const override { return -model_.potential().evaluate({which.x + 1, which.theta}, points, model_.theta()); }

 private:
  const Model& model_;
};

class ScalarDrift final : public Drift {
 public:
  explicit ScalarDrift(const Diffusion& diffusion) : diffusion_(diffusion) {}
  [[nodiscard]] Index dimension() const override { return 1; }
  [[nodiscard]] Index count() const override { return diffusion_.parameters().size(); }
  [[nodiscard]] Matrix operator()(Derivative which, const ConstMatrixRef& points) const override {
    return diffusion_.family().evaluate(DiffusionFamily::Coefficient::drift, which, points, diffusion_.parameters());
  }

 private:
  const Diffusion& diffusion_;
};

Linear linear_part(const Drift& drift) {
  const Index d = drift.dimension(), p = drift.count();
  Linear out;
  out.r = Vector::Zero(d);
  bool found = false;
  double size = drift({0, 0}, out.r).norm();
  for (int k = 0; k < newton_steps && std::isfinite(size); ++k) {
    const Matrix slope = drift({1, 0}, out.r).reshaped(d, d);
    const Eigen::FullPivLU<Matrix> solver(slope);
    if (!slope.allFinite() || !solver.isInvertible()) break;
    if (size <= 1e-14 * (1 + slope.norm() * (1 + out.r.norm()))) {
      found = true;
      break;
    }
    Vector step = -solver.solve(Vector(drift({0, 0}, out.r).col(0)));
    double next = infinity;
    for (int halving = 0; halving < 30; ++halving, step *= 0.5) {
      next = drift({0, 0}, Vector(out.r + step)).norm();
      if (next < size) break;
    }
    if (!(next < size)) {  // at rounding, or a minimum of |F| that is no zero
      found = size <= 1e-9 * (1 + slope.norm() * (1 + out.r.norm()));
      break;
    }
    out.r += step;
    size = next;
  }
  if (!found) out.r.setZero();
  out.c = drift({0, 0}, out.r).col(0);
  out.a = drift({1, 0}, out.r).reshaped(d, d);
  const Matrix d_f = drift({0, 1}, out.r).reshaped(d, p);
  out.d_r = found ? Matrix(-Eigen::FullPivLU<Matrix>(out.a).solve(d_f)) : Matrix::Zero(d, p);
  out.d_c = d_f + out.a * out.d_r;
  const Matrix bend = drift({2, 0}, out.r).reshaped(d * d, d), d_slope = drift({1, 1}, out.r).reshaped(d * d, p);
  for (Index j = 0; j < p; ++j) out.d_a.emplace_back(Vector(d_slope.col(j) + bend * out.d_r.col(j)).reshaped(d, d));
  return out;
}

/// mu of Y = int dx/sigma.
class LampertiDrift final : public Drift {
 public:
  explicit LampertiDrift(const UnitDrift& unit) : unit_(unit) {}
  [[nodiscard]] Index dimension() const override { return 1; }
  [[nodiscard]] Index count() const override { return unit_.count(); }
  [[nodiscard]] Matrix operator()(Derivative which, const ConstMatrixRef& points) const override {
    // The derivatives at the same points are asked for one after another.
    if (points_.cols() != points.cols() || points_ != points) points_ = points, jet_ = unit_.at_y(points.row(0).transpose());
    const auto k = static_cast<std::size_t>(which.x);
    return which.theta > 0 ? jet_.by_theta[k] : Matrix(jet_.value[k].transpose());
  }

 private:
  const UnitDrift& unit_;
  mutable Matrix points_;
  mutable UnitDrift::Jet jet_;
};

/// Points under x' = N(x) with their derivatives in theta, and for a backward flow the logarithm of the Jacobian.
struct Flowed {
  Matrix x, d_x;        // d x n, (d p) x n
  Matrix log_jacobian;  // 1 x n
  Matrix d_jacobian;    // p x n
};

/// Classical Runge-Kutta steps of the flow with its variational equations: the derivatives are exactly those of the discrete flow. time: signed, one a column.
/// d_start: the start's own derivatives in theta.
Flowed flow(const Drift& drift, const Linear& linear, const ConstMatrixRef& start, const Matrix& d_start, const ConstVectorRef& time, int substeps, bool with_jacobian) {
  const Index d = drift.dimension(), p = drift.count(), n = start.cols();
  Flowed out{start, d_start, Matrix::Zero(1, n), Matrix::Zero(p, n)};
  const auto rate = [&](const Flowed& at) {
    Flowed k{drift({0, 0}, at.x), drift({0, 1}, at.x), Matrix::Zero(1, n), Matrix::Zero(p, n)};
    const Matrix slope = drift({1, 0}, at.x);
    Matrix bend, d_slope;
    if (with_jacobian) bend = drift({2, 0}, at.x), d_slope = drift({1, 1}, at.x);
    if (d == 1) {  // the same, written out: the hot path
      for (Index i = 0; i < n; ++i) {
        const double y = at.x(0, i) - linear.r[0], s = slope(0, i) - linear.a(0, 0);
        k.x(0, i) -= linear.c[0] + linear.a(0, 0) * y;
        for (Index j = 0; j < p; ++j) k.d_x(j, i) += -linear.d_c(0, j) - linear.d_a[static_cast<std::size_t>(j)](0, 0) * y + linear.a(0, 0) * linear.d_r(0, j) + s * at.d_x(j, i);
        if (!with_jacobian) continue;
        k.log_jacobian(0, i) = s;
        for (Index j = 0; j < p; ++j) k.d_jacobian(j, i) = bend(0, i) * at.d_x(j, i) + d_slope(j, i) - linear.d_a[static_cast<std::size_t>(j)](0, 0);
      }
      return k;
    }
    for (Index i = 0; i < n; ++i) {
      const Vector y = at.x.col(i) - linear.r;
      const Matrix s = slope.col(i).reshaped(d, d) - linear.a;
      k.x.col(i) -= linear.c + linear.a * y;
      for (Index j = 0; j < p; ++j) {
        k.d_x.col(i).segment(d * j, d) += -linear.d_c.col(j) - linear.d_a[static_cast<std::size_t>(j)] * y + linear.a * linear.d_r.col(j) + s * at.d_x.col(i).segment(d * j, d);
      }
      if (!with_jacobian) continue;
      k.log_jacobian(0, i) = s.trace();
      Vector trace_slope = Vector::Zero(d);  // d/dx_m of the divergence
      for (Index m = 0; m < d; ++m) {
        for (Index q = 0; q < d; ++q) trace_slope[m] += bend(q + d * q + d * d * m, i);
      }
      for (Index j = 0; j < p; ++j) {
        double own = -linear.d_a[static_cast<std::size_t>(j)].trace();
        for (Index q = 0; q < d; ++q) own += d_slope(q + d * q + d * d * j, i);
        k.d_jacobian(j, i) = own + trace_slope.dot(at.d_x.col(i).segment(d * j, d));
      }
    }
    return k;
  };
  const Vector h = time / substeps;
  /// Beyond the rule's limit of stability a step says nothing of the flow, which may have exploded.
  const auto check = [&](Flowed& at) {
    const Matrix slope = drift({1, 0}, at.x);
    for (Index i = 0; i < n; ++i) {
      if (!((slope.col(i) - linear.a.reshaped()).norm() * std::abs(h[i]) < 2.5)) at.x.col(i).setConstant(std::numeric_limits<double>::quiet_NaN());
    }
  };
  const auto moved = [&](const Flowed& k, double factor) {
    const auto w = (factor * h).asDiagonal();
    return Flowed{out.x + k.x * w, out.d_x + k.d_x * w, out.log_jacobian + k.log_jacobian * w, out.d_jacobian + k.d_jacobian * w};
  };
  for (int s = 0; s < substeps; ++s) {
    const Flowed k1 = rate(out), k2 = rate(moved(k1, 0.5)), k3 = rate(moved(k2, 0.5)), k4 = rate(moved(k3, 1));
    const auto w = (h / 6).asDiagonal();
    out.x += (k1.x + 2 * k2.x + 2 * k3.x + k4.x) * w;
    out.d_x += (k1.d_x + 2 * k2.d_x + 2 * k3.d_x + k4.d_x) * w;
    if (!with_jacobian) continue;
    out.log_jacobian += (k1.log_jacobian + 2 * k2.log_jacobian + 2 * k3.log_jacobian + k4.log_jacobian) * w;
    out.d_jacobian += (k1.d_jacobian + 2 * k2.d_jacobian + 2 * k3.d_jacobian + k4.d_jacobian) * w;
  }
  check(out);
  return out;
}

/// The linear step x -> N(x + dt phi_1(A dt) (c + A (x - r)), s dt phi_1(2 A dt)), A symmetric, with the derivatives of its matrices.
struct LinearStep {
  Matrix gain, covariance;  // gain = dt phi_1(A dt); the covariance per unit of s
  std::vector<Matrix> d_gain, d_covariance;
  LinearStep(const Linear& linear, double dt) {
    const Eigen::SelfAdjointEigenSolver<Matrix> e(dt * linear.a);
    const Matrix q = e.eigenvectors();
    const Vector z = e.eigenvalues();
    const auto one = spectral(q, z, [](double v) { return phi(v).one; }, [](double v) { return phi(v).one - phi(v).two; });
    const auto spread = spectral(q, z, [](double v) { return phi(2 * v).one; }, [](double v) { return 2 * (phi(2 * v).one - phi(2 * v).two); });
    gain = dt * one.matrix();
    covariance = dt * spread.matrix();
    for (const Matrix& da : linear.d_a) {
      const Matrix rotated = dt * q.transpose() * da * q;
      d_gain.emplace_back(dt * one.derivative(rotated));
      d_covariance.emplace_back(dt * spread.derivative(rotated));
    }
  }
};

/// from, next: d x n, with their derivatives in theta. noise: sigma^2 with its derivatives in the full parameter vector, whose first entries are those of the drift.
void add_terms(const Drift& drift, const Linear& linear, const Matrix& from, const Matrix& next, const Matrix& d_from, const Matrix& d_next, const Vector& dt, double noise, const Vector& d_noise, int substeps, Index first, Terms& out) {
  const Index d = drift.dimension(), p = drift.count(), count = d_noise.size(), n = dt.size();
  const Flowed begin = flow(drift, linear, from, d_from, 0.5 * dt, substeps, false), end = flow(drift, linear, next, d_next, -0.5 * dt, substeps, true);
  double known = -1;
  std::optional<LinearStep> step;
  Eigen::LLT<Matrix> factor;
  double half_log_determinant = 0;
  std::vector<Matrix> whitened;
  for (Index i = 0; i < n; ++i) {
    const Index t = first + i;
    if (dt[i] != known) {
      known = dt[i];
      step.emplace(linear, known);
      factor.compute(step->covariance);
      if (factor.info() == Eigen::Success) half_log_determinant = Matrix(factor.matrixL()).diagonal().array().log().sum();
      whitened.clear();
      for (const Matrix& dv : step->d_covariance) whitened.emplace_back(factor.solve(dv));
    }
    const Vector y = begin.x.col(i) - linear.r, rate = linear.c + linear.a * y;
    const Vector residual = end.x.col(i) - begin.x.col(i) - step->gain * rate;
    const double jacobian = end.log_jacobian(0, i);
    if (factor.info() != Eigen::Success || !residual.allFinite() || !std::isfinite(jacobian) || !(noise > 0)) {
      out.log_density[t] = -infinity;
      out.scores.col(t).setZero();
      continue;
    }
    const Vector weighted = factor.solve(residual) / noise;
    const double square = residual.dot(weighted);
    out.log_density[t] = -0.5 * (static_cast<double>(d) * std::log(2 * std::numbers::pi * noise) + square) - half_log_determinant + jacobian;
    for (Index j = 0; j < p; ++j) {
      const auto k = static_cast<std::size_t>(j);
      const Vector d_begin = begin.d_x.col(i).segment(d * j, d);
      const Vector d_rate = linear.d_c.col(j) + linear.d_a[k] * y + linear.a * (d_begin - linear.d_r.col(j));
      const Vector d_residual = end.d_x.col(i).segment(d * j, d) - d_begin - step->d_gain[k] * rate - step->gain * d_rate;
      out.scores(j, t) = -weighted.dot(d_residual) + 0.5 * (noise * weighted.dot(step->d_covariance[k] * weighted) - whitened[k].trace()) + end.d_jacobian(j, i);
    }
    for (Index j = p; j < count; ++j) out.scores(j, t) = 0;
    for (Index j = 0; j < count; ++j) out.scores(j, t) += d_noise[j] * 0.5 / noise * (square - static_cast<double>(d));
  }
}

int substeps_of(int level) { return 2 << level; }

}  // namespace

namespace {

/// For Y = int dx/sigma, of unit diffusion: log p(x' | x) = log p(y' | y) - log sigma(x').
Terms lamperti_strang_terms(const Transitions& data, const Diffusion& diffusion, int level) {
  Terms out(diffusion.parameters().size(), data.size());
  const double low = data.x.minCoeff(), high = data.x.maxCoeff(), root = std::sqrt(data.dt.maxCoeff());
  // The flows leave the data's range by some of their own; what leaves this one is inadmissible.
  const LampertiMap map(diffusion, low, high, 0);
  const UnitDrift unit(diffusion, low, high, 5 * root + (map.ok() ? map.last() - map.first() : 0));
  if (!unit.ok()) {
    out.log_density.setConstant(-infinity);
    out.scores.setZero();
    return out;
  }
  const LampertiDrift drift(unit);
  const Linear linear = linear_part(drift);
  const Vector none = Vector::Zero(out.scores.rows());
  in_blocks(data.size(), [&](Index first, Index size) {
    const Vector from = data.from.segment(first, size), next = data.next.segment(first, size);
    add_terms(drift, linear, unit.forward(from).transpose(), unit.forward(next).transpose(), unit.d_forward(from), unit.d_forward(next), data.dt.segment(first, size), 1, none, substeps_of(level), first, out);
    const Jets sigma(diffusion, next, -1, 0);
    out.log_density.segment(first, size).array() -= sigma.s[0].array().log();
    out.scores.middleCols(first, size) -= sigma.ds[0] * sigma.s[0].cwiseInverse().asDiagonal();
  });
  return out;
}

}  // namespace

Terms strang_terms(const Transitions& data, const Diffusion& diffusion, int level) {
  if (!diffusion.family().constant_diffusion()) return lamperti_strang_terms(data, diffusion, level);
  const ScalarDrift drift(diffusion);
  const Linear linear = linear_part(drift);
  const Matrix origin = Matrix::Constant(1, 1, linear.r[0]);
  using Coefficient = DiffusionFamily::Coefficient;
  const double sigma = diffusion.family().evaluate(Coefficient::diffusion, {}, origin, diffusion.parameters())(0, 0);
  const Vector d_sigma = diffusion.family().evaluate(Coefficient::diffusion, {0, 1}, origin, diffusion.parameters()).col(0);
  Terms out(diffusion.parameters().size(), data.size());
  in_blocks(data.size(), [&](Index first, Index size) {
    const Matrix still = Matrix::Zero(diffusion.parameters().size(), size);
    add_terms(drift, linear, data.from.segment(first, size).transpose(), data.next.segment(first, size).transpose(), still, still, data.dt.segment(first, size), sigma * sigma, 2 * sigma * d_sigma, substeps_of(level), first, out);
  });
  return out;
}

Terms strang_terms(const Panel& panel, const Model& model, int level) {
  const PotentialDrift drift(model);
  const Linear linear = linear_part(drift);
  Index total = 0;
  for (const Path& path : panel) total += path.transitions();
  Terms out(model.theta().size() + 1, total);
  Vector d_noise = Vector::Zero(out.scores.rows());
  d_noise[d_noise.size() - 1] = -2 / (model.beta() * model.beta());
  Index at = 0;
  for (const Path& path : panel) {
    const Vector dt = path.times.tail(path.transitions()) - path.times.head(path.transitions());
    in_blocks(path.transitions(), [&](Index first, Index size) {
      const Matrix still = Matrix::Zero(model.dimension() * model.theta().size(), size);
      add_terms(drift, linear, path.values.middleCols(first, size), path.values.middleCols(first + 1, size), still, still, dt.segment(first, size), 2 / model.beta(), d_noise, substeps_of(level), at + first, out);
    });
    at += path.transitions();
  }
  return out;
}

}  // namespace jko::estimators
