#include <jko/analysis/verdict.hpp>

#include <cmath>
#include <utility>

namespace jko::analysis {
namespace {

Check make(std::string id, std::string claim, std::string source, double statistic, double bound, double tolerance, std::string why,
           bool holds) {
  Check check;
  check.id = std::move(id);
  check.claim = std::move(claim);
  check.source = std::move(source);
  check.statistic = statistic;
  check.bound = bound;
  check.tolerance = tolerance;
  check.tolerance_reason = std::move(why);
  if (!std::isfinite(statistic) || !std::isfinite(bound) || !std::isfinite(tolerance)) {
    check.reason = "a side of the comparison is not finite";
  } else {
    check.verdict = holds ? Verdict::pass : Verdict::fail;
  }
  return check;
}

}  // namespace

std::string_view name(Verdict verdict) {
  switch (verdict) {
    case Verdict::pass: return "pass";
    case Verdict::fail: return "fail";
    case Verdict::inconclusive: return "inconclusive";
  }
  return "?";
}

Check check_equal(std::string id, std::string claim, std::string source, double statistic, double bound, double tolerance,
                  std::string tolerance_reason) {
  return make(std::move(id), std::move(claim), std::move(source), statistic, bound, tolerance, std::move(tolerance_reason),
              std::abs(statistic - bound) <= tolerance);
}

Check check_at_most(std::string id, std::string claim, std::string source, double statistic, double bound, double tolerance,
                    std::string tolerance_reason) {
  return make(std::move(id), std::move(claim), std::move(source), statistic, bound, tolerance, std::move(tolerance_reason),
              statistic <= bound + tolerance);
}

Check inconclusive(std::string id, std::string claim, std::string source, std::string reason) {
  Check check;
  check.id = std::move(id);
  check.claim = std::move(claim);
  check.source = std::move(source);
  check.reason = std::move(reason);
  return check;
}

}  // namespace jko::analysis
