#include <jko/energies/grid_energy.hpp>

#include <jko/core/check.hpp>

#include "../core/fftw_plan.hpp"
#include "../measures/faces.hpp"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <utility>

namespace jko {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

/// Average of W over the box of half-widths `half` about the origin: the box is cut into 3^d boxes, the outer ones get the midpoint rule on 4^d
/// points, the middle one is cut again. After 20 cuts its share is 3^{-20 d} of the volume.
double average_at_origin(const Potential& kernel, const Vector& theta, Vector half, Derivative which, Index row) {
  const Index d = half.size();
  constexpr int points = 4, cuts = 20;
  const auto power = [](Index base, Index exponent) {
    Index p = 1;
    for (Index i = 0; i < exponent; ++i) p *= base;
    return p;
  };
  const Index boxes = power(3, d), inner = power(points, d);
  double total = 0, share = 1;  // share of the middle box in the whole
  for (int cut = 0; cut < cuts; ++cut) {
    Matrix x(d, (boxes - 1) * inner);
    Index at = 0;
    for (Index b = 0; b < boxes; ++b) {
      if (b == boxes / 2) continue;
      for (Index p = 0; p < inner; ++p, ++at) {
        for (Index a = 0; a < d; ++a) {
          const auto box = static_cast<double>(b / power(3, a) % 3), point = static_cast<double>(p / power(points, a) % points);
          x(a, at) = half[a] * (2.0 / 3.0 * (box + (point + 0.5) / points) - 1);
        }
      }
    }
    total += share * kernel.evaluate(which, x, theta).row(row).sum() / static_cast<double>(boxes * inner);
    share /= static_cast<double>(boxes);
    half /= 3;
  }
  return total;
}

double logarithmic_mean(double a, double b) {
  if (!(a > 0) || !(b > 0)) return 0;
  const double ratio = (b - a) / (b + a);
  // log(b/a) = 2 atanh(ratio); the series near 1 avoids 0/0.
  if (std::abs(ratio) < 1e-4) return 0.5 * (a + b) * (1 - ratio * ratio / 3);
  return (b - a) / (2 * std::atanh(ratio));
}

}  // namespace

/// W*rho with the kernel's transform kept.
struct GridEnergy::Convolution {
  int n[3] = {1, 1, 1}, padded[3] = {1, 1, 1};  // axis 0 first
  Index spectrum = 0, padded_size = 0;
  Vector transform;  // complex numbers, interleaved; scaled by dV / padded size
  FftwPlan forward, backward;

  static fftw_complex* complex_numbers(Vector& v) { return reinterpret_cast<fftw_complex*>(v.data()); }

  /// With the kernel or one of its derivatives in theta: `row` of evaluate(which).
  Convolution(const Grid& grid, const Potential& kernel, const Vector& theta, Derivative which = {0, 0}, Index row = 0) {
    const int d = grid.dimension();
    for (int a = 0; a < d; ++a) {
      n[a] = static_cast<int>(grid.cells[static_cast<std::size_t>(a)]);
      padded[a] = grid.boundary == Boundary::periodic ? n[a] : 2 * n[a];
    }
    padded_size = Index{padded[0]} * padded[1] * padded[2];
    if (padded_size > (Index{1} << 30)) throw DomainError(fmt::format("grid_energy: the interaction needs transforms of {:.3g} numbers, but at most 2^30 are allowed", static_cast<double>(padded_size)));
    spectrum = Index{padded[0] / 2 + 1} * padded[1] * padded[2];
    Matrix x(d, padded_size);
    for (Index i = 0; i < padded_size; ++i) {
      Index rest = i;
      for (int a = 0; a < d; ++a) {
        const Index k = rest % padded[a];
        rest /= padded[a];
        // Offsets 0 .. n-1 and -n .. -1 (the offset n occurs for no pair of cells); periodic: the nearest image.
        x(a, i) = static_cast<double>(2 * k < padded[a] || padded[a] == 1 ? k : k - padded[a]) * grid.width(a);
      }
    }
    Vector values = kernel.evaluate(which, x, theta).row(row).transpose();
    if (!std::isfinite(values[0])) {
      Vector half(d);
      for (int a = 0; a < d; ++a) half[a] = 0.5 * grid.width(a);
      values[0] = average_at_origin(kernel, theta, half, which, row);
    }
    check_finite("grid_energy", "interaction kernel", values);
    transform.resize(2 * spectrum);
    Vector real = values;  // planning may overwrite
    const int sizes[3] = {padded[2], padded[1], padded[0]};
    {
      const std::lock_guard lock(fftw_planner());
      forward.reset(fftw_plan_dft_r2c(3, sizes, real.data(), complex_numbers(transform), FFTW_ESTIMATE));
      backward.reset(fftw_plan_dft_c2r(3, sizes, complex_numbers(transform), real.data(), FFTW_ESTIMATE));
    }
    fftw_execute_dft_r2c(forward.get(), values.data(), complex_numbers(transform));
    transform *= grid.cell_volume() / static_cast<double>(padded_size);
  }

