#include <jko/analysis/flow_trace.hpp>

#include <jko/core/check.hpp>

#include "measure_access.hpp"

#include <Eigen/Eigenvalues>
#include <Eigen/LU>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace jko::analysis {
namespace {

constexpr double epsilon = std::numeric_limits<double>::epsilon();

std::string describe(const Gaussian& measure) { return fmt::format("Gaussian, d = {}", measure.dimension()); }
std::string describe(const QuantileFunction& measure) { return fmt::format("quantile function, {} cells", measure.cells()); }

std::string describe(const Particles& measure) { return fmt::format("{} labelled particles, d = {}", measure.size(), measure.dimension()); }

template <class Measure>
double self_distance(const Measure& measure) {
  return 4 * distance_between(measure, measure) + 16 * epsilon * std::sqrt(measure.mean().squaredNorm() + measure.covariance().trace());
}

}  // namespace

Rounding rounding_of(const FreeEnergy& energy, const Gaussian& measure) {
  const auto quadratic = energy.potential()->potential->quadratic(energy.potential()->theta);
  const double beta = energy.entropy()->beta, d = measure.dimension();
  const Vector offset = (measure.mean() - quadratic->centre).cwiseAbs();
  const Matrix k = quadratic->curvature.cwiseAbs();
  const Vector spread = Eigen::SelfAdjointEigenSolver<Matrix>(measure.covariance(), Eigen::EigenvaluesOnly).eigenvalues();
  const double condition = spread.maxCoeff() / spread.minCoeff();
  Rounding out;
  // Products of d x d matrices: d terms an entry. The factorisation's backward error moves log det by at most d (d + 1) epsilon times the condition number.
  const double quadratics = 0.5 * (offset.dot(k * offset) + (k * measure.covariance().cwiseAbs()).trace());
  out.energy = (d * d + 8) * epsilon * (quadratics + (d * condition + std::abs(measure.entropy())) / beta);
  out.distance = self_distance(measure);
  const double field = (k * offset).norm() + std::sqrt((k * measure.covariance().cwiseAbs() * k).trace()) + std::sqrt(condition * d / spread.minCoeff()) / beta;
  out.slope = (d * d + 8) * epsilon * field;
  return out;
}

Rounding rounding_of(const FreeEnergy& energy, const QuantileFunction& measure) {
  const Index n = measure.cells();
  const Vector& x = measure.nodes();
  const Vector& w = measure.masses();
  double size = 0, gradient = 0;
  Vector psi = Vector::Zero(n + 1), first = Vector::Zero(n + 1);
  if (const auto* part = energy.potential()) part->potential->jet(x.data(), n + 1, part->theta, psi.data(), first.data(), nullptr);
  const double temperature = energy.entropy() ? 1 / energy.entropy()->beta : 0;
  for (Index i = 0; i < n; ++i) {
    const double width = x[i + 1] - x[i], density = w[i] / width;
    size += w[i] * (std::max(std::abs(psi[i]), std::abs(psi[i + 1])) + temperature * std::abs(std::log(density)));
    double force = std::max(std::abs(first[i]), std::abs(first[i + 1])) + temperature / width;
    if (const auto* part = energy.porous_medium()) {
      const double pressure = part->coefficient * std::pow(density, part->exponent - 1);
      size += w[i] * pressure / (part->exponent - 1);
      force += pressure / width;
    }
    gradient += w[i] * force * force;
  }
  Rounding out;
  out.energy = static_cast<double>(n + 8) * epsilon * size;
  if (energy.interaction()) out.energy += 2 * static_cast<double>(n) * epsilon * std::abs(size);  // its double sum runs over rows first
  out.distance = self_distance(measure) + static_cast<double>(n + 8) * epsilon * std::sqrt(measure.covariance()(0, 0));
  // A node's gradient is a sum of four terms divided by masses, each with a few roundings; the solve with the well-conditioned (scaled) mass matrix adds as many.
  out.slope = 16 * epsilon * std::sqrt(gradient);
  return out;
}

