#pragma once
/// Reports: one report.json for machines, one self-contained index.html for people.
#include <jko/validation/study.hpp>

namespace jko::validation {

/// 1 where a check failed, else 3 where one is inconclusive, else 0.
[[nodiscard]] int exit_status(const std::vector<StudyResult>& results);
/// A bound on the probability that a correct program fails one of the checks: the sum over the statistical ones (families decided by Holm's method count once).
[[nodiscard]] double false_alarm(const std::vector<StudyResult>& results);
/// study.json as text (stable key order).
[[nodiscard]] std::string study_json(const StudyResult& result, const StudyOptions& options);
/// DIR/study.json and DIR/figures/*.
void write_study(const StudyResult& result, const StudyOptions& options, const std::filesystem::path& directory);
/// DIR/report.json, DIR/index.html and DIR/figures/*; `command` is printed as how to reproduce it.
void write_report(const std::vector<StudyResult>& results, const StudyOptions& options, const std::string& command,
                  const std::filesystem::path& directory);

}  // namespace jko::validation
