#include "commands.hpp"
#include "config.hpp"

#include <jko/core/error.hpp>
#include <jko/io/atomic_file.hpp>
#include <jko/io/csv.hpp>
#include <jko/reference/simulate.hpp>

#include <fmt/format.h>

#include <memory>

namespace jko::cli {
namespace {

struct Arguments {
  std::string config, out;
  std::uint64_t seed = 1;
  int threads = 1;
};

}  // namespace

void add_simulate(CLI::App& app, int& status) {
  auto a = std::make_shared<Arguments>();
  auto* command = app.add_subcommand("simulate", "simulate a path, a panel or snapshots: exact for quadratic potentials, else Euler-Maruyama (100 sub-steps an observation by default)\nexample: jko simulate docs/examples/ou.toml --out path.csv");
  command->add_option("config", a->config, "TOML configuration with [model] and [simulate]")->required();
  command->add_option("--out", a->out, "CSV file (default: standard output)");
  command->add_option("--seed", a->seed, "of every random number")->capture_default_str();
  command->add_option("--threads", a->threads, "threads; the numbers do not depend on it")->check(CLI::Range(1, 1024))->capture_default_str();
  command->callback([a, &status] {
    const Config config = read_config(a->config);
    if (config.diffusion) throw DomainError("simulate: [diffusion] is for jko flow; give a [model]");
    const Model& model = *config.model;
    const Vector times = Vector::LinSpaced(config.observations + 1, 0, config.dt * static_cast<double>(config.observations));
    const SimulationOptions options{.substeps = config.substeps, .seed = a->seed, .threads = a->threads};
    const bool unpaired = config.snapshots > 0;
    const auto blocks = unpaired ? simulate_snapshots(model, config.simulation_start, times, config.snapshots, options)
                                 : simulate_panel(model, config.simulation_start, times, config.paths, options);
    // Columns path, t, coordinates; a single path needs no path column, and snapshots have no paths.
    std::vector<std::string> columns{"path", "t"};
    for (int i = 0; i < model.dimension(); ++i) columns.push_back(model.dimension() == 1 ? "x" : fmt::format("x{}", i + 1));
    const Index length = blocks.front().cols();
    Matrix rows(length * static_cast<Index>(blocks.size()), static_cast<Index>(columns.size()));
    for (std::size_t b = 0; b < blocks.size(); ++b) {
      auto block = rows.middleRows(static_cast<Index>(b) * length, length);
      block.col(0).setConstant(static_cast<double>(b));
      if (unpaired) block.col(1).setConstant(times[static_cast<Index>(b) + 1]);
      else block.col(1) = times;
      block.rightCols(model.dimension()) = blocks[b].transpose();
    }
    if (unpaired || config.paths == 1) {
      columns.erase(columns.begin());
      rows = Matrix(rows.rightCols(rows.cols() - 1));
    }
    const std::string text = format_csv(columns, rows);
    if (a->out.empty()) fmt::print("{}", text);
    else write_atomically(a->out, text);
    status = 0;
  });
}

}  // namespace jko::cli