Rounding rounding_at(const ParticleStep& step, const Particles& measure) {
  const FreeEnergy& energy = step.energy();
  const Index n = measure.size();
  const Vector& w = measure.weights();
  double size = 0;
  Vector force = Vector::Zero(n);
  if (const auto* part = energy.potential()) {
    size += part->potential->evaluate({0, 0}, measure.points(), part->theta).row(0).cwiseAbs().dot(w);
    force += part->potential->evaluate({1, 0}, measure.points(), part->theta).colwise().norm().transpose();
  }
  if (energy.entropy() && measure.dimension() == 1) {  // spacing: neighbours' distances
    std::vector<Index> order(static_cast<std::size_t>(n));
    for (Index i = 0; i < n; ++i) order[static_cast<std::size_t>(i)] = i;
    std::sort(order.begin(), order.end(), [&](Index a, Index b) { return measure.points()(0, a) < measure.points()(0, b); });
    for (std::size_t k = 1; k < order.size(); ++k) {
      const Index a = order[k - 1], b = order[k];
      const double gap = measure.points()(0, b) - measure.points()(0, a), mass = 0.5 * (w[a] + w[b]);
      size += mass * std::abs(std::log(mass / gap)) / energy.entropy()->beta;
      force[a] += mass / (gap * w[a] * energy.entropy()->beta);
      force[b] += mass / (gap * w[b] * energy.entropy()->beta);
    }
  }
  for (const auto& [part, value] : step.energy_value(measure).parts) {
    if (part != "potential" && part != "entropy") size += std::abs(value);
  }
  Rounding out;
  out.energy = static_cast<double>(n + 8) * epsilon * size;
  out.distance = self_distance(measure) + static_cast<double>(n + 8) * epsilon * std::sqrt(measure.covariance().trace());
  out.slope = 16 * epsilon * std::sqrt(force.array().square().matrix().dot(w));
  return out;
}

Steepness steepness_of(const GaussianStep& step, const Gaussian& m) {
  const auto quadratic = step.energy().potential()->potential->quadratic(step.energy().potential()->theta);
  const Matrix precision = m.covariance().inverse() / step.energy().entropy()->beta;
  const Vector spread = Eigen::SelfAdjointEigenSolver<Matrix>(m.covariance(), Eigen::EigenvaluesOnly).eigenvalues();
  Steepness out;
  // grad mu = K (x - centre) - Sigma^{-1}(x - m)/beta is constant for translates of pi only. The inverse carries the condition number.
  const double size = quadratic->curvature.norm() + precision.norm();
  if ((quadratic->curvature - precision).norm() > 64 * m.dimension() * epsilon * size * spread.maxCoeff() / spread.minCoeff()) {
    out.value = std::numeric_limits<double>::infinity();
    out.unknown = "the first variation of a Gaussian that is no translate of pi grows quadratically";
    return out;
  }
  const Vector offset = m.mean() - quadratic->centre;
  out.value = (quadratic->curvature * offset).norm();
  out.rounding = (m.dimension() + 8) * epsilon * (quadratic->curvature.cwiseAbs() * (m.mean().cwiseAbs() + quadratic->centre.cwiseAbs())).norm();
  return out;
}

double largest_residual(const GaussianStep& step, const Gaussian& from, const Gaussian& to, double h) {
  const auto quadratic = step.energy().potential()->potential->quadratic(step.energy().potential()->theta);
  return (quadratic->curvature * (to.mean() - quadratic->centre) + (to.mean() - from.mean()) / h).norm();  // between translates it is constant
}

