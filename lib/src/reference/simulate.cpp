#include <jko/reference/simulate.hpp>

#include <jko/core/check.hpp>
#include <jko/core/parallel.hpp>

#include <Eigen/Eigenvalues>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace jko {
namespace {

/// The exact transition of an Ornstein-Uhlenbeck process over dt, in the eigenbasis of K:
/// y -> e^{-lambda dt} y + sqrt((1 - e^{-2 lambda dt})/(beta lambda)) z.
class OuTransition {
 public:
  OuTransition(const Potential::Quadratic& q, double beta) : eigen_(q.curvature), centre_(q.centre), beta_(beta) {}
  void set_step(double dt) {
    if (dt == dt_) return;
    dt_ = dt;
    const Vector& lambda = eigen_.eigenvalues();
    decay_ = (-dt * lambda.array()).exp();
    deviation_ = lambda.unaryExpr([&](double l) {
      // (1 - e^{-2 l dt})/l -> 2 dt as l -> 0.
      return std::sqrt((std::abs(l * dt) < 1e-12 ? 2 * dt : -std::expm1(-2 * l * dt) / l) / beta_);
    });
  }
  [[nodiscard]] Vector operator()(const Vector& x, RandomStream& random) const {
    Vector noise(x.size());
    random.fill_normal(noise);
    const Vector y = eigen_.eigenvectors().transpose() * (x - centre_);
    return centre_ + eigen_.eigenvectors() * (decay_.cwiseProduct(y) + deviation_.cwiseProduct(noise));
  }

 private:
  Eigen::SelfAdjointEigenSolver<Matrix> eigen_;
  Vector centre_, decay_, deviation_;
  double beta_;
  double dt_ = -1;
};

void check_inputs(const Model& model, Index rows, const ConstVectorRef& times, const SimulationOptions& options) {
  check_size("simulate", "the start", rows, model.dimension());
  check_at_least("simulate", "the number of times", times.size(), 1);
  check_finite("simulate", "times", times);
  check_increasing("simulate", "times", times);
  check_at_least("simulate", "substeps", options.substeps, 1);
}

}  // namespace

Matrix simulate_path(const Model& model, const ConstVectorRef& start, const ConstVectorRef& times, std::uint64_t path,
                     const SimulationOptions& options) {
  check_inputs(model, start.size(), times, options);
  check_finite("simulate", "the start", start);
  RandomStream random(options.seed, "simulate", path);
  Matrix out(start.size(), times.size());
  out.col(0) = start;
  const auto quadratic = options.method == Simulation::euler_maruyama ? std::nullopt : model.potential().quadratic(model.theta());
  if (options.method == Simulation::exact && !quadratic) {
    throw DomainError("simulate: exact transitions need a quadratic potential; use euler_maruyama");
  }
  if (quadratic) {
    OuTransition transition(*quadratic, model.beta());
    for (Index i = 1; i < times.size(); ++i) {
      transition.set_step(times[i] - times[i - 1]);
      out.col(i) = transition(out.col(i - 1), random);
    }
    return out;
  }
  Matrix x = start, slope(start.size(), 1);
  Vector noise(start.size());
  for (Index i = 1; i < times.size(); ++i) {
    const double dt = (times[i] - times[i - 1]) / options.substeps;
    for (int k = 0; k < options.substeps; ++k) {
      model.potential().evaluate({1, 0}, x, model.theta(), MatrixRef(slope));
      random.fill_normal(noise);
      x += -dt * slope + std::sqrt(2 * dt / model.beta()) * noise;
    }
    if (!x.allFinite()) throw DomainError(fmt::format("simulate: the path is not finite at time {}: take more substeps", times[i]));
    out.col(i) = x.col(0);
  }
  return out;
}

std::vector<Matrix> simulate_panel(const Model& model, const ConstMatrixRef& starts, const ConstVectorRef& times, int paths,
                                   const SimulationOptions& options) {
  check_inputs(model, starts.rows(), times, options);
  check_at_least("simulate", "paths", paths, 1);
  if (starts.cols() != 1) check_size("simulate", "the starts", starts.cols(), paths);
  std::vector<Matrix> out(static_cast<std::size_t>(paths));
  parallel_for(paths, options.threads, [&](Index p) {
    const Vector start = starts.col(starts.cols() == 1 ? 0 : p);
    out[static_cast<std::size_t>(p)] = simulate_path(model, start, times, static_cast<std::uint64_t>(p), options);
  });
  return out;
}

std::vector<Matrix> simulate_snapshots(const Model& model, const ConstVectorRef& start, const ConstVectorRef& times, int size,
                                       const SimulationOptions& options) {
  check_inputs(model, start.size(), times, options);
  check_at_least("simulate", "size", size, 1);
  std::vector<Matrix> out;
  for (Index i = 1; i < times.size(); ++i) {
    Matrix sample(start.size(), size);
    const Vector span = times.head(i + 1);
    parallel_for(size, options.threads, [&](Index p) {
      const auto stream = static_cast<std::uint64_t>(p + size * (i - 1));
      sample.col(p) = simulate_path(model, start, span, stream, options).col(i);
    });
    out.push_back(std::move(sample));
  }
  return out;
}

Matrix sample_stationary(const Model& model, int size, double lower, double upper, Index cells, const SimulationOptions& options) {
  check_at_least("sample_stationary", "size", size, 1);
  RandomStream random(options.seed, "stationary");
  Matrix out(model.dimension(), size);
  if (const auto q = model.potential().quadratic(model.theta())) {
    const Eigen::SelfAdjointEigenSolver<Matrix> e(q->curvature);
    if (!(e.eigenvalues()[0] > 0)) throw DomainError("sample_stationary: the potential is not confining, there is no stationary law");
    Vector noise(model.dimension());
    for (Index i = 0; i < size; ++i) {
      random.fill_normal(noise);
      out.col(i) = q->centre + e.eigenvectors() * noise.cwiseQuotient((model.beta() * e.eigenvalues()).cwiseSqrt());
    }
    return out;
  }
  if (model.dimension() != 1) throw DomainError("sample_stationary: only quadratic potentials in more than one dimension");
  if (!(lower < upper)) throw DomainError(fmt::format("sample_stationary: lower end {} must lie below upper end {}", lower, upper));
  check_at_least("sample_stationary", "cells", cells, 2);
  const Vector edges = Vector::LinSpaced(cells + 1, lower, upper);
  Vector density = model.beta() * model.potential().evaluate({0, 0}, edges.transpose(), model.theta()).row(0).transpose();
  density = (density.minCoeff() - density.array()).exp();
  check_finite("sample_stationary", "the density", density);
  Vector cumulative(cells + 1);
  cumulative[0] = 0;
  for (Index i = 0; i < cells; ++i) cumulative[i + 1] = cumulative[i] + 0.5 * (density[i] + density[i + 1]);
  for (Index k = 0; k < size; ++k) {
    const double u = random.uniform() * cumulative[cells];
    const Index above = std::upper_bound(cumulative.data(), cumulative.data() + cells, u) - cumulative.data();
    const Index i = std::clamp<Index>(above - 1, 0, cells - 1);
    const double t = (u - cumulative[i]) / (cumulative[i + 1] - cumulative[i]);
    out(0, k) = edges[i] + t * (edges[i + 1] - edges[i]);
  }
  return out;
}

}  // namespace jko
