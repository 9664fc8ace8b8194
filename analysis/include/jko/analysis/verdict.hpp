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
[[nodiscard]] Check inconclusive(std::string id, std::string claim, std::string source, std::string reason);

}  // namespace jko::analysis
