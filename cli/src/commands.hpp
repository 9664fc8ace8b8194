#pragma once
/// One function a command: it adds itself to the program and leaves its exit status in `status`.
#include <CLI/CLI.hpp>

namespace jko::cli {

void add_simulate(CLI::App& app, int& status);
void add_fit(CLI::App& app, int& status);
void add_flow(CLI::App& app, int& status);
void add_study(CLI::App& app, int& status);
void add_report(CLI::App& app, int& status);

}  // namespace jko::cli
