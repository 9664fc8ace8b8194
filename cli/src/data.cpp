#include "data.hpp"

#include <jko/core/error.hpp>
#include <jko/io/csv.hpp>

#include <fmt/format.h>

#include <sstream>

namespace jko::cli {
namespace {

std::vector<std::string> coordinates(const DataArguments& a, const CsvTable& table) {
  std::vector<std::string> out;
  if (!a.column.empty()) {
    std::istringstream list(a.column);
    for (std::string name; std::getline(list, name, ',');) out.push_back(name);
  } else {
    for (const std::string& name : table.columns) {
      if (name != "t" && name != "time" && name != "path") out.push_back(name);
    }
  }
  for (const std::string& name : out) (void)table.column(name);
  return out;
}

}  // namespace

void DataArguments::add_options(CLI::App& command) {
  command.add_option("--column", column, "data column, or columns separated by commas (default: all but t, time and path)");
  command.add_option("--dt", dt, "time between rows, overrides the time column")->check(CLI::PositiveNumber);
  command.add_option("--until", until, "use observations up to this time only");
}

int count_coordinates(const DataArguments& a) { return static_cast<int>(coordinates(a, read_csv(a.file)).size()); }

Vector read_sample(const DataArguments& a) {
  const CsvTable table = read_csv(a.file);
  const auto names = coordinates(a, table);
  if (names.size() != 1) throw ParseError(a.file, 1, 0, fmt::format("a sample is one column, but there are {}: choose one with --column", names.size()));
  return table.values.col(table.column(names.front()));
}

estimators::Panel read_panel(const DataArguments& a, int dimension) {
  const CsvTable table = read_csv(a.file);
  const auto names = coordinates(a, table);
  if (static_cast<int>(names.size()) != dimension) {
    throw ParseError(a.file, 1, 0, fmt::format("the model has dimension {}, but there are {} data columns ({}): choose with --column", dimension, names.size(), fmt::join(names, ", ")));
  }
  const std::string time = table.has("t") ? "t" : (table.has("time") ? "time" : "");
  if (time.empty() && !(a.dt > 0)) throw ParseError(a.file, 1, 0, "there is no column 't' or 'time': give --dt");
  const Index rows = table.values.rows();
  Matrix values(static_cast<Index>(names.size()), rows);
  for (std::size_t i = 0; i < names.size(); ++i) values.row(static_cast<Index>(i)) = table.values.col(table.column(names[i])).transpose();
  const Vector times = a.dt > 0 ? Vector(Vector::LinSpaced(rows, 0, a.dt * static_cast<double>(rows - 1))) : Vector(table.values.col(table.column(time)));
  estimators::Panel panel;
  Index begin = 0;
  const auto path_of = [&](Index i) { return table.has("path") ? table.values(i, table.column("path")) : 0.0; };
  for (Index i = 1; i <= rows; ++i) {
    if (i < rows && path_of(i) == path_of(begin)) {
      if (!(times[i] > times[i - 1])) {
        throw ParseError(a.file, table.lines[static_cast<std::size_t>(i)], 0, fmt::format("time {} does not increase after {}", times[i], times[i - 1]));
      }
      continue;
    }
    Index end = i;
    while (end > begin && times[end - 1] > a.until) --end;
    if (end - begin < 2) throw ParseError(a.file, table.lines[static_cast<std::size_t>(begin)], 0, "a path must have at least two observations");
    panel.push_back({times.segment(begin, end - begin), values.middleCols(begin, end - begin)});
    begin = i;
  }
  return panel;
}

}  // namespace jko::cli
