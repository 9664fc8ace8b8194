#include <jko/flows/richardson.hpp>

#include <jko/core/check.hpp>

#include <cmath>

namespace jko {

Richardson richardson(const GridDensity& coarse, const GridDensity& fine, int order) {
  check_at_least("richardson", "order", order, 1);
  const double difference = l1_distance(coarse, fine);  // throws where the grids differ
  const double factor = std::ldexp(1.0, order) - 1, volume = fine.grid().cell_volume();
  Vector values = fine.values() + (fine.values() - coarse.values()) / factor;
  Richardson out;
  out.error = difference / factor;
  out.clipped = -values.cwiseMin(0).sum() * volume;
  values = values.cwiseMax(0);
  values /= values.sum() * volume;
  out.density = fine.with_coordinates(std::move(values));
  out.status = out.clipped <= out.error ? Status::converged : Status::order_lost;
  return out;
}

}  // namespace jko
