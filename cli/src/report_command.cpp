#include "commands.hpp"
#include "console.hpp"

#include <jko/validation/report.hpp>

#include <fmt/format.h>

#include <chrono>
#include <memory>

namespace jko::cli {
namespace {

struct Arguments {
  std::string name, scale = "quick", out, data;
  std::uint64_t seed = validation::StudyOptions{}.seed;
  int threads = 1;
  bool json = false;
};

void add_common(CLI::App& command, Arguments& a) {
  command.add_option("--scale", a.scale, "quick or full")->check(CLI::IsMember({"quick", "full"}))->capture_default_str();
  command.add_option("--seed", a.seed, "seed of every random number")->capture_default_str();
  command.add_option("--threads", a.threads, "threads; the numbers do not depend on it")->check(CLI::Range(1, 1024))->capture_default_str();
  command.add_option("--data", a.data, "folder with data that may not be redistributed");
  command.add_flag("--json", a.json, "print JSON");
}

validation::StudyOptions options(const Arguments& a, Console& console) {
  return {a.scale == "full" ? validation::Scale::full : validation::Scale::quick, a.seed, a.threads, a.data, &console};
}

void print(const validation::StudyResult& r) {
  fmt::print("{} ({:.1f} s)\n", r.title, r.seconds);
  for (const auto& c : r.checks) {
    fmt::print("  {:<12} {:<34} {:>13.6g} against {:<12.6g} tolerance {:.2g}{}{}\n", analysis::name(c.verdict), c.id, c.statistic, c.bound, c.tolerance,
               c.reason.empty() ? "" : "  ", c.reason);
  }
}

}  // namespace

void add_study(CLI::App& app, int& status) {
  auto a = std::make_shared<Arguments>();
  auto* command = app.add_subcommand("study", "run one study, or list them\nexample: jko study order-in-h --out out/order");
  command->add_option("name", a->name, "a study's name, or 'list'")->required();
  command->add_option("--out", a->out, "folder for study.json and the figures");
  add_common(*command, *a);
  command->callback([a, &status] {
    if (a->name == "list") {
      for (const auto& s : validation::studies()) fmt::print("{:<14} {}\n", s.name, s.title);
      return;
    }
    const auto& study = validation::find_study(a->name);
    Console console;
    const auto o = options(*a, console);
    const auto result = validation::run_study(study, o);
    if (!a->out.empty()) validation::write_study(result, o, a->out);
    if (a->json) fmt::print("{}", validation::study_json(result, o));
    else print(result);
    status = validation::exit_status({result});
  });
}

void add_report(CLI::App& app, int& status) {
  auto a = std::make_shared<Arguments>();
  a->out = "out/report";
  auto* command = app.add_subcommand("report", "run all studies and write index.html and report.json\nexample: jko report --scale quick --threads 2");
  command->add_option("--out", a->out, "folder")->capture_default_str();
  add_common(*command, *a);
  command->callback([a, &status] {
    Console console;
    const auto o = options(*a, console);
    std::vector<validation::StudyResult> results;
    for (const auto& study : validation::studies()) {
      results.push_back(validation::run_study(study, o));
      if (!a->json) print(results.back());
      if (console.stop_requested()) {
        fmt::print(stderr, "jko: stopped before the report was complete; nothing was written\n");
        status = 130;
        return;
      }
    }
    validation::write_report(results, o, fmt::format("jko report --scale {} --seed {} --threads {}", a->scale, a->seed, a->threads), a->out);
    if (a->json) {
      for (const auto& r : results) fmt::print("{}", validation::study_json(r, o));
    }
    status = validation::exit_status(results);
  });
}

}  // namespace jko::cli
