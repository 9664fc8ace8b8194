#include <jko/transport/grid_geodesic.hpp>

#include <jko/core/check.hpp>
#include <jko/core/parallel.hpp>

#include "spline_field.hpp"

#include <Eigen/Dense>

#include <cmath>
#include <limits>
#include <utility>
#include <vector>

namespace jko {
namespace {

using Point = SplineField::Point;

/// Push-forwards of a density by Id + t grad phi.
class PushForward {
 public:
  PushForward(const GridDensity& density, const ConstVectorRef& potential, int threads)
      : dimension_(density.dimension()), positive_(density.values().minCoeff() > 0), phi_(density.grid(), potential, threads),
        density_(density.grid(), positive_ ? Vector(density.values().array().log()) : density.values(), threads) {
    for (int a = 0; a < dimension_; ++a) {
      const auto axis = static_cast<std::size_t>(a);
      inverse_[axis] = 1 / (density.grid().width(a) * density.grid().width(a));
      last_[axis] = static_cast<double>(density.grid().cells[axis] - 1);
    }
  }

  /// For each cell the densest of those that land in it (thin tails may land anywhere), or else that of the nearest cell that has one; `hops` is how many cells away.
  struct Sources {
    std::vector<Index> cell;
    std::vector<int> hops;
  };
  [[nodiscard]] Sources sources(const GridDensity& density, double t) const {
    const Grid& grid = density.grid();
    const Index size = grid.size();
    Sources out{std::vector<Index>(static_cast<std::size_t>(size), -1), std::vector<int>(static_cast<std::size_t>(size), 0)};
    std::vector<Index> front;
    const double least = 1e-14 * density.values().maxCoeff();  // potentials mean nothing where there is no mass
    for (Index i = 0; i < size; ++i) {
      if (!(density.values()[i] > least)) continue;
      Point x = phi_.centre(i);
      const auto slope = phi_.jet(x).gradient;
      Index to = 0, stride = 1;
      bool lands = true;
      for (int a = 0; a < dimension_; ++a) {
        const auto axis = static_cast<std::size_t>(a);
        x[axis] += t * inverse_[axis] * slope[axis];
        const double nearest = std::round(x[axis]);
        lands = nearest >= 0 && nearest < static_cast<double>(grid.cells[axis]);
        if (!lands) break;
        to += stride * static_cast<Index>(nearest);
        stride *= grid.cells[axis];
      }
      if (!lands) continue;
      Index& source = out.cell[static_cast<std::size_t>(to)];
      if (source < 0) front.push_back(to);
      if (source < 0 || density.values()[i] > density.values()[source]) source = i;
    }
    for (std::size_t next = 0; next < front.size(); ++next) {  // breadth first
      const Index i = front[next];
      Index stride = 1;
      for (int a = 0; a < dimension_; stride *= grid.cells[static_cast<std::size_t>(a)], ++a) {
        const Index n = grid.cells[static_cast<std::size_t>(a)], k = i / stride % n;
        for (const Index step : {Index{-1}, Index{1}}) {
          if (k + step < 0 || k + step >= n || out.cell[static_cast<std::size_t>(i + step * stride)] >= 0) continue;
          out.cell[static_cast<std::size_t>(i + step * stride)] = out.cell[static_cast<std::size_t>(i)];
          out.hops[static_cast<std::size_t>(i + step * stride)] = out.hops[static_cast<std::size_t>(i)] + 1;
          front.push_back(i + step * stride);
        }
      }
    }
    return out;
  }

  /// The image density at the centre of cell i: rho/det(I + t D^2 phi) at the point that lands there, sought from the cell's source, then from its neighbours' sources. 0 where nothing was
  /// found and no mass lands within two cells, NaN where nothing was found beside mass.
  [[nodiscard]] double at(Index i, double t, const Sources& sources) const {
    const auto source = [&](Index j) { return sources.cell[static_cast<std::size_t>(j)]; };
    double value = sought_from(source(i), i, t);
    Index stride = 1;
    for (std::size_t a = 0; std::isnan(value) && a < static_cast<std::size_t>(dimension_); ++a) {
      const Index n = static_cast<Index>(last_[a]) + 1, k = i / stride % n;
      if (k > 0 && source(i - stride) != source(i)) value = sought_from(source(i - stride), i, t);
      if (std::isnan(value) && k + 1 < n && source(i + stride) != source(i)) value = sought_from(source(i + stride), i, t);
      stride *= n;
    }
    return std::isnan(value) && sources.hops[static_cast<std::size_t>(i)] > 2 ? 0 : value;
  }

  /// Does Id + s grad phi or Id - grad phi fold at cell i?
  [[nodiscard]] bool folds(Index i, double s) const {
    const auto jet = phi_.jet(phi_.centre(i));
    return !(derivative(jet, s).determinant() > 0 && derivative(jet, -1).determinant() > 0);
  }

  /// The largest of the numbers in the neighbours of cell i; NaN counts as none.
  [[nodiscard]] double beside(const Vector& field, Index i) const {
    double out = 0;
    Index stride = 1;
    for (std::size_t a = 0; a < static_cast<std::size_t>(dimension_); ++a) {
      const Index n = static_cast<Index>(last_[a]) + 1, k = i / stride % n;
      if (k > 0) out = std::fmax(out, field[i - stride]);
      if (k + 1 < n) out = std::fmax(out, field[i + stride]);
      stride *= n;
    }
    return out;
  }

