#include <jko/flows/flow.hpp>

#include <jko/core/check.hpp>
#include <jko/energies/grid_energy.hpp>
#include <jko/steps/affine_step.hpp>
#include <jko/steps/back_and_forth_step.hpp>
#include <jko/steps/entropic_step.hpp>
#include <jko/steps/finite_volume_step.hpp>
#include <jko/steps/gaussian_step.hpp>
#include <jko/steps/particle_step.hpp>
#include <jko/steps/quantile_step.hpp>
#include <jko/transport/flux_bound.hpp>
#include <jko/transport/grid_geodesic.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <type_traits>
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

/// Measures that have geodesics may use every scheme; grid densities where the step's own optimality condition gives the geodesic's potential.
template <class Measure>
concept Geodesic = requires(const Measure& m) { geodesic(m, m, 1.0); };
template <class Step>
concept ExactOnGrids = std::is_same_v<Step, BackAndForthStep> || std::is_same_v<Step, EntropicStep>;

/// Steps that differentiate their last advance(); a flow of the others carries no sensitivities.
template <class Step>
concept Differentiable = requires(const Step& step, const Matrix& m) { step.tangent(m, m); };

bool is_measure(const Gaussian&) { return true; }
bool is_measure(const GridDensity& measure) { return measure.dimension() > 0; }
bool is_measure(const Particles&) { return true; }
bool is_measure(const QuantileFunction& measure) { return measure.is_monotone(); }

/// W2, for labelled particles the metric their step is exact for, for grid densities an upper bound of W2.
template <class Measure>
double distance(const Measure& a, const Measure& b) { return w2(a, b); }
double distance(const Particles& a, const Particles& b) { return label_distance(a, b); }
double distance(const GridDensity& a, const GridDensity& b) { return flux_bound(a, b).value; }

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

/// BDF2 and VIM between grid densities: the potential from the energy's first variation, the extrapolation along it.
template <ExactOnGrids Step>
StepResult<GridDensity> grid_scheme_step(Step& step, Scheme scheme, const FlowState<GridDensity>& current, const FlowState<GridDensity>* previous, double h, double h_previous, const Vector& guess) {
  const GridGeodesicOptions options{.threads = step.options().threads};
  const GridEnergy energy(step.energy(), current.measure.grid_ptr());
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  if (scheme == Scheme::bdf2) {
    const Bdf2 weights(h, h_previous);
    // The first step was JKO's, whose potential is exact.
    const Vector potential = previous->k == 0 ? jko_potential(energy, current.measure, h_previous) : bdf2_potential(energy, previous->measure, current.measure, h_previous, options.threads);
    const auto point = grid_geodesic(previous->measure, current.measure, potential, weights.s, options);
    StepResult<GridDensity> out;
    out.status = point.status;
    if (!is_success(point.status)) return out;
    out = advance(step, point.density, weights.tau, guess);
    if (is_success(out.status)) out.w2_moved = displacement_norm(out.measure, bdf2_potential(energy, current.measure, out.measure, h, options.threads));
    return out;
  }
  auto out = advance(step, current.measure, 0.5 * h, guess.size() > 0 ? Vector(0.5 * (current.measure.coordinates() + guess)) : Vector());
  if (!is_success(out.status)) return out;
  auto end = grid_geodesic(current.measure, out.measure, jko_potential(energy, out.measure, 0.5 * h), 2, options);
  out.status = end.status;
  out.measure = std::move(end.density);
  out.energy = step.energy_value(out.measure);
  out.w2_moved *= 2;  // a geodesic as long as no mass folds
  out.w2_bound = out.objective = nan;
  return out;
}

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
    } else if constexpr (ExactOnGrids<Step>) {
      out.result = grid_scheme_step(step, scheme, current, previous, h, h_previous, guess);
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
    // Inputs were checked before the flow began: what is left is an extrapolation that is no measure (on grids it has a status of its own).
    if (scheme == Scheme::jko || !Geodesic<typename Step::Measure>) throw;
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

/// What the step and its measure cannot do.
template <class Step>
void check_scheme(const Step& step, const FlowOptions& options) {
  using Measure = typename Step::Measure;
  options.validate();
  if constexpr (!Differentiable<Step>) {
    if (options.sensitivity != Sensitivity::none) throw DomainError("flow: the step is not differentiated, so sensitivities and bands need another one (entropic on grids)");
  }
  if constexpr (!Geodesic<Measure>) {
    if (options.scheme == Scheme::jko) return;
    const auto refuse = [&](std::string_view why) { throw DomainError(fmt::format("flow: the scheme {} on grids {}", name(options.scheme), why)); };
    if constexpr (ExactOnGrids<Step>) {
      if (options.sensitivity != Sensitivity::none) refuse("carries no sensitivities; extrapolated_flow() does");
      if (options.parameters_at && options.scheme == Scheme::bdf2) refuse("needs the same parameters in all steps");
      if (step.energy().congestion()) refuse("takes no congestion: its pressure is no part of the first variation");
      if constexpr (std::is_same_v<Step, EntropicStep>) {
        if (step.energy().interaction() && step.options().interaction == InteractionScheme::semi_implicit) refuse("needs the interaction implicit");
      }
    } else {
      refuse("needs the exact JKO step (back_and_forth, entropic); extrapolated_flow() has second order for this one");
    }
  }
}

/// The extrapolation along grid geodesics is for boxes with walls in which mass may be everywhere.
template <class Step>
void check_start(const Step& step, const FlowOptions& options, const GridDensity& start) {
  if (options.scheme == Scheme::jko) return;
  const auto refuse = [&](std::string_view why) { throw DomainError(fmt::format("flow: the scheme {} on grids {}", name(options.scheme), why)); };
  if (start.grid().boundary != Boundary::no_flux) refuse("needs no-flux walls");
  if (!GridEnergy(step.energy(), start.grid_ptr()).potential().allFinite()) refuse("takes no obstacles");
}
template <class Step, class Measure>
void check_start(const Step&, const FlowOptions&, const Measure&) {}

}  // namespace

template <class Step>
Flow<Step>::Flow(Step step, Measure start, FlowOptions options, Matrix start_tangent) : step_(std::move(step)), options_(std::move(options)) {
  check_scheme(step_, options_);
  if (start_tangent.size() > 0) {
    if (options_.sensitivity != Sensitivity::shared) throw DomainError("flow: a start tangent needs shared sensitivities");
    check_size("flow", "the start tangent's rows", start_tangent.rows(), start.coordinates().size());
    check_size("flow", "the start tangent's columns", start_tangent.cols(), step_.energy().parameters().size());
    state_.current.tangent = std::move(start_tangent);
  }
  if (!is_measure(start)) throw DomainError("flow: the start is no measure: its quantile function must increase strictly, its grid must not be empty");
  check_start(step_, options_, start);
  state_.current.measure = start;
  state_.previous = state_.before_previous = state_.current;
  state_.so_far.states.push_back(state_.current);
  state_.h_next = options_.h;
}

template <class Step>
Flow<Step>::Flow(Step step, FlowCheckpoint<Measure> checkpoint, FlowOptions options)
    : step_(std::move(step)), options_(std::move(options)), state_(std::move(checkpoint)) {
  check_scheme(step_, options_);
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
            else taken.result.w2_moved += first.result.w2_moved;  // along the path
            taken.result.w2_bound += first.result.w2_bound;  // steps of a (1/h + kappa)-convex functional add their errors
            taken.result.iterations += first.result.iterations + whole.result.iterations;
            error = distance(whole.result.measure, taken.result.measure) / (std::pow(2.0, order) - 1);
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
