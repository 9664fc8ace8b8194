#pragma once
/// The case of a study of limit laws: a default, or the user's own by --set.
#include <jko/analysis/limit_case.hpp>
#include <jko/energies/free_energy.hpp>
#include <jko/validation/study.hpp>

#include <string>
#include <vector>

namespace jko::validation {

/// A one-dimensional case with its assumptions looked into.
struct OwnCase {
  std::string name;                       ///< "double-well"
  std::string text;                       ///< one sentence
  analysis::LimitCase grid;
  double mean, variance;                  ///< of the Gaussian start
  Matrix covariance;                      ///< Sigma_theta (P x P, beta known): inverse information of one independent stationary draw; empty where singular
  double gap = 0;                         ///< lambda_1 of the generator in the box; 0 where it could not be computed
  std::vector<std::string> failed;        ///< assumptions that do not hold, a sentence each
  std::vector<std::string> unresolved;    ///< those of them that concern the box and its cells
  [[nodiscard]] std::string why() const;  ///< all of them joined
  [[nodiscard]] std::string why_unresolved() const;
  [[nodiscard]] FreeEnergy energy() const;  ///< with a convexity constant found numerically on the box where the potential states none
};

/// The user's case where a setting is given, else the defaults by name: "ou", "double-well".
[[nodiscard]] std::vector<OwnCase> own_cases(const StudyOptions& options, const std::vector<std::string>& defaults);
[[nodiscard]] std::vector<Setting> own_case_settings();

}  // namespace jko::validation
