#pragma once
/// Many comparisons, one check: the largest |measured - known|/s.e. with its false-alarm probability divided among them (Bonferroni: valid under any dependence).
#include <jko/analysis/verdict.hpp>

#include <cmath>
#include <string>

namespace jko::validation {

class Worst {
 public:
  void add(const std::string& where, double measured, double known, double standard_error) {
    ++count_;
    const double z = standard_error > 0 ? std::abs(measured - known) / standard_error : (measured == known ? 0.0 : HUGE_VAL);
    if (count_ > 1 && !(z > z_)) return;
    z_ = z, where_ = where, measured_ = measured, known_ = known, error_ = standard_error;
  }
  [[nodiscard]] analysis::Check check(std::string id, std::string claim, std::string source, double degrees, const std::string& what, double false_alarm = 1e-5) const {
    auto out = analysis::check_sampled(std::move(id), std::move(claim), std::move(source), measured_, known_,
                                       {.standard_error = error_, .degrees = degrees, .false_alarm = false_alarm / count_, .what = what + "; the worst of " + std::to_string(count_) + " comparisons, at " + where_});
    out.false_alarm = false_alarm;
    return out;
  }

 private:
  int count_ = 0;
  double z_ = 0, measured_ = NAN, known_ = NAN, error_ = NAN;
  std::string where_ = "none";
};

}  // namespace jko::validation
