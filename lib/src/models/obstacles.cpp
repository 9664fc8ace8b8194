#include <jko/models/obstacles.hpp>

#include <jko/core/error.hpp>

#include <fmt/format.h>

#include <cmath>
#include <utility>

namespace jko {
namespace {

class Obstacles final : public Potential {
 public:
  Obstacles(PotentialPtr psi, std::vector<PotentialPtr> regions) : psi_(std::move(psi)), regions_(std::move(regions)) {}

  [[nodiscard]] int dimension() const override { return psi_->dimension(); }
  [[nodiscard]] const std::vector<Parameter>& parameters() const override { return psi_->parameters(); }
  [[nodiscard]] std::string describe() const override {
    std::string text = psi_->describe();
    for (const auto& g : regions_) text += fmt::format(", +infinity where {} < 0", g->describe());
    return text;
  }
  using Potential::evaluate;
  void evaluate(Derivative which, const ConstMatrixRef& points, const ConstVectorRef& theta, MatrixRef out) const override {
    psi_->evaluate(which, points, theta, out);
    if (which.x != 0 || which.theta != 0) return;
    Matrix level(1, points.cols());
    for (const auto& g : regions_) {
      g->evaluate({0, 0}, points, Vector(), level);
      for (Index i = 0; i < points.cols(); ++i) {
        if (!(level(0, i) >= 0)) out(0, i) = std::isnan(level(0, i)) ? level(0, i) : std::numeric_limits<double>::infinity();
      }
    }
  }

 private:
  PotentialPtr psi_;
  std::vector<PotentialPtr> regions_;
};

}  // namespace

PotentialPtr with_obstacles(PotentialPtr psi, std::vector<PotentialPtr> regions) {
  if (!psi) throw DomainError("with_obstacles: the potential is null");
  for (const auto& g : regions) {
    if (!g) throw DomainError("with_obstacles: a region is null");
    if (g->dimension() != psi->dimension()) throw ShapeError(fmt::format("with_obstacles: a region has dimension {}, but the potential {}", g->dimension(), psi->dimension()));
    if (g->parameter_count() > 0) throw DomainError(fmt::format("with_obstacles: a region may contain coordinates only, not '{}'", g->parameters().front().name));
  }
  if (regions.empty()) return psi;
  return std::make_shared<Obstacles>(std::move(psi), std::move(regions));
}

}  // namespace jko
