#include "commands.hpp"
#include "config.hpp"

#include <jko/core/error.hpp>
#include <jko/estimators/likelihood.hpp>
#include <jko/io/atomic_file.hpp>
#include <jko/io/csv.hpp>
#include <jko/models/families.hpp>
#include <jko/models/formula.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <limits>
#include <memory>

namespace jko::cli {
namespace {

struct Arguments {
  std::string data, model, potential, estimator, start, fix, column, out;
  double dt = 0, until = std::numeric_limits<double>::infinity();
  bool json = false;
};

/// One path, or one for each run of equal values in the column 'path'.
estimators::Panel read_panel(const Arguments& a) {
  const CsvTable table = read_csv(a.data);
  const std::string time = table.has("t") ? "t" : (table.has("time") ? "time" : "");
  std::string column = a.column;
  if (column.empty()) {
    for (const std::string& name : table.columns) {
      if (name != "t" && name != "time" && name != "path") {
        if (!column.empty()) throw ParseError(a.data, 1, 0, fmt::format("several data columns ('{}', '{}'): choose one with --column", column, name));
        column = name;
      }
    }
  }
  if (time.empty() && !(a.dt > 0)) throw ParseError(a.data, 1, 0, "there is no column 't' or 'time': give --dt");
  const Vector values = table.values.col(table.column(column));
  Vector times = Vector::LinSpaced(values.size(), 0, static_cast<double>(values.size() - 1));
  times = a.dt > 0 ? Vector(times * a.dt) : Vector(table.values.col(table.column(time)));
  estimators::Panel panel;
  Index begin = 0;
  const auto path_of = [&](Index i) { return table.has("path") ? table.values(i, table.column("path")) : 0.0; };
  for (Index i = 1; i <= values.size(); ++i) {
    if (i < values.size() && path_of(i) == path_of(begin)) {
      if (!(times[i] > times[i - 1])) {
        throw ParseError(a.data, table.lines[static_cast<std::size_t>(i)], 0, fmt::format("time {} does not increase after {}", times[i], times[i - 1]));
      }
      continue;
    }
    Index end = i;
    while (end > begin && times[end - 1] > a.until) --end;
    if (end - begin < 2) {
      throw ParseError(a.data, table.lines[static_cast<std::size_t>(begin)], 0, "a path must have at least two observations");
    }
    panel.push_back({times.segment(begin, end - begin), values.segment(begin, end - begin).transpose()});
    begin = i;
  }
  return panel;
}

}  // namespace

void add_fit(CLI::App& app, int& status) {
  auto a = std::make_shared<Arguments>();
  auto* command = app.add_subcommand("fit", "estimate a model's parameters with standard errors\nexample: jko fit DATA.csv --column tcm1y --model ou");
  command->add_option("data", a->data, "CSV file: header, a time column t (or --dt), one data column (or --column); 'path' makes a panel")->required();
  auto* named = command->add_option("--model", a->model, "a family: ou, double-well or quartic");
  command->add_option("--potential", a->potential, "a formula in x, such as \"kappa/2*(x-mu)^2\"")->excludes(named);
  command->add_option("--estimator", a->estimator, "exact, euler or shoji-ozaki (default: exact for ou, else shoji-ozaki)");
  command->add_option("--start", a->start, "starting values, name=number,...");
  command->add_option("--fix", a->fix, "parameters held at a value, name=number,...");
  command->add_option("--column", a->column, "data column");
  command->add_option("--dt", a->dt, "time between rows, overrides the time column")->check(CLI::PositiveNumber);
  command->add_option("--until", a->until, "use observations up to this time only");
  command->add_option("--out", a->out, "also write the JSON to this file");
  command->add_flag("--json", a->json, "print JSON");
  command->callback([a, &status] {
    const estimators::Panel panel = read_panel(*a);
    if (a->model.empty() && a->potential.empty()) throw DomainError("fit: give --model or --potential");
    const PotentialPtr potential = a->potential.empty() ? family(a->model) : formula(a->potential);
    auto values = assignments("--start", a->start);
    const auto fixed = assignments("--fix", a->fix);
    for (const auto& [name, value] : fixed) values[name] = value;
    // Where no start is given: an OU process about the data's mean, else one half everywhere.
    if (a->model == "ou" && !values.contains("mu")) values["mu"] = panel.front().values.mean();
    const Model start = model_from(potential, values, 0.5);
    estimators::FitOptions options;
    for (const Parameter& p : start.parameter_list()) options.fixed.push_back(fixed.contains(p.name));
    const std::string estimator = a->estimator.empty() ? (a->model == "ou" ? "exact" : "shoji-ozaki") : a->estimator;
    const auto fit = estimators::fit(panel, start, estimators::transition_from_name(estimator), options);

    const auto number = [](double x) { return std::isfinite(x) ? nlohmann::ordered_json(x) : nlohmann::ordered_json(nullptr); };
    nlohmann::ordered_json json{{"status", name(fit.status)}, {"family", a->model}, {"model", fit.model}, {"estimator", fit.estimator}, {"n", fit.n}, {"T", fit.duration},
                                {"log_likelihood", number(fit.log_likelihood)}, {"gradient_norm", number(fit.gradient_norm)}, {"parameters", nlohmann::ordered_json::array()}};
    const Matrix intervals = fit.intervals();
    for (Index i = 0; i < fit.estimate.size(); ++i) {
      json["parameters"].push_back({{"name", fit.names[static_cast<std::size_t>(i)]}, {"estimate", fit.estimate[i]}, {"standard_error", number(fit.standard_errors()[i])},
                                    {"sandwich_error", number(fit.sandwich_errors()[i])}, {"lower", number(intervals(i, 0))}, {"upper", number(intervals(i, 1))}});
    }
    for (const auto& [key, matrix] : {std::pair{"covariance", &fit.covariance}, {"sandwich", &fit.sandwich}}) {
      json[key] = nlohmann::ordered_json::array();
      for (Index i = 0; i < matrix->rows(); ++i) {
        json[key].push_back(nlohmann::ordered_json::array());
        for (Index j = 0; j < matrix->cols(); ++j) json[key].back().push_back(number((*matrix)(i, j)));
      }
    }
    json["aic"] = number(fit.aic());
    json["bic"] = number(fit.bic());
    json["warnings"] = fit.warnings;
    json["seconds"] = fit.seconds;
    json["version"] = JKO_VERSION;
    if (!a->out.empty()) write_atomically(a->out, json.dump(1) + "\n");
    if (a->json) fmt::print("{}\n", json.dump(1));
    else fmt::print("{}", fit.table());
    status = is_success(fit.status) ? 0 : 1;
  });
}

}  // namespace jko::cli
