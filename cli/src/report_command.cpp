#include "claims.hpp"
#include "commands.hpp"
#include "console.hpp"
#include "ranks.hpp"

#include <jko/core/error.hpp>
#include <jko/io/atomic_file.hpp>
#include <jko/validation/design_study.hpp>
#include <jko/validation/report.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>

namespace jko::cli {
namespace {

struct Arguments {
  std::string name, scale = "quick", out, data, shard;
  std::vector<std::string> settings, more;
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
  validation::StudyOptions out{.scale = a.scale == "full" ? validation::Scale::full : validation::Scale::quick, .seed = a.seed, .threads = a.threads, .data_directory = a.data};
  out.observer = &console;
  return out;
}

void print(const validation::StudyResult& r) {
  fmt::print("{} ({:.1f} s)\n", r.title, r.seconds);
  for (const auto& c : r.checks) {
    fmt::print("  {:<12} {:<34} {:>13.6g} against {:<12.6g} tolerance {:.2g}{}{}\n", analysis::name(c.verdict), c.id, c.statistic, c.bound, c.tolerance,
               c.reason.empty() ? "" : "  ", c.reason);
  }
}

/// "key=value" pairs; a key once only.
std::map<std::string, std::string> settings_from(const std::vector<std::string>& texts) {
  std::map<std::string, std::string> out;
  for (const std::string& text : texts) {
    const std::size_t equals = text.find('=');
    if (equals == 0 || equals == std::string::npos) throw ParseError("--set", 0, 0, fmt::format("'{}' is not key=value", text));
    if (!out.emplace(text.substr(0, equals), text.substr(equals + 1)).second) throw ParseError("--set", 0, 0, fmt::format("'{}' is set twice", text.substr(0, equals)));
  }
  return out;
}

/// "i/N".
analysis::Shard shard_from(const std::string& text) {
  if (text.empty()) return {};
  analysis::Shard out;
  char rest = 0;
  if (std::sscanf(text.c_str(), "%d/%d%c", &out.index, &out.count, &rest) != 2) throw ParseError("--shard", 0, 0, fmt::format("'{}' is not i/N", text));
  out.validate();
  return out;
}

void list_studies() {
  // Most studies take the same settings: each list is printed once, under a letter.
  std::vector<std::string> lists;
  for (const auto& s : validation::studies()) {
    std::string list, letter;
    for (const auto& setting : s.settings) list += fmt::format("  --set {:<18} {}\n", setting.key + "=...", setting.meaning);
    if (!list.empty()) {
      auto at = std::find(lists.begin(), lists.end(), list);
      if (at == lists.end()) at = lists.insert(at, list);
      letter = std::string(1, static_cast<char>('A' + (at - lists.begin())));
    }
    fmt::print("{:<24} {:<2} {}{}\n", s.name, letter, s.title, s.sharded ? " (can be split: --shard)" : "");
  }
  for (std::size_t i = 0; i < lists.size(); ++i) fmt::print("\nSettings of the studies marked {}:\n{}", static_cast<char>('A' + i), lists[i]);
}

/// jko study merge A B ...: the study, scale and seed are those of the shards.
void merge_shards(const Arguments& a, validation::StudyOptions& o, std::string& name) {
  if (a.more.empty()) throw ParseError("study merge", 0, 0, "name the folders of the shards");
  for (const std::string& folder : a.more) {
    const auto label = validation::read_shard_label(folder);
    if (!name.empty() && (label.study != name || label.scale != o.scale || label.seed != o.seed)) throw DomainError(fmt::format("study merge: {} is a shard of another study, scale or seed than {}", folder, a.more.front()));
    name = label.study, o.scale = label.scale, o.seed = label.seed;
    o.merge.push_back(folder);
  }
}

/// The files of finished blocks in this rank's folder, as one text.
std::string pack(const std::filesystem::path& folder) {
  nlohmann::json out = nlohmann::json::object();
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().string().ends_with(".blocks.json")) out[entry.path().filename().string()] = read_file(entry.path());
  }
  return out.dump();
}

