#include <jko/validation/figure.hpp>

#include <jko/core/error.hpp>
#include <jko/io/atomic_file.hpp>

#include <fmt/format.h>

#include <array>
#include <cstdlib>

namespace jko::validation {
namespace {

// Okabe and Ito's palette: distinguishable under the common colour-vision deficiencies.
constexpr std::array palette{"#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#444444", "#999999"};

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

}  // namespace

void render(const Figure& figure, const std::filesystem::path& directory) {
  std::string data, plots;
  int index = 0;
  for (const Series& s : figure.series) {
    for (std::size_t i = 0; i < s.x.size(); ++i) {
      const double third = s.style == Series::Style::band ? s.upper.at(i) : (s.error.empty() ? 0.0 : s.error.at(i));
      data += fmt::format("{} {} {}\n", s.x[i], s.y.at(i), third);
    }
    data += "\n\n";
    const char* colour = palette[static_cast<std::size_t>(s.colour) % palette.size()];
    const std::string title = s.label.empty() ? "notitle" : "title " + quoted(s.label);
    const std::string from = fmt::format("'{}.dat' index {}", figure.id, index++);
    if (!plots.empty()) plots += ", \\\n     ";
    switch (s.style) {
      case Series::Style::line: plots += fmt::format("{} using 1:2 with lines lw 2 lc rgb '{}' {}", from, colour, title); break;
      case Series::Style::dashed: plots += fmt::format("{} using 1:2 with lines lw 1.5 dt 2 lc rgb '{}' {}", from, colour, title); break;
      case Series::Style::band:
        plots += fmt::format("{} using 1:2:3 with filledcurves fs transparent solid 0.22 noborder lc rgb '{}' {}", from, colour, title);
        break;
      case Series::Style::points:
        plots += s.error.empty() ? fmt::format("{} using 1:2 with points pt 7 ps 0.6 lc rgb '{}' {}", from, colour, title)
                                 : fmt::format("{} using 1:2:3 with yerrorbars pt 7 ps 0.6 lw 1.3 lc rgb '{}' {}", from, colour, title);
        break;
    }
  }
  const std::string script = fmt::format(
      "set terminal svg size 760,440 dynamic enhanced font 'Helvetica,14' background '#ffffff'\n"
      "set output '{0}.svg'\n"
      "set border 3 lc rgb '#555555'\nset tics nomirror out\nset grid ytics lc rgb '#e6e6e6' lw 1\n"
      "set key outside right center samplen 1.5 spacing 1.2 Left reverse\n"
      "set xlabel {1} noenhanced\nset ylabel {2} noenhanced\n{3}{4}"
      "plot {5}\n",
      figure.id, quoted(figure.x_label), quoted(figure.y_label), figure.x_log ? "set logscale x\nset format x '%g'\n" : "",
      figure.y_log ? "set logscale y\nset format y '%.0e'\n" : "", plots);
  write_atomically(directory / (figure.id + ".dat"), data);
  write_atomically(directory / (figure.id + ".gp"), script);
  std::string folder;  // quoted for the shell
  for (const char c : directory.string()) folder += c == '\'' ? std::string("'\\''") : std::string(1, c);
  const std::string command = fmt::format("cd '{}' && gnuplot '{}.gp' 2>gnuplot.log", folder, figure.id);
  if (std::system(command.c_str()) != 0) {
    throw IoError(fmt::format("figure: gnuplot could not draw {} (is gnuplot installed? see {})", figure.id,
                              (directory / "gnuplot.log").string()));
  }
  std::filesystem::remove(directory / "gnuplot.log");
}

}  // namespace jko::validation
