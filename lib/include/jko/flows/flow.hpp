#pragma once
/// A flow: start + energy + step + time scheme -> the record of every step.
///
///   JKO    rho_{k+1} = prox_h(rho_k)
///   BDF2   rho_{k+1} = prox_tau(E_s(rho_{k-1}, rho_k)), s = (1+r)^2/(1+2r), tau = h (1+r)/(1+2r), r = h_{k+1}/h_k;
///          the first step is one JKO step ([Matthes2019], [Gallouet2024])
///   VIM    rho_{k+1} = E_2(rho_k, prox_{h/2}(rho_k)), variational implicit midpoint ([Legendre2017])
/// with prox_h(rho) = argmin F + W2^2(., rho)/(2h) and E_s(a, b) the geodesic from a through b at time s.
#include <jko/core/progress.hpp>
#include <jko/steps/step_result.hpp>

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace jko {

enum class Scheme { jko, bdf2, vim };
[[nodiscard]] std::string_view name(Scheme scheme);
[[nodiscard]] Scheme scheme_from_name(std::string_view name);  ///< throws DomainError

/// Step size from the local error estimated by step doubling: a step is accepted when
/// W2(one step of h, two steps of h/2)/(2^p - 1) <= tolerance, p the scheme's order; on grids a proven bound of W2 (flux_bound.hpp).
struct AdaptiveOptions {
  double tolerance = 1e-4;  ///< of the local error, in the unit of x
  double h_min = 1e-10;     ///< time; below it the flow ends with Status::stalled
  double h_max = 1e10;      ///< time
};

/// Which sensitivities of the coordinates with respect to the parameters the flow carries.
enum class Sensitivity {
  none,
  shared,    ///< one parameter vector for all steps (offline): P columns
  per_step,  ///< a column block for each step's own parameter vector (online): after step k there are kP columns
};

struct FlowOptions {
  Scheme scheme = Scheme::jko;
  double h = 0.01;                          ///< time, > 0; the first step where adaptive is set
  int steps = 100;                          ///< >= 1; with adaptive the number of steps is free and the final time is h * steps
  std::optional<AdaptiveOptions> adaptive{};  ///< not with BDF2, and not with per_step sensitivities
  Sensitivity sensitivity = Sensitivity::none;
  int keep_every = 1;                       ///< keep the measure (and sensitivity) of every j-th step; the last is always kept
  /// Online flows: the parameters of step k = 1, 2, ...; empty = the energy's own in every step.
  std::function<Vector(int k)> parameters_at{};
  void validate() const;                    ///< throws DomainError naming the field
};

struct FlowRecord {
  int k = 0;
  double t = 0;
  double h = 0;
  StepReport step;
  double mass = 1;
  double min_density = 0;   ///< over the support; NaN where it has no meaning
  Vector mean;
  Matrix covariance;
  double seconds = 0;       ///< wall time of the step (not part of the reproducible state)
};

template <class Measure>
struct FlowState {
  int k = 0;                ///< 0 is the start
  double t = 0;
  Measure measure;
  Matrix tangent;           ///< coordinates x columns; empty without sensitivities
};

template <class Measure>
struct FlowResult {
  Status status = Status::not_run;  ///< converged when every step converged; the first other status otherwise
  std::vector<FlowRecord> records;  ///< one a step, in order
  std::vector<FlowState<Measure>> states;  ///< the start, every keep_every-th step and the last
  [[nodiscard]] const FlowState<Measure>& final_state() const { return states.back(); }
};

/// Everything needed to continue to the same bits.
template <class Measure>
struct FlowCheckpoint {
  FlowResult<Measure> so_far;
  FlowState<Measure> current;
  FlowState<Measure> previous;  ///< BDF2's second point
  FlowState<Measure> before_previous;  ///< with the other two, extrapolates to a step's first guess
  double h_next = 0;
  double h_previous = 0;
};

template <class Step>
class Flow {
 public:
  using Measure = typename Step::Measure;
  /// start_tangent: derivative of the start's coordinates in the parameters, for Sensitivity::shared; empty is zero.
  Flow(Step step, Measure start, FlowOptions options, Matrix start_tangent = {});
  Flow(Step step, FlowCheckpoint<Measure> checkpoint, FlowOptions options);  ///< continues
  /// Runs to the end, or until the observer asks to stop (status cancelled) or a step fails (its status; the measures before it are kept).
  FlowResult<Measure> run(Observer* observer = nullptr);
  /// The state after the last finished step; valid during run() from the observer and after it.
  [[nodiscard]] FlowCheckpoint<Measure> checkpoint() const;

 private:
  Step step_;
  FlowOptions options_;
  FlowCheckpoint<Measure> state_;
};

}  // namespace jko
