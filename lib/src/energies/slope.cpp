#include <jko/energies/slope.hpp>

#include <jko/core/check.hpp>
#include <jko/transport/gaussian_map.hpp>

#include <Eigen/LU>

#include <algorithm>
#include <cmath>

namespace jko {
namespace {

constexpr double gauss_left = 0.21132486540518711775;  // (1 - 1/sqrt(3))/2
constexpr double gauss_right = 1 - gauss_left;

/// Solves M u = g for the mass matrix of the piecewise-linear functions, which is diagonally dominant.
Vector mass_solve(const Vector& w, Vector g) {
  const Index n = w.size();
  Vector factor(n), pivot(n + 1);
  pivot[0] = w[0] / 3;
  for (Index i = 1; i <= n; ++i) {
    factor[i - 1] = w[i - 1] / 6 / pivot[i - 1];
    pivot[i] = w[i - 1] / 3 + (i < n ? w[i] / 3 : 0) - factor[i - 1] * w[i - 1] / 6;
    g[i] -= factor[i - 1] * g[i - 1];
  }
  g[n] /= pivot[n];
  for (Index i = n - 1; i >= 0; --i) g[i] = g[i] / pivot[i] - factor[i] * g[i + 1];
  return g;
}

double norm(const Vector& w, const Vector& x) {
  double sum = 0;
  for (Index i = 0; i < w.size(); ++i) sum += w[i] * (x[i] * x[i] + x[i] * x[i + 1] + x[i + 1] * x[i + 1]);
  return std::sqrt(sum / 3);
}

struct Linear {  // grad mu(x) = gradient (x - m) + at_mean
  Matrix gradient;
  Vector at_mean;
};

Linear chemical_gradient(std::string_view where, const FreeEnergy& energy, const Gaussian& measure) {
  const auto quadratic = energy.potential() && energy.entropy() && !energy.porous_medium() && !energy.interaction()
                             ? energy.potential()->potential->quadratic(energy.potential()->theta)
                             : std::nullopt;
  if (!quadratic) throw DomainError(std::string(where) + ": on Gaussians the energy must be a quadratic potential plus entropy");
  check_size(where, "the measure's dimension", measure.dimension(), quadratic->centre.size());
  const Matrix& k = quadratic->curvature;
  return {k - measure.covariance().inverse() / energy.entropy()->beta, k * (measure.mean() - quadratic->centre)};
}

}  // namespace

Vector wasserstein_gradient(const FreeEnergy& energy, const QuantileFunction& measure) {
  if (!measure.is_monotone()) throw DomainError("slope: the nodes of the quantile function must increase");
  const Index n = measure.cells();
  const Vector& x = measure.nodes();
  const Vector& w = measure.masses();
  Vector g = Vector::Zero(n + 1);
  Vector points(2 * n), first = Vector::Zero(2 * n);
  for (Index i = 0; i < n; ++i) {
    const double width = x[i + 1] - x[i];
    points[2 * i] = x[i] + gauss_left * width;
    points[2 * i + 1] = x[i] + gauss_right * width;
  }
  if (const auto* part = energy.potential()) part->potential->jet(points.data(), 2 * n, part->theta, nullptr, first.data(), nullptr);
  if (const auto* part = energy.interaction()) {
    Vector differences(2 * n), force(2 * n);
    for (Index p = 0; p < 2 * n; ++p) {
      differences = points[p] - points.array();
      part->kernel->jet(differences.data(), 2 * n, part->theta, nullptr, force.data(), nullptr);
      for (Index q = 0; q < 2 * n; ++q) first[p] += 0.5 * w[q / 2] * force[q];
    }
  }
  for (Index i = 0; i < n; ++i) {
    const double density = w[i] / (x[i + 1] - x[i]);
    double pressure = 0;  // -d(internal energy of the cell)/d(width)
    if (energy.entropy()) pressure += density / energy.entropy()->beta;
    if (const auto* part = energy.porous_medium()) pressure += part->coefficient * std::pow(density, part->exponent);
    const double left = 0.5 * w[i] * first[2 * i], right = 0.5 * w[i] * first[2 * i + 1];
    g[i] += pressure + gauss_right * left + gauss_left * right;
    g[i + 1] += -pressure + gauss_left * left + gauss_right * right;
  }
  return mass_solve(w, std::move(g));
}

double slope(const FreeEnergy& energy, const QuantileFunction& measure) { return norm(measure.masses(), wasserstein_gradient(energy, measure)); }

double slope(const FreeEnergy& energy, const Gaussian& measure) {
  const Linear g = chemical_gradient("slope", energy, measure);
  return std::sqrt(g.at_mean.squaredNorm() + std::max(0.0, (g.gradient * measure.covariance() * g.gradient).trace()));
}

double first_order_error(const FreeEnergy& energy, const QuantileFunction& from, const QuantileFunction& to, double h) {
  check_positive("first_order_error", "step size h", h);
  (void)w2(from, to);  // throws where the masses differ
  return norm(to.masses(), wasserstein_gradient(energy, to) + (to.nodes() - from.nodes()) / h);
}

double first_order_error(const FreeEnergy& energy, const Gaussian& from, const Gaussian& to, double h) {
  check_positive("first_order_error", "step size h", h);
  const Linear g = chemical_gradient("first_order_error", energy, to);
  const Index d = to.dimension();
  const Matrix field = g.gradient + (Matrix::Identity(d, d) - optimal_map(to, from).linear) / h;
  const Vector shift = g.at_mean + (to.mean() - from.mean()) / h;
  return std::sqrt(shift.squaredNorm() + std::max(0.0, (field * to.covariance() * field.transpose()).trace()));
}

}  // namespace jko
