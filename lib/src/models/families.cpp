#include <jko/models/families.hpp>

#include <jko/core/error.hpp>
#include <jko/core/nearest.hpp>

#include "polynomial.hpp"

#include <fmt/format.h>

namespace jko {

PotentialPtr double_well() {
  return std::make_shared<Polynomial>(std::vector<Monomial>{{{"a", 0.0}, 0.25, 4}, {{"b"}, -0.5, 2}, {{"c"}, 1.0, 1}},
                                      "a/4*x^4 - b/2*x^2 + c*x");
}

PotentialPtr quartic() {
  return std::make_shared<Polynomial>(
      std::vector<Monomial>{{{"c1"}, 1.0, 1}, {{"c2"}, 1.0 / 2, 2}, {{"c3"}, 1.0 / 3, 3}, {{"c4"}, 1.0 / 4, 4}},
      "c1*x + c2/2*x^2 + c3/3*x^3 + c4/4*x^4");
}

std::vector<std::string> family_names() { return {"ou", "double-well", "quartic", "quadratic-cosine", "gaussian-mixture", "student-well"}; }

PotentialPtr family(std::string_view name, int dimension) {
  if (name == "ou") return dimension == 1 ? ornstein_uhlenbeck() : ornstein_uhlenbeck(dimension);
  PotentialPtr found;
  if (name == "double-well") found = double_well();
  if (name == "quartic") found = quartic();
  if (name == "quadratic-cosine") found = quadratic_cosine();
  if (name == "gaussian-mixture") found = gaussian_mixture();
  if (name == "student-well") found = student_well();
  if (!found) throw DomainError(fmt::format("family: '{}' is unknown; the nearest name is '{}'", name, nearest_name(name, family_names())));
  if (dimension != 1) throw DomainError(fmt::format("family: {} has dimension 1, but {} was asked for", name, dimension));
  return found;
}

}  // namespace jko
