#pragma once
/// Reading the tables of a TOML configuration.
#include <jko/core/error.hpp>
#include <jko/core/nearest.hpp>
#include <jko/energies/free_energy.hpp>
#include <jko/measures/grid_density.hpp>

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

namespace jko::cli {

/// A table of the file, with errors that know where they are.
class Section {
 public:
  Section(const std::string& file, std::string name, const toml::table& table) : file_(file), name_(std::move(name)), table_(table) {}

  [[noreturn]] void fail(const toml::node* node, std::string_view message) const {
    const auto& at = (node ? node->source() : table_.source()).begin;
    throw ParseError(file_, at.line, at.column, fmt::format("[{}] {}", name_, message));
  }
  void allow(const std::vector<std::string>& keys) const {
    for (const auto& [key, node] : table_) {
      const std::string text(key.str());
      if (std::find(keys.begin(), keys.end(), text) == keys.end()) {
        fail(&node, fmt::format("unknown key '{}'; the nearest known key is '{}'", text, nearest_name(text, keys)));
      }
    }
  }
  [[nodiscard]] const toml::node* find(std::string_view key) const { return table_.get(key); }
  [[nodiscard]] const toml::node& need(std::string_view key) const {
    if (const toml::node* node = find(key)) return *node;
    fail(nullptr, fmt::format("'{}' is missing", key));
  }
  [[nodiscard]] double number(std::string_view key, const toml::node& node) const {
    const auto value = node.value<double>();
    if (!value) fail(&node, fmt::format("'{}' must be a number", key));
    if (!std::isfinite(*value)) fail(&node, fmt::format("'{}' is {}, but must be finite", key, *value));
    return *value;
  }
  [[nodiscard]] double positive(std::string_view key, const toml::node& node) const {
    const double value = number(key, node);
    if (!(value > 0)) fail(&node, fmt::format("'{}' is {}, but must be positive", key, value));
    return value;
  }
  [[nodiscard]] int count(std::string_view key, const toml::node& node) const {
    const auto value = node.value_exact<std::int64_t>();
    if (!value || *value < 1 || *value > 100000000) fail(&node, fmt::format("'{}' must be a whole number from 1 to 1e8", key));
    return static_cast<int>(*value);
  }
  [[nodiscard]] bool flag(std::string_view key, const toml::node& node) const {
    const auto value = node.value_exact<bool>();
    if (!value) fail(&node, fmt::format("'{}' must be true or false", key));
    return *value;
  }
  [[nodiscard]] std::string text(std::string_view key, const toml::node& node) const {
    const auto value = node.value<std::string>();
    if (!value) fail(&node, fmt::format("'{}' must be a text", key));
    return *value;
  }
  [[nodiscard]] Vector vector(std::string_view key, const toml::node& node) const {
    const toml::array* array = node.as_array();
    if (!array) return Vector::Constant(1, number(key, node));
    Vector out(static_cast<Index>(array->size()));
    for (std::size_t i = 0; i < array->size(); ++i) out[static_cast<Index>(i)] = number(key, *array->get(i));
    return out;
  }
  [[nodiscard]] Section child(std::string_view key) const {
    const toml::node& node = need(key);
    if (!node.is_table()) fail(&node, fmt::format("'{}' must be a table", key));
    return {file_, name_ + "." + std::string(key), *node.as_table()};
  }
  [[nodiscard]] const toml::table& table() const { return table_; }
  /// Runs f and gives its errors the position of the node.
  template <class F>
  auto located(const toml::node* node, F&& f) const {
    try {
      return f();
    } catch (const Error& e) {
      fail(node, e.what());
    }
  }

 private:
  const std::string& file_;
  std::string name_;
  const toml::table& table_;
};

/// A model from family or potential, dimension, parameters and beta, which may be missing where there is no entropy.
[[nodiscard]] Model read_model(const Section& section, bool entropy);
/// The model's energy with the parts of [energy], which may be missing.
[[nodiscard]] FreeEnergy read_energy(const Model& model, const Section* section);
/// An even kernel from potential and parameters.
[[nodiscard]] Model read_kernel(const Section& section, int dimension);
/// [grid] of a flow of densities.
[[nodiscard]] Grid read_grid(const Section& section);
/// gaussian, formula or density (NPY, relative to the folder) of `initial`, whose other keys are refused.
[[nodiscard]] GridDensity read_density(const Section& initial, const std::shared_ptr<const Grid>& grid, const std::filesystem::path& folder);

}  // namespace jko::cli