  [[nodiscard]] Vector apply(const ConstVectorRef& density) const {
    Vector real = Vector::Zero(padded_size), complex(2 * spectrum);
    const auto copy = [&](auto&& move) {
      for (Index k = 0; k < n[2]; ++k) {
        for (Index j = 0; j < n[1]; ++j) move(n[0] * (j + n[1] * k), padded[0] * (j + padded[1] * k));
      }
    };
    copy([&](Index from, Index to) { real.segment(to, n[0]) = density.segment(from, n[0]); });
    fftw_execute_dft_r2c(forward.get(), real.data(), complex_numbers(complex));  // arrays of the plan's alignment, Eigen's
    for (Index i = 0; i < spectrum; ++i) {
      const double re = complex[2 * i], im = complex[2 * i + 1], wr = transform[2 * i], wi = transform[2 * i + 1];
      complex[2 * i] = re * wr - im * wi;
      complex[2 * i + 1] = re * wi + im * wr;
    }
    fftw_execute_dft_c2r(backward.get(), complex_numbers(complex), real.data());
    Vector out(density.size());
    copy([&](Index to, Index from) { out.segment(to, n[0]) = real.segment(from, n[0]); });
    return out;
  }
};

GridEnergy::GridEnergy(const FreeEnergy& energy, std::shared_ptr<const Grid> grid) : energy_(energy), grid_(std::move(grid)) {
  if (!grid_) throw DomainError("grid_energy: the grid is missing");
  grid_->validate();
  const int d = grid_->dimension();
  if (energy_.dimension() != 0 && energy_.dimension() != d) throw ShapeError(fmt::format("grid_energy: the energy has dimension {}, but the grid {}", energy_.dimension(), d));
  potential_ = Vector::Zero(grid_->size());
  if (const auto* part = energy_.potential()) {
    // In blocks, so that the points of a large grid are never held together.
    constexpr Index block = 1 << 14;
    Matrix points(d, block);
    std::vector<Vector> centres;
    for (int a = 0; a < d; ++a) centres.push_back(grid_->centres(a));
    for (Index begin = 0; begin < potential_.size(); begin += block) {
      const Index count = std::min(block, potential_.size() - begin);
      for (Index i = 0; i < count; ++i) {
        Index rest = begin + i;
        for (int a = 0; a < d; ++a) {
          const Vector& c = centres[static_cast<std::size_t>(a)];
          points(a, i) = c[rest % c.size()];
          rest /= c.size();
        }
      }
      potential_.segment(begin, count) = part->potential->evaluate({0, 0}, points.leftCols(count), part->theta).row(0).transpose();
      for (Index i = 0; i < count; ++i) {
        const double v = potential_[begin + i];
        if (!std::isnan(v) && v != -infinity) continue;
        std::string where;
        for (int a = 0; a < d; ++a) where += fmt::format("{}{:g}", a ? ", " : "", points(a, i));
        throw DomainError(fmt::format("grid_energy: the potential is {} at ({}), but must be a number or +infinity", v, where));
      }
    }
    if (potential_.minCoeff() == infinity) throw DomainError("grid_energy: the potential is +infinity on every cell");
  }
  if (const auto* part = energy_.interaction()) convolution_ = std::make_shared<const Convolution>(*grid_, *part->kernel, part->theta);
}

Vector GridEnergy::interaction(const ConstVectorRef& density) const {
  check_size("grid_energy", "density", density.size(), grid_->size());
  return convolution_ ? convolution_->apply(density) : Vector::Zero(density.size());
}

