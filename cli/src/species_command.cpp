#include "species_command.hpp"

#include "console.hpp"
#include "fit_json.hpp"
#include "flow_files.hpp"

#include <jko/io/atomic_file.hpp>
#include <jko/validation/figure.hpp>

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
  const auto write = [&](const std::string& what, const auto& values_of) {
    std::vector<Field> fields;
    for (const SpeciesState& state : result.states) fields.push_back({state.k, state.t, values_of(state)});
    write_fields(folder, what, what + ", ", what, result.states.front().measure.front().grid(), fields);
  };
  write("total", [&](const SpeciesState& state) { return total_density(config.energy, state.measure); });
  for (std::size_t i = 0; i < config.energy.species.size(); ++i) {
    write(config.energy.species[i].name, [&](const SpeciesState& state) { return Vector(config.energy.species[i].mass * state.measure[i].values()); });
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
