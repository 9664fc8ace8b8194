#pragma once
/// Numeric tables as comma-separated text.
#include <jko/core/types.hpp>

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace jko {

struct CsvTable {
  std::string source;                  ///< for error messages
  std::vector<std::string> columns;    ///< header names
  Matrix values;                       ///< rows x columns
  std::vector<long> lines;             ///< line of each row, from 1
  /// Index of a column; throws ParseError naming the nearest known name.
  [[nodiscard]] Index column(std::string_view name) const;
  [[nodiscard]] bool has(std::string_view name) const;
};

/// What an empty cell, nan or NA is.
enum class Missing {
  refused,  ///< an error with its place
  nan,      ///< NaN in the table
};

/// A header and at least one row of finite numbers; lines that begin with # and a byte-order mark are skipped. Throws ParseError
/// "source:line:column: ..." for a gap, text, NaN, infinity, a ragged row, an empty file or a duplicated header name.
[[nodiscard]] CsvTable read_csv(const std::filesystem::path& path, Missing missing = Missing::refused);
[[nodiscard]] CsvTable parse_csv(std::string_view text, std::string source, Missing missing = Missing::refused);
/// Header and rows, shortest round-trip numbers.
[[nodiscard]] std::string format_csv(const std::vector<std::string>& columns, const ConstMatrixRef& values);

}  // namespace jko
