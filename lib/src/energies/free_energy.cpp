#include <jko/energies/free_energy.hpp>

#include <jko/core/check.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace jko {
namespace {

template <class Part>
const Part* only(const std::vector<Part>& parts) {
  return parts.empty() ? nullptr : &parts.front();
}

template <class Part>
void add(std::vector<Part>& parts, Part part, std::string_view what) {
  if (!parts.empty()) throw DomainError(fmt::format("free_energy: the {} part is already there", what));
  parts.push_back(std::move(part));
}

}  // namespace

FreeEnergy::FreeEnergy(const Model& model) {
  add_potential(model.potential_ptr(), model.theta());
  add_entropy(model.beta());
}

FreeEnergy& FreeEnergy::add_potential(PotentialPtr potential, Vector theta) {
  if (!potential) throw DomainError("free_energy: the potential is missing");
  potential->check_parameters(theta);
  add(potential_, {std::move(potential), std::move(theta)}, "potential");
  return *this;
}

FreeEnergy& FreeEnergy::add_entropy(double beta) {
  check_positive("free_energy", "inverse temperature beta", beta);
  add(entropy_, {beta}, "entropy");
  return *this;
}

FreeEnergy& FreeEnergy::add_porous_medium(double coefficient, double exponent) {
  check_positive("free_energy", "porous-medium coefficient", coefficient);
  check_finite("free_energy", "porous-medium exponent", exponent);
  if (exponent <= 0 || exponent == 1) {
    throw DomainError(fmt::format("free_energy: porous-medium exponent is {}, but must be positive and not 1 (the limit m = 1 is the entropy)", exponent));
  }
  add(porous_medium_, {coefficient, exponent}, "porous-medium");
  return *this;
}

FreeEnergy& FreeEnergy::add_congestion(double max_density) {
  check_positive("free_energy", "largest density rho_max", max_density);
  add(congestion_, {max_density}, "congestion");
  return *this;
}

FreeEnergy& FreeEnergy::add_interaction(PotentialPtr kernel, Vector theta) {
  if (!kernel) throw DomainError("free_energy: the interaction kernel is missing");
  kernel->check_parameters(theta);
  add(interaction_, {std::move(kernel), std::move(theta)}, "interaction");
  return *this;
}

const FreeEnergy::PotentialPart* FreeEnergy::potential() const { return only(potential_); }
const FreeEnergy::EntropyPart* FreeEnergy::entropy() const { return only(entropy_); }
const FreeEnergy::PorousMediumPart* FreeEnergy::porous_medium() const { return only(porous_medium_); }
const FreeEnergy::CongestionPart* FreeEnergy::congestion() const { return only(congestion_); }
const FreeEnergy::InteractionPart* FreeEnergy::interaction() const { return only(interaction_); }

Vector FreeEnergy::parameters() const {
  std::vector<double> all;
  const auto append = [&](const Vector& v) { all.insert(all.end(), v.data(), v.data() + v.size()); };
  if (potential()) append(potential()->theta);
  if (entropy()) all.push_back(entropy()->beta);
  if (porous_medium()) all.push_back(porous_medium()->coefficient);
  if (interaction()) append(interaction()->theta);
  return Eigen::Map<const Vector>(all.data(), static_cast<Index>(all.size()));
}

std::vector<Parameter> FreeEnergy::parameter_list() const {
  std::vector<Parameter> list;
  if (potential()) list = potential()->potential->parameters();
  if (entropy()) list.push_back({"beta", 0.0});
  if (porous_medium()) list.push_back({"porous_medium", 0.0});
  if (interaction()) {
    for (Parameter p : interaction()->kernel->parameters()) {
      p.name = "interaction." + p.name;
      list.push_back(std::move(p));
    }
  }
  return list;
}

void FreeEnergy::set_parameters(const ConstVectorRef& values) {
  check_size("free_energy", "the parameter vector", values.size(), parameters().size());
  Index at = 0;
  if (potential()) {
    Vector theta = values.segment(at, potential()->theta.size());
    potential()->potential->check_parameters(theta);
    at += theta.size();
    potential_.front().theta = std::move(theta);
  }
  if (entropy()) {
    check_positive("free_energy", "inverse temperature beta", values[at]);
    entropy_.front().beta = values[at++];
  }
  if (porous_medium()) {
    check_positive("free_energy", "porous-medium coefficient", values[at]);
    porous_medium_.front().coefficient = values[at++];
  }
  if (interaction()) {
    Vector theta = values.segment(at, interaction()->theta.size());
    interaction()->kernel->check_parameters(theta);
    interaction_.front().theta = std::move(theta);
  }
}

int FreeEnergy::dimension() const {
  if (potential()) return potential()->potential->dimension();
  if (interaction()) return interaction()->kernel->dimension();
  return 0;
}

FreeEnergy& FreeEnergy::assume_convexity(Convexity of_potential) {
  check_finite("free_energy", "convexity constant", of_potential.kappa);
  assumed_ = std::move(of_potential);
  return *this;
}

std::optional<Convexity> FreeEnergy::convexity() const {
  if (porous_medium() && porous_medium()->exponent < 1) {
    // McCann's condition: r^d U(r^{-d}) is convex and decreasing in r for U = c/(m-1) rho^m exactly when m >= 1 - 1/d.
    const int d = dimension() > 0 ? dimension() : 3;
    if (porous_medium()->exponent < 1 - 1.0 / d) return std::nullopt;
  }
  Convexity total{0, true, "entropy, porous medium and congestion are displacement convex"};
  if (potential()) {
    auto part = potential()->potential->convexity(potential()->theta);
    if (!part) part = assumed_;
    if (!part) return std::nullopt;
    total = *part;
  }
  if (interaction()) {
    // An interaction with kernel modulus k adds min(k, 0): translations feel none of a positive k.
    const auto part = interaction()->kernel->convexity(interaction()->theta);
    if (!part) return std::nullopt;
    total.kappa += std::min(part->kappa, 0.0);
    total.proven = total.proven && part->proven;
  }
  return total;
}

}  // namespace jko
