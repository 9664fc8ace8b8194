#pragma once
/// Bandwidths of Gaussian kernel density estimates: standard deviations of the kernel, in the unit of x.
#include <jko/measures/particles.hpp>

namespace jko {

/// n is Kish's effective sample size 1/sum w_i^2, sigma the root of the mean variance of the coordinates.
/// sigma (4/((d + 2) n))^{1/(d+4)}: optimal for a Gaussian law; oversmooths several modes ([Silverman1986]).
[[nodiscard]] double silverman_bandwidth(const Particles& particles);
/// sigma n^{-1/(d+4)} ([Scott1992]).
[[nodiscard]] double scott_bandwidth(const Particles& particles);
/// One dimension, solve-the-equation plug-in ([SheatherJones1991]): the functionals of the density's derivatives are estimated by pair sums, exactly (no binning), O(n^2)
/// for each of some ten iterations. The rule to use when there may be several modes. Equal weights only. Throws DomainError in more than one dimension,
/// for unequal weights, fewer than three points, or where so many points coincide that the equation has no root.
[[nodiscard]] double sheather_jones_bandwidth(const Particles& particles);

}  // namespace jko