 private:
  /// The same by Newton's method from the centre of one cell; NaN where it does not get there.
  [[nodiscard]] double sought_from(Index source, Index i, double t) const {
    const Point target = phi_.centre(i);
    Point x = phi_.centre(source);
    for (int k = 0; k < 60; ++k) {
      const auto jet = phi_.jet(x);
      const Eigen::Matrix3d slope = derivative(jet, t);
      Eigen::Vector3d miss = Eigen::Vector3d::Zero();
      for (int a = 0; a < dimension_; ++a) {
        const auto row = static_cast<std::size_t>(a);
        miss[a] = x[row] + t * inverse_[row] * jet.gradient[row] - target[row];
      }
      const double determinant = slope.determinant();
      if (!miss.allFinite()) break;
      if (miss.squaredNorm() < 1e-18 && determinant > 0) {  // 1e-9 of a cell: the next step would square it
        if (!inside(x)) break;
        const double value = density_.jet(x).value;
        return (positive_ ? std::exp(value) : value) / determinant;
      }
      // Where the map is far from the identity on the way (the mirrored potential bends at the walls) the plain iteration, which contracts for |t D^2 phi| < 1, leads past.
      const Eigen::Vector3d step = determinant > 0.25 ? Eigen::Vector3d(slope.inverse() * miss) : miss;
      for (int a = 0; a < dimension_; ++a) x[static_cast<std::size_t>(a)] -= step[a];
    }
    return std::numeric_limits<double>::quiet_NaN();
  }

  /// I + t D^2 phi, in cells.
  [[nodiscard]] Eigen::Matrix3d derivative(const SplineField::Jet& jet, double t) const {
    Eigen::Matrix3d out = Eigen::Matrix3d::Identity();
    for (int a = 0; a < dimension_; ++a) {
      const auto row = static_cast<std::size_t>(a);
      for (int b = 0; b < dimension_; ++b) out(a, b) += t * inverse_[row] * jet.hessian[row][static_cast<std::size_t>(b)];
    }
    return out;
  }

  [[nodiscard]] bool inside(const Point& x) const {
    for (std::size_t a = 0; a < static_cast<std::size_t>(dimension_); ++a) {
      if (!(x[a] >= -0.5 && x[a] <= last_[a] + 0.5)) return false;
    }
    return true;
  }

  int dimension_;
  bool positive_;
  SplineField phi_, density_;
  Point last_{};     // cells of each axis less one
  Point inverse_{};  // 1/width^2: from slopes of phi a cell to displacements in cells
};

Vector potential_of(const GridEnergy& energy, const GridDensity& density) {
  return energy.first_variation(density.values().cwiseMax(std::numeric_limits<double>::min()));
}

}  // namespace

void GridGeodesicOptions::validate() const {
  check_nonnegative("grid_geodesic", "negative_mass", negative_mass);
  check_at_least("grid_geodesic", "threads", threads, 1);
}

GridGeodesic grid_geodesic(const GridDensity& from, const GridDensity& to, const ConstVectorRef& potential, double time, const GridGeodesicOptions& options) {
  options.validate();
  if (from.dimension() == 0 || to.dimension() == 0) throw DomainError("grid_geodesic: a density is empty");
  if (!(from.grid() == to.grid())) throw ShapeError("grid_geodesic: the two densities live on different grids");
  if (to.grid().boundary != Boundary::no_flux) throw DomainError("grid_geodesic: the grid is periodic, but only no-flux walls are mirrored");
  check_nonnegative("grid_geodesic", "time", time);
  check_size("grid_geodesic", "the potential", potential.size(), to.values().size());
  check_finite("grid_geodesic", "the potential", potential);
  const double s = time - 1, volume = to.grid().cell_volume();
  const Index size = to.values().size();
  const PushForward push(to, potential, options.threads);
  const auto ends = push.sources(to, s), starts = push.sources(to, -1);
  Vector ahead(size), back(size), folded(size);
  parallel_blocks(size, 4096, options.threads, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      ahead[i] = push.at(i, s, ends);
      back[i] = push.at(i, -1, starts);
      folded[i] = push.folds(i, s) ? to.values()[i] : 0;
    }
  });
  GridGeodesic out;
  Vector values(size);
  for (Index i = 0; i < size; ++i) {
    if (std::isnan(back[i])) folded[i] = std::max(folded[i], from.values()[i]);
    if (std::isnan(ahead[i])) folded[i] = std::max(folded[i], push.beside(ahead, i));
    const double defect = std::isnan(back[i]) ? 0 : back[i] - from.values()[i], value = ahead[i] + s * defect;
    out.defect += std::abs(defect) * volume;
    if (value < 0) out.clipped -= value * volume;
    out.folded += folded[i] * volume;
    values[i] = value > 0 ? value : std::min(from.values()[i], to.values()[i]);
  }
  const double mass = values.sum() * volume;
  out.status = out.clipped + out.folded <= options.negative_mass && mass > 0 ? Status::converged : Status::order_lost;
  out.density = mass > 0 ? to.with_coordinates(values / mass) : to;
  return out;
}

GridGeodesic grid_geodesic(const GridDensity& from, const GridDensity& to, double time, const GridW2Options& transport) {
  const GridW2 found = grid_w2(to, from, transport);
  GridGeodesic out;
  out.status = found.status;
  if (!is_success(found.status)) return out;
  const Vector none = Vector::Zero(to.values().size());  // where the two are the same
  return grid_geodesic(from, to, found.potential.size() > 0 ? found.potential : none, time, {.negative_mass = transport.relative, .threads = transport.threads});
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
