#include "flow_files.hpp"

#include <jko/estimators/grid_bands.hpp>
#include <jko/io/atomic_file.hpp>
#include <jko/io/csv.hpp>
#include <jko/io/npy.hpp>
#include <jko/validation/figure.hpp>
#include <jko/validation/heat_map.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>

namespace jko::cli {
namespace {

using estimators::Band;
using estimators::Functionals;
using validation::Series;

const Vector summary_levels{{0.05, 0.25, 0.5, 0.75, 0.95}};

std::vector<double> list(const Vector& v) { return {v.begin(), v.end()}; }

Json to_json(const FlowRecord& r) {
  Json energies = Json::object(), covariance = Json::array();
  for (const auto& [part, value] : r.step.energy.parts) energies[part] = number(value);
  for (Index i = 0; i < r.covariance.rows(); ++i) covariance.push_back(list(r.covariance.row(i)));
  return {{"k", r.k}, {"t", r.t}, {"h", r.h}, {"status", name(r.step.status)}, {"free_energy", number(r.step.energy.total)}, {"energies", energies},
          {"w2_moved", number(r.step.w2_moved)}, {"residual", number(r.step.residual)}, {"gap", number(r.step.gap)}, {"w2_bound", number(r.step.w2_bound)},
          {"mass", r.mass}, {"min_density", number(r.min_density)}, {"mean", list(r.mean)}, {"covariance", covariance},
          {"iterations", r.step.iterations}, {"seconds", r.seconds}};
}

/// One family of functionals that gets a band.
template <class Measure>
struct Target {
  std::string what, abscissa_name;
  Vector abscissa;
  std::function<Functionals(const Measure&)> of;
};

Vector line(double lower, double upper) { return Vector::LinSpaced(201, lower, upper); }

std::vector<Target<QuantileFunction>> targets(const QuantileFunction& measure) {
  const Vector levels = Vector::LinSpaced(99, 0.01, 0.99), points = line(measure.quantile(1e-4), measure.quantile(1 - 1e-4));
  return {{"quantiles", "level", levels, [levels](const QuantileFunction& m) { return estimators::quantiles(m, levels); }},
          {"distribution", "x", points, [points](const QuantileFunction& m) { return estimators::distribution(m, points); }},
          {"density", "x", points, [points](const QuantileFunction& m) { return estimators::density(m, points); }},
          {"moments", "index", Vector::LinSpaced(2, 1, 2), [](const QuantileFunction& m) { return estimators::moments(m); }}};
}

std::vector<Target<Gaussian>> targets(const Gaussian& measure) {
  std::vector<Target<Gaussian>> out;
  const Vector levels = Vector::LinSpaced(99, 0.01, 0.99);
  for (Index i = 0; i < measure.dimension(); ++i) {
    const std::string suffix = measure.dimension() == 1 ? "" : fmt::format("_x{}", i + 1);
    const double deviation = std::sqrt(measure.covariance()(i, i));
    const Vector points = line(measure.mean()[i] - 3.7 * deviation, measure.mean()[i] + 3.7 * deviation);
    out.push_back({"quantiles" + suffix, "level", levels, [levels, i](const Gaussian& m) { return estimators::quantiles(m, levels, i); }});
    out.push_back({"distribution" + suffix, "x", points, [points, i](const Gaussian& m) { return estimators::distribution(m, points, i); }});
    out.push_back({"density" + suffix, "x", points, [points, i](const Gaussian& m) { return estimators::density(m, points, i); }});
  }
  const Index count = estimators::moments(measure).value.size();
  out.push_back({"moments", "index", Vector::LinSpaced(count, 1, static_cast<double>(count)), [](const Gaussian& m) { return estimators::moments(m); }});
  return out;
}

std::vector<Target<Particles>> targets(const Particles& measure) {
  const Index count = summary(measure).value.size();
  return {{"moments", "index", Vector::LinSpaced(count, 1, static_cast<double>(count)), [](const Particles& m) { return summary(m); }}};
}

std::vector<std::string> moment_names(int dimension) {
  if (dimension == 1) return {"mean", "variance"};
  std::vector<std::string> out;
  for (int i = 1; i <= dimension; ++i) out.push_back(fmt::format("mean_{}", i));
  for (int j = 1; j <= dimension; ++j) {
    for (int i = j; i <= dimension; ++i) out.push_back(fmt::format("covariance_{}_{}", i, j));
  }
  return out;
}

void write_band(const FlowFiles& files, const std::string& what, const std::string& abscissa, const Band& band) {
  const bool stepped = band.step_error.size() > 0;
  Matrix table(band.abscissa.size(), stepped ? 8 : 7);
  table.leftCols(7) << band.abscissa, band.estimate, band.standard_error, band.lower, band.upper, band.simultaneous_lower, band.simultaneous_upper;
  if (stepped) table.col(7) = band.step_error;
  std::vector<std::string> columns{abscissa, "estimate", "standard_error", "lower", "upper", "simultaneous_lower", "simultaneous_upper"};
  if (stepped) columns.emplace_back("step_error");
  write_atomically(files.folder / fmt::format("band_{}.csv", what), format_csv(columns, table));
}

/// Files, figures and JSON of one band; returns the moments' JSON where `what` is "moments".
Json write_one_band(const FlowFiles& files, const std::string& what, const std::string& abscissa_name, const Band& band, int dimension, double t) {
  write_band(files, what, abscissa_name, band);
  Json moments = Json::array();
  if (what == "moments") {
    const auto names = moment_names(dimension);
    for (Index i = 0; i < band.estimate.size(); ++i) {
      moments.push_back({{"name", names[static_cast<std::size_t>(i)]}, {"estimate", number(band.estimate[i])}, {"standard_error", number(band.standard_error[i])}, {"lower", number(band.lower[i])},
                         {"upper", number(band.upper[i])}, {"step_error", band.step_error.size() > 0 ? number(band.step_error[i]) : Json(nullptr)}});
    }
  }
  if (what.starts_with("density")) {
    validation::render({"band_" + what, "", "x", "density", false, false,
                        {{fmt::format("{:g} %, all x", 100 * files.level), Series::Style::band, list(band.abscissa), list(band.simultaneous_lower), list(band.simultaneous_upper), {}, 5},
                         {fmt::format("{:g} %, each x", 100 * files.level), Series::Style::band, list(band.abscissa), list(band.lower), list(band.upper), {}, 0},
                         {fmt::format("t = {:g}", t), Series::Style::line, list(band.abscissa), list(band.estimate), {}, {}, 0}}},
                       files.folder);
  }
  return moments;
}

/// Without a fit the only error is the step size's: a tangent of nothing.
struct Uncertainty {
  Matrix tangent, covariance;
  template <class Measure>
  Uncertainty(const FlowState<Measure>& state, const Matrix& given)
      : tangent(given.size() > 0 ? state.tangent : Matrix::Zero(state.measure.coordinates().size(), 1)), covariance(given.size() > 0 ? given : Matrix::Zero(1, 1)) {}
};

template <class Measure>
Json write_bands(const FlowFiles& files, const FlowState<Measure>& state, const Matrix& covariance, const Measure* finer, int order) {
  Json moments = Json::array();
  const Uncertainty errors(state, covariance);
  for (const auto& target : targets(state.measure)) {
    Band band = estimators::band(target.of(state.measure), target.abscissa, errors.tangent, errors.covariance, {.level = files.level, .seed = files.seed});
    if (finer) band = estimators::with_step_error(band, target.of(*finer).value, order);
    const Json json = write_one_band(files, target.what, target.abscissa_name, band, state.measure.dimension(), state.t);
    if (target.what == "moments") moments = json;
  }
  return moments;
}

/// Bands of the marginals and the moments; in two and three dimensions of the density in every cell too, as arrays like the densities'.
Json write_bands(const FlowFiles& files, const FlowState<GridDensity>& state, const Matrix& covariance, const GridDensity* finer, int order) {
  const GridDensity& measure = state.measure;
  const Grid& g = measure.grid();
  const int d = g.dimension();
  const estimators::BandOptions options{.level = files.level, .seed = files.seed};
  const Uncertainty errors(state, covariance);
  const Vector levels = Vector::LinSpaced(99, 0.01, 0.99);
  for (int axis = 0; axis < d; ++axis) {
    const GridDensity here = estimators::marginal(measure, axis);
    const Matrix tangent = estimators::marginal_tangent(measure, errors.tangent, axis);
    const std::optional<GridDensity> there = finer ? std::optional(estimators::marginal(*finer, axis)) : std::nullopt;
    const std::string suffix = d == 1 ? "" : fmt::format("_x{}", axis + 1);
    const Vector points = line(estimators::quantiles(here, Vector::Constant(1, 1e-4)).value[0], estimators::quantiles(here, Vector::Constant(1, 1 - 1e-4)).value[0]);
    const auto write = [&](const std::string& what, const std::string& abscissa_name, const Vector& abscissa, const auto& functional) {
      Band band = estimators::band(functional(here), abscissa, tangent, errors.covariance, options);
      if (there) band = estimators::with_step_error(band, functional(*there).value, order);
      write_one_band(files, what + suffix, abscissa_name, band, d, state.t);
    };
    write("quantiles", "level", levels, [&](const GridDensity& m) { return estimators::quantiles(m, levels); });
    write("distribution", "x", points, [&](const GridDensity& m) { return estimators::distribution(m, points); });
    write("density", "x", points, [&](const GridDensity& m) { return estimators::density(m, points); });
  }
  if (d > 1) {
    Band band = estimators::density_band(measure, errors.tangent, errors.covariance, options);
    if (finer) band = estimators::with_step_error(band, finer->values(), order);
    const auto write = [&](const char* what, const Vector& values) {
      write_atomically(files.folder / fmt::format("band_cells_{}.npy", what), format_npy(values.reshaped(g.cells[0], g.size() / g.cells[0]).transpose()));
    };
    write("standard_error", band.standard_error);
    write("lower", band.lower);
    write("upper", band.upper);
    write("simultaneous_lower", band.simultaneous_lower);
    write("simultaneous_upper", band.simultaneous_upper);
    if (finer) write("step_error", band.step_error);
    if (d == 2) {
      validation::render({"band_cells", fmt::format("standard error of the density, t = {:g}", state.t), "x1", "x2", g.lower[0], g.upper[0], g.lower[1], g.upper[1],
                          band.standard_error.reshaped(g.cells[0], g.cells[1]), 0}, files.folder);
    }
  }
  const auto all = estimators::moments(measure);
  Band band = estimators::band(all, Vector::LinSpaced(all.value.size(), 1, static_cast<double>(all.value.size())), errors.tangent, errors.covariance, options);
  if (finer) band = estimators::with_step_error(band, estimators::moments(*finer).value, order);
  return write_one_band(files, "moments", "index", band, d, state.t);
}

template <class Measure>
Json write_bootstrap(const FlowFiles& files, const FlowState<Measure>& state, const Matrix& covariance, const estimators::Bootstrap& check) {
  const Functionals functionals = summary(state.measure);
  const auto band = estimators::band(functionals, Vector::LinSpaced(functionals.value.size(), 1, static_cast<double>(functionals.value.size())), state.tangent, covariance, {.level = files.level, .seed = files.seed});
  Matrix table(functionals.value.size(), 7);
  table << band.abscissa, band.estimate, band.standard_error, check.standard_error(), check.mean() - band.estimate, check.quantile(0.5 * (1 - files.level)), check.quantile(0.5 * (1 + files.level));
  write_atomically(files.folder / "bootstrap.csv", format_csv({"index", "estimate", "band_error", "bootstrap_error", "bootstrap_bias", "bootstrap_lower", "bootstrap_upper"}, table));
  return {{"replications", check.draws.cols() + check.failed}, {"failed", check.failed}, {"relative_error_of_errors", 1 / std::sqrt(2.0 * static_cast<double>(check.draws.cols()))}};
}

void write_states(const FlowFiles& files, const FlowResult<QuantileFunction>& result) {
  for (const auto& state : result.states) {
    Matrix table(state.measure.cells(), 3);
    table << state.measure.midpoints(), state.measure.cell_densities(), state.measure.masses();
    write_atomically(files.folder / fmt::format("density_{:06d}.csv", state.k), format_csv({"x", "density", "mass"}, table));
  }
}

/// CSV of every kept state; in one dimension the paths of at most 60 particles, in more the first two coordinates of the first and last state.
void write_states(const FlowFiles& files, const FlowResult<Particles>& result) {
  const Index d = result.final_state().measure.dimension(), n = result.final_state().measure.size();
  std::vector<std::string> columns;
  for (Index k = 0; k < d; ++k) columns.push_back(d == 1 ? "x" : fmt::format("x{}", k + 1));
  columns.emplace_back("weight");
  for (const auto& state : result.states) {
    Matrix table(n, d + 1);
    table << state.measure.points().transpose(), state.measure.weights();
    write_atomically(files.folder / fmt::format("particles_{:06d}.csv", state.k), format_csv(columns, table));
  }
  std::vector<Series> series;
  if (d == 1) {
    const Index stride = (n + 59) / 60;
    for (Index i = 0; i < n; i += stride) {
      Series path{"", Series::Style::line, {}, {}, {}, {}, 0};
      for (const auto& state : result.states) {
        path.x.push_back(state.t);
        path.y.push_back(state.measure.points()(0, i));
      }
      series.push_back(std::move(path));
    }
    if (result.states.size() > 1) validation::render({"particles", "", "time t", "x", false, false, series}, files.folder);
    return;
  }
  for (const auto* state : {&result.states.front(), &result.states.back()}) {
    series.push_back({fmt::format("t = {:g}", state->t), Series::Style::points, list(state->measure.points().row(0).transpose()), list(state->measure.points().row(1).transpose()), {}, {}, static_cast<int>(series.size())});
  }
  validation::render({"particles", "", "x1", "x2", false, false, series}, files.folder);
}

void write_states(const FlowFiles&, const FlowResult<Gaussian>&) {}  // the records hold mean and covariance

void write_states(const FlowFiles& files, const FlowResult<GridDensity>& result) {
  std::vector<Field> fields;
  for (const auto& state : result.states) fields.push_back({state.k, state.t, state.measure.values()});
  write_fields(files.folder, "density", "", "densities", result.states.front().measure.grid(), fields);
}

}  // namespace

void write_fields(const std::filesystem::path& folder, const std::string& what, const std::string& title, const std::string& figure, const Grid& g, const std::vector<Field>& fields) {
  std::vector<Series> lines;
  const auto plane = [&](const Vector& v) {
    Matrix sum = Matrix::Zero(g.cells[0], g.cells[1]);
    for (Index k = 0; k < g.size() / sum.size(); ++k) sum += v.segment(k * sum.size(), sum.size()).reshaped(g.cells[0], g.cells[1]) * (g.dimension() == 3 ? g.width(2) : 1.0);
    return sum;
  };
  double top = 0;
  for (const Field& field : fields) top = g.dimension() > 1 ? std::max(top, plane(field.values).maxCoeff()) : top;
  for (const Field& field : fields) {
    const std::string id = fmt::format("{}_{:06d}", what, field.k), time = fmt::format("t = {:g}", field.t);
    if (g.dimension() == 1) {
      Matrix table(g.size(), 2);
      table << g.centres(0), field.values;
      write_atomically(folder / (id + ".csv"), format_csv({"x", "density"}, table));
      if (lines.size() < 8) lines.push_back({time, Series::Style::line, list(g.centres(0)), list(field.values), {}, {}, static_cast<int>(lines.size())});
      continue;
    }
    write_atomically(folder / (id + ".npy"), format_npy(field.values.reshaped(g.cells[0], g.size() / g.cells[0]).transpose()));
    validation::render({id, title + time, "x1", "x2", g.lower[0], g.upper[0], g.lower[1], g.upper[1], plane(field.values), top}, folder);
  }
  if (!lines.empty()) validation::render({figure, "", "x", what, false, false, lines}, folder);
}

Functionals summary(const GridDensity& measure) { return estimators::moments(measure); }

Functionals summary(const QuantileFunction& measure) {
  const Functionals a = estimators::quantiles(measure, summary_levels), b = estimators::moments(measure);
  Functionals out{Vector(a.value.size() + b.value.size()), Matrix(a.value.size() + b.value.size(), a.gradient.cols())};
  out.value << a.value, b.value;
  out.gradient << a.gradient, b.gradient;
  return out;
}

Functionals summary(const Particles& measure) {
  const Index d = measure.dimension(), n = measure.size(), count = d + d * (d + 1) / 2;
  const Matrix covariance = measure.covariance(), centred = measure.points().colwise() - measure.mean();
  Functionals out{Vector(count), Matrix::Zero(count, d * n)};
  out.value.head(d) = measure.mean();
  for (Index i = 0; i < n; ++i) {
    const double w = measure.weights()[i];
    out.gradient.block(0, d * i, d, d).diagonal().setConstant(w);
    Index at = d;
    for (Index b = 0; b < d; ++b) {
      for (Index a = b; a < d; ++a, ++at) {
        out.value[at] = covariance(a, b);
        out.gradient(at, d * i + a) += w * centred(b, i);
        out.gradient(at, d * i + b) += w * centred(a, i);
      }
    }
  }
  return out;
}

Functionals summary(const Gaussian& measure) { return estimators::moments(measure); }

template <class Measure>
Json write_flow(const FlowFiles& files, const FlowResult<Measure>& result, const Matrix& covariance, const Measure* finer, int order, const estimators::Bootstrap* check,
                const Matrix& information) {
  Json steps = Json::array();
  for (const FlowRecord& r : result.records) steps.push_back(to_json(r));
  Json json{{"status", name(result.status)}, {"message", describe(result.status)}, {"steps", steps}, {"convexity", nullptr}, {"seed", files.seed}, {"version", JKO_VERSION}, {"warnings", files.warnings}};
  if (files.convexity) json["convexity"] = {{"kappa", number(files.convexity->kappa)}, {"proven", files.convexity->proven}, {"reason", files.convexity->reason}};
  if (const auto& g = files.grid_error) {
    json["grid_error"] = {{"status", name(g->status)}, {"error", number(g->error)}, {"distance", std::is_same_v<Measure, QuantileFunction> ? "w2" : "l1"},
                          {"order", number(g->order)}, {"n_to_half", number(g->fine)}, {"half_to_quarter", number(g->coarse)}};
  }
  const bool good = is_success(result.status);
  if (good && (covariance.size() > 0 || finer)) json["moments"] = write_bands(files, result.final_state(), covariance, finer, order);
  if (good && check) json["bootstrap"] = write_bootstrap(files, result.final_state(), information, *check);
  json["configuration"] = files.configuration;
  write_states(files, result);
  Series energy{"", Series::Style::line, {}, {}, {}, {}, 0};
  for (const FlowRecord& r : result.records) {
    if (!std::isfinite(r.step.energy.total)) continue;
    energy.x.push_back(r.t);
    energy.y.push_back(r.step.energy.total);
  }
  if (energy.x.size() > 1) validation::render({"free_energy", "", "time t", "free energy", false, false, {energy}}, files.folder);
  write_atomically(files.folder / "flow.json", json.dump(1) + "\n");
  return json;
}

template <class Measure>
void print_flow(const FlowResult<Measure>& result, const FlowOptions& options, const FlowFiles& files) {
  double bound = 0;
  for (const FlowRecord& r : result.records) bound = std::isnan(r.step.w2_bound) ? r.step.w2_bound : std::max(bound, r.step.w2_bound);
  const std::string steps = options.adaptive ? fmt::format("{} adaptive steps", result.records.size()) : fmt::format("{} of {} steps", result.records.size(), options.steps);
  fmt::print("{}: {}\n", steps, describe(result.status));
  if (!result.records.empty() && is_success(result.status)) {
    const FlowRecord& last = result.records.back();
    const auto numbers = [](const auto& v) {
      std::string text;
      for (const double x : v) text += fmt::format("{}{:.6g}", text.empty() ? "" : ", ", x);
      return text;
    };
    fmt::print("t = {:g}, free energy {:.10g}, mean {}, {} {}\n", last.t, last.step.energy.total, numbers(last.mean), last.mean.size() == 1 ? "variance" : "covariance", numbers(last.covariance.reshaped()));
    double gap = 0, residual = 0;
    for (const FlowRecord& r : result.records) {
      residual = std::max(residual, r.step.residual);
      gap = std::isnan(r.step.gap) ? r.step.gap : std::max(gap, r.step.gap);
    }
    if (std::is_same_v<Measure, GridDensity>) {
      fmt::print("largest residual of a step: {:.2e} in L1\n", residual);
      if (std::isnan(gap)) fmt::print("no certificate (for entropic steps of the scheme jko certificate = \"dual\" in [flow] gives one where the energy has it)\n");
      else if (std::isnan(bound)) fmt::print("largest gap of a step to its dual lower bound: {:.2e}; no bound in W2: {}\n", gap, options.scheme == Scheme::vim ? "the midpoint scheme's densities are extrapolated from the steps" : "the step's distance is not W2, or the energy's convexity constant is not known");
      else fmt::print("largest gap of a step to its dual lower bound: {:.2e}; W2 between the exact minimiser and a feasible density beside the result: at most {:.2e}\n", gap, bound);
    } else if (std::is_same_v<Measure, Particles> && std::isnan(bound)) {
      fmt::print("no certificate: the energy is not convex in the particles, or its constant is not known; largest residual {:.2e}\n", residual);
    } else if (std::isnan(bound)) {
      fmt::print("no certificate: the energy's convexity constant is not known (give convexity_on in [model] to bound it numerically)\n");
    } else {
      fmt::print("largest W2 distance of a step from the exact minimiser of its problem: at most {:.2e}{}\n", bound, files.convexity && !files.convexity->proven ? ", with a numerical convexity constant" : "");
    }
    if (const auto& g = files.grid_error) {
      if (g->status == Status::order_lost) fmt::print("error of the grid: not estimated, as results on a quarter, half and all of the cells do not come closer: {:.2e}, {:.2e}\n", g->coarse, g->fine);
      else if (!is_success(g->status)) fmt::print("error of the grid: not estimated, as the flow on fewer cells ended otherwise: {}\n", describe(g->status));
      else fmt::print("error of the grid, estimated on half and a quarter of the cells: {:.2e} in {} (observed order {:.2f})\n", g->error, std::is_same_v<Measure, QuantileFunction> ? "W2" : "L1", g->order);
    }
    fmt::print("results in {}\n", files.folder.string());
  }
  for (const std::string& warning : files.warnings) fmt::print(stderr, "jko: warning: {}\n", warning);
}

template Json write_flow<Particles>(const FlowFiles&, const FlowResult<Particles>&, const Matrix&, const Particles*, int, const estimators::Bootstrap*, const Matrix&);
template void print_flow<Particles>(const FlowResult<Particles>&, const FlowOptions&, const FlowFiles&);
template Json write_flow<GridDensity>(const FlowFiles&, const FlowResult<GridDensity>&, const Matrix&, const GridDensity*, int, const estimators::Bootstrap*, const Matrix&);
template void print_flow<GridDensity>(const FlowResult<GridDensity>&, const FlowOptions&, const FlowFiles&);
template Json write_flow<QuantileFunction>(const FlowFiles&, const FlowResult<QuantileFunction>&, const Matrix&, const QuantileFunction*, int, const estimators::Bootstrap*, const Matrix&);
template Json write_flow<Gaussian>(const FlowFiles&, const FlowResult<Gaussian>&, const Matrix&, const Gaussian*, int, const estimators::Bootstrap*, const Matrix&);
template void print_flow<QuantileFunction>(const FlowResult<QuantileFunction>&, const FlowOptions&, const FlowFiles&);
template void print_flow<Gaussian>(const FlowResult<Gaussian>&, const FlowOptions&, const FlowFiles&);

}  // namespace jko::cli