Steepness steepness_of(const ParticleStep& step, const Particles& m) {
  Steepness out;
  if (step.energy().entropy() || step.energy().porous_medium()) {
    if (step.particle_energy().options().entropy != ParticleEntropy::spacing) out.unknown = "the proof needs a maximum principle, which of the particle entropies the spacing one has";
  } else if (m.dimension() > 1 && step.energy().interaction()) {
    out.unknown = "with an interaction it is a theorem in one dimension only";
  }
  if (const auto* part = step.energy().interaction()) {
    const auto convexity = part->kernel->convexity(part->theta);
    if (!convexity || convexity->kappa < 0) out.unknown = "the interaction is not known to be convex";
  }
  if (!out.unknown.empty()) return out;
  out.value = step.particle_energy().slope(m).gradient.colwise().norm().maxCoeff();
  // Of one gradient: its terms are bounded by |.| in L2(w) over the square root of the least weight.
  out.rounding = rounding_at(step, m).slope / std::sqrt(m.weights().minCoeff());
  return out;
}

double largest_residual(const ParticleStep& step, const Particles& from, const Particles& to, double h) {
  return (step.particle_energy().slope(to).gradient + (to.points() - from.points()) / h).colwise().norm().maxCoeff();
}

template <class Step>
Minimiser<typename Step::Measure> find_minimiser(Step step, const typename Step::Measure& near) {
  Minimiser<typename Step::Measure> out;
  out.measure = near;
  const auto convexity = convexity_of(step);
  if (!convexity || !(convexity->kappa > 0)) {
    out.status = Status::step_not_convex;
    return out;
  }
  const double kappa = convexity->kappa;
  double best = slope_of(step, near);
  for (int i = 0; i < 50; ++i) {
    auto result = step.advance(out.measure, 100 / kappa);
    if (!is_success(result.status) && result.status != Status::stalled) {
      out.status = result.status;
      return out;
    }
    const double now = slope_of(step, result.measure);
    if (!(now < best)) break;
    best = now;
    out.measure = std::move(result.measure);
  }
  // The slope that is reported is the computed one: its own rounding belongs to the certificate.
  const double certified = best + rounding_at(step, out.measure).slope;
  out.status = Status::converged;
  out.energy = step.energy_value(out.measure).total;
  out.energy_error = certified * certified / (2 * kappa);
  out.distance_error = certified / kappa;
  return out;
}

template <class Step>
FlowTrace trace_states(const Step& step, const std::vector<typename Step::Measure>& states, double h, const Minimiser<typename Step::Measure>& minimiser) {
  check_positive("trace_states", "step size h", h);
  check_at_least("trace_states", "the number of states", static_cast<long long>(states.size()), 1);
  FlowTrace trace;
  trace.measure = describe(states.front());
  trace.dimension = states.front().dimension();
  trace.convexity = convexity_of(step);
  const bool known = is_success(minimiser.status);
  const double unknown = std::numeric_limits<double>::quiet_NaN(), convexity = trace.convexity ? 1 + h * trace.convexity->kappa : 0;
  if (known) {
    trace.minimum = minimiser.energy;
    trace.minimum_error = minimiser.energy_error;
    trace.minimiser_error = minimiser.distance_error;
  }
  for (std::size_t k = 0; k < states.size(); ++k) {
    const Rounding rounding = rounding_at(step, states[k]);
    trace.energy_error = std::max(trace.energy_error, rounding.energy);
    trace.distance_error = std::max(trace.distance_error, rounding.distance);
    trace.slope_error = std::max(trace.slope_error, rounding.slope);
    const Steepness steepness = steepness_of(step, states[k]);
    trace.lipschitz_error = std::max(trace.lipschitz_error, steepness.rounding);
    trace.lipschitz_unknown = steepness.unknown;
    trace.points.push_back({static_cast<double>(k) * h, step.energy_value(states[k]).total, slope_of(step, states[k]), known ? distance_between(states[k], minimiser.measure) : unknown,
                            steepness.value});
    if (k == 0) continue;
    // The residual is recomputed here: it is the quantity in the proofs and must not be the solver's own word.
    const double residual = error_of(step, states[k - 1], states[k], h), moved = distance_between(states[k - 1], states[k]);
    trace.steps.push_back({h, moved, residual, convexity > 0 ? h * residual * residual / (2 * convexity) : unknown, convexity > 0 ? h * residual / convexity : unknown,
                           largest_residual(step, states[k - 1], states[k], h)});
  }
  trace.status = Status::converged;
  return trace;
}

