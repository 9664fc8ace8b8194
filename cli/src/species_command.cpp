#include "species_command.hpp"

#include "console.hpp"
#include "fit_json.hpp"

#include <jko/io/csv.hpp>
#include <jko/io/atomic_file.hpp>
#include <jko/io/npy.hpp>
#include <jko/validation/figure.hpp>
#include <jko/validation/heat_map.hpp>

#include <fmt/format.h>

namespace jko::cli {
namespace {

using validation::Series;

std::vector<double> list(const Vector& v) { return {v.begin(), v.end()}; }

Json to_json(const SpeciesEnergy& energy, const SpeciesRecord& r) {
  Json energies = Json::object(), species = Json::array();
  for (const auto& [part, value] : r.step.energy.parts) energies[part] = number(value);
  for (std::size_t i = 0; i < energy.species.size(); ++i) {
    Json covariance = Json::array();
    for (Index a = 0; a < r.covariance[i].rows(); ++a) covariance.push_back(list(r.covariance[i].row(a)));
    species.push_back({{"name", energy.species[i].name}, {"mass", energy.species[i].mass}, {"mean", list(r.mean[i])}, {"covariance", covariance},
                       {"w2_moved", r.report.w2_moved.size() > 0 ? number(r.report.w2_moved[static_cast<Index>(i)]) : Json(nullptr)}});
  }
  return {{"k", r.k}, {"t", r.t}, {"status", name(r.step.status)}, {"free_energy", number(r.step.energy.total)}, {"energies", energies}, {"w2_moved", number(r.step.w2_moved)},
          {"residual", number(r.step.residual)}, {"interaction_residual", number(r.report.interaction_residual)}, {"gap", number(r.step.gap)}, {"w2_bound", number(r.step.w2_bound)},
          {"epsilon", r.report.epsilon}, {"raised", r.report.raised}, {"bias", number(r.report.bias)}, {"largest_total", number(r.report.largest_total)}, {"species", species}, {"iterations", r.step.iterations}, {"seconds", r.seconds}};
}

/// Fields of all kept states under one name: CSV and one figure in one dimension, else NPY and a map each, in three dimensions of the integral over axis 3.
void write_fields(const std::filesystem::path& folder, const std::string& what, const SpeciesFlowResult& result, const std::vector<Vector>& fields) {
  const Grid& g = result.states.front().measure.front().grid();
  std::vector<Series> lines;
  const auto plane = [&](const Vector& v) {
    Matrix sum = Matrix::Zero(g.cells[0], g.cells[1]);
    for (Index k = 0; k < g.size() / sum.size(); ++k) sum += v.segment(k * sum.size(), sum.size()).reshaped(g.cells[0], g.cells[1]) * (g.dimension() == 3 ? g.width(2) : 1.0);
    return sum;
  };
  double top = 0;
  for (const Vector& v : fields) top = g.dimension() > 1 ? std::max(top, plane(v).maxCoeff()) : top;
  for (std::size_t s = 0; s < fields.size(); ++s) {
    const std::string id = fmt::format("{}_{:06d}", what, result.states[s].k), title = fmt::format("t = {:g}", result.states[s].t);
    if (g.dimension() == 1) {
      Matrix table(g.size(), 2);
      table << g.centres(0), fields[s];
      write_atomically(folder / (id + ".csv"), format_csv({"x", "density"}, table));
      if (lines.size() < 8) lines.push_back({title, Series::Style::line, list(g.centres(0)), list(fields[s]), {}, {}, static_cast<int>(lines.size())});
      continue;
    }
    write_atomically(folder / (id + ".npy"), format_npy(fields[s].reshaped(g.cells[0], g.size() / g.cells[0]).transpose()));
    validation::render({id, what + ", " + title, "x1", "x2", g.lower[0], g.upper[0], g.lower[1], g.upper[1], plane(fields[s]), top}, folder);
  }
  if (!lines.empty()) validation::render({what, "", "x", what, false, false, lines}, folder);
}

}  // namespace

int run_species(const SpeciesConfig& config, const std::filesystem::path& folder, bool json) {
  Console console;
  const auto result = species_flow(SpeciesStep(config.energy, config.step), config.start, config.flow, &console);
  if (result.status == Status::cancelled) {
    fmt::print(stderr, "jko: stopped after {} of {} steps\n", result.records.size(), config.flow.steps);
    return 130;
  }
  Json steps = Json::array();
  for (const SpeciesRecord& r : result.records) steps.push_back(to_json(config.energy, r));
  const Json out{{"status", name(result.status)}, {"message", describe(result.status)}, {"steps", steps}, {"version", JKO_VERSION}, {"configuration", config.text}};
  std::vector<Vector> totals;
  for (const SpeciesState& state : result.states) totals.push_back(total_density(config.energy, state.measure));
  write_fields(folder, "total", result, totals);
  for (std::size_t i = 0; i < config.energy.species.size(); ++i) {
    std::vector<Vector> fields;
    for (const SpeciesState& state : result.states) fields.push_back(config.energy.species[i].mass * state.measure[i].values());
    write_fields(folder, config.energy.species[i].name, result, fields);
  }
  Series energy{"", Series::Style::line, {}, {}, {}, {}, 0};
  for (const SpeciesRecord& r : result.records) {
    if (!is_success(r.step.status)) continue;
    energy.x.push_back(r.t);
    energy.y.push_back(r.step.energy.total);
  }
  if (energy.x.size() > 1) validation::render({"free_energy", "", "time t", "free energy", false, false, {energy}}, folder);
  write_atomically(folder / "flow.json", out.dump(1) + "\n");
  if (json) {
    fmt::print("{}\n", out.dump(1));
  } else {
    fmt::print("{} of {} steps: {}\n", result.records.size(), config.flow.steps, describe(result.status));
    if (is_success(result.status)) {
      const SpeciesRecord& last = result.records.back();
      fmt::print("t = {:g}, free energy {:.10g}, largest total density {:.6g}\n", last.t, last.step.energy.total, last.report.largest_total);
      double residual = 0;
      for (const SpeciesRecord& r : result.records) residual = std::max(residual, r.step.residual);
      fmt::print("largest residual of a step: {:.2e} in L1; no certificate: the dual that gives one is not built for several species\n", residual);
      fmt::print("results in {}\n", folder.string());
    }
  }
  return is_success(result.status) ? 0 : 1;
}

}  // namespace jko::cli
