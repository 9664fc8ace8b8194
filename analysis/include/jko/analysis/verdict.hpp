#pragma once
/// A claim, checked: what was computed, against what bound, and why that tolerance.
#include <limits>
#include <string>
#include <string_view>

namespace jko::analysis {

enum class Verdict { pass, fail, inconclusive };
[[nodiscard]] std::string_view name(Verdict verdict);

struct Check {
  std::string id;                 ///< "order-jko-ou": stable, unique in its study
  std::string claim;              ///< in mathematics (plain text with LaTeX between dollar signs is not needed; Unicode is fine)
  std::string source;             ///< a key of docs/references.bib, or "theory.md 2.1"
  Verdict verdict = Verdict::inconclusive;
  double statistic = std::numeric_limits<double>::quiet_NaN();  ///< what was computed
  double bound = std::numeric_limits<double>::quiet_NaN();      ///< what it is compared with
  double tolerance = std::numeric_limits<double>::quiet_NaN();
  double false_alarm = 0;         ///< the probability that a correct program fails it; 0 where no random number enters
  std::string tolerance_reason;   ///< how the tolerance was derived (replications, refinement, certificate)
  std::string reason;             ///< for inconclusive: the assumption that was not met
  double p_value = std::numeric_limits<double>::quiet_NaN();    ///< of checks that rest on a test (statistics.hpp)
  double effect = std::numeric_limits<double>::quiet_NaN();     ///< the deviation beside the p-value, in natural units
};

/// |statistic - bound| <= tolerance: pass, else fail; inconclusive where one of them is not finite.
[[nodiscard]] Check check_equal(std::string id, std::string claim, std::string source, double statistic, double bound, double tolerance,
                                std::string tolerance_reason);
/// statistic <= bound + tolerance.
[[nodiscard]] Check check_at_most(std::string id, std::string claim, std::string source, double statistic, double bound, double tolerance,
                                  std::string tolerance_reason);
/// How a Monte-Carlo measurement is compared with what is known.
struct Sampling {
  double standard_error = std::numeric_limits<double>::quiet_NaN();  ///< of the measurement
  double degrees = std::numeric_limits<double>::infinity();          ///< of freedom of that standard error: Student's t where it is finite
  double allowance = 0;       ///< a bound on what is not noise: discretisation, the next term of an expansion
  double false_alarm = 1e-5;  ///< of this check, two-sided, in (0, 1)
  std::string what{};         ///< what the standard error and the allowance are: "of a Gaussian variance over 4000 replications"
};
/// |measured - known| <= q s.e. + allowance, q the quantile of the normal (or t) law that a correct program exceeds with probability false_alarm.
[[nodiscard]] Check check_sampled(std::string id, std::string claim, std::string source, double measured, double known, const Sampling& sampling);
[[nodiscard]] Check inconclusive(std::string id, std::string claim, std::string source, std::string reason);

}  // namespace jko::analysis
