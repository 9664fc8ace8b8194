#pragma once
/// Figures through gnuplot.
#include <jko/validation/study.hpp>

namespace jko::validation {

/// Writes DIR/ID.svg with its script DIR/ID.gp and data DIR/ID.dat beside it; throws IoError where gnuplot is missing or fails.
void render(const Figure& figure, const std::filesystem::path& directory);

}  // namespace jko::validation
