#pragma once
/// What the inequalities of a JKO flow are written in: energies, slopes, distances and certificates, whatever the measure.
///
/// Steps: GaussianStep, QuantileStep and ParticleStep. For labelled particles W2 is the label distance, |.| in L2(w): a Hilbert space in which their step is the proximal map
/// of the discrete energy, so that all inequalities hold exactly for the discrete problem where that energy is convex (ParticleEnergy::convexity()).
#include <jko/flows/flow.hpp>
#include <jko/measures/gaussian.hpp>
#include <jko/measures/quantile_function.hpp>
#include <jko/steps/step_result.hpp>

#include <string>
#include <vector>

namespace jko::analysis {

/// A measure near the minimiser of F. For kappa > 0: W2(measure, minimiser) <= |dF|/kappa and F(measure) - min F <= |dF|^2/(2 kappa).
template <class Measure>
struct Minimiser {
  Status status = Status::not_run;  ///< step_not_convex where no kappa > 0 is known: there is no certificate then
  Measure measure;
  double energy = std::numeric_limits<double>::quiet_NaN();
  double energy_error = std::numeric_limits<double>::quiet_NaN();    ///< bound of energy - min F
  double distance_error = std::numeric_limits<double>::quiet_NaN();  ///< bound of W2 to the minimiser
};

/// By JKO steps of h = 100/kappa, each of which shrinks the distance 101 times, until the slope stops falling.
template <class Step>
[[nodiscard]] Minimiser<typename Step::Measure> find_minimiser(Step step, const typename Step::Measure& near);

/// The flow as numbers. NaN: not known for this measure; every inequality that needs it is then inconclusive.
struct FlowTrace {
  struct Point {  ///< of rho_k
    double t = 0;
    double energy = std::numeric_limits<double>::quiet_NaN();
    double slope = std::numeric_limits<double>::quiet_NaN();
    double to_minimiser = std::numeric_limits<double>::quiet_NaN();  ///< W2(rho_k, minimiser)
    double lipschitz = std::numeric_limits<double>::quiet_NaN();     ///< sup |grad dF/drho[rho_k]|; infinite where it grows
  };
  struct Step {  ///< from rho_{k-1} to rho_k
    double h = 0;
    double moved = std::numeric_limits<double>::quiet_NaN();
    double residual = std::numeric_limits<double>::quiet_NaN();   ///< eps of theory.md b7
    double gap = std::numeric_limits<double>::quiet_NaN();
    double w2_bound = std::numeric_limits<double>::quiet_NaN();
    double residual_sup = std::numeric_limits<double>::quiet_NaN();  ///< the residual's largest length, not its L2 norm
  };
  Status status = Status::not_run;  ///< of the flow; a trace that is not converged decides nothing
  std::string measure;              ///< "Gaussian, d = 2", "quantile function, 400 cells", "200 labelled particles, d = 1"
  int dimension = 0;
  std::optional<Convexity> convexity;
  std::vector<Point> points;        ///< steps + 1
  std::vector<Step> steps;
  double minimum = std::numeric_limits<double>::quiet_NaN();
  double minimum_error = std::numeric_limits<double>::quiet_NaN();
  double minimiser_error = std::numeric_limits<double>::quiet_NaN();
  /// Bounds of the errors of one energy, distance, slope and Lipschitz constant: rounding, and for densities on grids what refinement shows (grid_trace.hpp).
  double energy_error = 0, distance_error = 0, slope_error = 0, lipschitz_error = 0;
  std::string lipschitz_unknown;    ///< why the Lipschitz constants are NaN or infinite, where they are
};

/// Runs `steps` JKO steps of size h. `states`, where given, receives the measures rho_0, ..., rho_n.
template <class Step>
[[nodiscard]] FlowTrace trace_flow(Step step, const typename Step::Measure& start, double h, int steps, const Minimiser<typename Step::Measure>& minimiser = {},
                                   std::vector<typename Step::Measure>* states = nullptr);

/// The trace of given states rho_0, ..., rho_n, whatever made them: the residuals are first_order_error() between them (energies/slope.hpp). `step` only values energies.
template <class Step>
[[nodiscard]] FlowTrace trace_states(const Step& step, const std::vector<typename Step::Measure>& states, double h,
                                     const Minimiser<typename Step::Measure>& minimiser = {});

/// From the records of any JKO flow, grids and neural maps included, whose steps report their energy, W2 moved, residual, gap and certificate: the solver's own words. Slopes and
/// the minimiser stay unknown; set to_minimiser and minimum where they are known. `start_energy` is F(rho_0). Fixed step size.
[[nodiscard]] FlowTrace trace_records(const std::vector<FlowRecord>& records, double start_energy, const std::optional<Convexity>& convexity, int dimension, const std::string& measure);

/// Bounds of rounding errors: of a sum of N terms (N + 8) epsilon times the sum of their sizes; of a distance 16 epsilon times the measure's second
/// moment's root plus four times the computed distance of the measure to itself (zero but for rounding).
struct Rounding {
  double energy = 0, distance = 0, slope = 0;
};
[[nodiscard]] Rounding rounding_of(const FreeEnergy& energy, const Gaussian& measure);
[[nodiscard]] Rounding rounding_of(const FreeEnergy& energy, const QuantileFunction& measure);

}  // namespace jko::analysis
