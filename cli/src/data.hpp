#pragma once
/// Data files on the command line.
#include <jko/estimators/binned.hpp>
#include <jko/estimators/data.hpp>

#include <CLI/CLI.hpp>

#include <limits>
#include <string>

namespace jko::cli {

struct DataArguments {
  std::string file, column;
  double dt = 0, until = std::numeric_limits<double>::infinity();
  bool skip_missing = false;
  /// --column, --dt, --until and --skip-missing.
  void add_options(CLI::App& command);
};

// Files end in .csv or .npy; an array's columns are the coordinates, named x, or x1, x2, ...

/// A path, or one for each run of equal values in the column 'path'. The coordinates are the columns named by --column (separated by commas), or all
/// that are not t, time or path, which must be `dimension` many. Rows with a missing value are left out where that was asked for, and so become gaps in time. Throws
/// ParseError with the line.
[[nodiscard]] estimators::Panel read_panel(const DataArguments& arguments, int dimension);
/// The coordinates as a sample, one point a column of the result.
[[nodiscard]] Matrix read_sample(const DataArguments& arguments);
/// The rows of each time together, whatever their order in the file.
[[nodiscard]] estimators::Snapshots read_snapshots(const DataArguments& arguments);
/// Cells from the columns lower, upper and count, in increasing order and without gaps; an empty first lower or last upper is infinite.
[[nodiscard]] estimators::BinnedCounts read_counts(const DataArguments& arguments);
/// How many coordinates the file has.
[[nodiscard]] int count_coordinates(const DataArguments& arguments);

}  // namespace jko::cli
