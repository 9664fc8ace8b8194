#include <jko/io/csv.hpp>

#include <jko/core/error.hpp>
#include <jko/core/nearest.hpp>
#include <jko/io/atomic_file.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <utility>

namespace jko {
namespace {

std::string_view trimmed(std::string_view text) {
  const auto space = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '"'; };
  while (!text.empty() && space(text.front())) text.remove_prefix(1);
  while (!text.empty() && space(text.back())) text.remove_suffix(1);
  return text;
}

/// At most 40 characters, with ? for what a terminal should not be sent.
std::string printable(std::string_view text) {
  std::string out(text.substr(0, 40));
  std::replace_if(out.begin(), out.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) > 0x7e; }, '?');
  return out + (text.size() > 40 ? "..." : "");
}

/// Calls cell(text, column from 1 in characters) for each comma-separated cell.
template <class F>
void for_each_cell(std::string_view line, F&& cell) {
  std::size_t start = 0;
  for (;;) {
    const std::size_t comma = line.find(',', start);
    const std::size_t end = comma == std::string_view::npos ? line.size() : comma;
    cell(trimmed(line.substr(start, end - start)), static_cast<long>(start) + 1);
    if (comma == std::string_view::npos) return;
    start = comma + 1;
  }
}

}  // namespace

Index CsvTable::column(std::string_view name) const {
  const auto found = std::find(columns.begin(), columns.end(), name);
  if (found != columns.end()) return found - columns.begin();
  throw ParseError(source, 1, 0, fmt::format("there is no column '{}'; the nearest is '{}'", name, nearest_name(name, columns)));
}

bool CsvTable::has(std::string_view name) const { return std::find(columns.begin(), columns.end(), name) != columns.end(); }

CsvTable parse_csv(std::string_view text, std::string source, Missing missing) {
  CsvTable table;
  table.source = std::move(source);
  if (text.substr(0, 3) == "\xEF\xBB\xBF") text.remove_prefix(3);
  std::vector<double> numbers;
  long number = 0;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
    ++number;
    if (trimmed(line).empty() || trimmed(line).front() == '#') continue;
    if (table.columns.empty()) {
      for_each_cell(line, [&](std::string_view cell, long at) {
        if (missing == Missing::nan && (cell.empty() || cell == "nan" || cell == "NaN" || cell == "NA")) {
        numbers.push_back(std::numeric_limits<double>::quiet_NaN());
        return;
      }
      if (cell.empty()) throw ParseError(table.source, number, at, "a column has no name");
        if (table.has(cell)) throw ParseError(table.source, number, at, fmt::format("column '{}' appears twice", printable(cell)));
        table.columns.emplace_back(cell);
      });
      continue;
    }
    std::size_t cells = 0;
    for_each_cell(line, [&](std::string_view cell, long at) {
      if (++cells > table.columns.size()) {
        throw ParseError(table.source, number, at, fmt::format("more cells than the header's {}", table.columns.size()));
      }
      const std::string& column = table.columns[cells - 1];
      if (missing == Missing::nan && (cell.empty() || cell == "nan" || cell == "NaN" || cell == "NA")) {
        numbers.push_back(std::numeric_limits<double>::quiet_NaN());
        return;
      }
      if (cell.empty()) throw ParseError(table.source, number, at, fmt::format("column '{}' has a gap", column));
      double value = 0;
      const auto [last, status] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
      if (status != std::errc{} || last != cell.data() + cell.size()) {
        throw ParseError(table.source, number, at, fmt::format("column '{}' has '{}', but must have a number", column, printable(cell)));
      }
      if (!std::isfinite(value)) {
        throw ParseError(table.source, number, at, fmt::format("column '{}' has {}, but must be finite", column, cell));
      }
      numbers.push_back(value);
    });
    if (cells < table.columns.size()) {
      throw ParseError(table.source, number, 0, fmt::format("{} cells, but the header has {}", cells, table.columns.size()));
    }
    table.lines.push_back(number);
  }
  if (table.columns.empty()) throw ParseError(table.source, 0, 0, "the file is empty");
  if (table.lines.empty()) throw ParseError(table.source, number, 0, "there are no rows under the header");
  const auto rows = static_cast<Index>(table.lines.size()), columns = static_cast<Index>(table.columns.size());
  table.values = Eigen::Map<const Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>(numbers.data(), rows, columns);
  return table;
}

CsvTable read_csv(const std::filesystem::path& path, Missing missing) { return parse_csv(read_file(path), path.string(), missing); }

std::string format_csv(const std::vector<std::string>& columns, const ConstMatrixRef& values) {
  std::string text = fmt::format("{}\n", fmt::join(columns, ","));
  for (Index i = 0; i < values.rows(); ++i) {
    for (Index j = 0; j < values.cols(); ++j) text += fmt::format("{}{}", j == 0 ? "" : ",", values(i, j));
    text += '\n';
  }
  return text;
}

}  // namespace jko
