#include <jko/core/error.hpp>

#include <fmt/format.h>

namespace jko {
namespace {

std::string located(std::string_view source, long line, long column, std::string_view message) {
  std::string text(source);
  if (line > 0) text += fmt::format("{}{}", text.empty() ? "line " : ":", line);
  if (column > 0) text += fmt::format("{}{}", line > 0 ? ":" : (text.empty() ? "column " : ", column "), column);
  return text.empty() ? std::string(message) : text + ": " + std::string(message);
}

}  // namespace

ParseError::ParseError(std::string_view source, long line, long column, std::string_view message)
    : Error(located(source, line, column, message)), line_(line), column_(column) {}

}  // namespace jko
