#include "config.hpp"

#include "config_section.hpp"

#include <jko/core/check.hpp>
#include <jko/energies/grid_energy.hpp>
#include <jko/io/atomic_file.hpp>
#include <jko/io/csv.hpp>
#include <jko/io/npy.hpp>
#include <jko/measures/bandwidth.hpp>
#include <jko/measures/convert.hpp>
#include <jko/models/families.hpp>
#include <jko/models/formula.hpp>
#include <jko/models/lamperti.hpp>
#include <jko/models/obstacles.hpp>
#include <jko/steps/affine_step.hpp>

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <limits>

namespace jko::cli {
namespace {

std::map<std::string, double> read_parameters(const Section& section, const std::vector<Parameter>& list) {
  const Section parameters = section.child("parameters");
  std::vector<std::string> names;
  for (const Parameter& p : list) names.push_back(p.name);
  parameters.allow(names);
  std::map<std::string, double> values;
  for (const auto& [key, node] : parameters.table()) values[std::string(key.str())] = parameters.number(key.str(), node);
  return values;
}

}  // namespace

Model read_kernel(const Section& section, int dimension) {
  const toml::node& text = section.need("potential");
  const PotentialPtr kernel = section.located(&text, [&] { return formula(section.text("potential", text), dimension); });
  std::map<std::string, double> values;
  if (kernel->parameter_count() > 0) values = read_parameters(section, kernel->parameters());
  return section.located(&text, [&] {
    const Model with_values = model_from(kernel, values, std::nan(""));
    // W must be even; a formula is tried at a few points.
    const Matrix x = Vector::LinSpaced(5, 0.1, 2.3).transpose().replicate(dimension, 1);
    const Matrix right = kernel->evaluate({0, 0}, x, with_values.theta()), left = kernel->evaluate({0, 0}, -x, with_values.theta());
    if (!((right - left).cwiseAbs().maxCoeff() <= 1e-9 * (1 + right.cwiseAbs().maxCoeff()))) throw DomainError("the interaction kernel must be even: W(-x) = W(x)");
    return with_values;
  });
}

FreeEnergy read_energy(const Model& model, const Section* section) {
  const bool entropy = !section || !section->find("entropy") || section->flag("entropy", *section->find("entropy"));
  FreeEnergy energy;
  PotentialPtr psi = model.potential_ptr();
  if (section && section->find("obstacle")) {
    std::vector<PotentialPtr> regions;
    const auto add = [&](const toml::node& node) {
      section->located(&node, [&] { regions.push_back(formula(section->text("obstacle", node), model.dimension())); return 0; });
    };
    const toml::node& node = *section->find("obstacle");
    if (const toml::array* list = node.as_array()) {
      for (const toml::node& n : *list) add(n);
    } else {
      add(node);
    }
    section->located(&node, [&] { psi = with_obstacles(psi, regions); return 0; });
  }
  energy.add_potential(psi, model.theta());
  if (entropy) energy.add_entropy(model.beta());
  if (!section) return energy;
  section->allow({"entropy", "porous_medium", "congestion", "interaction", "obstacle"});
  if (const auto* node = section->find("congestion")) energy.add_congestion(section->positive("congestion", *node));
  if (const auto* node = section->find("porous_medium")) {
    const Section porous = section->child("porous_medium");
    porous.allow({"coefficient", "exponent"});
    const double c = porous.positive("coefficient", porous.need("coefficient")), m = porous.number("exponent", porous.need("exponent"));
    section->located(node, [&] { energy.add_porous_medium(c, m); return 0; });
  }
  if (section->find("interaction")) {
    const Section interaction = section->child("interaction");
    interaction.allow({"potential", "parameters"});
    const Model kernel = read_kernel(interaction, model.dimension());
    energy.add_interaction(kernel.potential_ptr(), kernel.theta());
  }
  return energy;
}

namespace {

/// mean and covariance of a `gaussian = {...}`.
Gaussian read_gaussian(const Section& initial, const toml::node* node, int dimension) {
  const Section gaussian = initial.child("gaussian");
  gaussian.allow({"mean", "covariance"});
  const Vector mean = gaussian.vector("mean", gaussian.need("mean"));
  Matrix covariance(mean.size(), mean.size());
  const toml::array* rows = gaussian.need("covariance").as_array();
  if (!rows || static_cast<Index>(rows->size()) != mean.size()) gaussian.fail(&gaussian.need("covariance"), "'covariance' must have a row for each entry of the mean");
  for (std::size_t i = 0; i < rows->size(); ++i) {
    const Vector row = gaussian.vector("covariance", *rows->get(i));
    if (row.size() != mean.size()) gaussian.fail(rows->get(i), "'covariance' must be square");
    covariance.row(static_cast<Index>(i)) = row.transpose();
  }
  const Gaussian start = gaussian.located(node, [&] { return Gaussian(mean, covariance); });
  if (start.dimension() != dimension) gaussian.fail(node, fmt::format("the start has dimension {}, but the model {}", start.dimension(), dimension));
  return start;
}

}  // namespace

Grid read_grid(const Section& section) {
  section.allow({"lower", "upper", "cells", "boundary"});
  Grid grid;
  grid.lower = section.vector("lower", section.need("lower"));
  grid.upper = section.vector("upper", section.need("upper"));
  const toml::node& cells = section.need("cells");
  if (const toml::array* array = cells.as_array()) {
    for (const toml::node& n : *array) grid.cells.push_back(section.count("cells", n));
  } else {
    grid.cells.push_back(section.count("cells", cells));
  }
  if (const auto* node = section.find("boundary")) {
    const std::string text = section.text("boundary", *node);
    if (text != "no-flux" && text != "periodic") section.fail(node, fmt::format("'boundary' is '{}', but must be no-flux or periodic", text));
    grid.boundary = text == "periodic" ? Boundary::periodic : Boundary::no_flux;
  }
  section.located(nullptr, [&] { grid.validate(); return 0; });
  return grid;
}

GridDensity read_density(const Section& initial, const std::shared_ptr<const Grid>& shared, const std::filesystem::path& folder) {
  const Grid& grid = *shared;
  const int dimension = grid.dimension();
  initial.allow({"gaussian", "density", "formula"});
  if (const auto* node = initial.find("gaussian")) {
    const Gaussian start = read_gaussian(initial, node, dimension);
    return initial.located(node, [&] { return GridDensity::gaussian(shared, start.mean(), start.covariance()); });
  }
  if (const auto* written = initial.find("formula")) {
    const PotentialPtr density = initial.located(written, [&] { return formula(initial.text("formula", *written), dimension); });
    if (density->parameter_count() > 0) initial.fail(written, fmt::format("the formula has a free name '{}'", density->parameters().front().name));
    return initial.located(written, [&] {
      return GridDensity::from_density(shared, [&](const ConstMatrixRef& x) { return Vector(density->evaluate({0, 0}, x, Vector()).row(0).transpose()); });
    });
  }
  const toml::node& file = initial.need("density");
  const Matrix values = initial.located(&file, [&] { return read_npy(folder / initial.text("density", file)); });
  // Rows run over the last axes, columns over the first: C order with axis 1 fastest, as jko flow writes it.
  const bool fits = dimension == 1 ? values.size() == grid.size() : values.cols() == grid.cells[0] && values.rows() * values.cols() == grid.size();
  if (!fits) initial.fail(&file, fmt::format("the array has shape {} x {}, which does not fit the cells", values.rows(), values.cols()));
  return initial.located(&file, [&] {
    const double mass = values.sum() * grid.cell_volume();
    if (!(std::abs(mass - 1) <= 1e-6)) throw DomainError(fmt::format("the density has mass {:.9g}, but must have mass 1 to 1e-6", mass));
    const Matrix transposed = values.transpose();
    return GridDensity(shared, transposed.reshaped() / mass);
  });
}

namespace {

/// Box, start and options of a flow on a grid.
GridFlow read_grid_flow(const Section& flow, const Section& initial, const Section& section, const FreeEnergy& energy, const std::string& name, const std::filesystem::path& folder) {
  GridFlow out;
  const int dimension = energy.dimension();
  const Grid grid = read_grid(section);
  if (grid.dimension() != dimension) section.fail(nullptr, fmt::format("the box has dimension {}, but the model {}", grid.dimension(), dimension));
  const auto read_solver = [&](auto& step) {
    if (const auto* n = flow.find("tolerance")) step.tolerance = flow.positive("tolerance", *n);
    if (const auto* n = flow.find("max_iterations")) step.max_iterations = flow.count("max_iterations", *n);
  };
  double bytes = 300, memory_limit = 0;
  if (name == "finite_volume") {
    FiniteVolumeStepOptions step;
    read_solver(step);
    // About fifty fields and, in one and two dimensions, sparse factors, whose fill grows with the logarithm of the cells: 2.0 kB a cell measured at 256^2.
    bytes = dimension == 3 ? 400 : 2500, memory_limit = 16;
    flow.located(flow.find("step"), [&] { return FiniteVolumeStep(energy, step).report(); });  // refuses the energies it cannot take
    out.step = step;
  } else if (name == "back_and_forth") {
    BackAndForthStepOptions step;
    read_solver(step);
    bytes = BackAndForthStep::bytes_per_cell(dimension), memory_limit = step.memory_limit;
    if (grid.boundary == Boundary::periodic) section.fail(section.find("boundary"), "the back-and-forth step needs no-flux walls; the entropic step takes periodic boxes");
    flow.located(flow.find("step"), [&] { return BackAndForthStep(energy, step).options(); });  // refuses the energies it cannot take
    out.step = step;
  } else {
    EntropicStepOptions step;
    if (const auto* n = flow.find("epsilon")) step.epsilon = flow.positive("epsilon", *n);
    if (const auto* n = flow.find("bias_target")) step.bias_target = flow.positive("bias_target", *n);
    read_solver(step);
    if (const auto* n = flow.find("interaction")) {
      const std::string text = flow.text("interaction", *n);
      if (text != "implicit" && text != "semi-implicit") flow.fail(n, fmt::format("'interaction' is '{}', but must be implicit or semi-implicit", text));
      step.interaction = text == "implicit" ? InteractionScheme::implicit_outer : InteractionScheme::semi_implicit;
    }
    if (const auto* n = flow.find("certificate")) {
      const std::string text = flow.text("certificate", *n);
      if (text != "none" && text != "dual") flow.fail(n, fmt::format("'certificate' is '{}', but must be none or dual", text));
      step.certificate = text == "dual" ? EntropicCertificate::dual_bounds : EntropicCertificate::none;
    }
    memory_limit = step.memory_limit;
    out.step = step;
  }
  const double gib = bytes * static_cast<double>(grid.size()) / std::ldexp(1.0, 30);
  if (gib > memory_limit) {
    section.fail(section.find("cells"), fmt::format("{:.3g} cells would take about {:.0f} GiB, but at most {:g} are allowed", static_cast<double>(grid.size()), gib, memory_limit));
  }
  const auto shared = std::make_shared<const Grid>(grid);
  out.start = read_density(initial, shared, folder);
  if (name == "finite_volume" && energy.potential()) {
    // Mass flows between neighbours here: what lies on an obstacle could never leave it.
    const Vector psi = initial.located(nullptr, [&] { return GridEnergy(energy, shared).potential(); });
    const Vector kept = (psi.array() < std::numeric_limits<double>::infinity()).select(out.start.values(), 0.0);
    const double mass = kept.sum() * grid.cell_volume();
    if (!(mass > 0)) initial.fail(nullptr, "the whole start lies on obstacles");
    if (mass < out.start.mass()) {
      fmt::print(stderr, "jko: {:.2g} of the start's mass lay on obstacles: left out, and the rest scaled to mass 1\n", 1 - mass);
      out.start = out.start.with_coordinates(kept / mass);
    }
  }
  return out;
}

/// The particles of a CSV with columns x (or x1, ..., xd) and, if they differ, weight (scaled to sum 1 where they do to 1e-6).
Particles read_particles(const std::filesystem::path& csv, int dimension) {
  const CsvTable table = read_csv(csv);
  Matrix points(dimension, table.values.rows());
  for (int k = 0; k < dimension; ++k) points.row(k) = table.values.col(table.column(dimension == 1 ? "x" : fmt::format("x{}", k + 1))).transpose();
  if (!table.has("weight")) return Particles(points);
  const Vector weights = table.values.col(table.column("weight"));
  if (!(std::abs(weights.sum() - 1) <= 1e-6)) throw ParseError(table.source, 0, 0, fmt::format("the weights sum to {:.9g}, but must sum to 1 to 1e-6", weights.sum()));
  return {points, weights / weights.sum()};
}

/// Start and options of a flow of particles: [initial] particles = "file.csv", or gaussian with [particles] count and seed.
void read_particle_flow(const Section& initial, const Section* section, bool affine, const std::filesystem::path& folder, Config& config) {
  const int d = config.model->dimension();
  ParticleStepOptions options;
  if (section && affine) section->allow({"count", "seed"});
  else if (section) section->allow({"entropy", "bandwidth", "neighbour", "tolerance", "count", "seed"});
  const auto find = [&](std::string_view key) { return section ? section->find(key) : nullptr; };
  initial.allow({"particles", "gaussian"});
  if (const auto* node = initial.find("particles")) {
    for (const char* key : {"count", "seed"}) {
      if (find(key)) section->fail(find(key), fmt::format("'{}' is for a gaussian start", key));
    }
    config.start = initial.located(node, [&] { return read_particles(folder / initial.text("particles", *node), d); });
  } else {
    const Gaussian law = read_gaussian(initial, &initial.need("gaussian"), d);
    const int count = find("count") ? section->count("count", *find("count")) : 1000, seed = find("seed") ? section->count("seed", *find("seed")) : 1;
    config.start = sample(law, count, static_cast<std::uint64_t>(seed));
  }
  config.affine_step = affine;
  if (affine) return;
  if (const auto* node = find("entropy")) options.energy.entropy = section->located(node, [&] { return particle_entropy_from_name(section->text("entropy", *node)); });
  if (const auto* node = find("neighbour")) options.energy.neighbour = section->count("neighbour", *node);
  if (const auto* node = find("tolerance")) options.tolerance = section->positive("tolerance", *node);
  const bool blob = options.energy.entropy == ParticleEntropy::blob;
  const Particles& start = std::get<Particles>(config.start);
  const auto* node = find("bandwidth");
  if (node && !blob) section->fail(node, "'bandwidth' is for the blob entropy");
  if (node && node->is_string()) {
    const std::string rule = section->text("bandwidth", *node);
    options.energy.bandwidth = section->located(node, [&] {
      if (rule == "silverman") return silverman_bandwidth(start);
      if (rule == "scott") return scott_bandwidth(start);
      if (rule == "sheather-jones") return sheather_jones_bandwidth(start);
      throw DomainError(fmt::format("'bandwidth' is '{}', but must be a number, silverman, scott or sheather-jones", rule));
    });
  } else if (node) {
    options.energy.bandwidth = section->positive("bandwidth", *node);
  } else if (blob && config.energy.entropy()) {
    options.energy.bandwidth = initial.located(nullptr, [&] { return silverman_bandwidth(start); });
  }
  config.particles = options;
}

}  // namespace

Model read_model(const Section& section, bool entropy) {
  section.allow({"family", "potential", "dimension", "parameters", "beta", "convexity_on"});
  const int dimension = section.find("dimension") ? section.count("dimension", *section.find("dimension")) : 1;
  const bool written = section.find("potential") != nullptr;
  if (written && section.find("family")) section.fail(section.find("family"), "'family' and 'potential' exclude each other");
  const toml::node& name = section.need(written ? "potential" : "family");
  const PotentialPtr potential = section.located(&name, [&] {
    return written ? formula(section.text("potential", name), dimension) : family(section.text("family", name), dimension);
  });
  std::map<std::string, double> values;
  if (potential->parameter_count() > 0) values = read_parameters(section, potential->parameters());
  values["beta"] = entropy || section.find("beta") ? section.positive("beta", section.need("beta")) : 1.0;
  return section.located(section.find("parameters"), [&] { return model_from(potential, values, std::nan("")); });
}

namespace {

/// [diffusion]: family = "cir", or drift and diffusion as formulas, with parameters and the range of x that the flow may visit.
void read_diffusion(const Section& section, Config& config) {
  section.allow({"family", "drift", "diffusion", "parameters", "range"});
  const toml::node* name = section.find("family");
  if (name && (section.find("drift") || section.find("diffusion"))) section.fail(name, "'family' excludes 'drift' and 'diffusion'");
  const DiffusionPtr family = section.located(name, [&] {
    return name ? diffusion_family(section.text("family", *name)) : diffusion_formula(section.text("drift", section.need("drift")), section.text("diffusion", section.need("diffusion")));
  });
  std::map<std::string, double> values;
  if (family->parameter_count() > 0) values = read_parameters(section, family->parameters());
  const toml::node& range = section.need("range");
  const Vector ends = section.vector("range", range);
  if (ends.size() != 2) section.fail(&range, "'range' must be [lower, upper]");
  config.diffusion_range = {ends[0], ends[1]};
  section.located(section.find("parameters"), [&] {
    Vector theta(family->parameter_count());
    for (Index i = 0; i < theta.size(); ++i) {
      const std::string& parameter = family->parameters()[static_cast<std::size_t>(i)].name;
      if (!values.contains(parameter)) throw DomainError(fmt::format("parameter '{}' has no value", parameter));
      theta[i] = values[parameter];
    }
    config.diffusion.emplace(family, theta);
    return 0;
  });
  config.model = section.located(&range, [&] { return Lamperti(*config.diffusion, ends[0], ends[1]).model(); });
}

}  // namespace

namespace {

/// Calls f(name, text after '=') for each item of "name=...,name=...".
template <class F>
void for_each_item(std::string_view option, std::string_view text, std::string_view form, const F& f) {
  while (!text.empty()) {
    const std::size_t comma = text.find(',');
    const std::string_view item = text.substr(0, comma);
    const std::size_t equals = item.find('=');
    if (equals == std::string_view::npos || equals == 0 || !f(std::string(item.substr(0, equals)), item.substr(equals + 1))) {
      throw ParseError(option, 0, 0, fmt::format("'{}' must read {}", item, form));
    }
    text = comma == std::string_view::npos ? std::string_view{} : text.substr(comma + 1);
  }
}

std::optional<double> parse_number(std::string_view text) {
  double value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (parsed.ec != std::errc{} || parsed.ptr != text.data() + text.size() || !std::isfinite(value)) return std::nullopt;
  return value;
}

}  // namespace

std::map<std::string, double> assignments(std::string_view option, std::string_view text) {
  std::map<std::string, double> out;
  for_each_item(option, text, "name=number", [&](const std::string& name, std::string_view value) {
    const auto parsed = parse_number(value);
    if (parsed) out[name] = *parsed;
    return parsed.has_value();
  });
  return out;
}

std::map<std::string, std::pair<double, double>> ranges(std::string_view option, std::string_view text) {
  std::map<std::string, std::pair<double, double>> out;
  for_each_item(option, text, "name=lower:upper", [&](const std::string& name, std::string_view value) {
    const std::size_t colon = value.find(':');
    if (colon == std::string_view::npos) return false;
    std::pair<double, double> range{-std::numeric_limits<double>::infinity(), std::numeric_limits<double>::infinity()};
    for (const bool upper : {false, true}) {
      const std::string_view end = upper ? value.substr(colon + 1) : value.substr(0, colon);
      if (end.empty()) continue;
      const auto parsed = parse_number(end);
      if (!parsed) return false;
      (upper ? range.second : range.first) = *parsed;
    }
    out[name] = range;
    return range.first <= range.second;
  });
  return out;
}

Model model_from(const PotentialPtr& potential, const std::map<std::string, double>& values, double missing) {
  Vector theta(potential->parameter_count());
  std::vector<std::string> names;
  for (Index i = 0; i < theta.size(); ++i) {
    const std::string& name = potential->parameters()[static_cast<std::size_t>(i)].name;
    names.push_back(name);
    const auto found = values.find(name);
    theta[i] = found != values.end() ? found->second : missing;
    if (std::isnan(theta[i])) throw DomainError(fmt::format("parameter '{}' has no value", name));
  }
  names.emplace_back("beta");
  for (const auto& [name, value] : values) {
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      throw DomainError(fmt::format("unknown parameter '{}'; the nearest is '{}'", name, nearest_name(name, names)));
    }
  }
  const auto beta = values.find("beta");
  return {potential, theta, beta != values.end() ? beta->second : (std::isnan(missing) ? 1.0 : missing)};
}

