#include "commands.hpp"
#include "config.hpp"

#include <jko/core/error.hpp>
#include <jko/core/random.hpp>
#include <jko/io/atomic_file.hpp>
#include <jko/io/csv.hpp>

#include <fmt/format.h>

#include <cmath>
#include <memory>

namespace jko::cli {
namespace {

struct Arguments {
  std::string config, out;
  std::uint64_t seed = 1;
};

}  // namespace

void add_simulate(CLI::App& app, int& status) {
  auto a = std::make_shared<Arguments>();
  auto* command = app.add_subcommand("simulate", "simulate paths of the model by Euler-Maruyama with 100 sub-steps per observation\nexample: jko simulate docs/examples/ou.toml --out path.csv");
  command->add_option("config", a->config, "TOML configuration with [model] and [simulate]")->required();
  command->add_option("--out", a->out, "CSV file (default: standard output)");
  command->add_option("--seed", a->seed)->capture_default_str();
  command->callback([a, &status] {
    constexpr int substeps = 100;
    const Config config = read_config(a->config);
    const Model& model = *config.model;
    if (model.dimension() != 1) throw DomainError("simulate: the model must have dimension 1");
    const double dt = config.dt / substeps, noise = std::sqrt(2 * dt / model.beta());
    Matrix rows(config.paths * (config.observations + 1), 3);
    Index row = 0;
    for (int p = 0; p < config.paths; ++p) {
      RandomStream random(a->seed, "simulate", static_cast<std::uint64_t>(p));
      Matrix x = Matrix::Zero(1, 1);
      for (Index i = 0; i <= config.observations; ++i) {
        rows.row(row++) << p, static_cast<double>(i) * config.dt, x(0, 0);
        for (int k = 0; k < substeps && i < config.observations; ++k) x(0, 0) += model.drift(x)(0, 0) * dt + noise * random.normal();
        if (!std::isfinite(x(0, 0))) throw DomainError(fmt::format("simulate: path {} left every bound at observation {}", p, i));
      }
    }
    const std::string text = format_csv({"path", "t", "x"}, rows);
    if (a->out.empty()) fmt::print("{}", text);
    else write_atomically(a->out, text);
    status = 0;
  });
}

}  // namespace jko::cli
