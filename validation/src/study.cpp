#include <jko/validation/study.hpp>

#include <jko/core/error.hpp>
#include <jko/core/nearest.hpp>

#include "studies/own_case.hpp"
#include "studies/studies.hpp"

#include <fmt/format.h>

#include <chrono>

namespace jko::validation {

const std::vector<Study>& studies() {
  static const std::vector<Study> list{
      {"treasury", "Real data: the one-year US Treasury yield", treasury},
      {"ice-core", "Real data: the GRIP ice core", ice_core},
      {"rates", "Real data: likelihoods side by side on rates and the ice core", rates},
      {"order-in-h", "Order of JKO, BDF2 and VIM in the step size", order_in_h, own_case_settings()},
      {"corrector", "The first-order corrector of JKO", corrector, own_case_settings()},
      {"inequalities", "Inequalities of JKO steps and flows", inequalities, own_case_settings()},
      {"grid-flows", "Inequalities of JKO flows on grids and particles", grid_flows},
      {"functional-inequalities", "Functional inequalities, their constants and the decay of JKO", functional_inequalities, own_case_settings()},
      {"inexact-jko", "JKO with inexact steps, and flow models run backwards", inexact_jko, own_case_settings()},
      {"offline", "Offline statistical JKO: one estimate, all steps", offline, own_case_settings()},
      {"online", "Online statistical JKO: a fresh batch in every step", online, own_case_settings()},
      {"estimators", "Estimators: reported covariances against replications", estimators, own_case_settings()},
      {"offline-limits", "Limit law of offline statistical JKO, any potential", offline_limits, own_case_settings()},
      {"online-limits", "Limit law of online statistical JKO, any potential", online_limits, own_case_settings()},
      {"plane-limits", "Limit laws of statistical JKO in the plane: Gaussians and grids", plane_limits},
      {"regimes", "Joint regimes of batch size and step size", regimes, own_case_settings()},
      {"stationary", "Limit laws at rest: spectral law and the cost of learning online", stationary_limits, own_case_settings()},
      {"offline-design", "Offline limits at scale: ten sample sizes, ten step sizes, two models", offline_design, {}, true},
      {"online-design", "Online limits at scale: ten batch sizes, ten step sizes, two models", online_design, {}, true},
      {"speed", "Speed and accuracy of the steps on grids and particles", speed},
  };
  return list;
}

const Study& find_study(std::string_view name) {
  std::vector<std::string> names;
  for (const Study& study : studies()) {
    if (study.name == name) return study;
    names.push_back(study.name);
  }
  throw DomainError(fmt::format("study: '{}' is unknown; the nearest name is '{}'", name, nearest_name(name, names)));
}

StudyResult run_study(const Study& study, const StudyOptions& options) {
  std::vector<std::string> keys;
  for (const Setting& setting : study.settings) keys.push_back(setting.key);
  for (const auto& [key, value] : options.settings) {
    if (keys.empty()) throw DomainError(fmt::format("study {}: it takes no settings, but '{}' is set", study.name, key));
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) {
      throw DomainError(fmt::format("study {}: setting '{}' is unknown; the nearest is '{}'", study.name, key, nearest_name(key, keys)));
    }
  }
  if (!study.sharded && (options.shard.count > 1 || !options.merge.empty())) throw DomainError(fmt::format("study {}: its work cannot be split into shards", study.name));
  const auto begin = std::chrono::steady_clock::now();
  StudyResult result = study.run(options);
  result.study = study.name;
  result.title = study.title;
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return result;
}

}  // namespace jko::validation
