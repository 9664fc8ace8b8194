#include <jko/flows/richardson.hpp>

#include <jko/core/check.hpp>
#include <jko/steps/gaussian_step.hpp>
#include <jko/steps/quantile_step.hpp>

#include <cmath>
#include <utility>

namespace jko {
namespace {

bool is_measure(const Gaussian&) { return true; }  // the constructor checks
bool is_measure(const QuantileFunction& measure) { return measure.is_monotone(); }

/// The exponent that column m = 1, 2, ... removes.
double exponent(Scheme scheme, int m) {
  if (scheme == Scheme::jko) return m;
  return scheme == Scheme::bdf2 ? m + 1 : 2 * m;
}

}  // namespace

template <class Step>
RichardsonResult<typename Step::Measure> richardson(const Step& step, const typename Step::Measure& start, FlowOptions flow, const RichardsonOptions& options,
                                                    Observer* observer) {
  using Measure = typename Step::Measure;
  flow.validate();
  check_in("richardson", "levels", options.levels, 2, 6);
  if (flow.adaptive || flow.sensitivity != Sensitivity::none || flow.parameters_at) {
    throw DomainError("richardson: adaptive steps, sensitivities and parameters of each step cannot be extrapolated");
  }
  RichardsonResult<Measure> out;
  std::vector<FlowResult<Measure>> runs;
  for (int level = 0; level < options.levels; ++level) {
    runs.push_back(Flow<Step>(step, start, flow).run(observer));
    if (!is_success(runs.back().status)) {
      out.status = runs.back().status;
      return out;
    }
    flow.h /= 2;
    flow.steps *= 2;
    flow.keep_every *= 2;
  }
  out.status = Status::converged;
  for (std::size_t k = 1; k < runs[0].states.size(); ++k) {
    std::vector<Vector> table;  // one diagonal upwards: T_{j,0}, ..., T_{j,j} replace those of j - 1
    Vector before;              // T_{levels-1, levels-2}
    for (std::size_t j = 0; j < runs.size(); ++j) {
      Vector entry = runs[j].states[k].measure.coordinates();
      for (std::size_t m = 1; m <= j; ++m) {
        const double factor = std::exp2(exponent(flow.scheme, static_cast<int>(m)));
        before = entry;
        Vector next = (factor * entry - table[m - 1]) / (factor - 1);
        table[m - 1] = std::move(entry);
        entry = std::move(next);
      }
      table.push_back(std::move(entry));
    }
    const Measure& finest = runs.back().states[k].measure;
    try {
      RichardsonState<Measure> state{runs[0].states[k].t, finest.with_coordinates(table.back()), 0, 0};
      if (is_measure(state.measure)) {
        state.error = w2(state.measure, finest.with_coordinates(before));
        state.finest_error = w2(state.measure, finest);
        out.states.push_back(std::move(state));
        continue;
      }
    } catch (const DomainError&) {
    }
    out.status = Status::order_lost;
    return out;
  }
  return out;
}

template RichardsonResult<Gaussian> richardson<GaussianStep>(const GaussianStep&, const Gaussian&, FlowOptions, const RichardsonOptions&, Observer*);
template RichardsonResult<QuantileFunction> richardson<QuantileStep>(const QuantileStep&, const QuantileFunction&, FlowOptions, const RichardsonOptions&, Observer*);

}  // namespace jko
