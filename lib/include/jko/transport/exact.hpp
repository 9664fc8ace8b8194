#pragma once
/// Exact discrete optimal transport between weighted points.
#include <jko/core/status.hpp>
#include <jko/measures/particles.hpp>

#include <limits>
#include <vector>

namespace jko {

struct TransportEntry {
  Index from, to;
  double mass;  ///< > 0
};

/// A plan, potentials that prove it optimal, and how closely they do.
struct ExactTransport {
  Status status = Status::not_run;        ///< converged, or not_finite
  std::vector<TransportEntry> plan;       ///< by rows; at most n + m - 1 entries
  Vector from_potential, to_potential;    ///< u, v with u_i + v_j <= c_ij up to the rounding of one subtraction
  double cost = std::numeric_limits<double>::quiet_NaN();  ///< sum of c_ij times mass
  double dual = std::numeric_limits<double>::quiet_NaN();  ///< sum a_i u_i + sum b_j v_j: a lower bound of the least cost
  [[nodiscard]] double gap() const { return cost - dual; } ///< bounds cost - least cost
};

struct ExactTransportOptions {
  Index max_entries = 40'000'000;  ///< refuses larger n m; the solver needs 16 bytes an entry, 85 where it must look at all
};

/// min sum_ij c_ij pi_ij over pi >= 0 with row sums a and column sums b, by the network simplex (LEMON; [KiralyKovacs2012]) on integers, large problems on a part
/// of the entries that grows until the potentials prove the plan optimal among all:
/// costs are rounded to 2^-k max|c|, k = 60 - log2(n + m + 1), at most 50, weights to multiples of 2^-52 (equal weights exactly), so that the
/// simplex ends and is exact; u, v are then made feasible for the costs as given, hence `dual` is a true lower bound and gap() shows what
/// the rounding of costs did, about 1e-15 max|c|. Row and column sums hold to 2^-52 n.
/// Cost: about n^2.5 in practice; 2000 x 2000 takes 0.2 to 0.3 s. Throws ShapeError or DomainError for sizes that do not fit, costs that are not
/// finite, negative weights, sums other than 1 to 1e-10, or more than max_entries.
[[nodiscard]] ExactTransport exact_transport(const ConstMatrixRef& costs, const ConstVectorRef& a, const ConstVectorRef& b, const ExactTransportOptions& options = {});
/// The same for c_ij = |x_i - y_j|^2. In one dimension by sorting, n log n, with the potentials of the monotone plan.
[[nodiscard]] ExactTransport exact_transport(const Particles& a, const Particles& b, const ExactTransportOptions& options = {});

/// sqrt of the least cost for squared distances. Throws NotConverged where the squared distances overflow.
[[nodiscard]] double w2(const Particles& a, const Particles& b);
/// The measure at time s on the geodesic that the plan describes: one point (1-s) x_i + s y_j an entry.
[[nodiscard]] Particles displacement(const ExactTransport& transport, const Particles& a, const Particles& b, double s);

}  // namespace jko
