#include <jko/estimators/data.hpp>

#include <jko/core/check.hpp>

#include <fmt/format.h>

namespace jko::estimators {

void Path::validate() const {
  if (times.size() < 2) throw ShapeError("path: there must be at least two observations");
  check_size("path", "the values", values.cols(), times.size());
  check_at_least("path", "dimension", values.rows(), 1);
  check_finite("path", "times", times);
  check_finite("path", "values", values);
  check_increasing("path", "times", times);
}

void Snapshots::validate() const {
  check_size("snapshots", "the list of samples", static_cast<Index>(samples.size()), times.size());
  check_at_least("snapshots", "number of snapshots", times.size(), 2);
  check_finite("snapshots", "times", times);
  check_increasing("snapshots", "times", times);
  for (std::size_t k = 0; k < samples.size(); ++k) {
    const std::string what = fmt::format("the sample at time {}", times[static_cast<Index>(k)]);
    check_at_least("snapshots", "dimension", samples[k].rows(), 1);
    check_size("snapshots", "dimension of " + what, samples[k].rows(), dimension());
    check_at_least("snapshots", "size of " + what, samples[k].cols(), 2);
    check_finite("snapshots", what, samples[k]);
  }
}

}  // namespace jko::estimators