Config read_config(const std::filesystem::path& path) {
  Config config;
  config.text = read_file(path);
  const std::string file = path.string();
  toml::table root;
  try {
    root = toml::parse(config.text, file);
  } catch (const toml::parse_error& e) {
    throw ParseError(file, e.source().begin.line, e.source().begin.column, e.description());
  }
  const Section top(file, "top level", root);
  top.allow({"model", "diffusion", "energy", "initial", "flow", "grid", "particles", "simulate", "claim"});
  const bool transformed = root["diffusion"].is_table();
  for (const char* key : {"simulate", "claim"}) {
    if (const toml::node* node = root.get(key); node && transformed) top.fail(node, fmt::format("[{}] does not go with [diffusion]", key));
  }
  if (transformed == root["model"].is_table()) throw ParseError(file, 1, 0, transformed ? "[model] and [diffusion] exclude each other" : "the table [model] is missing (or [diffusion])");
  const Section model(file, transformed ? "diffusion" : "model", *root[transformed ? "diffusion" : "model"].as_table());
  std::optional<Section> energy;
  if (root["energy"].is_table()) energy.emplace(file, "energy", *root["energy"].as_table());
  const bool entropy = !energy || !energy->find("entropy") || energy->flag("entropy", *energy->find("entropy"));
  if (transformed) {
    if (energy) energy->fail(nullptr, "[energy] does not go with [diffusion]");
    read_diffusion(model, config);
  } else {
    config.model = read_model(model, entropy);
  }
  config.energy = read_energy(*config.model, energy ? &*energy : nullptr);
  config.obstacles = energy && energy->find("obstacle");
  if (const auto* node = model.find("convexity_on")) {
    const Vector window = model.vector("convexity_on", *node);
    if (window.size() != 2 || !(window[0] < window[1]) || config.model->dimension() != 1) model.fail(node, "'convexity_on' must be [lower, upper], in one dimension");
    config.convexity_on = {window[0], window[1]};
  }

  if (root["flow"].is_table()) {
    const Section flow(file, "flow", *root["flow"].as_table());
    flow.allow({"step", "scheme", "h", "steps", "keep_every", "adaptive", "epsilon", "bias_target", "tolerance", "max_iterations", "interaction", "certificate"});
    const toml::node& step = flow.need("step");
    const std::string name = flow.text("step", step);
    const bool entropic = name == "entropic", finite_volume = name == "finite_volume", on_grid = entropic || finite_volume || name == "back_and_forth";
    const bool affine = name == "affine", labelled = affine || name == "particles";
    if (name != "gaussian" && name != "quantile" && !on_grid && !labelled) {
      flow.fail(&step, fmt::format("'step' is '{}', but must be gaussian, quantile, entropic, back_and_forth, finite_volume, particles or affine", name));
    }
    for (const char* key : {"epsilon", "bias_target", "interaction", "certificate"}) {
      if (flow.find(key) && !entropic) flow.fail(flow.find(key), fmt::format("'{}' is an option of the entropic step", key));
    }
    for (const char* key : {"tolerance", "max_iterations"}) {
      if (flow.find(key) && !on_grid) flow.fail(flow.find(key), fmt::format("'{}' is an option of the steps on grids", key));
    }
    if (config.obstacles && !entropic && !finite_volume) {
      energy->fail(energy->find("obstacle"), fmt::format("the {} step takes no obstacles; the entropic and the finite_volume step do", name));
    }
    if (transformed && name != "quantile") flow.fail(&step, fmt::format("'step' is '{}', but a [diffusion] needs quantile", name));
    config.gaussian_step = name == "gaussian";
    config.flow.h = flow.positive("h", flow.need("h"));
    config.flow.steps = flow.count("steps", flow.need("steps"));
    const bool extrapolated = on_grid && flow.find("scheme") && flow.text("scheme", *flow.find("scheme")) == "richardson";
    if (const auto* node = flow.find("scheme"); node && !extrapolated) config.flow.scheme = flow.located(node, [&] { return scheme_from_name(flow.text("scheme", *node)); });
    if (const auto* node = flow.find("keep_every")) config.flow.keep_every = flow.count("keep_every", *node);
    if (const auto* node = flow.find("adaptive")) {
      const Section adaptive = flow.child("adaptive");
      adaptive.allow({"tolerance", "h_min", "h_max"});
      AdaptiveOptions options;
      options.tolerance = adaptive.positive("tolerance", adaptive.need("tolerance"));
      if (const auto* n = adaptive.find("h_min")) options.h_min = adaptive.positive("h_min", *n);
      if (const auto* n = adaptive.find("h_max")) options.h_max = adaptive.positive("h_max", *n);
      config.flow.adaptive = options;
      flow.located(node, [&] { config.flow.validate(); return 0; });
    }

    if (!root["initial"].is_table()) throw ParseError(file, 1, 0, "the table [initial] is missing");
    const Section initial(file, "initial", *root["initial"].as_table());
    initial.allow({"gaussian", "density", "quantiles", "formula", "particles"});
    Index cells = 1000;
    std::optional<double> lower, upper;
    if (root["grid"].is_table() && !on_grid) {
      const Section grid(file, "grid", *root["grid"].as_table());
      grid.allow({"lower", "upper", "cells"});
      if (const auto* n = grid.find("cells")) {
        const toml::array* array = n->as_array();
        cells = grid.count("cells", array && array->size() == 1 ? *array->get(0) : *n);
      }
      if (const auto* n = grid.find("lower")) lower = grid.vector("lower", *n)[0];
      if (const auto* n = grid.find("upper")) upper = grid.vector("upper", *n)[0];
    }
    if (on_grid) {
      if (!root["grid"].is_table()) throw ParseError(file, 1, 0, "the table [grid] is missing");
      flow.located(flow.find("scheme"), [&] {
        if (finite_volume && config.flow.scheme != Scheme::jko) throw DomainError("the finite_volume step allows the schemes jko and richardson only");
        if (extrapolated && config.flow.adaptive) throw DomainError("the scheme richardson allows fixed steps only");
        return 0;
      });
      config.grid = read_grid_flow(flow, initial, Section(file, "grid", *root["grid"].as_table()), config.energy, name, path.parent_path());
      if (extrapolated) {
        config.grid->scheme = GridFlow::Scheme::richardson;
        if (entropic && std::get<EntropicStepOptions>(config.grid->step).certificate != EntropicCertificate::none) flow.fail(flow.find("certificate"), "an extrapolated density minimises nothing: it has no certificate");
      }
    } else if (labelled) {
      std::optional<Section> particles;
      if (root["particles"].is_table()) particles.emplace(file, "particles", *root["particles"].as_table());
      read_particle_flow(initial, particles ? &*particles : nullptr, affine, path.parent_path(), config);
      if (affine) flow.located(&step, [&] { return AffineStep(config.energy).centre(); });  // refuses the energies it cannot take
    } else if (const auto* node = initial.find("gaussian")) {
      const Gaussian start = read_gaussian(initial, node, config.model->dimension());
      const Vector& mean = start.mean();
      const Matrix& covariance = start.covariance();
      if (config.gaussian_step) {
        config.start = start;
      } else {
        if (start.dimension() != 1) initial.fail(node, "the quantile step needs dimension 1");
        const double deviation = std::sqrt(covariance(0, 0));
        const double a = lower.value_or(mean[0] - 8 * deviation), b = upper.value_or(mean[0] + 8 * deviation);
        const auto tail = [](double z) { return 0.5 * std::erfc(z / std::sqrt(2.0)); };
        config.start = initial.located(node, [&] {
          return QuantileFunction::from_cdf([&](double x) { return tail((mean[0] - x) / deviation); },
                                            [&](double x) { return tail((x - mean[0]) / deviation); }, a, b, cells);
        });
      }
    } else if (const auto* quantiles = initial.find("quantiles")) {
      if (config.gaussian_step) initial.fail(quantiles, "the gaussian step needs a gaussian start");
      const auto csv = path.parent_path() / initial.text("quantiles", *quantiles);
      const CsvTable table = read_csv(csv);
      const Vector p = table.values.col(table.column("probability")), x = table.values.col(table.column("x"));
      if (p.size() < 3 || p[0] != 0 || p[p.size() - 1] != 1) throw ParseError(table.source, 0, 0, "column probability must run from 0 to 1, over at least three rows");
      config.start = initial.located(quantiles, [&] {
        check_increasing(table.source, "column probability", p);
        check_increasing(table.source, "column x", x);
        return QuantileFunction(std::make_shared<const Vector>(p.tail(p.size() - 1) - p.head(p.size() - 1)), x);
      });
    } else {
      const toml::node& density = initial.need("density");
      if (config.gaussian_step) initial.fail(&density, "the gaussian step needs a gaussian start");
      const auto csv = path.parent_path() / initial.text("density", density);
      const CsvTable table = read_csv(csv);
      const Vector x = table.values.col(table.column("x")), rho = table.values.col(table.column("density"));
      if (x.size() < 3) throw ParseError(table.source, 0, 0, "a density needs at least three points");
      initial.located(&density, [&] { check_increasing(table.source, "column x", x); return 0; });
      double mass = 0;
      for (Index i = 1; i < x.size(); ++i) mass += 0.5 * (rho[i] + rho[i - 1]) * (x[i] - x[i - 1]);
      if (!(std::abs(mass - 1) <= 1e-6)) throw ParseError(table.source, 0, 0, fmt::format("the density has mass {:.9g}, but must have mass 1 to 1e-6", mass));
      const auto at = [&](double z) {
        const Index i = std::clamp<Index>(std::upper_bound(x.data(), x.data() + x.size(), z) - x.data(), 1, x.size() - 1);
        const double t = (z - x[i - 1]) / (x[i] - x[i - 1]);
        return (1 - t) * rho[i - 1] + t * rho[i];
      };
      config.start = initial.located(&density, [&] { return QuantileFunction::from_density(at, x[0], x[x.size() - 1], cells); });
    }
  }

  if (const toml::node* node = root.get("claim")) {
    if (!node->is_array_of_tables()) top.fail(node, "claims are tables of their own: [[claim]]");
    for (const toml::node& entry : *node->as_array()) {
      const Section claim(file, "claim", *entry.as_table());
      claim.allow({"id", "text", "source", "functional", "equals", "at_most", "tolerance", "reason"});
      const toml::node *equals = claim.find("equals"), *at_most = claim.find("at_most");
      if (!equals == !at_most) claim.fail(nullptr, "give either 'equals' or 'at_most'");
      const auto text = [&](const char* key) { return claim.text(key, claim.need(key)); };
      config.claims.push_back({text("id"), text("text"), text("source"), text("functional"), text("reason"), at_most != nullptr,
                               claim.number(at_most ? "at_most" : "equals", at_most ? *at_most : *equals), claim.positive("tolerance", claim.need("tolerance"))});
      claim.located(claim.find("functional"), [&] {
        const auto phi = formula(config.claims.back().functional);
        if (phi->parameter_count() > 0) throw DomainError(fmt::format("'functional' may contain x only, not '{}'", phi->parameters().front().name));
        return 0;
      });
    }
  }

  if (root["simulate"].is_table()) {
    const Section simulate(file, "simulate", *root["simulate"].as_table());
    if (config.obstacles) simulate.fail(nullptr, "the simulation of paths takes no obstacles: remove 'obstacle' from [energy]");
    simulate.allow({"dt", "n", "paths", "snapshots", "substeps", "start"});
    config.dt = simulate.positive("dt", simulate.need("dt"));
    config.observations = simulate.count("n", simulate.need("n"));
    if (const auto* node = simulate.find("paths")) config.paths = simulate.count("paths", *node);
    if (const auto* node = simulate.find("snapshots")) {
      if (simulate.find("paths")) simulate.fail(node, "'paths' and 'snapshots' exclude each other");
      config.snapshots = simulate.count("snapshots", *node);
    }
    if (const auto* node = simulate.find("substeps")) config.substeps = simulate.count("substeps", *node);
    config.simulation_start = Vector::Zero(config.model->dimension());
    if (const auto* node = simulate.find("start")) {
      config.simulation_start = simulate.vector("start", *node);
      if (config.simulation_start.size() != config.model->dimension()) simulate.fail(node, "'start' must have the model's dimension");
    }
  }
  return config;
}

}  // namespace jko::cli
