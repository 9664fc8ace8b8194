/// The program jko. Exit status: 0 all well, 1 a check failed or a solve did not converge, 2 misuse or unreadable input, 3 nothing failed but
/// something was inconclusive, 130 interrupted.
#include "commands.hpp"
#include "ranks.hpp"

#include <jko/core/error.hpp>

#include <fmt/format.h>

int main(int argc, char** argv) {
  const jko::cli::Ranks ranks(argc, argv);
  CLI::App app{"jko: Jordan-Kinderlehrer-Otto schemes with statistical estimation", "jko"};
  app.set_version_flag("--version", JKO_VERSION);
  app.require_subcommand(1);
  int status = 0;
  jko::cli::add_simulate(app, status);
  jko::cli::add_fit(app, status);
  jko::cli::add_flow(app, status);
  jko::cli::add_study(app, status);
  jko::cli::add_report(app, status);
  app.failure_message([](const CLI::App*, const CLI::Error& e) { return fmt::format("jko: {} (see --help)\n", e.what()); });
  try {
    app.parse_complete_callback([&] {
      if (jko::cli::rank_count() > 1 && !app.got_subcommand("study")) throw jko::DomainError("mpirun: only studies run on several ranks");
    });
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;  // the same on every rank
  } catch (const jko::NotConverged& e) {
    fmt::print(stderr, "jko: {}\n", e.what());
    return jko::cli::leave(1);
  } catch (const jko::Error& e) {
    fmt::print(stderr, "jko: {}\n", e.what());
    return jko::cli::leave(2);
  }
  return status;
}
