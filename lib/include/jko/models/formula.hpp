#pragma once
/// Potentials written as formulas.
#include <jko/models/potential.hpp>

#include <string_view>

namespace jko {

/// Parses Psi(x; theta), differentiates it symbolically (GiNaC) and evaluates it in blocks of points, common subexpressions once.
///
/// The variable is x in one dimension, x1, ..., xd in d dimensions; every other name is a parameter, in the order of first appearance.
/// Operators + - * / ^ and parentheses; functions exp, log, sqrt, sin, cos, tan, asin, acos, atan, sinh, cosh, tanh, pow; the constant Pi.
/// `bounds` may give the bounds of parameters by name. Throws ParseError with the column (from 1) for a formula that cannot be parsed, a
/// function that is unknown or not smooth, a variable out of range, or a parameter named beta (the inverse temperature's name).
///
/// Cost: symbolic derivatives are made once, at first use; an evaluation costs a nanosecond or less an operation and point, and what the
/// functions in it cost. Throws DomainError at the first evaluation where a constant is not real. Safe to share between threads.
[[nodiscard]] PotentialPtr formula(std::string_view text, int dimension = 1, const std::vector<Parameter>& bounds = {});

}  // namespace jko
