#include "commands.hpp"
#include "config.hpp"
#include "data.hpp"
#include "fit_json.hpp"

#include <jko/core/error.hpp>
#include <jko/estimators/likelihood.hpp>
#include <jko/estimators/stationary.hpp>
#include <jko/io/atomic_file.hpp>
#include <jko/models/families.hpp>
#include <jko/models/formula.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <memory>

namespace jko::cli {
namespace {

struct Arguments {
  DataArguments data;
  std::string model, potential, estimator, start, fix, bounds, out;
  bool json = false;
};

/// Starting values where none are given: an Ornstein-Uhlenbeck process about the data's mean with the identity as K; one half for other families.
void add_defaults(const Potential& potential, const Vector& centre, std::map<std::string, double>& values) {
  for (const Parameter& p : potential.parameters()) {
    if (values.contains(p.name)) continue;
    if (p.name == "mu" || p.name == "m") values[p.name] = centre[0];
    for (Index i = 0; i < centre.size(); ++i) {
      if (p.name == fmt::format("mu_{}", i + 1)) values[p.name] = centre[i];
      for (Index j = 0; j <= i; ++j) {
        if (p.name == fmt::format("k_{}_{}", i + 1, j + 1)) values[p.name] = i == j ? 1 : 0;
      }
    }
  }
}

int run(const Arguments& a) {
  if (a.model.empty() && a.potential.empty()) throw DomainError("fit: give --model or --potential");
  const int dimension = count_coordinates(a.data);
  const bool stationary = a.estimator == "stationary";
  const PotentialPtr potential = a.potential.empty() ? family(a.model, dimension) : formula(a.potential, dimension);
  const estimators::Panel panel = stationary ? estimators::Panel{} : read_panel(a.data, dimension);
  const Vector sample = stationary ? read_sample(a.data) : Vector();
  auto values = assignments("--start", a.start);
  const auto fixed = assignments("--fix", a.fix);
  for (const auto& [name, value] : fixed) values[name] = value;
  add_defaults(*potential, stationary ? Vector::Constant(1, sample.mean()) : Vector(panel.front().values.rowwise().mean()), values);
  const Model start = model_from(potential, values, 0.5);
  estimators::FitOptions options;
  const auto list = start.parameter_list();
  for (const Parameter& p : list) {
    options.fixed.push_back(fixed.contains(p.name));
    options.lower.push_back(p.lower);
    options.upper.push_back(p.upper);
  }
  for (const auto& [name, range] : ranges("--bounds", a.bounds)) {
    const auto found = std::find_if(list.begin(), list.end(), [&](const Parameter& p) { return p.name == name; });
    if (found == list.end()) throw ParseError("--bounds", 0, 0, fmt::format("unknown parameter '{}'", name));
    const auto k = static_cast<std::size_t>(found - list.begin());
    options.lower[k] = std::max(options.lower[k], range.first);
    options.upper[k] = std::min(options.upper[k], range.second);
  }
  const std::string estimator = !a.estimator.empty() ? a.estimator : (start.potential().quadratic(start.theta()) ? "exact" : "shoji-ozaki");
  const auto fit = stationary ? estimators::fit_stationary(sample, start, options) : estimators::fit(panel, start, estimators::transition_from_name(estimator), options);
  const Json json = fit_json(fit, a.model);
  if (!a.out.empty()) write_atomically(a.out, json.dump(1) + "\n");
  if (a.json) fmt::print("{}\n", json.dump(1));
  else fmt::print("{}", fit.table());
  return is_success(fit.status) ? 0 : 1;
}

}  // namespace

void add_fit(CLI::App& app, int& status) {
  auto a = std::make_shared<Arguments>();
  auto* command = app.add_subcommand("fit", "estimate a model's parameters with standard errors\nexample: jko fit DATA.csv --column tcm1y --model ou");
  command->add_option("data", a->data.file, "CSV file: header, a time column t (or --dt), a column for each coordinate; 'path' makes a panel")->required();
  auto* named = command->add_option("--model", a->model, fmt::format("a family: {}", fmt::join(family_names(), ", ")));
  command->add_option("--potential", a->potential, "a formula in x (or x1, x2, ...), such as \"kappa/2*(x-mu)^2\"")->excludes(named);
  command->add_option("--estimator", a->estimator, "exact, euler, shoji-ozaki, or stationary for independent draws (default: exact for quadratic potentials, else shoji-ozaki)");
  command->add_option("--start", a->start, "starting values, name=number,...");
  command->add_option("--fix", a->fix, "parameters held at a value, name=number,...");
  command->add_option("--bounds", a->bounds, "closed bounds, name=lower:upper,... (either may be empty)");
  a->data.add_options(*command);
  command->add_option("--out", a->out, "also write the JSON to this file");
  command->add_flag("--json", a->json, "print JSON");
  command->callback([a, &status] { status = run(*a); });
}

}  // namespace jko::cli
