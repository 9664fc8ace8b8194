#pragma once
/// Files that appear whole or not at all.
#include <filesystem>
#include <string>
#include <string_view>

namespace jko {

/// Writes text to a temporary file beside `path` and renames it; creates missing folders. Throws IoError with the system's reason.
void write_atomically(const std::filesystem::path& path, std::string_view text);
/// The whole file; throws IoError.
[[nodiscard]] std::string read_file(const std::filesystem::path& path);

}  // namespace jko
