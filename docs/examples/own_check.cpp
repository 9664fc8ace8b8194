// A claim of your own in the report, in C++: links jko-validation (pkg-config --libs jko-validation). Usage: own_check FOLDER
#include <jko/flows/flow.hpp>
#include <jko/models/families.hpp>
#include <jko/steps/quantile_step.hpp>
#include <jko/validation/report.hpp>

int main(int, char** argv) {
  using namespace jko;
  const validation::Study own{.name = "own", .title = "My claim", .run = [](const validation::StudyOptions&) {
    const Model model(double_well(), Vector{{1, 1, 0}}, 2);
    const auto from = QuantileFunction::gaussian(0.5, 0.3, 200);
    const auto flow = Flow<QuantileStep>(QuantileStep(FreeEnergy(model)), from, {.h = 0.02, .steps = 50}).run();
    double rise = 0, before = QuantileStep(FreeEnergy(model)).energy_value(from).total;
    for (const FlowRecord& record : flow.records) rise = std::max(rise, record.step.energy.total - before), before = record.step.energy.total;
    validation::StudyResult result{.description = "Energy along 50 JKO steps of the double well."};
    result.checks.push_back(analysis::check_at_most("descent", "F(rho_{k+1}) <= F(rho_k)", "JKO1998", rise, 0, 1e-12, "rounding of sums of 200 terms of size one"));
    return result;
  }};
  const std::vector results{validation::run_study(own, {})};  // or run_study() of each of validation::studies() too
  validation::write_report(results, {}, "own_check", argv[1]);
  return validation::exit_status(results);
}
