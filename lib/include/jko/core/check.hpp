#pragma once
/// One vocabulary of argument checks: check_positive("quantile_step", "step size h", h) throws
/// DomainError "quantile_step: step size h is -0.1, but must be positive". NaN fails every check.
#include <jko/core/error.hpp>
#include <jko/core/types.hpp>

#include <string_view>

namespace jko {

void check_finite(std::string_view where, std::string_view what, double value);
void check_finite(std::string_view where, std::string_view what, const ConstMatrixRef& values);
void check_positive(std::string_view where, std::string_view what, double value);      ///< finite and > 0
void check_nonnegative(std::string_view where, std::string_view what, double value);   ///< finite and >= 0
void check_in(std::string_view where, std::string_view what, double value, double lower, double upper);  ///< closed
void check_at_least(std::string_view where, std::string_view what, long long value, long long lower);
void check_size(std::string_view where, std::string_view what, Index size, Index expected);  ///< throws ShapeError
void check_increasing(std::string_view where, std::string_view what, const ConstVectorRef& values);  ///< strictly
/// Symmetric to 1e-12 of its largest entry, and positive definite by Cholesky factorisation.
void check_covariance(std::string_view where, std::string_view what, const ConstMatrixRef& matrix);

}  // namespace jko
