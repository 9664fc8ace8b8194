#pragma once
/// NumPy's array files (.npy), one- and two-dimensional.
#include <jko/core/types.hpp>

#include <filesystem>
#include <string>
#include <string_view>

namespace jko {

/// Little-endian float64, float32, int64 and int32, in C or Fortran order; a one-dimensional array becomes a column. Format versions 1 to 3. Throws ParseError
/// naming the file and what it holds instead (another type, more dimensions, fewer bytes than its header says), IoError where it cannot be read.
[[nodiscard]] Matrix read_npy(const std::filesystem::path& path);
[[nodiscard]] Matrix parse_npy(std::string_view bytes, const std::string& source);

/// A two-dimensional float64 array, in C order, as NumPy writes it.
[[nodiscard]] std::string format_npy(const ConstMatrixRef& values);

}  // namespace jko
