#pragma once
/// Studies: a configuration -> checks, tables and figures.
#include <jko/analysis/design.hpp>
#include <jko/analysis/verdict.hpp>
#include <jko/core/progress.hpp>
#include <jko/core/types.hpp>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace jko::validation {

enum class Scale { quick, full };

struct StudyOptions {
  Scale scale = Scale::quick;
  std::uint64_t seed = 20260101;
  int threads = 1;
  std::filesystem::path data_directory{};  ///< where data that may not be committed is looked for; may be empty
  Observer* observer = nullptr;
  std::map<std::string, std::string> settings{};  ///< the user's own values, of the keys that the study names
  // Studies at scale (analysis/design.hpp):
  analysis::Shard shard{};                        ///< which part of the work list this process does
  std::filesystem::path blocks{};                 ///< file in which finished work is kept and found again; empty: nowhere
  std::vector<std::filesystem::path> merge{};     ///< files of shards: their work is taken instead of done
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
  std::string study{};            ///< name
  std::string title{};
  std::string description{};      ///< a paragraph or two: what is checked and how to read it
  std::vector<analysis::Check> checks{};
  std::vector<Table> tables{};
  std::vector<Figure> figures{};
  std::vector<std::string> notes{};  ///< e.g. "skipped: data file absent"
  double seconds = 0;
};

/// A key that a study reads from StudyOptions::settings.
struct Setting {
  std::string key;
  std::string meaning;          ///< with its default
};

struct Study {
  std::string name;             ///< "order-in-h"
  std::string title;
  std::function<StudyResult(const StudyOptions&)> run;
  std::vector<Setting> settings = {};
  bool sharded = false;         ///< its work can be split (StudyOptions::shard) and merged
};

/// All studies, in the report's order.
[[nodiscard]] const std::vector<Study>& studies();
/// Throws DomainError naming the nearest known name.
[[nodiscard]] const Study& find_study(std::string_view name);
/// Runs it and fills in name, title and seconds. Throws DomainError where a setting's key is not one of the study's, or the study has no shards.
[[nodiscard]] StudyResult run_study(const Study& study, const StudyOptions& options);

}  // namespace jko::validation
