#pragma once
/// Score matching: the drift from independent draws of the stationary law, without its normalising constant.
#include <jko/estimators/fit.hpp>
#include <jko/models/model.hpp>

#include <cstdint>

namespace jko::estimators {

struct ScoreMatchingOptions {
  int slices = 0;            ///< random directions a point; 0 takes the Laplacian whole
  std::uint64_t seed = 1;    ///< of the directions
  FitOptions fit{};
};

/// Minimises the mean over the points of |beta grad Psi|^2/2 - beta Lap Psi, which is half the Fisher distance of exp(-beta Psi) to the data's law up to a
/// constant ([Hyvarinen2005]); with slices, of (v . beta grad Psi)^2/2 - beta v' Hess Psi v over random unit directions v ([Song2019]), whose price is
/// variance and whose gain is cost in high dimension. Any dimension; exact gradient. Covariance and sandwich are both the sandwich: this is no likelihood. Only beta Psi is
/// identified: fix beta, or a parameter that scales the potential. Needs a density that is positive and smooth on the whole space; blind to the weights of well-separated
/// wells, where maximum likelihood (stationary.hpp) is the right choice in one dimension.
[[nodiscard]] Fit fit_score_matching(const ConstMatrixRef& sample, const Model& start, const ScoreMatchingOptions& options = {});

}  // namespace jko::estimators
