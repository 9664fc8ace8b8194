#include <jko/analysis/modified_energy.hpp>

#include <jko/core/check.hpp>

#include <Eigen/LU>

namespace jko::analysis {
namespace {

struct State {
  Vector mean;
  Matrix covariance;
};

State operator+(const State& a, const State& b) { return {a.mean + b.mean, a.covariance + b.covariance}; }
State operator*(double s, const State& a) { return {s * a.mean, s * a.covariance}; }

}  // namespace

Gaussian modified_flow(const Model& model, const Gaussian& start, double h, double t) {
  check_nonnegative("modified_flow", "step size h", h);
  check_nonnegative("modified_flow", "time t", t);
  const auto quadratic = model.potential().quadratic(model.theta());
  if (!quadratic) throw DomainError("modified_flow: the potential must be quadratic");
  check_size("modified_flow", "the start's dimension", start.dimension(), model.dimension());
  const Matrix& k = quadratic->curvature;
  const auto velocity = [&](const State& s) -> State {
    const Vector offset = s.mean - quadratic->centre;
    const Matrix inverse = s.covariance.inverse() / model.beta();
    const Matrix b = inverse - k, c = b * b - (inverse * b + b * inverse), total = b + 0.5 * h * c;
    return {-k * offset + 0.5 * h * (k * (k * offset)), total * s.covariance + s.covariance * total.transpose()};
  };
  State before{start.mean(), start.covariance()};
  if (t == 0) return start;
  for (int steps = 16; steps <= 1 << 16; steps *= 2) {
    State s{start.mean(), start.covariance()};
    const double dt = t / steps;
    for (int i = 0; i < steps; ++i) {
      const State k1 = velocity(s), k2 = velocity(s + 0.5 * dt * k1), k3 = velocity(s + 0.5 * dt * k2), k4 = velocity(s + dt * k3);
      s = s + dt / 6 * (k1 + 2.0 * k2 + 2.0 * k3 + k4);
    }
    const double change = (s.mean - before.mean).norm() + (s.covariance - before.covariance).norm();
    if (steps > 16 && change <= 1e-12 * (1 + s.mean.norm() + s.covariance.norm())) return {s.mean, 0.5 * (s.covariance + s.covariance.transpose())};
    before = std::move(s);
  }
  throw DomainError("modified_flow: the equation is too stiff for explicit steps; take a smaller h or t");
}

}  // namespace jko::analysis
