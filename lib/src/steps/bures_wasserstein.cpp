#include <jko/steps/bures_wasserstein.hpp>

#include <jko/core/check.hpp>
#include <jko/core/random.hpp>

#include <Eigen/Cholesky>
#include <Eigen/Eigenvalues>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

namespace jko {
namespace {

Matrix symmetric(const Matrix& a) { return 0.5 * (a + a.transpose()); }

struct Rule {
  Matrix points;   // d x n, for the standard normal
  Vector weights;
};

/// Gauss-Hermite by the eigenvalues of the Jacobi matrix (off-diagonal sqrt(k)), as a tensor product.
Rule hermite(int d, int nodes) {
  Matrix jacobi = Matrix::Zero(nodes, nodes);
  for (Index k = 1; k < nodes; ++k) jacobi(k, k - 1) = jacobi(k - 1, k) = std::sqrt(static_cast<double>(k));
  const Eigen::SelfAdjointEigenSolver<Matrix> e(jacobi);
  const auto total = static_cast<Index>(std::llround(std::pow(nodes, d)));
  Rule rule{Matrix(d, total), Vector::Ones(total)};
  for (Index i = 0; i < total; ++i) {
    for (Index k = 0, rest = i; k < d; ++k, rest /= nodes) {
      rule.points(k, i) = e.eigenvalues()[rest % nodes];
      rule.weights[i] *= std::pow(e.eigenvectors()(0, rest % nodes), 2);
    }
  }
  return rule;
}

Rule monte_carlo(int d, int samples, std::uint64_t seed, int k) {
  const Index n = samples / 2 * 2;
  RandomStream random(seed, "bures-wasserstein", static_cast<std::uint64_t>(k));
  Rule rule{Matrix(d, n), Vector::Constant(n, 1.0 / static_cast<double>(n))};
  for (Index i = 0; i < n; i += 2) {
    random.fill_normal(rule.points.col(i));
    rule.points.col(i + 1) = -rule.points.col(i);
  }
  return rule;
}

struct Moments {
  double value = 0;
  Vector gradient;
  Matrix hessian;
};

Moments expectations(const Target& target, const Gaussian& g, const Rule& rule) {
  const Index d = g.dimension();
  const Eigen::LLT<Matrix> cholesky(g.covariance());
  const Matrix points = (Matrix(cholesky.matrixL()) * rule.points).colwise() + g.mean();
  Moments m;
  m.value = target.value(points).dot(rule.weights);
  const Matrix gradient = target.gradient(points);
  m.gradient = gradient * rule.weights;
  if (target.hessian) {
    m.hessian = symmetric((target.hessian(points) * rule.weights).reshaped(d, d));
  } else {
    m.hessian = symmetric(cholesky.matrixU().solve(rule.points * rule.weights.asDiagonal() * gradient.transpose()));
  }
  return m;
}

double gradient_norm(const Moments& m, const Gaussian& g) {
  const Index d = g.dimension();
  const Matrix field = m.hessian - g.covariance().llt().solve(Matrix::Identity(d, d));
  return std::sqrt(m.gradient.squaredNorm() + (field * g.covariance() * field.transpose()).trace());
}

/// The Gaussian, unless its covariance has lost its rank or a number its value.
std::optional<Gaussian> made(const Vector& mean, const Matrix& covariance) {
  try {
    return Gaussian(mean, symmetric(covariance));
  } catch (const DomainError&) {
    return std::nullopt;
  }
}

void check(const char* where, const Target& target, const Gaussian& start, const BuresWassersteinOptions& options) {
  target.validate();
  options.validate();
  check_size(where, "the start's mean", start.dimension(), target.dimension);
}

}  // namespace

Target Target::of(const Model& model) {
  return {model.dimension(), [model](const ConstMatrixRef& x) { return Vector(model.beta() * model.potential().evaluate({0, 0}, x, model.theta()).row(0).transpose()); },
          [model](const ConstMatrixRef& x) { return Matrix(model.beta() * model.potential().evaluate({1, 0}, x, model.theta())); },
          [model](const ConstMatrixRef& x) { return Matrix(model.beta() * model.potential().evaluate({2, 0}, x, model.theta())); }};
}

void Target::validate() const {
  check_at_least("target", "dimension", dimension, 1);
  if (!value || !gradient) throw DomainError("target: value and gradient must be given");
}

void BuresWassersteinOptions::validate() const {
  check_positive("bures_wasserstein", "step eta", step);
  check_at_least("bures_wasserstein", "max_steps", max_steps, 1);
  check_positive("bures_wasserstein", "tolerance", tolerance);
  check_in("bures_wasserstein", "nodes", nodes, 1, 64);
  check_at_least("bures_wasserstein", "samples", samples, 2);
  check_positive("bures_wasserstein", "largest_variance", largest_variance);
}

BuresWassersteinResult forward_backward_inference(const Target& target, const Gaussian& start, const BuresWassersteinOptions& o, Observer* observer) {
  check("forward_backward_inference", target, start, o);
  const int d = target.dimension;
  const bool fixed = o.rule == GaussianRule::hermite;
  if (fixed && std::pow(o.nodes, d) > 1e6) {
    throw DomainError(fmt::format("forward_backward_inference: {} nodes in {} dimensions are more than 1e6 points; use fewer nodes or GaussianRule::monte_carlo", o.nodes, d));
  }
  const Rule tensor = fixed ? hermite(d, o.nodes) : Rule{};
  const Matrix identity = Matrix::Identity(d, d);
  BuresWassersteinResult result{Status::iteration_limit, start, {}};
  for (int k = 0;; ++k) {
    if (observer && observer->stop_requested()) {
      result.status = Status::cancelled;
      return result;
    }
    const Gaussian& g = result.gaussian;
    const Moments m = expectations(target, g, fixed ? tensor : monte_carlo(d, o.samples, o.seed, k));
    if (!std::isfinite(m.value) || !m.gradient.allFinite() || !m.hessian.allFinite()) {
      result.status = Status::not_finite;
      return result;
    }
    result.records.push_back({k, m.value + g.entropy(), gradient_norm(m, g)});
    if (fixed && result.records.back().gradient_norm <= o.tolerance) {
      result.status = Status::converged;
      return result;
    }
    if (k == o.max_steps) {
      if (!fixed) result.status = Status::converged;
      return result;
    }
    const Matrix map = identity - o.step * m.hessian;
    const Eigen::SelfAdjointEigenSolver<Matrix> e(symmetric(map * g.covariance() * map));
    const Vector after = e.eigenvalues().unaryExpr([&](double s) { return 0.5 * (std::max(s, 0.0) + 2 * o.step + std::sqrt(std::max(s, 0.0) * (std::max(s, 0.0) + 4 * o.step))); });
    const auto next = made(g.mean() - o.step * m.gradient, e.eigenvectors() * after.asDiagonal() * e.eigenvectors().transpose());
    if (!next) {
      result.status = Status::not_finite;
      return result;
    }
    result.gaussian = *next;
    if (observer) observer->progress("forward_backward_inference", k + 1, o.max_steps);
  }
}

BuresWassersteinResult stochastic_inference(const Target& target, const Gaussian& start, const BuresWassersteinOptions& o, Observer* observer) {
  check("stochastic_inference", target, start, o);
  if (!target.hessian) throw DomainError("stochastic_inference: the target must give its Hessian");
  const Index d = target.dimension;
  const Matrix identity = Matrix::Identity(d, d);
  BuresWassersteinResult result{Status::converged, start, {}};
  RandomStream random(o.seed, "stochastic inference");
  Vector z(d);
  for (int k = 0; k < o.max_steps; ++k) {
    if (observer && observer->stop_requested()) {
      result.status = Status::cancelled;
      return result;
    }
    const Gaussian& g = result.gaussian;
    const Eigen::LLT<Matrix> cholesky(g.covariance());
    random.fill_normal(z);
    const Vector x = g.mean() + cholesky.matrixL() * z;
    const Moments m{target.value(x)[0], target.gradient(x).col(0), target.hessian(x).col(0).reshaped(d, d)};
    if (!std::isfinite(m.value) || !m.gradient.allFinite() || !m.hessian.allFinite()) {
      result.status = Status::not_finite;
      return result;
    }
    result.records.push_back({k, m.value + g.log_density(x), gradient_norm(m, g)});
    const Matrix map = identity - o.step * (m.hessian - cholesky.solve(identity));
    const Eigen::SelfAdjointEigenSolver<Matrix> e(symmetric(map * g.covariance() * map));
    const auto next = made(g.mean() - o.step * m.gradient, e.eigenvectors() * e.eigenvalues().cwiseMin(o.largest_variance).asDiagonal() * e.eigenvectors().transpose());
    if (!next) {
      result.status = Status::order_lost;
      return result;
    }
    result.gaussian = *next;
    if (observer) observer->progress("stochastic_inference", k + 1, o.max_steps);
  }
  return result;
}

}  // namespace jko
