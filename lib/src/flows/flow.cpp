#include <jko/flows/flow.hpp>

#include <jko/core/check.hpp>
#include <jko/steps/affine_step.hpp>
#include <jko/steps/back_and_forth_step.hpp>
#include <jko/steps/entropic_step.hpp>
#include <jko/steps/finite_volume_step.hpp>
#include <jko/steps/gaussian_step.hpp>
#include <jko/steps/particle_step.hpp>
#include <jko/steps/quantile_step.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

namespace jko {
namespace {

double min_density(const Gaussian&) { return std::numeric_limits<double>::quiet_NaN(); }
double min_density(const Particles&) { return std::numeric_limits<double>::quiet_NaN(); }
double min_density(const QuantileFunction& measure) {
  const Index n = measure.cells();
  return (measure.masses().array() / (measure.nodes().tail(n) - measure.nodes().head(n)).array()).minCoeff();
}
double min_density(const GridDensity& measure) {
  double least = std::numeric_limits<double>::infinity();
  for (const double v : measure.values()) least = v > 0 ? std::min(least, v) : least;
  return least;
}

/// Measures that have geodesics may use every scheme; for the others a step reports how far it moved.
template <class Measure>
concept Geodesic = requires(const Measure& m) { geodesic(m, m, 1.0); };

/// Steps that differentiate their last advance(); a flow of the others carries no sensitivities.
template <class Step>
concept Differentiable = requires(const Step& step, const Matrix& m) { step.tangent(m, m); };

bool is_measure(const Gaussian&) { return true; }
bool is_measure(const GridDensity& measure) { return measure.dimension() > 0; }
bool is_measure(const Particles&) { return true; }
bool is_measure(const QuantileFunction& measure) { return measure.is_monotone(); }

/// W2, or for labelled particles the metric their step is exact for.
template <class Measure>
double distance(const Measure& a, const Measure& b) { return w2(a, b); }
double distance(const Particles& a, const Particles& b) { return label_distance(a, b); }

/// Time step dependent extrapolation of BDF2.
struct Bdf2 {
  double s;    ///< geodesic time
  double tau;  ///< prox step
  Bdf2(double h, double h_previous) {
    const double r = h / h_previous;
    s = (1 + r) * (1 + r) / (1 + 2 * r);
    tau = h * (1 + r) / (1 + 2 * r);
  }
};

/// Coordinates at `time` of the parabola (line) through the last three (two) states; empty with one state only.
template <class Measure>
Vector extrapolated(const FlowCheckpoint<Measure>& state, double time) {
  if (state.current.k < 1) return {};
  const double t0 = state.current.t, t1 = state.previous.t;
  const auto &x0 = state.current.measure.coordinates(), &x1 = state.previous.measure.coordinates();
  if (state.current.k < 2) return x0 + (time - t0) / (t0 - t1) * (x0 - x1);
  const double t2 = state.before_previous.t;
  return (time - t1) * (time - t2) / ((t0 - t1) * (t0 - t2)) * x0 + (time - t0) * (time - t2) / ((t1 - t0) * (t1 - t2)) * x1 +
         (time - t0) * (time - t1) / ((t2 - t0) * (t2 - t1)) * state.before_previous.measure.coordinates();
}

/// The steps that iterate begin at the guess; the closed forms need none.
template <class Step>
StepResult<typename Step::Measure> advance(Step& step, const typename Step::Measure& from, double h, const Vector& guess) {
  if constexpr (requires { step.advance(from, h, guess); }) return step.advance(from, h, guess);
  else return step.advance(from, h);
}

/// One step of a scheme with its tangent.
template <class Step>
struct SchemeStep {
  using Measure = typename Step::Measure;
  StepResult<Measure> result;
  Matrix tangent;
};

/// Columns of a tangent widened with zeros, so that tangents of different times can be combined.
Matrix widened(const Matrix& tangent, Index rows, Index columns) {
  Matrix wide = Matrix::Zero(rows, columns);
  if (tangent.size() > 0) wide.leftCols(tangent.cols()) = tangent;
  return wide;
}

template <class Step>
SchemeStep<Step> scheme_step(Step& step, Scheme scheme, const FlowState<typename Step::Measure>& current,
                             const FlowState<typename Step::Measure>* previous, double h, double h_previous,
                             const Matrix* parameter_tangent, const Vector& guess) {
  SchemeStep<Step> out;
  const Index columns = parameter_tangent ? parameter_tangent->cols() : 0;
  const Index rows = parameter_tangent ? current.measure.coordinates().size() : 0;
  const Matrix from_tangent = parameter_tangent ? widened(current.tangent, rows, columns) : Matrix();
  try {
    if (scheme == Scheme::jko || (scheme == Scheme::bdf2 && previous == nullptr)) {
      out.result = advance(step, current.measure, h, guess);
      if constexpr (Differentiable<Step>) {
        if (parameter_tangent) out.tangent = step.tangent(from_tangent, *parameter_tangent);
      }
    } else if constexpr (!Geodesic<typename Step::Measure>) {
      throw Error("flow: the scheme needs geodesics");  // refused by the constructor
    } else if (scheme == Scheme::bdf2) {
      const Bdf2 scheme_weights(h, h_previous);
      const auto point = geodesic(previous->measure, current.measure, scheme_weights.s);
      out.result = advance(step, point, scheme_weights.tau, guess);
      if (parameter_tangent) {
        const Matrix before = widened(previous->tangent, rows, columns);
        const Matrix point_tangent = geodesic_tangent(previous->measure, current.measure, scheme_weights.s, before, from_tangent);
        out.tangent = step.tangent(point_tangent, *parameter_tangent);
      }
    } else {
      const Vector middle = guess.size() > 0 ? Vector(0.5 * (current.measure.coordinates() + guess)) : Vector();
      out.result = advance(step, current.measure, 0.5 * h, middle);
      if (is_success(out.result.status)) {
        const auto midpoint = out.result.measure;
        if (parameter_tangent) {
          const Matrix midpoint_tangent = step.tangent(from_tangent, *parameter_tangent);
          out.tangent = geodesic_tangent(current.measure, midpoint, 2.0, from_tangent, midpoint_tangent);
        }
        out.result.measure = geodesic(current.measure, midpoint, 2.0);
        out.result.energy = step.energy_value(out.result.measure);
        out.result.w2_bound *= 2;  // E_2 doubles the distance between two midpoints
        if (!is_measure(out.result.measure)) out.result.status = Status::order_lost;
      }
    }
    if constexpr (Geodesic<typename Step::Measure>) {
      // A plain JKO step has measured it.
      const bool plain = scheme == Scheme::jko || (scheme == Scheme::bdf2 && previous == nullptr);
      if (!plain && is_success(out.result.status)) out.result.w2_moved = distance(current.measure, out.result.measure);
    }
  } catch (const DomainError&) {
    // Inputs were checked before the flow began: what is left is an extrapolation that is no measure.
    if (scheme == Scheme::jko) throw;
    out.result.status = Status::order_lost;
  }
  return out;
}

}  // namespace

std::string_view name(Scheme scheme) {
  switch (scheme) {
    case Scheme::jko: return "jko";
    case Scheme::bdf2: return "bdf2";
    case Scheme::vim: return "vim";
  }
  return "?";
}

Scheme scheme_from_name(std::string_view text) {
  for (const Scheme scheme : {Scheme::jko, Scheme::bdf2, Scheme::vim}) {
    if (name(scheme) == text) return scheme;
  }
  throw DomainError(fmt::format("flow: scheme is '{}', but must be one of jko, bdf2, vim", text));
}

void FlowOptions::validate() const {
  check_positive("flow", "step size h", h);
  check_at_least("flow", "steps", steps, 1);
  check_at_least("flow", "keep_every", keep_every, 1);
  if (adaptive) {
    check_positive("flow", "adaptive tolerance", adaptive->tolerance);
    check_positive("flow", "adaptive h_min", adaptive->h_min);
    check_positive("flow", "adaptive h_max", adaptive->h_max);
    if (scheme == Scheme::bdf2) throw DomainError("flow: adaptive steps need the scheme jko or vim, not bdf2");
    if (sensitivity == Sensitivity::per_step) throw DomainError("flow: adaptive steps allow shared sensitivities only");
    if (parameters_at) throw DomainError("flow: adaptive steps and parameters for each step exclude each other");
  }
}

namespace {

/// Grid densities have no geodesics here: BDF2 and VIM extrapolate along them, adaptive steps need W2 between any two.
template <class Step>
void check_scheme(const FlowOptions& options) {
  using Measure = typename Step::Measure;
  options.validate();
  if constexpr (!Differentiable<Step>) {
    if (options.sensitivity != Sensitivity::none) throw DomainError("flow: the step is not differentiated, so sensitivities and bands need another one (entropic on grids)");
  }
  if constexpr (!Geodesic<Measure>) {
    if (options.scheme != Scheme::jko) throw DomainError(fmt::format("flow: grid densities allow the scheme jko only, not {}; extrapolated_flow() has second order", name(options.scheme)));
    if (options.adaptive) throw DomainError("flow: grid densities allow fixed steps only");
  }
}

}  // namespace

template <class Step>
Flow<Step>::Flow(Step step, Measure start, FlowOptions options, Matrix start_tangent) : step_(std::move(step)), options_(std::move(options)) {
  check_scheme<Step>(options_);
  if (start_tangent.size() > 0) {
    if (options_.sensitivity != Sensitivity::shared) throw DomainError("flow: a start tangent needs shared sensitivities");
    check_size("flow", "the start tangent's rows", start_tangent.rows(), start.coordinates().size());
    check_size("flow", "the start tangent's columns", start_tangent.cols(), step_.energy().parameters().size());
    state_.current.tangent = std::move(start_tangent);
  }
  if (!is_measure(start)) throw DomainError("flow: the start is no measure: its quantile function must increase strictly, its grid must not be empty");
  state_.current.measure = start;
  state_.previous = state_.before_previous = state_.current;
  state_.so_far.states.push_back(state_.current);
  state_.h_next = options_.h;
}

template <class Step>
Flow<Step>::Flow(Step step, FlowCheckpoint<Measure> checkpoint, FlowOptions options)
    : step_(std::move(step)), options_(std::move(options)), state_(std::move(checkpoint)) {
  check_scheme<Step>(options_);
}

template <class Step>
FlowCheckpoint<typename Step::Measure> Flow<Step>::checkpoint() const {
  return state_;
}

template <class Step>
FlowResult<typename Step::Measure> Flow<Step>::run(Observer* observer) {
  const double final_time = options_.h * options_.steps;
  const Index parameters = step_.energy().parameters().size();
  state_.so_far.status = Status::converged;
  const auto finished = [&] {
    // The last step of an adaptive flow is cut to end at final_time; rounding of t is below steps * epsilon * final_time.
    return options_.adaptive ? state_.current.t >= final_time * (1 - 1e-12) : state_.current.k >= options_.steps;
  };
  while (!finished()) {
    if (observer && observer->stop_requested()) {
      state_.so_far.status = Status::cancelled;
      return state_.so_far;
    }
    const auto begin = std::chrono::steady_clock::now();
    const int k = state_.current.k + 1;
    if (options_.parameters_at) step_.set_parameters(options_.parameters_at(k));
    Matrix parameter_tangent;
    if (options_.sensitivity == Sensitivity::shared) parameter_tangent = Matrix::Identity(parameters, parameters);
    if (options_.sensitivity == Sensitivity::per_step) {
      parameter_tangent = Matrix::Zero(parameters, k * parameters);
      parameter_tangent.rightCols(parameters).setIdentity();
    }
    const Matrix* tangent = options_.sensitivity == Sensitivity::none ? nullptr : &parameter_tangent;
    const FlowState<Measure>* previous = k >= 2 ? &state_.previous : nullptr;

    const auto guess = [&](double ahead) {
      if constexpr (requires { step_.advance(state_.current.measure, ahead, Vector()); }) return extrapolated(state_, state_.current.t + ahead);
      else return Vector();
    };

    double h = options_.h;
    SchemeStep<Step> taken;
    if (!options_.adaptive) {
      taken = scheme_step(step_, options_.scheme, state_.current, previous, h, state_.h_previous, tangent, guess(h));
    } else {
      const AdaptiveOptions& adaptive = *options_.adaptive;
      const int order = options_.scheme == Scheme::jko ? 1 : 2;
      h = std::min(state_.h_next, adaptive.h_max);
      for (;;) {
        const double left = final_time - state_.current.t;
        if (h > left * (1 - 1e-12)) h = left;
        const auto whole = scheme_step(step_, options_.scheme, state_.current, previous, h, state_.h_previous, nullptr, guess(h));
        auto first = scheme_step(step_, options_.scheme, state_.current, previous, 0.5 * h, state_.h_previous, tangent, guess(0.5 * h));
        double error = std::numeric_limits<double>::infinity();
        if (is_success(whole.result.status) && is_success(first.result.status)) {
          const FlowState<Measure> half{state_.current.k, state_.current.t, first.result.measure, first.tangent};
          taken = scheme_step(step_, options_.scheme, half, previous, 0.5 * h, state_.h_previous, tangent, guess(h));
          if (is_success(taken.result.status)) {
            if constexpr (Geodesic<Measure>) taken.result.w2_moved = distance(state_.current.measure, taken.result.measure);
            taken.result.w2_bound += first.result.w2_bound;  // steps of a (1/h + kappa)-convex functional add their errors
            taken.result.iterations += first.result.iterations + whole.result.iterations;
            if constexpr (Geodesic<Measure>) error = distance(whole.result.measure, taken.result.measure) / (std::pow(2.0, order) - 1);
          }
        } else {
          taken = std::move(first);
          if (is_success(taken.result.status)) taken.result.status = whole.result.status;
        }
        // Local errors scale as h^{order+1}; 0.9 aims below the tolerance, the factors 0.2 and 3 bound a bad estimate's damage.
        const double factor = error > 0 ? 0.9 * std::pow(adaptive.tolerance / error, 1.0 / (order + 1)) : 3.0;
        if (error <= adaptive.tolerance) {
          state_.h_next = h * std::clamp(factor, 0.2, 3.0);
          break;
        }
        h *= std::isfinite(error) ? std::clamp(factor, 0.2, 0.9) : 0.25;
        if (h < adaptive.h_min) {
          if (is_success(taken.result.status)) taken.result.status = Status::stalled;
          break;
        }
      }
    }

    FlowRecord record;
    record.k = k;
    record.t = options_.adaptive ? state_.current.t + h : h * k;
    record.h = h;
    record.step = taken.result;
    if (!is_success(taken.result.status)) {
      state_.so_far.status = taken.result.status;
      record.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
      state_.so_far.records.push_back(std::move(record));
      return state_.so_far;
    }
    record.min_density = min_density(taken.result.measure);
    record.mean = taken.result.measure.mean();
    record.covariance = taken.result.measure.covariance();
    state_.before_previous = std::move(state_.previous);
    state_.before_previous.tangent.resize(0, 0);
    state_.previous = std::move(state_.current);
    state_.current = {k, record.t, std::move(taken.result.measure), std::move(taken.tangent)};
    state_.h_previous = h;
    record.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    state_.so_far.records.push_back(std::move(record));
    if (k % options_.keep_every == 0 || finished()) state_.so_far.states.push_back(state_.current);
    if (observer) observer->progress("flow", state_.current.t, final_time);
  }
  return state_.so_far;
}

template class Flow<AffineStep>;
template class Flow<BackAndForthStep>;
template class Flow<EntropicStep>;
template class Flow<FiniteVolumeStep>;
template class Flow<GaussianStep>;
template class Flow<ParticleStep>;
template class Flow<QuantileStep>;

}  // namespace jko
