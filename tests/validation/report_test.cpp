#include <jko/analysis/statistics.hpp>
#include <jko/core/error.hpp>
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
  r.checks.push_back(analysis::check_sampled("sampled", "0 = 0", "none", 0, 0, {.standard_error = 1, .false_alarm = 1e-4, .what = "made up"}));
  r.tables.push_back({"t", "caption", {"a"}, {{"1"}}});
  r.figures.push_back({"f", "caption", "x", "y", false, false, {{"line", Series::Style::line, {0, 1}, {0, 1}, {}, {}, 0}}});
  CHECK(exit_status({r}) == 3);
  const auto directory = std::filesystem::temp_directory_path() / ("jko-report-test-" + std::to_string(::getpid()));
  write_report({r}, {}, "test", directory);
  const auto json = nlohmann::json::parse(read_file(directory / "report.json"));
  CHECK(json["summary"]["pass"] == 2);
  CHECK(json["summary"]["false_alarm"] == 1e-4);
  CHECK(json["studies"][0]["checks"][2]["false_alarm"] == 1e-4);
  CHECK(json["versions"].contains("eigen"));
  CHECK(json["command"] == "test");
  CHECK(json["studies"][0]["checks"][1]["statistic"].is_null());
  const std::string html = read_file(directory / "index.html");
  CHECK(html.find("A &lt;demo&gt;") != std::string::npos);
  CHECK(html.find("<svg") != std::string::npos);
  CHECK(html.find("href=\"#demo-check-one\"") != std::string::npos);
  CHECK(html.find("id=\"demo-check-one\"") != std::string::npos);
  CHECK(html.find("var(--c0)") != std::string::npos);   // the figure's colours follow the page's
  CHECK(html.find("#ffffff") == std::string::npos);
  CHECK(html.find("src=\"http") == std::string::npos);
  CHECK(html.find("href=\"http") == std::string::npos);
  r.checks.push_back(analysis::check_equal("two", "1 = 2", "none", 1, 2, 0, "exact"));
  CHECK(exit_status({r}) == 1);
  std::filesystem::remove_all(directory);
}

TEST_CASE("false alarms add up, and a family decided together counts once") {
  StudyResult r{.study = "s", .checks = {}};
  CHECK(false_alarm({r}) == 0);
  for (int i = 0; i < 3; ++i) {
    r.checks.push_back(analysis::check_sampled("sampled", "0 = 0", "none", 0, 0, {.standard_error = 1, .false_alarm = 1e-5}));
    r.checks.push_back(analysis::check_test("test", "normal", "none", {.p_value = 0.5}));
  }
  analysis::decide_family(r.checks, 0.001);
  CHECK(std::abs(false_alarm({r}) - 0.00103) < 1e-15);
}

TEST_CASE("a study refuses settings it does not know, and shards it does not have") {
  const Study& study = find_study("offline-limits");
  CHECK_THROWS_AS((void)run_study(study, {.settings = {{"potental", "x^2"}}}), DomainError);
  CHECK_THROWS_AS((void)run_study(find_study("order-in-h"), {.settings = {{"beta", "1"}}}), DomainError);
  CHECK_THROWS_AS((void)run_study(study, {.shard = {0, 2}}), DomainError);
  CHECK_THROWS_AS((void)run_study(study, {.settings = {{"potential", "a*x^2"}, {"parameters", "b=1"}}}), ParseError);
  CHECK_THROWS_AS((void)run_study(study, {.settings = {{"potential", "a*x^2"}, {"parameters", "a=one"}}}), ParseError);
}

TEST_CASE("an assumption that fails makes the user's study inconclusive and says which") {
  // a and b enter as their sum only: not identified. The walls cut the second: not confined.
  for (const auto& [settings, word] : {std::pair<std::map<std::string, std::string>, std::string>{{{"potential", "(a+b)*x^2/2"}, {"parameters", "a=1,b=1"}}, "singular"},
                                       {{{"potential", "a*x^2/2"}, {"parameters", "a=1"}, {"lower", "-1"}, {"upper", "1"}}, "walls"}}) {
    for (const char* name : {"estimators", "offline-limits", "online-limits", "regimes", "stationary"}) {
      const auto result = run_study(find_study(name), {.settings = settings});
      REQUIRE(result.checks.size() == 1);
      CHECK(result.checks[0].verdict == analysis::Verdict::inconclusive);
      CHECK(result.checks[0].reason.find(word) != std::string::npos);
    }
  }
}

TEST_CASE("own models: no study fails or throws where an assumption does not hold, and some say so") {
  const std::vector<std::map<std::string, std::string>> models{
      {{"potential", "-x^2/2"}},                                                                                       // does not confine
      {{"potential", "a*x"}, {"parameters", "a=1"}, {"start-variance", "0.3"}},                                        // nor does this, and kappa = 0
      {{"family", "student-well"}, {"parameters", "nu=4,mu=0,s=1"}},                                                   // confines so weakly that the box is wide
      {{"potential", "x^4/4-x^2/2"}, {"beta", "2"}, {"start-mean", "0.5"}, {"start-variance", "0.3"}},                 // not convex, without parameters
      {{"potential", "x^2/2+b*cos(2*x)"}, {"parameters", "b=0.3"}, {"beta", "2"}, {"start-mean", "1"}, {"t", "0.5"}},  // not convex, a formula
  };
  for (const char* name : {"inequalities", "functional-inequalities", "inexact-jko", "corrector", "regimes", "stationary", "online-limits"}) {
    int inconclusive = 0;
    for (const auto& settings : models) {
      const auto result = run_study(find_study(name), {.settings = settings});
      for (const auto& check : result.checks) {
        INFO(name << " " << settings.begin()->second << ": " << check.id << " " << check.statistic << " " << check.bound << " " << check.tolerance);
        CHECK(check.verdict != analysis::Verdict::fail);
        if (check.verdict == analysis::Verdict::inconclusive) {
          CHECK(!check.reason.empty());
          ++inconclusive;
        }
      }
      CHECK(!result.checks.empty());
    }
    CHECK(inconclusive > 0);
  }
}
