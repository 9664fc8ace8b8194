#pragma once
/// What every limit law of a one-dimensional statistical JKO flow needs: the model at the true parameters, the start, and a finite-volume grid.
#include <jko/models/model.hpp>

#include <functional>
#include <vector>

namespace jko::analysis {

/// phi(x) of a linear functional <phi, rho> = int phi rho dx.
using Functional = std::function<double(double)>;

/// Everything is discretised as in reference/fokker_planck.hpp (second order in the cell width) and sdirk2 (second order in the time step).
struct LimitCase {
  Model model;                            ///< at the true parameters; dimension 1
  std::function<double(double)> start;    ///< density of rho_0, need not be normalised; finite, >= 0, positive somewhere
  double lower, upper;                    ///< the box; no-flux walls
  Index cells = 400;                      ///< >= 3
  double t = 1;                           ///< time, > 0
  int steps = 100;                        ///< time steps to t, >= 1
  void validate() const;                  ///< throws DomainError naming the field

  /// The same with twice the cells and time steps: a third of the difference is the finer one's error where both are in the asymptotic range.
  [[nodiscard]] LimitCase refined() const;
};

}  // namespace jko::analysis
