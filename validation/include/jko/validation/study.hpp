#pragma once
/// Studies: a configuration -> checks, tables and figures.
#include <jko/analysis/verdict.hpp>
#include <jko/core/progress.hpp>
#include <jko/core/types.hpp>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace jko::validation {

enum class Scale { quick, full };

struct StudyOptions {
  Scale scale = Scale::quick;
  std::uint64_t seed = 20260101;
  int threads = 1;
  std::filesystem::path data_directory;  ///< where data that may not be committed is looked for; may be empty
  Observer* observer = nullptr;
};

struct Table {
  std::string id;
  std::string caption;
  std::vector<std::string> columns;
  std::vector<std::vector<std::string>> rows;  ///< cells as text; numbers with as many digits as their uncertainty warrants
};

/// One drawn series. Points with error bars for measurements, lines for theory, bands for uncertainty.
struct Series {
  enum class Style { line, dashed, points, band };
  std::string label;            ///< drawn beside the data where possible
  Style style = Style::line;
  std::vector<double> x;
  std::vector<double> y;        ///< band: lower edge
  std::vector<double> upper;    ///< band: upper edge
  std::vector<double> error;    ///< points: standard error (may be empty)
  int colour = 0;               ///< index into the colour-blind-safe palette
};

struct Figure {
  std::string id;
  std::string caption;
  std::string x_label;
  std::string y_label;
  bool x_log = false;
  bool y_log = false;
  std::vector<Series> series;
};

struct StudyResult {
  std::string study;            ///< name
  std::string title;
  std::string description;      ///< a paragraph or two: what is checked and how to read it
  std::vector<analysis::Check> checks;
  std::vector<Table> tables;
  std::vector<Figure> figures;
  std::vector<std::string> notes;  ///< e.g. "skipped: data file absent"
  double seconds = 0;
};

struct Study {
  std::string name;             ///< "order-in-h"
  std::string title;
  std::function<StudyResult(const StudyOptions&)> run;
};

/// All studies, in the report's order.
[[nodiscard]] const std::vector<Study>& studies();
/// Throws DomainError naming the nearest known name.
[[nodiscard]] const Study& find_study(std::string_view name);

}  // namespace jko::validation
