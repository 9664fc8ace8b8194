#include <jko/models/model.hpp>

#include <jko/core/check.hpp>

#include <utility>

namespace jko {

Model::Model(PotentialPtr potential, Vector theta, double beta)
    : potential_(std::move(potential)), theta_(std::move(theta)), beta_(beta) {
  if (!potential_) throw DomainError("model: the potential is missing");
  potential_->check_parameters(theta_);
  check_positive("model", "inverse temperature beta", beta_);
}

Vector Model::parameters() const {
  Vector full(theta_.size() + 1);
  full << theta_, beta_;
  return full;
}

std::vector<Parameter> Model::parameter_list() const {
  std::vector<Parameter> list = potential_->parameters();
  list.push_back({.name = "beta", .lower = 0.0, .positive = true});
  return list;
}

Model Model::with_parameters(const ConstVectorRef& full) const {
  check_size("model", "the full parameter vector (theta, beta)", full.size(), theta_.size() + 1);
  return {potential_, full.head(theta_.size()), full[theta_.size()]};
}

Matrix Model::drift(const ConstMatrixRef& points) const { return -potential_->evaluate({1, 0}, points, theta_); }

}  // namespace jko
