#pragma once
/// Designs (analysis/design.hpp) inside studies: shards, files, and what to say while some are missing.
#include <jko/validation/study.hpp>

#include <optional>

namespace jko::validation {

/// Runs this process's shard, or takes the shards of options.merge; finished blocks are kept in options.blocks/NAME.blocks.json. Empty where work is missing (another shard's, or
/// stopped): a note in `result` says how much.
[[nodiscard]] std::optional<std::vector<analysis::CellSummary>> run_design_study(const analysis::Design& design, const StudyOptions& options, StudyResult& result);

/// Which study a folder holds a shard of, from its study.json; throws IoError or ParseError.
struct ShardLabel {
  std::string study;
  Scale scale = Scale::quick;
  std::uint64_t seed = 0;
};
[[nodiscard]] ShardLabel read_shard_label(const std::filesystem::path& folder);

}  // namespace jko::validation
