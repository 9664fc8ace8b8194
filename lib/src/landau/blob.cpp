#include <jko/landau/blob.hpp>

#include <jko/core/check.hpp>
#include <jko/measures/gaussian_sums.hpp>

#include <cmath>

namespace jko {
namespace {

struct Force {
  double entropy = 0;
  Matrix gradient;
};

Force blob_force(const Particles& p, const LandauBlobOptions& o) {
  const GaussianSums sums(p.points(), o.bandwidth, {.tail = o.tail, .method = GaussianMethod::direct, .threads = o.threads});
  const Vector density = sums.value(p.weights());
  return {p.weights().dot(density.array().log().matrix()), sums.pair_gradient(p.weights(), density.cwiseInverse())};
}

}  // namespace

void LandauBlobOptions::validate() const {
  check_positive("landau_blob", "bandwidth", bandwidth);
  check_positive("landau_blob", "time step dt", dt);
  check_at_least("landau_blob", "steps", steps, 1);
  check_positive("landau_blob", "tolerance", tolerance);
  check_at_least("landau_blob", "max_iterations", max_iterations, 1);
  check_in("landau_blob", "tail", tail, 0, 0.1);
  check_at_least("landau_blob", "threads", threads, 1);
  check_at_least("landau_blob", "record_every", record_every, 1);
}

LandauResult landau_blob(const LandauKernel& kernel, const Particles& start, const LandauBlobOptions& o, Observer* observer) {
  o.validate();
  kernel.validate();
  check_at_least("landau_blob", "the number of particles", start.size(), 2);
  LandauResult result{Status::converged, start, {}};
  const auto record = [&](int k, double entropy) {
    const Particles& p = result.particles;
    result.records.push_back({k * o.dt, entropy, 0.5 * p.points().colwise().squaredNorm().dot(p.weights()), p.mean(), p.covariance()});
  };
  for (int k = 0; k < o.steps; ++k) {
    if (observer && observer->stop_requested()) {
      result.status = Status::cancelled;
      return result;
    }
    const Particles& p = result.particles;
    const Force force = blob_force(p, o);
    if (k % o.record_every == 0) record(k, force.entropy);
    Matrix velocity = kernel.drift(p, force.gradient, o.threads);
    if (o.scheme == LandauScheme::implicit_midpoint) {
      const double scale = p.points().cwiseAbs().maxCoeff();
      bool settled = false;
      for (int i = 0; i < o.max_iterations && !settled && velocity.allFinite(); ++i) {
        const Particles middle(p.points() + 0.5 * o.dt * velocity, p.weights());
        const Matrix next = kernel.drift(middle, blob_force(middle, o).gradient, o.threads);
        settled = o.dt * (next - velocity).cwiseAbs().maxCoeff() <= o.tolerance * scale;
        velocity = next;
      }
      if (!settled) result.status = velocity.allFinite() ? Status::iteration_limit : Status::not_finite;
    }
    if (!velocity.allFinite()) result.status = Status::not_finite;
    if (!is_success(result.status)) return result;
    result.particles = Particles(p.points() + o.dt * velocity, p.weights());
    if (observer) observer->progress("landau_blob", k + 1, o.steps);
  }
  record(o.steps, blob_force(result.particles, o).entropy);
  return result;
}

}  // namespace jko
