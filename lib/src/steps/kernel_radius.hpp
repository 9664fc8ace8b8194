#pragma once
/// How far the kernel of an entropic step reaches, in its standard deviations, and when it must reach farther: what the steps of one and of several species share.
#include <jko/core/status.hpp>

#include <algorithm>

namespace jko {

constexpr double default_radius = 7.75;  // e^{-30} at the kernel's edge
constexpr double largest_radius = 36;    // e^{-648}: near the end of double's range

/// The radius for a level's next, of half its deviation: how far mass moves is seen here already, blurred by twice the next level's deviation, within `reach`: the reach of all but 0.3 % of it,
/// and 2.5 deviations.
template <class Work>
double next_radius(Work& work, double reach) {
  double next = default_radius;
  while (next < largest_radius && 0.5 * (next - 2.5) < reach && work.mass_beyond(0.5 * (next - 2.5)) > 3e-3) next = std::min(1.15 * next, largest_radius);
  return next;
}

/// Grows `radius` until what moves fits inside it, to a mass `allowed`; `solve()` solves again with the new one. Mass beyond its edge cannot be seen; from two distances before it the tail,
/// which falls faster than geometrically, is bounded. not_finite where no radius is enough.
template <class Work, class Solve>
Status grow_radius(Work& work, double& radius, double allowed, Status status, const Solve& solve) {
  const auto cut = [&] {
    // Above 1 where scalings left double's range.
    const double near = std::min(1.0, work.mass_beyond(radius - 2)), nearer = std::min(1.0, work.mass_beyond(radius - 1));
    return near > 0 ? nearer * nearer / near : 0.0;
  };
  while (status == Status::converged && cut() > allowed) {
    if (radius >= largest_radius) return Status::not_finite;
    radius = std::min(1.3 * radius, largest_radius);
    status = solve();
  }
  return status;
}

}  // namespace jko
