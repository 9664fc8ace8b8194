#include <jko/io/atomic_file.hpp>

#include <jko/core/error.hpp>

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>
#include <system_error>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace jko {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, std::string_view what) {
  throw IoError(fmt::format("{}: {}: {}", path.string(), what, std::strerror(errno)));
}

}  // namespace

void write_atomically(const std::filesystem::path& path, std::string_view text) {
  std::error_code error;
  if (path.has_parent_path()) std::filesystem::create_directories(path.parent_path(), error);
  if (error) throw IoError(fmt::format("{}: cannot create the folder: {}", path.parent_path().string(), error.message()));
  std::string temporary = path.string() + ".XXXXXX";
  const int file = ::mkstemp(temporary.data());
  if (file < 0) fail(path, "cannot be written");
  while (!text.empty()) {
    const auto written = ::write(file, text.data(), text.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      ::close(file);
      ::unlink(temporary.c_str());
      fail(path, "cannot be written");
    }
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  const mode_t mask = ::umask(0);
  ::umask(mask);
  const bool good = ::fchmod(file, 0666 & ~mask) == 0 && ::fsync(file) == 0;
  if (::close(file) != 0 || !good || ::rename(temporary.c_str(), path.c_str()) != 0) {
    ::unlink(temporary.c_str());
    fail(path, "cannot be written");
  }
}

std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) fail(path, "cannot be read");
  std::ostringstream text;
  text << in.rdbuf();
  if (in.bad() || (in.fail() && !in.eof())) fail(path, "cannot be read");
  return text.str();
}

}  // namespace jko
