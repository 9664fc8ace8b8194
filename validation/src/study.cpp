#include <jko/validation/study.hpp>

#include <jko/core/error.hpp>
#include <jko/core/nearest.hpp>

#include "studies/studies.hpp"

#include <fmt/format.h>

namespace jko::validation {

const std::vector<Study>& studies() {
  static const std::vector<Study> list{
      {"treasury", "Real data: the one-year US Treasury yield", treasury},
      {"ice-core", "Real data: the GRIP ice core", ice_core},
      {"order-in-h", "Order of JKO, BDF2 and VIM in the step size", order_in_h},
      {"corrector", "The first-order corrector of JKO", corrector},
      {"offline", "Offline statistical JKO: one estimate, all steps", offline},
      {"online", "Online statistical JKO: a fresh batch in every step", online},
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

}  // namespace jko::validation
