#include <jko/estimators/kalman_likelihood.hpp>

#include <jko/core/check.hpp>

#include "maximise.hpp"
#include "transitions.hpp"

#include <Eigen/Cholesky>
#include <fmt/format.h>
#include <unsupported/Eigen/MatrixFunctions>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <numbers>

namespace jko::estimators {
namespace {

/// A law with its derivatives: exp of the block matrix with its direction as an upper block.
struct LawTangent {
  LinearSystem::Law value;
  std::vector<LinearSystem::Law> by;
};

/// The generator of (flow, shift) and the covariance: exp(dt [[-A, Q], [0, A']]) = [[., G], [0, F']], covariance = F G ([VanLoan1978]); the constant enters as one more state.
Matrix covariance_block(const Matrix& a, const Matrix& q) {
  const Index d = a.rows();
  Matrix out = Matrix::Zero(2 * d, 2 * d);
  out << -a, q, Matrix::Zero(d, d), a.transpose();
  return out;
}

Matrix mean_block(const Matrix& a, const Vector& c) {
  const Index d = a.rows();
  Matrix out = Matrix::Zero(d + 1, d + 1);
  out.topLeftCorner(d, d) = a;
  out.topRightCorner(d, 1) = c;
  return out;
}

/// exp(M dt) and its derivative in the direction dM: exp([[M, dM], [0, M]] dt) has it in the corner.
Matrix exponential(const Matrix& m, double dt) { return (m * dt).exp(); }
Matrix exponential_derivative(const Matrix& m, const Matrix& direction, double dt) {
  const Index k = m.rows();
  Matrix block = Matrix::Zero(2 * k, 2 * k);
  block << m, direction, Matrix::Zero(k, k), m;
  return (block * dt).exp().topRightCorner(k, k);
}

LawTangent law_tangent(const LinearSystem& system, double dt) {
  const Index d = system.dimension();
  const Matrix q = system.diffusion * system.diffusion.transpose();
  const Matrix mean = mean_block(system.matrix, system.constant), spread = covariance_block(system.matrix, q);
  const Matrix e = exponential(mean, dt), g = exponential(spread, dt);
  LawTangent out;
  const auto read = [&](const Matrix& de, const Matrix& dg) {
    LinearSystem::Law law;
    law.flow = de.topLeftCorner(d, d);
    law.shift = de.topRightCorner(d, 1);
    law.covariance = dg.bottomRightCorner(d, d).transpose() * g.topRightCorner(d, d) + g.bottomRightCorner(d, d).transpose() * dg.topRightCorner(d, d);
    return law;
  };
  out.value = read(e, g);
  out.value.covariance *= 0.5;
  out.value.covariance = Matrix(0.5 * (out.value.covariance + out.value.covariance.transpose()));
  const Matrix no_matrix = Matrix::Zero(d, d);
  const Vector no_vector = Vector::Zero(d);
  const auto direction = [&](const Matrix& da, const Vector& dc, const Matrix& dq) {
    out.by.push_back(read(exponential_derivative(mean, mean_block(da, dc), dt), exponential_derivative(spread, covariance_block(da, dq), dt)));
  };
  for (Index i = 0; i < d; ++i) {
    for (Index j = 0; j < d; ++j) {
      Matrix da = no_matrix;
      da(i, j) = 1;
      direction(da, no_vector, no_matrix);
    }
  }
  for (Index i = 0; i < d; ++i) direction(no_matrix, Vector::Unit(d, i), no_matrix);
  for (Index i = 0; i < d; ++i) {
    for (Index j = 0; j <= i; ++j) {
      Matrix ds = no_matrix;
      ds(i, j) = 1;
      direction(no_matrix, no_vector, ds * system.diffusion.transpose() + system.diffusion * ds.transpose());
    }
  }
  return out;
}

}  // namespace

void LinearSystem::validate() const {
  const Index d = matrix.rows();
  check_at_least("linear_system", "dimension", d, 1);
  check_size("linear_system", "the matrix A", matrix.cols(), d);
  check_size("linear_system", "the constant a", constant.size(), d);
  check_size("linear_system", "the diffusion's rows", diffusion.rows(), d);
  check_size("linear_system", "the diffusion's columns", diffusion.cols(), d);
  check_finite("linear_system", "the matrix A", matrix);
  check_finite("linear_system", "the constant a", constant);
  check_finite("linear_system", "the diffusion S", diffusion);
  for (Index i = 0; i < d; ++i) {
    check_positive("linear_system", fmt::format("s_{}_{}", i + 1, i + 1), diffusion(i, i));
    for (Index j = i + 1; j < d; ++j) {
      if (diffusion(i, j) != 0) throw DomainError("linear_system: the diffusion S must be lower triangular");
    }
  }
  check_nonnegative("linear_system", "noise", noise);
}

std::vector<Parameter> LinearSystem::parameter_list() const {
  const int d = dimension();
  std::vector<Parameter> out;
  for (int i = 1; i <= d; ++i) {
    for (int j = 1; j <= d; ++j) out.push_back({fmt::format("a_{}_{}", i, j)});
  }
  for (int i = 1; i <= d; ++i) out.push_back({fmt::format("c_{}", i)});
  for (int i = 1; i <= d; ++i) {
    for (int j = 1; j < i; ++j) out.push_back({fmt::format("s_{}_{}", i, j)});
    out.push_back({.name = fmt::format("s_{}_{}", i, i), .lower = 0, .positive = true});
  }
  out.push_back({"noise", 0});
  return out;
}

Vector LinearSystem::parameters() const {
  const Index d = dimension();
  Vector out(d * d + d + d * (d + 1) / 2 + 1);
  Index at = 0;
  for (Index i = 0; i < d; ++i) {
    for (Index j = 0; j < d; ++j) out[at++] = matrix(i, j);
  }
  for (Index i = 0; i < d; ++i) out[at++] = constant[i];
  for (Index i = 0; i < d; ++i) {
    for (Index j = 0; j <= i; ++j) out[at++] = diffusion(i, j);
  }
  out[at] = noise;
  return out;
}

LinearSystem LinearSystem::with_parameters(const ConstVectorRef& values) const {
  check_size("linear_system", "the parameter vector", values.size(), parameters().size());
  LinearSystem out = *this;
  const Index d = dimension();
  Index at = 0;
  for (Index i = 0; i < d; ++i) {
    for (Index j = 0; j < d; ++j) out.matrix(i, j) = values[at++];
  }
  for (Index i = 0; i < d; ++i) out.constant[i] = values[at++];
  for (Index i = 0; i < d; ++i) {
    for (Index j = 0; j <= i; ++j) out.diffusion(i, j) = values[at++];
  }
  out.noise = values[at];
  return out;
}

LinearSystem::Law LinearSystem::law(double dt) const {
  validate();
  check_positive("linear_system", "time step dt", dt);
  const Index d = dimension();
  const Matrix e = exponential(mean_block(matrix, constant), dt), g = exponential(covariance_block(matrix, diffusion * diffusion.transpose()), dt);
  const Matrix covariance = e.topLeftCorner(d, d) * g.topRightCorner(d, d);
  return {e.topLeftCorner(d, d), 0.5 * (covariance + covariance.transpose()), e.topRightCorner(d, 1)};
}

LikelihoodValue log_likelihood(const Panel& panel, const LinearSystem& system, bool with_scores) {
  system.validate();
  const Index d = system.dimension(), count = system.parameters().size();
  Index total = 0;
  for (const Path& path : panel) {
    if (path.values.rows() != d) throw ShapeError(fmt::format("log_likelihood: the data have dimension {}, but the model {}", path.values.rows(), d));
    total += path.transitions();
  }
  Terms terms(count, total);
  terms.scores.setZero();
  terms.expected = Matrix::Zero(count, count);
  const double r2 = system.noise * system.noise;
  Index column = 0;
  double known = -1;
  LawTangent law;
  for (const Path& path : panel) {
    Vector mean = path.values.col(0);
    Matrix covariance = r2 * Matrix::Identity(d, d);
    std::vector<Vector> d_mean(static_cast<std::size_t>(count), Vector::Zero(d));
    std::vector<Matrix> d_covariance(static_cast<std::size_t>(count), Matrix::Zero(d, d));
    d_covariance.back() = 2 * system.noise * Matrix::Identity(d, d);
    for (Index i = 0; i < path.transitions(); ++i, ++column) {
      const double dt = path.times[i + 1] - path.times[i];
      if (std::abs(dt - known) > 1e-12 * dt) law = law_tangent(system, dt), known = dt;
      const Matrix& f = law.value.flow;
      // Predict, with tangents.
      std::vector<Vector> p_mean(d_mean.size());
      std::vector<Matrix> p_covariance(d_mean.size());
      for (std::size_t j = 0; j < d_mean.size(); ++j) {
        p_mean[j] = f * d_mean[j];
        p_covariance[j] = f * d_covariance[j] * f.transpose();
        if (j + 1 == d_mean.size()) continue;  // the noise is not in the law
        const auto& by = law.by[j];
        p_mean[j] += by.flow * mean + by.shift;
        const Matrix half = by.flow * covariance * f.transpose();
        p_covariance[j] += half + half.transpose() + by.covariance;
      }
      mean = Vector(f * mean + law.value.shift);
      covariance = Matrix(f * covariance * f.transpose() + law.value.covariance);
      // Update.
      const Matrix s = covariance + r2 * Matrix::Identity(d, d);
      const Eigen::LLT<Matrix> factor(s);
      const Vector innovation = path.values.col(i + 1) - mean;
      if (factor.info() != Eigen::Success || !innovation.allFinite() || !s.allFinite()) {
        terms.log_density.setConstant(-std::numeric_limits<double>::infinity());
        return collect(std::move(terms), false);
      }
      const Vector weighted = factor.solve(innovation);
      const Matrix lower = factor.matrixL(), inverse = factor.solve(Matrix(Matrix::Identity(d, d))), gain = covariance * inverse;
      terms.log_density[column] = -0.5 * (static_cast<double>(d) * std::log(2 * std::numbers::pi) + innovation.dot(weighted)) - lower.diagonal().array().log().sum();
      std::vector<Matrix> whitened(d_mean.size());
      for (std::size_t j = 0; j < d_mean.size(); ++j) {
        Matrix ds = p_covariance[j];
        if (j + 1 == d_mean.size()) ds += 2 * system.noise * Matrix::Identity(d, d);
        whitened[j] = inverse * ds;
        terms.scores(static_cast<Index>(j), column) = p_mean[j].dot(weighted) + 0.5 * (weighted.dot(ds * weighted) - whitened[j].trace());
        // d(mean + P S^{-1} e) and d(P - P S^{-1} P).
        const Matrix d_gain = p_covariance[j] * inverse - gain * ds * inverse;
        d_mean[j] = p_mean[j] + d_gain * innovation - gain * p_mean[j];
        const Matrix half = d_gain * covariance;
        d_covariance[j] = p_covariance[j] - half - gain * p_covariance[j];
        d_covariance[j] = Matrix(0.5 * (d_covariance[j] + d_covariance[j].transpose()));
      }
      for (std::size_t a = 0; a < d_mean.size(); ++a) {
        for (std::size_t b = 0; b <= a; ++b) {
          const double value = p_mean[a].dot(inverse * p_mean[b]) + 0.5 * whitened[a].cwiseProduct(whitened[b].transpose()).sum();
          terms.expected(static_cast<Index>(a), static_cast<Index>(b)) += value;
          if (a != b) terms.expected(static_cast<Index>(b), static_cast<Index>(a)) += value;
        }
      }
      mean += gain * innovation;
      covariance = Matrix(covariance - gain * covariance);
      covariance = Matrix(0.5 * (covariance + covariance.transpose()));
    }
  }
  return collect(std::move(terms), with_scores);
}

Fit fit(const Panel& panel, const LinearSystem& start, const FitOptions& options) {
  const auto begin = std::chrono::steady_clock::now();
  start.validate();
  if (panel.empty()) throw ShapeError("fit: there are no paths");
  for (const Path& path : panel) path.validate();
  const auto constant = [](const Path& path) { return (path.values.colwise() - path.values.col(0)).isZero(0); };
  if (std::all_of(panel.begin(), panel.end(), constant)) throw DomainError("fit: the data are constant, so no diffusion fits them");
  const auto list = start.parameter_list();
  Fit out = prepared_fit(fmt::format("dX = (A X + c) dt + S dW, d = {}{}", start.dimension(), start.noise > 0 || options.fixed.empty() || !options.fixed.back() ? ", with measurement noise" : ""), list, options);
  out.estimator = "kalman";
  out.theorem = "maximum likelihood at fixed dt, n -> infinity";
  for (const Path& path : panel) {
    out.n += path.transitions();
    out.duration += path.times[path.times.size() - 1] - path.times[0];
  }
  const Objective objective = [&](const Vector& parameters, bool with_scores) { return log_likelihood(panel, start.with_parameters(parameters), with_scores); };
  Vector x = start.parameters();
  const LikelihoodValue best = maximise(objective, list, options, x, out);
  complete(objective, list, options, x, best, out);
  out.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return out;
}

}  // namespace jko::estimators
