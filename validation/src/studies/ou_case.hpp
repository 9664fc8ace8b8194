#pragma once
/// The Ornstein-Uhlenbeck case that several studies share: kappa = 1.3, mu = 0.4, beta = 2, started from N(2, 2.89).
#include <jko/models/families.hpp>
#include <jko/models/model.hpp>
#include <jko/measures/gaussian.hpp>

namespace jko::validation::ou_case {

constexpr double kappa = 1.3, mu = 0.4, beta = 2, m0 = 2, v0 = 2.89;

inline Model model() { return {ornstein_uhlenbeck(), (Vector(2) << kappa, mu).finished(), beta}; }
inline Gaussian start() { return {Vector::Constant(1, m0), Matrix::Constant(1, 1, v0)}; }

}  // namespace jko::validation::ou_case
