#include <jko/io/npy.hpp>

#include <jko/core/error.hpp>
#include <jko/io/atomic_file.hpp>

#include <fmt/format.h>

#include <bit>
#include <cctype>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

namespace jko {
namespace {

static_assert(std::endian::native == std::endian::little, "NPY files are read and written as they lie in memory");

/// The text after 'key': in the header's Python dictionary, up to the next comma outside parentheses.
std::string_view field(std::string_view header, std::string_view key, const std::string& source) {
  const auto at = header.find(key);
  const auto colon = at == std::string_view::npos ? at : header.find(':', at);
  if (colon == std::string_view::npos) throw ParseError(source, 0, 0, fmt::format("the NPY header has no {}", key));
  std::size_t end = colon + 1;
  for (int depth = 0; end < header.size() && (depth > 0 || (header[end] != ',' && header[end] != '}')); ++end) {
    if (header[end] == '(') ++depth;
    if (header[end] == ')') --depth;
  }
  std::string_view value = header.substr(colon + 1, end - colon - 1);
  while (!value.empty() && value.front() == ' ') value.remove_prefix(1);
  while (!value.empty() && value.back() == ' ') value.remove_suffix(1);
  return value;
}

template <class T>
double element(const char* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(T));
  return static_cast<double>(value);
}

}  // namespace

Matrix parse_npy(std::string_view bytes, const std::string& source) {
  if (bytes.size() < 10 || bytes.substr(0, 6) != std::string_view("\x93NUMPY", 6)) throw ParseError(source, 0, 0, "this is no NPY file");
  const auto byte = [&](std::size_t i) { return static_cast<std::size_t>(static_cast<unsigned char>(bytes[i])); };
  const std::size_t version = byte(6), prefix = version == 1 ? 10 : 12;
  if (version < 1 || version > 3 || bytes.size() < prefix) throw ParseError(source, 0, 0, fmt::format("NPY format version {} is unknown", version));
  const std::size_t length = version == 1 ? byte(8) + 256 * byte(9) : byte(8) + 256 * (byte(9) + 256 * (byte(10) + 256 * byte(11)));
  if (bytes.size() - prefix < length) throw ParseError(source, 0, 0, "the NPY header is cut short");
  const std::string_view header = bytes.substr(prefix, length), data = bytes.substr(prefix + length);

  const std::string_view type = field(header, "'descr'", source), order = field(header, "'fortran_order'", source), shape = field(header, "'shape'", source);
  std::vector<Index> extents;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (std::isdigit(static_cast<unsigned char>(shape[i])) == 0) continue;
    Index extent = 0;
    for (; i < shape.size() && std::isdigit(static_cast<unsigned char>(shape[i])) != 0; ++i) {
      if (extent > std::numeric_limits<Index>::max() / 32) throw ParseError(source, 0, 0, "the NPY array's shape is too large");
      extent = 10 * extent + (shape[i] - '0');
    }
    extents.push_back(extent);
  }
  if (extents.empty() || extents.size() > 2) throw ParseError(source, 0, 0, fmt::format("the NPY array has {} dimensions, but must have 1 or 2", extents.size()));
  const Index rows = extents[0], columns = extents.size() == 2 ? extents[1] : 1;

  double (*read)(const char*) = nullptr;
  std::size_t size = 8;
  if (type == "'<f8'") read = element<double>;
  else if (type == "'<i8'") read = element<std::int64_t>;
  else if (type == "'<f4'") read = element<float>, size = 4;
  else if (type == "'<i4'") read = element<std::int32_t>, size = 4;
  else throw ParseError(source, 0, 0, fmt::format("the NPY array has type {}, but must be '<f8', '<f4', '<i8' or '<i4'", type));
  if (order != "True" && order != "False") throw ParseError(source, 0, 0, "the NPY header's fortran_order is neither True nor False");
  const auto available = static_cast<Index>(data.size() / size);
  if (columns > 0 && rows > available / columns) throw ParseError(source, 0, 0, fmt::format("the NPY array has {} x {} numbers, but the file holds {}", rows, columns, available));
  Matrix out(rows, columns);
  const char* at = data.data();
  if (order == "True") {
    for (Index j = 0; j < columns; ++j) {
      for (Index i = 0; i < rows; ++i, at += size) out(i, j) = read(at);
    }
  } else {
    for (Index i = 0; i < rows; ++i) {
      for (Index j = 0; j < columns; ++j, at += size) out(i, j) = read(at);
    }
  }
  return out;
}

Matrix read_npy(const std::filesystem::path& path) { return parse_npy(read_file(path), path.string()); }

std::string format_npy(const ConstMatrixRef& values) {
  std::string header = fmt::format("{{'descr': '<f8', 'fortran_order': False, 'shape': ({}, {}), }}", values.rows(), values.cols());
  // The data begin at a multiple of 64; the header ends with a line feed.
  header.append(63 - (10 + header.size()) % 64, ' ');
  header += '\n';
  std::string out("\x93NUMPY\x01\x00", 8);
  out += static_cast<char>(header.size() % 256);
  out += static_cast<char>(header.size() / 256);
  out += header;
  for (Index i = 0; i < values.rows(); ++i) {
    for (Index j = 0; j < values.cols(); ++j) {
      const double value = values(i, j);
      char bytes[sizeof(double)];
      std::memcpy(bytes, &value, sizeof(double));
      out.append(bytes, sizeof(double));
    }
  }
  return out;
}

}  // namespace jko
