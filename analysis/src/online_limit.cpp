#include <jko/analysis/online_limit.hpp>

#include <jko/core/check.hpp>
#include <jko/core/parallel.hpp>
#include <jko/core/random.hpp>
#include <jko/reference/ornstein_uhlenbeck.hpp>

#include "limit_grid.hpp"

#include <Eigen/Eigenvalues>

#include <array>
#include <cmath>

namespace jko::analysis {
namespace {

using estimators::OnlineData;

void check_parameter_covariance(const ConstMatrixRef& covariance, Index parameters) {
  check_size("online_limit", "the parameter covariance", covariance.rows(), parameters);
  check_size("online_limit", "the parameter covariance", covariance.cols(), parameters);
}

/// A root R with R R' = covariance; the covariance may be singular.
Matrix root_of(const ConstMatrixRef& covariance) {
  const Eigen::SelfAdjointEigenSolver<Matrix> e(covariance);
  return e.eigenvectors() * e.eigenvalues().cwiseMax(0.0).cwiseSqrt().asDiagonal();
}

}  // namespace

double noise_covariance(OnlineData data, Index k, Index l, double dt) {
  if (data == OnlineData::fresh) return k == l ? 1 / dt : 0;
  const double late = static_cast<double>(std::max(k, l));  // the time step (late, late + 1) dt
  if (k != l) return std::log1p(1 / late) / dt;
  return 2 / dt * (late == 0 ? 1 : 1 - late * std::log1p(1 / late));
}

Matrix OnlineLimit::covariance(const std::vector<Functional>& phi, const ConstMatrixRef& parameter_covariance, OnlineData data) const {
  check_parameter_covariance(parameter_covariance, parameters);
  const Matrix g = rows(phi, centres, width) * response;
  const Index p = parameters, steps = response.cols() / p;
  Matrix out = Matrix::Zero(g.rows(), g.rows());
  for (Index k = 0; k < steps; ++k) {
    const Matrix left = g.middleCols(k * p, p) * parameter_covariance;
    if (data == OnlineData::fresh) {
      out += noise_covariance(data, k, k, dt) * left * g.middleCols(k * p, p).transpose();
      continue;
    }
    Matrix right = Matrix::Zero(g.rows(), p);
    for (Index l = 0; l < steps; ++l) right += noise_covariance(data, k, l, dt) * g.middleCols(l * p, p);
    out += left * right.transpose();
  }
  return 0.5 * (out + out.transpose());
}

OnlineLimit online_limit(const LimitCase& c) {
  LimitGrid grid(c);
  const Index p = c.model.theta().size() + 1;
  OnlineLimit out{grid.centres(), grid.width(), grid.start(), c.t / c.steps, p, Matrix::Zero(c.cells, p * c.steps)};
  Matrix force = grid.forcing(out.density);
  const auto nothing = [&](const Vector& rho) { return Matrix(Matrix::Zero(rho.size(), out.response.cols())); };
  for (int k = 0; k < c.steps; ++k) {
    // The trapezoidal rule over the step: G_k = dt (R f_k + f_{k+1})/2.
    out.response.middleCols(k * p, p) = 0.5 * out.dt * force;
    Matrix active = out.response.leftCols((k + 1) * p);
    grid.advance(out.density, active, out.dt, nothing);
    out.response.leftCols((k + 1) * p) = active;
    force = grid.forcing(out.density);
    out.response.middleCols(k * p, p) += 0.5 * out.dt * force;
  }
  return out;
}

Matrix simulate_online_limit(const LimitCase& c, const ConstMatrixRef& parameter_covariance, const std::vector<Functional>& phi, const SpdeOptions& options) {
  LimitGrid grid(c);
  check_parameter_covariance(parameter_covariance, c.model.theta().size() + 1);
  check_at_least("simulate_online_limit", "replications", options.replications, 1);
  const Matrix root = root_of(parameter_covariance), functional = rows(phi, grid.centres(), grid.width());
  const double dt = c.t / c.steps;
  std::vector<Matrix> force{grid.forcing(grid.start()) * root};
  Vector rho = grid.start();
  for (int k = 0; k < c.steps; ++k) {
    rho = grid.solver().advance(rho, dt, 1);
    force.push_back(grid.forcing(rho) * root);
  }
  Matrix out(functional.rows(), options.replications);
  parallel_blocks(options.replications, 16, options.threads, [&](Index begin, Index end) {
    LimitGrid own(c);
    for (Index r = begin; r < end; ++r) {
      RandomStream random(options.seed, "online limit", static_cast<std::uint64_t>(r));
      Vector u = Vector::Zero(c.cells), noise(root.cols());
      for (std::size_t k = 0; k + 1 < force.size(); ++k) {
        random.fill_normal(noise);
        noise *= 0.5 * std::sqrt(dt);
        u = own.solver().advance(u + force[k] * noise, dt, 1) + force[k + 1] * noise;
      }
      out.col(r) = functional * u;
    }
  });
  return out;
}

Matrix gaussian_online_limit(const Model& model, const Gaussian& start, double t, const ConstMatrixRef& parameter_covariance, OnlineData data) {
  const OrnsteinUhlenbeck process(model);
  check_positive("gaussian_online_limit", "time t", t);
  const auto quadratic = *model.potential().quadratic(model.theta());
  const auto tangent = model.potential().quadratic_tangent(model.theta());
  const Index d = model.dimension(), p = model.theta().size() + 1;
  check_parameter_covariance(parameter_covariance, p);
  const Eigen::SelfAdjointEigenSolver<Matrix> e(quadratic.curvature);
  const auto matrix = [d](const auto& column) { return Matrix(Eigen::Map<const Matrix>(column.data() + d, d, d)); };
  const auto forcing = [&](const Gaussian& law) {
    Matrix out = Matrix::Zero(d + d * d, p);
    for (Index j = 0; j + 1 < p; ++j) {
      const Matrix& dk = tangent.curvature[static_cast<std::size_t>(j)];
      const Matrix ds = -(dk * law.covariance() + law.covariance() * dk);
      out.col(j).head(d) = quadratic.curvature * tangent.centre.col(j) - dk * (law.mean() - quadratic.centre);
      out.col(j).tail(d * d) = ds.reshaped();
    }
    out.col(p - 1).tail(d * d) = Matrix(-2 / (model.beta() * model.beta()) * Matrix::Identity(d, d)).reshaped();
    return out;
  };
  const auto propagate = [&](double time, const Matrix& columns) {
    const Matrix flow = e.eigenvectors() * (-time * e.eigenvalues().array()).exp().matrix().asDiagonal() * e.eigenvectors().transpose();
    Matrix out(columns.rows(), columns.cols());
    for (Index j = 0; j < columns.cols(); ++j) {
      const Vector column = columns.col(j);
      out.col(j).head(d) = flow * column.head(d);
      out.col(j).tail(d * d) = Matrix(flow * matrix(column) * flow).reshaped();
    }
    return out;
  };
  const auto integrand = [&](double s) {
    const Matrix g = propagate(t - s, forcing(process.law(start, s)));
    if (data == OnlineData::fresh) return Matrix(g * parameter_covariance * g.transpose());
    // E U_s B_s' is the offline response, so Gamma' = A Gamma + Gamma A' + (g Sigma r' + r Sigma g')/s: smooth, since r = O(s).
    const Matrix r = propagate(t - s, process.sensitivity(start, s)), half = g * parameter_covariance * r.transpose() / s;
    return Matrix(half + half.transpose());
  };
  // Gauss-Legendre with four points a panel.
  constexpr std::array<double, 4> node{-0.861136311594052575, -0.339981043584856265, 0.339981043584856265, 0.861136311594052575};
  constexpr std::array<double, 4> weight{0.347854845137453857, 0.652145154862546143, 0.652145154862546143, 0.347854845137453857};
  Matrix before;
  for (int panels = 2; panels <= 4096; panels *= 2) {
    Matrix sum = Matrix::Zero(d + d * d, d + d * d);
    const double half = 0.5 * t / panels;
    for (int i = 0; i < panels; ++i) {
      for (std::size_t q = 0; q < 4; ++q) sum += half * weight[q] * integrand((2 * i + 1 + node[q]) * half);
    }
    if (before.size() > 0 && (sum - before).cwiseAbs().maxCoeff() <= 1e-11 * sum.cwiseAbs().maxCoeff()) return sum;
    before = sum;
  }
  throw NotConverged("gaussian_online_limit: the integral did not converge on 4096 panels: the time is too long for these rates; split it");
}

double online_mean_variance(double kappa, double tau2, double h, int k) {
  check_positive("online_mean_variance", "kappa", kappa);
  check_nonnegative("online_mean_variance", "tau2", tau2);
  check_positive("online_mean_variance", "step size h", h);
  check_at_least("online_mean_variance", "k", k, 0);
  return -kappa * tau2 * std::expm1(-2 * k * std::log1p(h * kappa)) / (2 + h * kappa);
}

}  // namespace jko::analysis