/// Under mpirun every rank has done its shard of the work list. Rank 0 lays the blocks of all beside each other, whether or not the machines share files, and concludes as
/// `merge` does; the other ranks answer nothing.
std::optional<validation::StudyResult> conclude(const validation::Study& study, validation::StudyOptions o, const std::filesystem::path& out) {
  const auto texts = gather(pack(o.blocks));
  if (rank() != 0) return std::nullopt;
  o.shard = {};
  o.blocks.clear();
  for (std::size_t r = 0; r < texts.size(); ++r) {
    o.merge.push_back(out / fmt::format("rank-{}", r));
    const auto files = nlohmann::json::parse(texts[r]);
    for (const auto& [file, text] : files.items()) write_atomically(o.merge.back() / file, text.get<std::string>());
  }
  return validation::run_study(study, o);
}

}  // namespace

void add_study(CLI::App& app, int& status) {
  auto a = std::make_shared<Arguments>();
  auto* command = app.add_subcommand("study",
                                     "run one study, list them, or merge the shards of one\n"
                                     "example: jko study order-in-h --out out/order\n"
                                     "example: jko study offline-limits --set potential='a*x^2/2+b*cos(x)' --set parameters=a=1,b=0.5 --set beta=2\n"
                                     "example: jko study design --scale full --shard 0/2 --out out/a; jko study design --scale full --shard 1/2 --out out/b; jko study merge out/a out/b --out out/design");
  command->add_option("name", a->name, "a study's name, 'list', 'merge', or a file of claims (.toml)")->required();
  command->add_option("folders", a->more, "merge: the folders of the shards");
  command->add_option("--out", a->out, "folder for study.json and the figures; finished work of a large study is kept and found there");
  command->add_option("--set", a->settings, "key=value, for studies of your own model (the keys: jko study list)");
  command->add_option("--shard", a->shard, "i/N: do only this part of the study's work list");
  add_common(*command, *a);
  command->callback([a, &status] {
    if (a->name == "list") return list_studies();
    Console console;
    auto o = options(*a, console);
    o.settings = settings_from(a->settings);
    o.shard = shard_from(a->shard);
    if (o.shard.count > 1 && a->out.empty()) throw ParseError("--shard", 0, 0, "a shard needs --out for its blocks");
    std::string name = a->name;
    if (name == "merge") {
      name.clear();
      merge_shards(*a, o, name);
    } else if (!a->more.empty()) {
      throw ParseError("study", 0, 0, fmt::format("'{}': only 'merge' takes folders", a->more.front()));
    }
    const validation::Study study = name.ends_with(".toml") ? claims_study(name) : validation::find_study(name);
    if (study.sharded && !a->out.empty()) o.blocks = a->out;
    if (rank_count() > 1) {
      if (!study.sharded || o.shard.count > 1 || !o.merge.empty() || a->out.empty()) throw DomainError("mpirun: several ranks run a study that can be split (jko study list), with --out and without --shard or merge");
      o.shard = {rank(), rank_count()};
      o.blocks = std::filesystem::path(a->out) / fmt::format("rank-{}", rank());
    }
    auto result = validation::run_study(study, o);
    if (console.stop_requested()) {
      fmt::print(stderr, "jko: stopped; {}\n", o.blocks.empty() ? "nothing was kept (give --out to keep finished work)" : "finished work is kept in --out: run the same command again");
      status = 130;
      return;
    }
    if (rank_count() > 1) {
      auto whole = conclude(study, o, a->out);
      if (!whole) return;
      result = std::move(*whole);
    }
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
  command->add_option("--claims", a->more, "TOML files of your own claims, added to the report");
  add_common(*command, *a);
  command->callback([a, &status] {
    Console console;
    const auto o = options(*a, console);
    std::vector<validation::StudyResult> results;
    std::vector<validation::Study> all;
    for (const std::string& file : a->more) all.push_back(claims_study(file));  // before the long work: their errors come first
    all.insert(all.end(), validation::studies().begin(), validation::studies().end());
    for (const auto& study : all) {
      results.push_back(validation::run_study(study, o));
      if (!a->json) print(results.back());
      if (console.stop_requested()) {
        fmt::print(stderr, "jko: stopped before the report was complete; nothing was written\n");
        status = 130;
        return;
      }
    }
    std::string claims;
    for (const std::string& file : a->more) claims += " --claims " + file;
    validation::write_report(results, o, fmt::format("jko report --scale {} --seed {} --threads {}{}{}", a->scale, a->seed, a->threads, a->data.empty() ? "" : " --data " + a->data, claims), a->out);
    if (a->json) {
      for (const auto& r : results) fmt::print("{}", validation::study_json(r, o));
    }
    status = validation::exit_status(results);
  });
}

}  // namespace jko::cli
