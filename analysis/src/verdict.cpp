#include <jko/analysis/verdict.hpp>

#include <jko/core/check.hpp>

#include <boost/math/distributions/normal.hpp>
#include <boost/math/distributions/students_t.hpp>
#include <fmt/format.h>

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

Check check_sampled(std::string id, std::string claim, std::string source, double measured, double known, const Sampling& sampling) {
  if (!(sampling.false_alarm > 0 && sampling.false_alarm < 1)) throw DomainError("check_sampled: false_alarm must lie in (0, 1)");
  check_nonnegative("check_sampled", "allowance", sampling.allowance);
  const double tail = 0.5 * sampling.false_alarm;
  const double q = std::isfinite(sampling.degrees) ? boost::math::quantile(boost::math::complement(boost::math::students_t(sampling.degrees), tail))
                                                   : boost::math::quantile(boost::math::complement(boost::math::normal(), tail));
  std::string why = fmt::format("{:.2f} s.e. of {:.3g}", q, sampling.standard_error);
  if (sampling.allowance > 0) why += fmt::format(", and {:.2g}", sampling.allowance);
  if (!sampling.what.empty()) why += ": " + sampling.what;
  Check check = check_equal(std::move(id), std::move(claim), std::move(source), measured, known, q * sampling.standard_error + sampling.allowance, std::move(why));
  check.false_alarm = sampling.false_alarm;
  return check;
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
