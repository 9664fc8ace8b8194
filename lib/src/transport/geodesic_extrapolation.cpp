#include <jko/transport/geodesic_extrapolation.hpp>

#include <jko/core/check.hpp>
#include <jko/core/parallel.hpp>

#include "spline_field.hpp"

#include <Eigen/Dense>

#include <cmath>
#include <limits>
#include <utility>

namespace jko {
namespace {

using Point = SplineField::Point;

/// Push-forwards of a density by Id + t grad phi.
class PushForward {
 public:
  PushForward(const GridDensity& density, const ConstVectorRef& potential, int threads)
      : dimension_(density.dimension()), positive_(density.values().minCoeff() > 0), phi_(density.grid(), potential, threads),
        density_(density.grid(), positive_ ? Vector(density.values().array().log()) : density.values(), threads) {
    for (int a = 0; a < dimension_; ++a) inverse_[static_cast<std::size_t>(a)] = 1 / (density.grid().width(a) * density.grid().width(a));
  }

  struct Image {
    double density = std::numeric_limits<double>::quiet_NaN();  ///< NaN where nothing was found to land
    bool folded = false;                                       ///< det(I + t D^2 phi) <= 0 at the cell itself
  };
  /// The image density at the centre of cell i: rho/det(I + t D^2 phi) at the point that lands there.
  [[nodiscard]] Image at(Index i, double t) const {
    const Point target = phi_.centre(i);
    Point x = target;
    Image out;
    for (int k = 0; k < 60; ++k) {
      const auto jet = phi_.jet(x);
      Eigen::Matrix3d derivative = Eigen::Matrix3d::Identity();
      Eigen::Vector3d miss = Eigen::Vector3d::Zero();
      for (int a = 0; a < dimension_; ++a) {
        const auto row = static_cast<std::size_t>(a);
        miss[a] = x[row] + t * inverse_[row] * jet.gradient[row] - target[row];
        for (int b = 0; b < dimension_; ++b) derivative(a, b) += t * inverse_[row] * jet.hessian[row][static_cast<std::size_t>(b)];
      }
      const double determinant = derivative.determinant();
      if (k == 0) out.folded = !(determinant > 0);
      if (!miss.allFinite()) return out;
      if (miss.squaredNorm() < 1e-18 && determinant > 0) {  // 1e-9 of a cell: the next step would square it
        const double value = density_.jet(x).value;
        out.density = (positive_ ? std::exp(value) : value) / determinant;
        return out;
      }
      // Where the map is far from the identity on the way (the mirrored potential bends at the walls) the plain iteration, which contracts for |t D^2 phi| < 1, leads past.
      const Eigen::Vector3d step = determinant > 0.25 ? Eigen::Vector3d(derivative.inverse() * miss) : miss;
      for (int a = 0; a < dimension_; ++a) x[static_cast<std::size_t>(a)] -= step[a];
    }
    return out;
  }

 private:
  int dimension_;
  bool positive_;
  SplineField phi_, density_;
  Point inverse_{};  // 1/width^2: from slopes of phi a cell to displacements in cells
};

Vector potential_of(const GridEnergy& energy, const GridDensity& density) {
  return energy.first_variation(density.values().cwiseMax(std::numeric_limits<double>::min()));
}

}  // namespace

void GeodesicExtrapolationOptions::validate() const {
  check_nonnegative("geodesic_extrapolation", "negative_mass", negative_mass);
  check_at_least("geodesic_extrapolation", "threads", threads, 1);
}

GeodesicExtrapolation geodesic_extrapolation(const GridDensity& from, const GridDensity& to, const ConstVectorRef& potential, double time, const GeodesicExtrapolationOptions& options) {
  options.validate();
  if (from.dimension() == 0 || to.dimension() == 0) throw DomainError("geodesic_extrapolation: a density is empty");
  if (!(from.grid() == to.grid())) throw ShapeError("geodesic_extrapolation: the two densities live on different grids");
  if (to.grid().boundary != Boundary::no_flux) throw DomainError("geodesic_extrapolation: the grid is periodic, but only no-flux walls are mirrored");
  check_positive("geodesic_extrapolation", "time - 1", time - 1);
  check_size("geodesic_extrapolation", "the potential", potential.size(), to.values().size());
  check_finite("geodesic_extrapolation", "the potential", potential);
  const double s = time - 1, volume = to.grid().cell_volume();
  const Index size = to.values().size();
  const PushForward push(to, potential, options.threads);
  Vector ahead(size), back(size), folded(size);
  parallel_blocks(size, 4096, options.threads, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      const auto end = push.at(i, s), start = push.at(i, -1);
      ahead[i] = end.density;
      back[i] = start.density;
      folded[i] = end.folded || start.folded || !std::isfinite(ahead[i] + back[i]) ? 1 : 0;
    }
  });
  GeodesicExtrapolation out;
  Vector values(size);
  for (Index i = 0; i < size; ++i) {
    const double defect = back[i] - from.values()[i], value = ahead[i] + s * defect;
    if (std::isfinite(value)) {
      out.defect += std::abs(defect) * volume;
      out.clipped += std::max(0.0, -value) * volume;
    }
    out.folded += folded[i] * to.values()[i] * volume;
    values[i] = value > 0 ? value : std::min(from.values()[i], to.values()[i]);
  }
  const double mass = values.sum() * volume;
  out.status = out.clipped + out.folded <= options.negative_mass && mass > 0 ? Status::converged : Status::order_lost;
  out.density = mass > 0 ? to.with_coordinates(values / mass) : to;
  return out;
}

Vector jko_potential(const GridEnergy& energy, const GridDensity& result, double h) {
  check_positive("jko_potential", "step size h", h);
  return -h * potential_of(energy, result);
}

Vector bdf2_potential(const GridEnergy& energy, const GridDensity& before, const GridDensity& now, double h, int threads) {
  check_positive("bdf2_potential", "step size h", h);
  const Vector mu = potential_of(energy, now);
  const SplineField current(now.grid(), mu, threads), previous(now.grid(), potential_of(energy, before), threads);
  Vector out(mu.size());
  parallel_blocks(mu.size(), 4096, threads, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      const Point x = current.centre(i);
      const auto slope = current.jet(x).gradient;
      Point origin = x;
      double square = 0;
      for (int a = 0; a < now.dimension(); ++a) {
        const auto axis = static_cast<std::size_t>(a);
        const double width = now.grid().width(a), moved = -h * slope[axis] / width;
        // Where next to nothing is, slopes may point out of any bounds: the walls end them.
        origin[axis] = std::clamp(x[axis] - moved / width, -0.5, static_cast<double>(now.grid().cells[axis]) - 0.5);
        square += moved * moved;
      }
      out[i] = -0.5 * h * (mu[i] + previous.jet(origin).value) + 0.25 * square;
    }
  });
  return out;
}

double displacement_norm(const GridDensity& density, const ConstVectorRef& potential) {
  const SplineField phi(density.grid(), potential, 1);
  double sum = 0;
  for (Index i = 0; i < potential.size(); ++i) {
    const auto slope = phi.jet(phi.centre(i)).gradient;
    for (int a = 0; a < density.dimension(); ++a) {
      const double moved = slope[static_cast<std::size_t>(a)] / density.grid().width(a);
      sum += moved * moved * density.values()[i];
    }
  }
  return std::sqrt(sum * density.grid().cell_volume());
}

}  // namespace jko
