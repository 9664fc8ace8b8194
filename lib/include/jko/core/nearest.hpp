#pragma once
/// The nearest known word, for error messages.
#include <string>
#include <string_view>
#include <vector>

namespace jko {

/// The element of `known` with the least edit distance to `word` (the first of equals); empty where `known` is.
[[nodiscard]] std::string nearest_name(std::string_view word, const std::vector<std::string>& known);

}  // namespace jko
