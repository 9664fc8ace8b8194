#include <jko/estimators/bands.hpp>
#include <jko/estimators/likelihood.hpp>
#include <jko/flows/flow.hpp>
#include <jko/io/csv.hpp>
#include <jko/models/families.hpp>
#include <jko/steps/quantile_step.hpp>

#include <cstdio>

int main(int, char** argv) {
  using namespace jko;
  const CsvTable table = read_csv(argv[1]);
  const estimators::Path path{table.values.col(table.column("time")), table.values.col(table.column("tcm1y")).transpose()};
  const Model start(ornstein_uhlenbeck(), Vector::Constant(2, 1.0), 1.0);
  const auto fit = estimators::fit({path}, start, estimators::Transition::exact);
  std::printf("%s", fit.table().c_str());

  const QuantileStep step{FreeEnergy(start.with_parameters(fit.estimate))};
  const auto now = QuantileFunction::gaussian(5.25, 0.1, 400);  // the law today
  Flow<QuantileStep> flow(step, now, {.scheme = Scheme::bdf2, .h = 1.0 / 96, .steps = 96, .sensitivity = Sensitivity::shared});
  const auto result = flow.run();
  const Vector levels = Vector::LinSpaced(3, 0.05, 0.95);
  const auto band = estimators::band(estimators::quantiles(result.final_state().measure, levels), levels,
                                     result.final_state().tangent, fit.sandwich);
  for (Index i = 0; i < 3; ++i) std::printf("quantile %.2f: %.3f in [%.3f, %.3f]\n", levels[i], band.estimate[i], band.lower[i], band.upper[i]);
  std::printf("last step within %.1e of its minimiser (W2)\n", result.records.back().step.w2_bound);
}