EnergyValue GridEnergy::value(const ConstVectorRef& density) const {
  check_size("grid_energy", "density", density.size(), grid_->size());
  const double volume = grid_->cell_volume();
  EnergyValue out;
  const auto add = [&](const char* part, double amount) {
    out.parts.emplace_back(part, amount);
    out.total += amount;
  };
  if (energy_.potential()) {
    double sum = 0;
    for (Index i = 0; i < density.size(); ++i) sum += density[i] > 0 ? density[i] * potential_[i] : 0.0;
    add("potential", sum * volume);
  }
  if (const auto* part = energy_.entropy()) add("entropy", jko::entropy(*grid_, density) / part->beta);
  if (const auto* part = energy_.porous_medium()) add("porous_medium", part->coefficient / (part->exponent - 1) * density.array().pow(part->exponent).sum() * volume);
  if (const auto* part = energy_.congestion()) add("congestion", density.maxCoeff() <= part->max_density * (1 + 1e-12) ? 0.0 : infinity);
  if (convolution_) add("interaction", 0.5 * volume * density.dot(convolution_->apply(density)));
  return out;
}

Vector GridEnergy::first_variation(const ConstVectorRef& density) const {
  check_size("grid_energy", "density", density.size(), grid_->size());
  Vector out = potential_;
  if (const auto* part = energy_.entropy()) out.array() += (density.array().log() + 1) / part->beta;
  if (const auto* part = energy_.porous_medium()) {
    out.array() += part->coefficient * part->exponent / (part->exponent - 1) * density.array().pow(part->exponent - 1);
  }
  if (convolution_) out += convolution_->apply(density);
  // An obstacle stays one, whatever the limit of the internal energy.
  for (Index i = 0; i < out.size(); ++i) {
    if (potential_[i] == infinity) out[i] = infinity;
  }
  return out;
}

Matrix GridEnergy::parameter_variation(const ConstVectorRef& density) const {
  check_size("grid_energy", "density", density.size(), grid_->size());
  Matrix out = Matrix::Zero(density.size(), energy_.parameters().size());
  Index at = 0;
  if (const auto* part = energy_.potential()) {
    const Matrix derivative = part->potential->evaluate({0, 1}, grid_->points(), part->theta);
    out.leftCols(derivative.rows()) = derivative.transpose();
    at += derivative.rows();
  }
  if (const auto* part = energy_.entropy()) out.col(at++) = -(density.array().log() + 1) / (part->beta * part->beta);
  if (const auto* part = energy_.porous_medium()) out.col(at++) = part->exponent / (part->exponent - 1) * density.array().pow(part->exponent - 1);
  if (const auto* part = energy_.interaction()) {
    for (Index j = 0; j < part->theta.size(); ++j) out.col(at++) = Convolution(*grid_, *part->kernel, part->theta, {0, 1}, j).apply(density);
  }
  for (Index j = 0; j < out.cols(); ++j) {
    for (Index i = 0; i < out.rows(); ++i) {
      if (!std::isfinite(out(i, j)) || potential_[i] == infinity) out(i, j) = 0;
    }
  }
  return out;
}

double GridEnergy::slope(const ConstVectorRef& density) const {
  const Vector variation = first_variation(density);
  const bool degenerate = !energy_.entropy() && !(energy_.porous_medium() && energy_.porous_medium()->exponent < 1);
  double sum = 0;
  for_each_face(*grid_, [&](Index i, Index j, double width) {
    const double step = (variation[j] - variation[i]) / width;
    if (!std::isfinite(step)) return;
    // Without entropy the mean of the two sides is second order and lets a front's outer cell count.
    const double weight = degenerate ? 0.5 * (density[i] + density[j]) : logarithmic_mean(density[i], density[j]);
    sum += weight * step * step;
  });
  return std::sqrt(sum * grid_->cell_volume());
}

double fisher_information(const Grid& grid, const ConstVectorRef& density) {
  check_size("fisher_information", "density", density.size(), grid.size());
  const Vector root = density.cwiseSqrt();
  double sum = 0;
  for_each_face(grid, [&](Index i, Index j, double width) { sum += std::pow((root[j] - root[i]) / width, 2); });
  return 4 * sum * grid.cell_volume();
}

double entropy(const Grid& grid, const ConstVectorRef& density) {
  check_size("entropy", "density", density.size(), grid.size());
  double sum = 0;
  for (Index i = 0; i < density.size(); ++i) sum += density[i] > 0 ? density[i] * std::log(density[i]) : 0.0;
  return sum * grid.cell_volume();
}

}  // namespace jko
