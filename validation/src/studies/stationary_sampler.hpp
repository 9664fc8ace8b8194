#pragma once
/// Independent draws of exp(-beta Psi)/Z in one dimension from a given random stream, by inversion of the distribution function, linear in 4096 cells.
#include <jko/core/random.hpp>
#include <jko/models/model.hpp>

#include <algorithm>

namespace jko::validation {

class StationarySampler {
 public:
  StationarySampler(const Model& model, double lower, double upper) : edges_(Vector::LinSpaced(4097, lower, upper)), cumulative_(Vector::Zero(4097)) {
    Vector density = model.beta() * model.potential().evaluate({0, 0}, edges_.transpose(), model.theta()).row(0).transpose();
    density = (density.minCoeff() - density.array()).exp();
    for (Index i = 0; i < 4096; ++i) cumulative_[i + 1] = cumulative_[i] + 0.5 * (density[i] + density[i + 1]);
  }
  void fill(RandomStream& random, Vector& out) const {
    for (double& x : out) {
      const double u = random.uniform() * cumulative_[4096];
      const Index i = std::clamp<Index>(std::upper_bound(cumulative_.data(), cumulative_.data() + 4097, u) - cumulative_.data() - 1, 0, 4095);
      x = edges_[i] + (u - cumulative_[i]) / (cumulative_[i + 1] - cumulative_[i]) * (edges_[i + 1] - edges_[i]);
    }
  }

 private:
  Vector edges_, cumulative_;
};

}  // namespace jko::validation
