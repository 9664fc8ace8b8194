#include <jko/estimators/multi_start.hpp>

#include <jko/core/check.hpp>
#include <jko/core/parallel.hpp>
#include <jko/core/random.hpp>

#include <fmt/format.h>

#include <cmath>

namespace jko::estimators {

Matrix scattered_starts(const ConstVectorRef& centre, const ConstVectorRef& lower, const ConstVectorRef& upper, const std::vector<bool>& fixed, const MultiStartOptions& options) {
  const Index count = centre.size();
  check_size("scattered_starts", "lower", lower.size(), count);
  check_size("scattered_starts", "upper", upper.size(), count);
  check_at_least("scattered_starts", "starts", options.starts, 1);
  check_positive("scattered_starts", "spread", options.spread);
  if (!fixed.empty()) check_size("scattered_starts", "fixed", static_cast<Index>(fixed.size()), count);
  Matrix out = centre.replicate(1, options.starts);
  for (Index s = 1; s < out.cols(); ++s) {
    RandomStream random(options.seed, "starts", static_cast<std::uint64_t>(s));
    for (Index i = 0; i < count; ++i) {
      const double z = random.normal(), u = random.uniform(), x = centre[i];
      if (!fixed.empty() && fixed[static_cast<std::size_t>(i)]) continue;
      const bool below = std::isfinite(lower[i]), above = std::isfinite(upper[i]);
      if (below && above) out(i, s) = lower[i] + u * (upper[i] - lower[i]);
      else if (below) out(i, s) = lower[i] + std::max(x - lower[i], 1e-3) * std::exp(options.spread * z);
      else if (above) out(i, s) = upper[i] - std::max(upper[i] - x, 1e-3) * std::exp(options.spread * z);
      else out(i, s) = x + options.spread * (1 + std::abs(x)) * z;
    }
  }
  return out;
}

Fit multi_start(const Refit& refit, const ConstMatrixRef& starts, const MultiStartOptions& options) {
  check_at_least("multi_start", "number of starts", starts.cols(), 1);
  check_positive("multi_start", "agreement", options.agreement);
  std::vector<Fit> fits(static_cast<std::size_t>(starts.cols()));
  parallel_for(starts.cols(), options.threads, [&](Index s) { fits[static_cast<std::size_t>(s)] = refit(starts.col(s), options.fit); });
  const auto usable = [](const Fit& f) { return (is_success(f.status) || f.status == Status::parameter_at_bound) && std::isfinite(f.log_likelihood); };
  const auto better = [&](const Fit& a, const Fit& b) {
    if (usable(a) != usable(b)) return usable(a);
    return a.log_likelihood > b.log_likelihood || !std::isfinite(b.log_likelihood);
  };
  std::size_t best = 0;
  int failed = 0;
  for (std::size_t s = 0; s < fits.size(); ++s) {
    if (!usable(fits[s])) ++failed;
    if (s > 0 && better(fits[s], fits[best])) best = s;
  }
  Fit out = fits[best];
  out.starts = static_cast<int>(fits.size());
  out.agreed = 0;
  out.iterations = 0;
  out.seconds = 0;
  for (const Fit& f : fits) {
    if (usable(f) && std::abs(f.log_likelihood - out.log_likelihood) <= options.agreement) ++out.agreed;
    out.iterations += f.iterations;
    out.seconds += f.seconds;
  }
  if (failed > 0) out.warnings.push_back(fmt::format("{} of {} starts did not converge", failed, out.starts));
  if (usable(out) && out.agreed + failed < out.starts) out.warnings.push_back(fmt::format("{} of {} starts ended at lower maxima", out.starts - out.agreed - failed, out.starts));
  return out;
}

}  // namespace jko::estimators
