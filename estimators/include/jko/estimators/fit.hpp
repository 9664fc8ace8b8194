#pragma once
/// The result of every estimator, and the options of those that maximise.
#include <jko/core/status.hpp>
#include <jko/core/types.hpp>

#include <functional>
#include <limits>
#include <string>
#include <vector>

namespace jko::estimators {

/// Estimates in the model's order (theta, beta). Matrices are P x P; rows and columns of fixed parameters are zero.
struct Fit {
  Status status = Status::not_run;
  std::string model;                     ///< its formula or family
  std::string estimator;                 ///< "exact", "euler", "shoji-ozaki", "stationary"
  std::string theorem;                   ///< the asymptotic regime behind the standard errors, one sentence
  std::vector<std::string> names;
  std::vector<bool> fixed;
  Vector estimate;
  Matrix covariance;                     ///< inverse observed information
  Matrix sandwich;                       ///< H^{-1} J H^{-1}, J the sum of outer products of the scores
  Vector monte_carlo_errors;             ///< of the estimates over seeds, where the likelihood is simulated; else empty
  double log_likelihood = std::numeric_limits<double>::quiet_NaN();
  double gradient_norm = std::numeric_limits<double>::quiet_NaN();  ///< max |d log L/d theta_i| * se_i at the estimate
  Index n = 0;                           ///< transitions, or sample size
  double duration = 0;                   ///< T, total observed time; 0 for samples
  int iterations = 0;                    ///< evaluations of the objective
  int starts = 1;                        ///< of a multi-start (multi_start.hpp), and how many of them reached this maximum
  int agreed = 1;
  double seconds = 0;
  std::vector<std::string> warnings;     ///< e.g. "T = 46.4 is short: the bias of kappa is about 4/T = 0.086"

  [[nodiscard]] Vector standard_errors() const;
  [[nodiscard]] Vector sandwich_errors() const;
  /// estimate -+ z se, level in (0, 1), with the sandwich's or the information's standard errors.
  [[nodiscard]] Matrix intervals(double level = 0.95, bool use_sandwich = false) const;  ///< P x 2
  [[nodiscard]] int free_parameters() const;
  [[nodiscard]] double aic() const;      ///< 2k - 2 log L, k = free parameters
  [[nodiscard]] double bic() const;      ///< k log n - 2 log L
  [[nodiscard]] std::string table() const;  ///< estimate, s.e., sandwich s.e., z, 95 % interval
};

struct FitOptions {
  std::vector<bool> fixed{};      ///< by parameter in the order (theta, beta); empty = none
  std::vector<double> lower{};    ///< closed bounds; empty = the model's own
  std::vector<double> upper{};
  double tolerance = 1e-9;        ///< stops when max_i |d log L/d theta_i| se_i <= tolerance, over the parameters not held by a bound
  int max_iterations = 500;       ///< scoring steps, >= 1
};

/// An estimator as a function of its start (all parameters) and options: what profiles, multi-starts and resampling call again. For instance
/// [&](const Vector& start, const FitOptions& options) { return fit(panel, model.with_parameters(start), Transition::exact, options); }
using Refit = std::function<Fit(const Vector& start, const FitOptions& options)>;

}  // namespace jko::estimators
