#include <jko/analysis/flow_trace.hpp>

#include <jko/core/check.hpp>
#include <jko/energies/slope.hpp>
#include <jko/steps/gaussian_step.hpp>
#include <jko/steps/quantile_step.hpp>

#include <Eigen/Eigenvalues>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace jko::analysis {
namespace {

constexpr double epsilon = std::numeric_limits<double>::epsilon();

std::string describe(const Gaussian& measure) { return fmt::format("Gaussian, d = {}", measure.dimension()); }
std::string describe(const QuantileFunction& measure) { return fmt::format("quantile function, {} cells", measure.cells()); }

template <class Measure>
double distance_rounding(const Measure& measure) {
  return 4 * w2(measure, measure) + 16 * epsilon * std::sqrt(measure.mean().squaredNorm() + measure.covariance().trace());
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
  out.distance = distance_rounding(measure);
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
  out.distance = distance_rounding(measure) + static_cast<double>(n + 8) * epsilon * std::sqrt(measure.covariance()(0, 0));
  // A node's gradient is a sum of four terms divided by masses, each with a few roundings; the solve with the well-conditioned (scaled) mass matrix adds as many.
  out.slope = 16 * epsilon * std::sqrt(gradient);
  return out;
}

template <class Step>
Minimiser<typename Step::Measure> find_minimiser(Step step, const typename Step::Measure& near) {
  Minimiser<typename Step::Measure> out;
  out.measure = near;
  const auto convexity = step.energy().convexity();
  if (!convexity || !(convexity->kappa > 0)) {
    out.status = Status::step_not_convex;
    return out;
  }
  const double kappa = convexity->kappa;
  double best = slope(step.energy(), near);
  for (int i = 0; i < 50; ++i) {
    auto result = step.advance(out.measure, 100 / kappa);
    if (!is_success(result.status) && result.status != Status::stalled) {
      out.status = result.status;
      return out;
    }
    const double now = slope(step.energy(), result.measure);
    if (!(now < best)) break;
    best = now;
    out.measure = std::move(result.measure);
  }
  // The slope that is reported is the computed one: its own rounding belongs to the certificate.
  const double certified = best + rounding_of(step.energy(), out.measure).slope;
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
  const FreeEnergy& energy = step.energy();
  FlowTrace trace;
  trace.measure = describe(states.front());
  trace.dimension = states.front().dimension();
  trace.convexity = energy.convexity();
  const bool known = is_success(minimiser.status);
  const double unknown = std::numeric_limits<double>::quiet_NaN(), convexity = trace.convexity ? 1 + h * trace.convexity->kappa : 0;
  if (known) {
    trace.minimum = minimiser.energy;
    trace.minimum_error = minimiser.energy_error;
    trace.minimiser_error = minimiser.distance_error;
  }
  for (std::size_t k = 0; k < states.size(); ++k) {
    const Rounding rounding = rounding_of(energy, states[k]);
    trace.energy_rounding = std::max(trace.energy_rounding, rounding.energy);
    trace.distance_rounding = std::max(trace.distance_rounding, rounding.distance);
    trace.slope_rounding = std::max(trace.slope_rounding, rounding.slope);
    trace.points.push_back({static_cast<double>(k) * h, step.energy_value(states[k]).total, slope(energy, states[k]), known ? w2(states[k], minimiser.measure) : unknown});
    if (k == 0) continue;
    // The residual is recomputed here: it is the quantity in the proofs and must not be the solver's own word.
    const double residual = first_order_error(energy, states[k - 1], states[k], h), moved = w2(states[k - 1], states[k]);
    trace.steps.push_back({h, moved, residual, convexity > 0 ? h * residual * residual / (2 * convexity) : unknown, convexity > 0 ? h * residual / convexity : unknown});
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

template Minimiser<Gaussian> find_minimiser<GaussianStep>(GaussianStep, const Gaussian&);
template Minimiser<QuantileFunction> find_minimiser<QuantileStep>(QuantileStep, const QuantileFunction&);
template FlowTrace trace_flow<GaussianStep>(GaussianStep, const Gaussian&, double, int, const Minimiser<Gaussian>&, std::vector<Gaussian>*);
template FlowTrace trace_flow<QuantileStep>(QuantileStep, const QuantileFunction&, double, int, const Minimiser<QuantileFunction>&,
                                            std::vector<QuantileFunction>*);
template FlowTrace trace_states<GaussianStep>(const GaussianStep&, const std::vector<Gaussian>&, double, const Minimiser<Gaussian>&);
template FlowTrace trace_states<QuantileStep>(const QuantileStep&, const std::vector<QuantileFunction>&, double, const Minimiser<QuantileFunction>&);

}  // namespace jko::analysis
