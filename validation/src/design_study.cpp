#include <jko/validation/design_study.hpp>

#include <jko/core/error.hpp>
#include <jko/io/atomic_file.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>

namespace jko::validation {

std::optional<std::vector<analysis::CellSummary>> run_design_study(const analysis::Design& design, const StudyOptions& options, StudyResult& result) {
  std::string file = design.name + ".blocks.json";
  std::replace(file.begin(), file.end(), ' ', '-');
  analysis::DesignBlocks blocks(design);
  if (!options.merge.empty()) {
    for (const auto& folder : options.merge) blocks.merge(analysis::DesignBlocks::parse(read_file(folder / file), (folder / file).string()));
  } else {
    blocks = analysis::run_design(design, {.shard = options.shard, .threads = options.threads, .file = options.blocks.empty() ? std::filesystem::path() : options.blocks / file, .observer = options.observer});
  }
  if (blocks.complete()) return analysis::summarise(blocks);
  const auto total = static_cast<Index>(design.cells.size()) * design.blocks;
  result.notes.push_back(fmt::format("{}: {} of {} blocks are finished (shard {}/{}); checks follow when all are: jko study merge", design.name, blocks.finished(), total, options.shard.index, options.shard.count));
  return std::nullopt;
}

ShardLabel read_shard_label(const std::filesystem::path& folder) {
  const auto file = folder / "study.json";
  const auto json = nlohmann::json::parse(read_file(file), nullptr, false);
  if (!json.is_object() || !json.contains("study") || !json.contains("scale") || !json.contains("seed")) throw ParseError(file.string(), 0, 0, "this is not a study.json");
  return {json["study"].get<std::string>(), json["scale"] == "full" ? Scale::full : Scale::quick, json["seed"].get<std::uint64_t>()};
}

}  // namespace jko::validation
