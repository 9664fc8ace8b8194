#pragma once
/// Densities of the plane as maps, through gnuplot.
#include <jko/core/types.hpp>

#include <filesystem>
#include <string>

namespace jko::validation {

/// values(i, j) on equal cells of the box, i along x; the colour runs from 0 to `top` (0: the largest value), with contours at 5, 20, 50 and 80 % of it.
struct HeatMap {
  std::string id, title, x_label, y_label;
  double x_lower = 0, x_upper = 1, y_lower = 0, y_upper = 1;
  Matrix values;
  double top = 0;
};

/// Writes DIR/ID.svg with its script DIR/ID.gp and data DIR/ID.dat (gnuplot's matrix text) beside it; throws IoError where gnuplot is missing or fails.
/// Maps above 256 cells a side are averaged over blocks for the figure.
void render(const HeatMap& map, const std::filesystem::path& directory);

}  // namespace jko::validation
