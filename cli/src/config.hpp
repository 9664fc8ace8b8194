#pragma once
/// TOML configurations and command-line model descriptions.
#include <jko/flows/flow.hpp>
#include <jko/measures/gaussian.hpp>
#include <jko/measures/quantile_function.hpp>
#include <jko/models/diffusion.hpp>
#include <jko/models/model.hpp>
#include <jko/steps/back_and_forth_step.hpp>
#include <jko/steps/entropic_step.hpp>
#include <jko/steps/finite_volume_step.hpp>
#include <jko/steps/particle_step.hpp>

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <variant>

namespace jko::cli {

/// A [[claim]]: what the user's theory says of E phi(X) at the flow's final time.
struct Claim {
  std::string id, text, source, functional, reason;  ///< functional: phi, a formula in x; reason: of the tolerance
  bool at_most = false;                              ///< an upper bound, else an equality
  double value = 0;
  double tolerance = 0;                              ///< of the theory's side, > 0
};

/// A flow of densities on a grid.
struct GridFlow {
  enum class Scheme { jko, richardson };
  GridDensity start;
  std::variant<EntropicStepOptions, BackAndForthStepOptions, FiniteVolumeStepOptions> step;
  Scheme scheme = Scheme::jko;
};

struct Config {
  std::string text;                                  ///< the file, as read
  std::optional<Model> model;
  /// [diffusion] instead of [model]: the model is that of the Lamperti coordinate, the start is the law of X.
  std::optional<Diffusion> diffusion;
  std::pair<double, double> diffusion_range;         ///< of x
  FreeEnergy energy;                                 ///< of the model and [energy]
  bool obstacles = false;                            ///< the energy has some, of which the model knows nothing
  std::optional<std::pair<double, double>> convexity_on;  ///< where to bound kappa numerically
  std::variant<Gaussian, QuantileFunction, Particles> start;
  bool gaussian_step = false;
  bool affine_step = false;                          ///< the start is Particles
  std::optional<ParticleStepOptions> particles;      ///< for the particle step, whose start is Particles
  std::optional<GridFlow> grid;                      ///< instead of `start`, for the steps on grids
  FlowOptions flow;
  std::vector<Claim> claims;
  // [simulate]
  double dt = 0.1;
  Index observations = 100;
  int paths = 1;
  int snapshots = 0;                                 ///< points a time, each of a path of its own; 0: paths
  int substeps = 100;                                ///< Euler-Maruyama steps between two times
  Vector simulation_start;                           ///< [simulate] start; default: zero
};

/// Every error is a ParseError "file:line:column: ..."; unknown keys name the nearest known one.
[[nodiscard]] Config read_config(const std::filesystem::path& path);

/// A family by its name, its parameters set from `values` (all of them, beta included, unless a default is allowed).
[[nodiscard]] Model model_from(const PotentialPtr& potential, const std::map<std::string, double>& values, double missing);

/// "a=1,b=2" -> map; throws ParseError naming the option.
[[nodiscard]] std::map<std::string, double> assignments(std::string_view option, std::string_view text);

/// "name=lower:upper,..." with empty ends infinite.
[[nodiscard]] std::map<std::string, std::pair<double, double>> ranges(std::string_view option, std::string_view text);

}  // namespace jko::cli
