#include "data.hpp"

#include "console.hpp"

#include <jko/core/error.hpp>
#include <jko/io/csv.hpp>
#include <jko/io/npy.hpp>

#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <limits>
#include <map>
#include <sstream>

namespace jko::cli {
namespace {

CsvTable read_table(const DataArguments& a) {
  if (std::filesystem::is_directory(a.file)) throw IoError(fmt::format("{}: is a folder, but must be a file", a.file));
  if (std::filesystem::path(a.file).extension() != ".npy") return read_csv(a.file, a.skip_missing ? Missing::nan : Missing::refused);
  CsvTable table;
  table.source = a.file;
  table.values = read_npy(a.file);
  for (Index j = 0; j < table.values.cols(); ++j) table.columns.push_back(table.values.cols() == 1 ? "x" : fmt::format("x{}", j + 1));
  for (Index i = 0; i < table.values.rows(); ++i) {
    table.lines.push_back(i + 1);
    if (!a.skip_missing && !table.values.row(i).allFinite()) throw ParseError(a.file, i + 1, 0, "the row is not finite: see --skip-missing");
  }
  if (table.values.rows() == 0) throw ParseError(a.file, 0, 0, "the array is empty");
  return table;
}

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
  command.add_option("--dt", dt, "time between rows, overrides the time column")->check(positive_number());
  command.add_option("--until", until, "use observations up to this time only");
  command.add_flag("--skip-missing", skip_missing, "leave out rows with an empty cell, nan or NA: they become gaps in time");
}

namespace {

/// The chosen columns, a point each, without the rows that miss a value; `rows` are those kept.
Matrix points_of(const DataArguments& a, const CsvTable& table, std::vector<Index>& rows) {
  const auto names = coordinates(a, table);
  std::vector<Index> columns;
  for (const std::string& name : names) columns.push_back(table.column(name));
  for (Index i = 0; i < table.values.rows(); ++i) {
    bool whole = true;
    for (const Index j : columns) whole = whole && std::isfinite(table.values(i, j));
    if (whole) rows.push_back(i);
  }
  Matrix out(static_cast<Index>(columns.size()), static_cast<Index>(rows.size()));
  for (Index k = 0; k < out.cols(); ++k) {
    for (Index c = 0; c < out.rows(); ++c) out(c, k) = table.values(rows[static_cast<std::size_t>(k)], columns[static_cast<std::size_t>(c)]);
  }
  if (out.cols() == 0) throw ParseError(a.file, 0, 0, "no row is without missing values");
  return out;
}

std::string time_column(const CsvTable& table) { return table.has("t") ? "t" : (table.has("time") ? "time" : ""); }

/// Where a column must be complete.
double present(const DataArguments& a, const CsvTable& table, Index row, const std::string& column) {
  const double value = table.values(row, table.column(column));
  if (!std::isfinite(value)) throw ParseError(a.file, table.lines[static_cast<std::size_t>(row)], 0, fmt::format("column '{}' has a gap", column));
  return value;
}

}  // namespace

int count_coordinates(const DataArguments& a) { return static_cast<int>(coordinates(a, read_table(a)).size()); }

Matrix read_sample(const DataArguments& a) {
  std::vector<Index> rows;
  return points_of(a, read_table(a), rows);
}

estimators::BinnedCounts read_counts(const DataArguments& a) {
  const CsvTable table = read_csv(a.file, Missing::nan);
  const Index m = table.values.rows(), lower = table.column("lower"), upper = table.column("upper"), count = table.column("count");
  estimators::BinnedCounts out{Vector(m + 1), Vector(m)};
  const auto line = [&](Index i) { return table.lines[static_cast<std::size_t>(i)]; };
  for (Index i = 0; i < m; ++i) {
    double low = table.values(i, lower), high = table.values(i, upper);
    if (i == 0 && std::isnan(low)) low = -std::numeric_limits<double>::infinity();
    if (i == m - 1 && std::isnan(high)) high = std::numeric_limits<double>::infinity();
    if (std::isnan(low) || std::isnan(high)) throw ParseError(a.file, line(i), 0, "only the first lower and the last upper may be empty");
    if (std::isnan(table.values(i, count))) throw ParseError(a.file, line(i), 0, "the count is missing");
    if (i > 0 && low != out.edges[i]) throw ParseError(a.file, line(i), 0, fmt::format("the cell begins at {}, but the one before ends at {}", low, out.edges[i]));
    out.edges[i] = low;
    out.edges[i + 1] = high;
    out.counts[i] = table.values(i, count);
  }
  out.validate();
  return out;
}

estimators::Snapshots read_snapshots(const DataArguments& a) {
  const CsvTable table = read_table(a);
  const std::string time = time_column(table);
  if (time.empty()) throw ParseError(a.file, 1, 0, "snapshots need a column 't' or 'time', the same for all points of a snapshot");
  std::vector<Index> rows;
  const Matrix points = points_of(a, table, rows);
  std::map<double, std::vector<Index>> at;
  for (std::size_t k = 0; k < rows.size(); ++k) {
    const double t = present(a, table, rows[k], time);
    if (t <= a.until) at[t].push_back(static_cast<Index>(k));
  }
  if (at.size() < 2) throw ParseError(a.file, 0, 0, fmt::format("snapshots at two times are needed, but there {} {}", at.size() == 1 ? "is" : "are", at.size()));
  estimators::Snapshots out{Vector(static_cast<Index>(at.size())), {}};
  for (const auto& [t, indices] : at) {
    out.times[static_cast<Index>(out.samples.size())] = t;
    if (indices.size() < 2) throw ParseError(a.file, table.lines[static_cast<std::size_t>(rows[static_cast<std::size_t>(indices[0])])], 0, fmt::format("the snapshot at time {} has one point", t));
    out.samples.emplace_back(points(Eigen::all, indices));
  }
  return out;
}

estimators::Panel read_panel(const DataArguments& a, int dimension) {
  const CsvTable table = read_table(a);
  const auto names = coordinates(a, table);
  if (static_cast<int>(names.size()) != dimension) {
    throw ParseError(a.file, 1, 0, fmt::format("the model has dimension {}, but there are {} data columns ({}): choose with --column", dimension, names.size(), fmt::join(names, ", ")));
  }
  const std::string time = time_column(table);
  if (time.empty() && !(a.dt > 0)) throw ParseError(a.file, 1, 0, "there is no column 't' or 'time': give --dt");
  std::vector<Index> kept;
  const Matrix values = points_of(a, table, kept);
  const Index rows = values.cols();
  const auto line = [&](Index i) { return table.lines[static_cast<std::size_t>(kept[static_cast<std::size_t>(i)])]; };
  Vector times(rows);
  // A row's number counts, so that one left out leaves its time free.
  for (Index i = 0; i < rows; ++i) times[i] = a.dt > 0 ? a.dt * static_cast<double>(kept[static_cast<std::size_t>(i)]) : present(a, table, kept[static_cast<std::size_t>(i)], time);
  estimators::Panel panel;
  Index begin = 0;
  const auto path_of = [&](Index i) { return table.has("path") ? present(a, table, kept[static_cast<std::size_t>(i)], "path") : 0.0; };
  for (Index i = 1; i <= rows; ++i) {
    if (i < rows && path_of(i) == path_of(begin)) {
      if (!(times[i] > times[i - 1])) throw ParseError(a.file, line(i), 0, fmt::format("time {} does not increase after {}", times[i], times[i - 1]));
      continue;
    }
    Index end = i;
    while (end > begin && times[end - 1] > a.until) --end;
    if (end - begin < 2) throw ParseError(a.file, line(begin), 0, "a path must have at least two observations");
    panel.push_back({times.segment(begin, end - begin), values.middleCols(begin, end - begin)});
    begin = i;
  }
  return panel;
}

}  // namespace jko::cli
