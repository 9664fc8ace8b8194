#include <jko/io/atomic_file.hpp>
#include <jko/validation/report.hpp>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <filesystem>

#include <unistd.h>

using namespace jko;
using namespace jko::validation;

TEST_CASE("a report is one self-contained page and one valid JSON") {
  StudyResult r{"demo", "A <demo>", "Text & more", {}, {}, {}, {}, 0};
  r.checks.push_back(analysis::check_equal("one", "1 = 1", "none", 1, 1, 0, "exact"));
  r.checks.push_back(analysis::check_equal("nan", "NaN decides nothing", "none", std::nan(""), 1, 0, "exact"));
  r.tables.push_back({"t", "caption", {"a"}, {{"1"}}});
  r.figures.push_back({"f", "caption", "x", "y", false, false, {{"line", Series::Style::line, {0, 1}, {0, 1}, {}, {}, 0}}});
  CHECK(exit_status({r}) == 3);
  const auto directory = std::filesystem::temp_directory_path() / ("jko-report-test-" + std::to_string(::getpid()));
  write_report({r}, {}, "test", directory);
  const auto json = nlohmann::json::parse(read_file(directory / "report.json"));
  CHECK(json["summary"]["pass"] == 1);
  CHECK(json["studies"][0]["checks"][1]["statistic"].is_null());
  const std::string html = read_file(directory / "index.html");
  CHECK(html.find("A &lt;demo&gt;") != std::string::npos);
  CHECK(html.find("<svg") != std::string::npos);
  CHECK(html.find("src=\"http") == std::string::npos);
  CHECK(html.find("href=\"http") == std::string::npos);
  r.checks.push_back(analysis::check_equal("two", "1 = 2", "none", 1, 2, 0, "exact"));
  CHECK(exit_status({r}) == 1);
  std::filesystem::remove_all(directory);
}
