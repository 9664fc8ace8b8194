#pragma once
/// What the inequalities of a JKO flow are written in: energies, slopes, distances and certificates, whatever the measure.
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
  };
  struct Step {  ///< from rho_{k-1} to rho_k
    double h = 0;
    double moved = std::numeric_limits<double>::quiet_NaN();
    double residual = std::numeric_limits<double>::quiet_NaN();   ///< eps of theory.md b7
    double gap = std::numeric_limits<double>::quiet_NaN();
    double w2_bound = std::numeric_limits<double>::quiet_NaN();
  };
  Status status = Status::not_run;  ///< of the flow; a trace that is not converged decides nothing
  std::string measure;              ///< "Gaussian, d = 2" or "quantile function, 400 cells"
  int dimension = 0;
  std::optional<Convexity> convexity;
  std::vector<Point> points;        ///< steps + 1
  std::vector<Step> steps;
  double minimum = std::numeric_limits<double>::quiet_NaN();
  double minimum_error = std::numeric_limits<double>::quiet_NaN();
  double minimiser_error = std::numeric_limits<double>::quiet_NaN();
  double energy_rounding = 0;       ///< bounds of the rounding errors of one energy, distance and slope
  double distance_rounding = 0;
  double slope_rounding = 0;
};

/// Runs `steps` JKO steps of size h. `states`, where given, receives the measures rho_0, ..., rho_n.
template <class Step>
[[nodiscard]] FlowTrace trace_flow(Step step, const typename Step::Measure& start, double h, int steps, const Minimiser<typename Step::Measure>& minimiser = {},
                                   std::vector<typename Step::Measure>* states = nullptr);

/// The trace of given states rho_0, ..., rho_n, whatever made them: the residuals are first_order_error() between them (energies/slope.hpp). `step` only values energies.
template <class Step>
[[nodiscard]] FlowTrace trace_states(const Step& step, const std::vector<typename Step::Measure>& states, double h,
                                     const Minimiser<typename Step::Measure>& minimiser = {});

/// Bounds of rounding errors: of a sum of N terms (N + 8) epsilon times the sum of their sizes; of a distance 16 epsilon times the measure's second
/// moment's root plus four times the computed distance of the measure to itself (zero but for rounding).
struct Rounding {
  double energy = 0, distance = 0, slope = 0;
};
[[nodiscard]] Rounding rounding_of(const FreeEnergy& energy, const Gaussian& measure);
[[nodiscard]] Rounding rounding_of(const FreeEnergy& energy, const QuantileFunction& measure);

}  // namespace jko::analysis
