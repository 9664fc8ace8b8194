#include <jko/flows/density_extrapolation.hpp>

#include <jko/core/check.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <utility>

namespace jko {

DensityExtrapolation extrapolate(const GridDensity& coarse, const GridDensity& fine, int order) {
  check_at_least("density_extrapolation", "order", order, 1);
  const double difference = l1_distance(coarse, fine);  // throws where the grids differ
  const double factor = std::ldexp(1.0, order) - 1, volume = fine.grid().cell_volume();
  Vector values = fine.values() + (fine.values() - coarse.values()) / factor;
  DensityExtrapolation out;
  out.error = difference / factor;
  out.clipped = -values.cwiseMin(0).sum() * volume;
  values = values.cwiseMax(0);
  values /= values.sum() * volume;
  out.density = fine.with_coordinates(std::move(values));
  out.status = out.clipped <= out.error ? Status::converged : Status::order_lost;
  return out;
}

namespace {

/// A flow that is run piece by piece; only its last state is kept.
template <class Step>
class Piecewise {
 public:
  Piecewise(Step step, const GridDensity& start, FlowOptions options) : step_(std::move(step)), options_(std::move(options)) {
    options_.keep_every = std::numeric_limits<int>::max();
    state_ = Flow<Step>(step_, start, options_).checkpoint();
  }
  [[nodiscard]] const FlowState<GridDensity>& state() const { return state_.current; }

  /// Takes `steps` more; their records are added to `records`.
  Status run(int steps, std::vector<FlowRecord>& records, Observer* observer) {
    options_.steps = state_.current.k + steps;
    state_.so_far = {};
    Flow<Step> flow(step_, std::move(state_), options_);
    const auto result = flow.run(observer);
    records.insert(records.end(), result.records.begin(), result.records.end());
    state_ = flow.checkpoint();
    return result.status;
  }

 private:
  Step step_;
  FlowOptions options_;
  FlowCheckpoint<GridDensity> state_;
};

/// The step that both flows take: with one epsilon, and without certificates, which would not be the result's.
EntropicStep shared_step(const EntropicStep& step, const GridDensity& start) {
  EntropicStepOptions same = step.options();
  if (same.epsilon == 0) same.epsilon = chosen_epsilon(start, same.bias_target);
  same.certificate = EntropicCertificate::none;
  return EntropicStep(step.energy(), same);
}
BackAndForthStep shared_step(const BackAndForthStep& step, const GridDensity&) { return BackAndForthStep(step.energy(), step.options()); }
FiniteVolumeStep shared_step(const FiniteVolumeStep& step, const GridDensity&) { return FiniteVolumeStep(step.energy(), step.options()); }

}  // namespace

template <class Step>
ExtrapolatedFlow extrapolated_flow(const Step& step, const GridDensity& start, const FlowOptions& options, Observer* observer) {
  options.validate();
  if (options.scheme != Scheme::jko || options.adaptive || options.sensitivity == Sensitivity::per_step || options.parameters_at) {
    throw DomainError("extrapolated_flow: only the scheme jko with fixed steps and parameters can be extrapolated");
  }
  if (start.dimension() == 0) throw DomainError("extrapolated_flow: the start is empty");
  FlowOptions halved = options;
  halved.h *= 0.5;
  const Step fixed = shared_step(step, start);
  Piecewise<Step> coarse(fixed, start, options), fine(shared_step(step, start), start, halved);  // steps keep the state of their last advance: one each
  ExtrapolatedFlow out;
  out.result.status = Status::converged;
  out.result.states.push_back(coarse.state());
  out.error.push_back(0);
  for (int k = 1; k <= options.steps; ++k) {
    const auto begin = std::chrono::steady_clock::now();
    std::vector<FlowRecord> records;
    Status status = fine.run(2, records, observer);
    if (is_success(status)) status = coarse.run(1, records, observer);
    DensityExtrapolation density;
    if (is_success(status)) {
      density = extrapolate(coarse.state().measure, fine.state().measure);
      status = density.status;
    }
    if (status == Status::cancelled) {
      out.result.status = status;
      return out;
    }
    FlowRecord record;
    record.k = k;
    record.t = options.h * k;
    record.h = options.h;
    record.step.status = status;
    record.step.residual = 0;
    for (const FlowRecord& r : records) {
      record.step.residual = std::max(record.step.residual, r.step.residual);
      record.step.iterations += r.step.iterations;
    }
    const bool good = is_success(status);
    if (good) {
      record.step.energy = fixed.energy_value(density.density);
      record.mass = density.density.mass();
      record.min_density = std::numeric_limits<double>::infinity();
      for (const double v : density.density.values()) record.min_density = v > 0 ? std::min(record.min_density, v) : record.min_density;
      record.mean = density.density.mean();
      record.covariance = density.density.covariance();
    }
    record.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    out.result.records.push_back(std::move(record));
    if (!good) {
      out.result.status = status;
      return out;
    }
    if (k % options.keep_every == 0 || k == options.steps) {
      const Matrix& slow = coarse.state().tangent;
      const Matrix& fast = fine.state().tangent;
      out.result.states.push_back({k, options.h * k, std::move(density.density), slow.size() > 0 ? Matrix(2 * fast - slow) : Matrix()});
      out.error.push_back(density.error);
    }
  }
  return out;
}

template ExtrapolatedFlow extrapolated_flow<BackAndForthStep>(const BackAndForthStep&, const GridDensity&, const FlowOptions&, Observer*);
template ExtrapolatedFlow extrapolated_flow<EntropicStep>(const EntropicStep&, const GridDensity&, const FlowOptions&, Observer*);
template ExtrapolatedFlow extrapolated_flow<FiniteVolumeStep>(const FiniteVolumeStep&, const GridDensity&, const FlowOptions&, Observer*);

}  // namespace jko
