#include "nonparametric.hpp"

#include "fit_json.hpp"

#include <jko/io/atomic_file.hpp>
#include <jko/io/csv.hpp>
#include <jko/validation/figure.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <vector>

namespace jko::cli {
namespace {

using estimators::Curve;
using validation::Series;

Json curve_json(const Curve& c) {
  return {{"smoothing", number(c.smoothing)}, {"degrees_of_freedom", number(c.degrees_of_freedom)}, {"estimate", numbers(c.estimate)}, {"standard_error", numbers(c.standard_error)},
          {"lower", numbers(c.lower)}, {"upper", numbers(c.upper)}, {"candidates", numbers(c.candidates)}, {"scores", numbers(c.scores)}};
}

void draw(const std::string& id, const std::string& label, const Vector& x, const Curve& c, const std::string& folder) {
  const auto list = [](const Vector& v) { return std::vector<double>(v.begin(), v.end()); };
  validation::render({id, "", "x", label, false, false,
                      {{"pointwise band", Series::Style::band, list(x), list(c.lower), list(c.upper), {}, 0}, {"estimate", Series::Style::line, list(x), list(c.estimate), {}, {}, 0}}},
                     folder);
}

}  // namespace

int run_nonparametric(const DataArguments& data, const NonparametricArguments& a) {
  const auto f = estimators::fit_nonparametric(read_panel(data, 1), a.options);
  const bool found = is_success(f.status);
  Json json{{"status", name(f.status)}, {"message", describe(f.status)}, {"estimator", estimators::name(f.smoother)}, {"n", f.n}, {"T", f.duration}, {"level", a.options.level}};
  if (found) json.update({{"x", numbers(f.x)}, {"drift", curve_json(f.drift)}, {"diffusion", curve_json(f.diffusion)}});
  json["version"] = JKO_VERSION;
  if (!a.out.empty()) write_atomically(a.out, json.dump(1) + "\n");
  if (found && !a.curves.empty()) {
    Matrix table(f.x.size(), 9);
    table << f.x, f.drift.estimate, f.drift.standard_error, f.drift.lower, f.drift.upper, f.diffusion.estimate, f.diffusion.standard_error, f.diffusion.lower, f.diffusion.upper;
    std::filesystem::create_directories(a.curves);
    write_atomically(std::filesystem::path(a.curves) / "curves.csv",
                     format_csv({"x", "drift", "drift_error", "drift_lower", "drift_upper", "diffusion", "diffusion_error", "diffusion_lower", "diffusion_upper"}, table));
    draw("drift", "drift b(x)", f.x, f.drift, a.curves);
    draw("diffusion", "sigma^2(x)", f.x, f.diffusion, a.curves);
  }
  if (a.json) {
    fmt::print("{}\n", json.dump(1));
    return found ? 0 : 1;
  }
  fmt::print("estimator  {}, bands of the smoothed curve at level {:g}\nn = {}, T = {:.6g}\nstatus     {}: {}\n", estimators::name(f.smoother), a.options.level, f.n, f.duration, name(f.status), describe(f.status));
  if (!found) return 1;
  const auto note = [](const Curve& c) { return c.candidates.size() > 0 ? "by cross-validation" : "given"; };
  fmt::print("smoothing  drift {:.5g} ({}), {:.1f} degrees of freedom; sigma^2 {:.5g} ({}), {:.1f}\n\n", f.drift.smoothing, note(f.drift), f.drift.degrees_of_freedom, f.diffusion.smoothing, note(f.diffusion),
             f.diffusion.degrees_of_freedom);
  fmt::print("{:>12} {:>12} {:>10} {:>26} {:>12} {:>10} {:>26}\n", "x", "drift", "s.e.", "band", "sigma^2", "s.e.", "band");
  const Index rows = std::min<Index>(f.x.size(), 11);
  for (Index r = 0; r < rows; ++r) {
    const Index g = r * (f.x.size() - 1) / (rows - 1);
    const auto band = [g](const Curve& c) { return fmt::format("[{:.5g}, {:.5g}]", c.lower[g], c.upper[g]); };
    fmt::print("{:>12.5g} {:>12.5g} {:>10.3g} {:>26} {:>12.5g} {:>10.3g} {:>26}\n", f.x[g], f.drift.estimate[g], f.drift.standard_error[g], band(f.drift), f.diffusion.estimate[g], f.diffusion.standard_error[g], band(f.diffusion));
  }
  return 0;
}

}  // namespace jko::cli
