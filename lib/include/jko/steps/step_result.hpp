#pragma once
/// What every JKO step returns, whatever the measure.
#include <jko/core/status.hpp>
#include <jko/energies/free_energy.hpp>

#include <limits>

namespace jko {

/// The step's certificate (theory.md b7; docs/methods/certificate.md). With J(nu) = F(nu) + W2^2(nu, from)/(2h), J
/// (1/h + kappa)-convex and eps the norm of the residual of the optimality condition,
///   gap = J(result) - min J <= h eps^2 / (2 (1 + h kappa)),   W2(result, exact) <= h eps / (1 + h kappa).
/// gap and w2_bound are bounds for the stated problem (the discrete one for discretised measures) and NaN where no
/// convexity constant is known or 1 + h kappa <= 0.
struct StepReport {
  Status status = Status::not_run;
  double residual = std::numeric_limits<double>::quiet_NaN();  ///< eps, in the L2(result) norm
  double gap = std::numeric_limits<double>::quiet_NaN();
  double w2_bound = std::numeric_limits<double>::quiet_NaN();
  double w2_moved = std::numeric_limits<double>::quiet_NaN();  ///< W2(from, result)
  double objective = std::numeric_limits<double>::quiet_NaN(); ///< J(result)
  EnergyValue energy;                                          ///< F(result) by parts
  int iterations = 0;
};

template <class Measure>
struct StepResult : StepReport {
  Measure measure;
};

// The Step contract, as a template parameter of Flow (a concept in flows/flow.hpp):
//
//   using Measure = ...;
//   explicit Step(FreeEnergy energy, Options = {});
//   const FreeEnergy& energy() const;   void set_parameters(const ConstVectorRef&);
//   EnergyValue energy_value(const Measure&) const;                     // F by parts
//   StepResult<Measure> advance(const Measure& from, double h);       // argmin F + W2^2(., from)/(2h)
//   Matrix tangent(const ConstMatrixRef& from_tangent, const ConstMatrixRef& parameter_tangent) const;
//     // of the last advance(): columns d(result) = A d(from) + B d(parameters), by implicit differentiation. Optional: flows without it carry no sensitivities
//
// and of a Measure (Gaussian, QuantileFunction):
//
//   int dimension() const;   Vector coordinates() const;   Measure with_coordinates(Vector) const;
//     // Gaussian: (m, vec Sigma); QuantileFunction: its nodes. Tangents are in these coordinates.
//   Vector mean() const;   Matrix covariance() const;
//   double w2(const Measure&, const Measure&);                         // free functions
//   Measure geodesic(const Measure& a, const Measure& b, double s);    // E_s(a, b), s may exceed 1 (extrapolation)
//   Matrix geodesic_tangent(a, b, s, const ConstMatrixRef& da, const ConstMatrixRef& db);

}  // namespace jko
