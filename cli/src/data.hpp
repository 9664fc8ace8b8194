#pragma once
/// Data files on the command line.
#include <jko/estimators/data.hpp>

#include <CLI/CLI.hpp>

#include <limits>
#include <string>

namespace jko::cli {

struct DataArguments {
  std::string file, column;
  double dt = 0, until = std::numeric_limits<double>::infinity();
  /// --column, --dt and --until.
  void add_options(CLI::App& command);
};

/// A path, or one for each run of equal values in the column 'path'. The coordinates are the columns named by --column (separated by commas), or all
/// that are not t, time or path, which must be `dimension` many (0: one). Throws ParseError with the line.
[[nodiscard]] estimators::Panel read_panel(const DataArguments& arguments, int dimension);
/// One column as a sample.
[[nodiscard]] Vector read_sample(const DataArguments& arguments);
/// How many coordinates the file has.
[[nodiscard]] int count_coordinates(const DataArguments& arguments);

}  // namespace jko::cli
