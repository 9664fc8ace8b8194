#include "species_config.hpp"

#include "config_section.hpp"

#include <jko/io/atomic_file.hpp>

#include <cctype>
#include <set>

namespace jko::cli {
namespace {

/// The tables of [[key]].
std::vector<Section> tables(const std::string& file, const Section& top, const toml::table& root, const std::string& key) {
  std::vector<Section> out;
  const toml::node* node = root.get(key);
  if (!node) return out;
  if (!node->is_array_of_tables()) top.fail(node, fmt::format("'{0}' are tables of their own: [[{0}]]", key));
  for (const toml::node& entry : *node->as_array()) out.emplace_back(file, key, *entry.as_table());
  return out;
}

Species read_species(const Section& section) {
  section.allow({"name", "mass", "model", "energy", "initial"});
  Species out;
  const toml::node& name = section.need("name");
  out.name = section.text("name", name);
  // It names files.
  const auto plain = [](unsigned char c) { return std::isalnum(c) != 0 || c == '-' || c == '_'; };
  if (out.name.empty() || !std::all_of(out.name.begin(), out.name.end(), plain)) section.fail(&name, fmt::format("'name' is '{}', but must be of letters, digits, - and _", out.name));
  if (out.name == "total") section.fail(&name, "'name' must not be 'total', which is the sum's");
  if (const auto* node = section.find("mass")) out.mass = section.positive("mass", *node);
  const bool parts = section.find("energy") != nullptr;
  if (!section.find("model")) {
    if (parts) section.fail(section.find("energy"), "'energy' needs a 'model'");
    return out;
  }
  std::optional<Section> energy;
  if (parts) energy.emplace(section.child("energy"));
  const bool entropy = !energy || !energy->find("entropy") || energy->flag("entropy", *energy->find("entropy"));
  out.energy = read_energy(read_model(section.child("model"), entropy), energy ? &*energy : nullptr);
  return out;
}

}  // namespace

std::optional<SpeciesConfig> read_species_config(const std::filesystem::path& path) {
  SpeciesConfig out;
  out.text = read_file(path);
  const std::string file = path.string();
  toml::table root;
  try {
    root = toml::parse(out.text, file);
  } catch (const toml::parse_error& e) {
    throw ParseError(file, e.source().begin.line, e.source().begin.column, e.description());
  }
  if (!root.contains("species")) return std::nullopt;
  const Section top(file, "top level", root);
  top.allow({"species", "interaction", "total", "flow", "grid"});
  for (const char* key : {"flow", "grid"}) {
    if (!root[key].is_table()) throw ParseError(file, 1, 0, fmt::format("the table [{}] is missing", key));
  }
  const auto grid = std::make_shared<const Grid>(read_grid(Section(file, "grid", *root["grid"].as_table())));
  std::vector<std::string> names;
  for (const Section& section : tables(file, top, root, "species")) {
    out.energy.species.push_back(read_species(section));
    names.push_back(out.energy.species.back().name);
    out.start.push_back(read_density(section.child("initial"), grid, path.parent_path()));
    const int dimension = out.energy.species.back().energy.dimension();
    if (dimension != 0 && dimension != grid->dimension()) section.fail(section.find("model"), fmt::format("the model has dimension {}, but the box {}", dimension, grid->dimension()));
  }
  for (const Section& section : tables(file, top, root, "interaction")) {
    section.allow({"species", "potential", "parameters"});
    const toml::node& node = section.need("species");
    const toml::array* pair = node.as_array();
    if (!pair || pair->size() != 2) section.fail(&node, "'species' must be two names");
    const auto index = [&](std::size_t i) {
      const std::string name = section.text("species", *pair->get(i));
      const auto found = std::find(names.begin(), names.end(), name);
      if (found == names.end()) section.fail(pair->get(i), fmt::format("there is no species '{}'; the nearest is '{}'", name, nearest_name(name, names)));
      return static_cast<std::size_t>(found - names.begin());
    };
    const Model kernel = read_kernel(section, grid->dimension());
    out.energy.interactions.push_back({index(0), index(1), kernel.potential_ptr(), kernel.theta()});
  }
  if (root["total"].is_table()) {
    const Section total(file, "total", *root["total"].as_table());
    total.allow({"pressure", "congestion"});
    if (const auto* node = total.find("congestion")) out.energy.congestion = total.positive("congestion", *node);
    if (total.find("pressure")) {
      const Section pressure = total.child("pressure");
      pressure.allow({"coefficient", "exponent"});
      out.energy.pressure = FreeEnergy::PorousMediumPart{pressure.positive("coefficient", pressure.need("coefficient")), pressure.number("exponent", pressure.need("exponent"))};
    }
  }
  const Section flow(file, "flow", *root["flow"].as_table());
  flow.allow({"step", "h", "steps", "keep_every", "epsilon", "bias_target", "tolerance", "max_iterations", "interaction"});
  if (const auto* node = flow.find("step"); node && flow.text("step", *node) != "entropic") flow.fail(node, "several species take the entropic step only");
  out.flow.h = flow.positive("h", flow.need("h"));
  out.flow.steps = flow.count("steps", flow.need("steps"));
  if (const auto* node = flow.find("keep_every")) out.flow.keep_every = flow.count("keep_every", *node);
  if (const auto* node = flow.find("epsilon")) out.step.epsilon = flow.positive("epsilon", *node);
  if (const auto* node = flow.find("bias_target")) out.step.bias_target = flow.positive("bias_target", *node);
  if (const auto* node = flow.find("tolerance")) out.step.tolerance = flow.positive("tolerance", *node);
  if (const auto* node = flow.find("max_iterations")) out.step.max_iterations = flow.count("max_iterations", *node);
  if (const auto* node = flow.find("interaction")) {
    const std::string text = flow.text("interaction", *node);
    if (text != "implicit" && text != "semi-implicit") flow.fail(node, fmt::format("'interaction' is '{}', but must be implicit or semi-implicit", text));
    out.step.interaction = text == "implicit" ? InteractionScheme::implicit_outer : InteractionScheme::semi_implicit;
  }
  top.located(root.get("species"), [&] { return SpeciesStep(out.energy, out.step).report(); });  // refuses what it cannot take
  return out;
}

}  // namespace jko::cli
