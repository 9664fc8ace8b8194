#include <jko/validation/heat_map.hpp>

#include <jko/core/error.hpp>
#include <jko/io/atomic_file.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

namespace jko::validation {
namespace {

Matrix averaged(const Matrix& values) {
  constexpr Index side = 256;
  const Index p = (values.rows() + side - 1) / side, q = (values.cols() + side - 1) / side;
  if (p == 1 && q == 1) return values;
  Matrix out((values.rows() + p - 1) / p, (values.cols() + q - 1) / q);
  for (Index j = 0; j < out.cols(); ++j) {
    for (Index i = 0; i < out.rows(); ++i) {
      out(i, j) = values.block(p * i, q * j, std::min(p, values.rows() - p * i), std::min(q, values.cols() - q * j)).mean();
    }
  }
  return out;
}

}  // namespace

void render(const HeatMap& map, const std::filesystem::path& directory) {
  const Matrix values = averaged(map.values);
  std::string data;
  for (Index j = 0; j < values.cols(); ++j) {
    for (Index i = 0; i < values.rows(); ++i) data += fmt::format("{:.5g}{}", values(i, j), i + 1 < values.rows() ? ' ' : '\n');
  }
  const double top = map.top > 0 ? map.top : std::max(values.maxCoeff(), 1e-300);
  const double dx = (map.x_upper - map.x_lower) / static_cast<double>(values.rows()), dy = (map.y_upper - map.y_lower) / static_cast<double>(values.cols());
  const std::string at = fmt::format("({:.17g}+($1+0.5)*{:.17g}):({:.17g}+($2+0.5)*{:.17g}):3", map.x_lower, dx, map.y_lower, dy);
  // A perceptually even ramp from white to dark blue; contours in grey.
  const std::string script = fmt::format(
      "set terminal svg size 620,520 dynamic enhanced font 'Helvetica,14' background '#ffffff'\n"
      "set contour base\nset cntrparam levels discrete {0:.6g},{1:.6g},{2:.6g},{3:.6g}\nunset surface\nset table '{4}.contour'\n"
      "splot '{4}.dat' matrix using {5}\nunset table\nset surface\nunset contour\n"
      "set output '{4}.svg'\nset border lc rgb '#555555'\nset tics out nomirror\nset size ratio -1\nunset key\n"
      "set palette defined (0 '#ffffff', 0.15 '#deebf7', 0.4 '#9ecae1', 0.7 '#4292c6', 1 '#08306b')\nset cbrange [0:{6:.6g}]\nset colorbox\n"
      "set xrange [{7:.17g}:{8:.17g}]\nset yrange [{9:.17g}:{10:.17g}]\nset title '{11}' noenhanced\nset xlabel '{12}' noenhanced\nset ylabel '{13}' noenhanced\n"
      "plot '{4}.dat' matrix using {5} with image, '{4}.contour' using 1:2 with lines lw 1 lc rgb '#333333'\n",
      0.05 * top, 0.2 * top, 0.5 * top, 0.8 * top, map.id, at, top, map.x_lower, map.x_upper, map.y_lower, map.y_upper, map.title, map.x_label, map.y_label);
  write_atomically(directory / (map.id + ".dat"), data);
  write_atomically(directory / (map.id + ".gp"), script);
  std::string folder;  // quoted for the shell
  for (const char c : directory.string()) folder += c == '\'' ? std::string("'\\''") : std::string(1, c);
  if (std::system(fmt::format("cd '{}' && gnuplot '{}.gp' 2>gnuplot.log", folder, map.id).c_str()) != 0) {
    throw IoError(fmt::format("heat_map: gnuplot could not draw {} (is gnuplot installed? see {})", map.id, (directory / "gnuplot.log").string()));
  }
  std::filesystem::remove(directory / "gnuplot.log");
  std::filesystem::remove(directory / (map.id + ".contour"));
}

}  // namespace jko::validation
