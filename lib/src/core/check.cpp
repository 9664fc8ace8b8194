#include <jko/core/check.hpp>

#include <Eigen/Cholesky>
#include <fmt/format.h>

#include <cmath>

namespace jko {
namespace {

[[noreturn]] void fail(std::string_view where, std::string_view what, double value, std::string_view must) {
  throw DomainError(fmt::format("{}: {} is {}, but must be {}", where, what, value, must));
}

}  // namespace

void check_finite(std::string_view where, std::string_view what, double value) {
  if (!std::isfinite(value)) fail(where, what, value, "finite");
}

void check_finite(std::string_view where, std::string_view what, const ConstMatrixRef& values) {
  if ((0 * values).sum() == 0) return;  // vectorised: 0 times infinity or NaN is NaN
  for (Index j = 0; j < values.cols(); ++j) {
    for (Index i = 0; i < values.rows(); ++i) {
      if (std::isfinite(values(i, j))) continue;
      const Index entry = values.cols() == 1 ? i : j;
      throw DomainError(fmt::format("{}: entry {} of {} is {}, but must be finite", where, entry, what, values(i, j)));
    }
  }
}

void check_positive(std::string_view where, std::string_view what, double value) {
  if (!(std::isfinite(value) && value > 0)) fail(where, what, value, "positive");
}

void check_nonnegative(std::string_view where, std::string_view what, double value) {
  if (!(std::isfinite(value) && value >= 0)) fail(where, what, value, "zero or positive");
}

void check_in(std::string_view where, std::string_view what, double value, double lower, double upper) {
  if (!(value >= lower && value <= upper)) fail(where, what, value, fmt::format("in [{}, {}]", lower, upper));
}

void check_at_least(std::string_view where, std::string_view what, long long value, long long lower) {
  if (value < lower) throw DomainError(fmt::format("{}: {} is {}, but must be at least {}", where, what, value, lower));
}

void check_size(std::string_view where, std::string_view what, Index size, Index expected) {
  if (size != expected) throw ShapeError(fmt::format("{}: {} has size {}, but {} is needed", where, what, size, expected));
}

void check_increasing(std::string_view where, std::string_view what, const ConstVectorRef& values) {
  for (Index i = 1; i < values.size(); ++i) {
    if (values[i] > values[i - 1]) continue;
    throw DomainError(fmt::format("{}: {} must increase strictly, but entry {} is {} after {}", where, what, i, values[i],
                                  values[i - 1]));
  }
}

void check_covariance(std::string_view where, std::string_view what, const ConstMatrixRef& matrix) {
  if (matrix.rows() != matrix.cols() || matrix.rows() == 0) {
    throw ShapeError(fmt::format("{}: {} is {} x {}, but must be square", where, what, matrix.rows(), matrix.cols()));
  }
  check_finite(where, what, matrix);
  const double scale = matrix.cwiseAbs().maxCoeff();
  if ((matrix - matrix.transpose()).cwiseAbs().maxCoeff() > 1e-12 * scale) {
    throw DomainError(fmt::format("{}: {} must be symmetric", where, what));
  }
  if (Eigen::LLT<Matrix>(matrix).info() != Eigen::Success) {
    throw DomainError(fmt::format("{}: {} must be positive definite", where, what));
  }
}

}  // namespace jko