template <class Step>
FlowTrace trace_flow(Step step, const typename Step::Measure& start, double h, int steps, const Minimiser<typename Step::Measure>& minimiser,
                     std::vector<typename Step::Measure>* states) {
  check_positive("trace_flow", "step size h", h);
  check_at_least("trace_flow", "steps", steps, 1);
  std::vector<typename Step::Measure> all{start};
  Status status = Status::converged;
  for (int k = 1; k <= steps && is_success(status); ++k) {
    auto result = step.advance(all.back(), h);
    // A stalled step is as good as its residual says, which the trace takes into account.
    if (is_success(result.status) || result.status == Status::stalled) all.push_back(std::move(result.measure));
    else status = result.status;
  }
  FlowTrace trace = trace_states(step, all, h, minimiser);
  trace.status = status;
  if (states) *states = std::move(all);
  return trace;
}

FlowTrace trace_records(const std::vector<FlowRecord>& records, double start_energy, const std::optional<Convexity>& convexity, int dimension, const std::string& measure) {
  FlowTrace trace;
  trace.status = Status::converged;
  trace.measure = measure;
  trace.dimension = dimension;
  trace.convexity = convexity;
  FlowTrace::Point point;
  point.energy = start_energy;
  trace.points.push_back(point);
  double size = std::abs(start_energy);
  for (const FlowRecord& record : records) {
    if (!is_success(record.step.status) && record.step.status != Status::stalled) {
      trace.status = record.step.status;
      break;
    }
    point.t = record.t;
    point.energy = record.step.energy.total;
    for (const auto& part : record.step.energy.parts) size = std::max(size, std::abs(part.second));
    trace.points.push_back(point);
    trace.steps.push_back({record.h, record.step.w2_moved, record.step.residual, record.step.gap, record.step.w2_bound, std::numeric_limits<double>::quiet_NaN()});
  }
  trace.lipschitz_unknown = "the records of a flow do not hold it";
  // The number of terms is not known here: 2^20 of them, summed in any order, stay below this.
  trace.energy_error = std::exp2(20) * epsilon * size;
  return trace;
}

template Minimiser<Gaussian> find_minimiser<GaussianStep>(GaussianStep, const Gaussian&);
template FlowTrace trace_flow<GaussianStep>(GaussianStep, const Gaussian&, double, int, const Minimiser<Gaussian>&, std::vector<Gaussian>*);
template FlowTrace trace_states<GaussianStep>(const GaussianStep&, const std::vector<Gaussian>&, double, const Minimiser<Gaussian>&);
template Minimiser<QuantileFunction> find_minimiser<QuantileStep>(QuantileStep, const QuantileFunction&);
template FlowTrace trace_flow<QuantileStep>(QuantileStep, const QuantileFunction&, double, int, const Minimiser<QuantileFunction>&, std::vector<QuantileFunction>*);
template FlowTrace trace_states<QuantileStep>(const QuantileStep&, const std::vector<QuantileFunction>&, double, const Minimiser<QuantileFunction>&);
template Minimiser<Particles> find_minimiser<ParticleStep>(ParticleStep, const Particles&);
template FlowTrace trace_flow<ParticleStep>(ParticleStep, const Particles&, double, int, const Minimiser<Particles>&, std::vector<Particles>*);
template FlowTrace trace_states<ParticleStep>(const ParticleStep&, const std::vector<Particles>&, double, const Minimiser<Particles>&);

}  // namespace jko::analysis
