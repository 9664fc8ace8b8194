#include <jko/estimators/data.hpp>

#include <jko/core/check.hpp>

namespace jko::estimators {

void Path::validate() const {
  if (times.size() < 2) throw ShapeError("path: there must be at least two observations");
  check_size("path", "the values", values.cols(), times.size());
  check_at_least("path", "dimension", values.rows(), 1);
  check_finite("path", "times", times);
  check_finite("path", "values", values);
  check_increasing("path", "times", times);
}

}  // namespace jko::estimators
