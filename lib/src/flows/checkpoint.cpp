#include <jko/flows/checkpoint.hpp>

#include <jko/core/error.hpp>
#include <jko/io/atomic_file.hpp>

#include <nlohmann/json.hpp>

#include <cmath>
#include <limits>
#include <type_traits>

namespace jko {
namespace {

using Json = nlohmann::ordered_json;

// JSON numbers are written in shortest round-trip form; NaN and infinities, which JSON lacks, as texts.
Json out(double x) {
  if (std::isnan(x)) return "nan";
  if (std::isinf(x)) return x > 0 ? "inf" : "-inf";
  return x;
}

double in(const Json& j) {
  if (!j.is_string()) return j.get<double>();
  const auto text = j.get<std::string>();
  if (text == "nan") return std::numeric_limits<double>::quiet_NaN();
  return text == "inf" ? std::numeric_limits<double>::infinity() : -std::numeric_limits<double>::infinity();
}

Json out(const Matrix& m) {
  Json values = Json::array();
  for (Index i = 0; i < m.size(); ++i) values.push_back(out(m.data()[i]));
  return {{"rows", m.rows()}, {"cols", m.cols()}, {"values", values}};
}

Matrix matrix(const Json& j) {
  Matrix m(j.at("rows").get<Index>(), j.at("cols").get<Index>());
  const Json& values = j.at("values");
  if (static_cast<Index>(values.size()) != m.size()) throw ParseError("", 0, 0, "a matrix has the wrong number of values");
  for (Index i = 0; i < m.size(); ++i) m.data()[i] = in(values[static_cast<std::size_t>(i)]);
  return m;
}

/// What is common to all states of a flow: the masses of a quantile function; the dimension of a Gaussian; the grid of a density.
Json out_frame(const GridDensity& d) {
  const Grid& g = d.grid();
  return {{"lower", out(Matrix(g.lower))}, {"upper", out(Matrix(g.upper))}, {"cells", g.cells}, {"periodic", g.boundary == Boundary::periodic}};
}
Json out_frame(const Gaussian& g) { return g.dimension(); }
Json out_frame(const Particles& p) { return {{"dimension", p.dimension()}, {"weights", out(Matrix(p.weights()))}}; }
Json out_frame(const QuantileFunction& q) { return out(Matrix(q.masses())); }

template <class Measure>
struct Frame;

template <>
struct Frame<Gaussian> {
  Index dimension;
  explicit Frame(const Json& j) : dimension(j.get<Index>()) {}
  [[nodiscard]] Gaussian measure(const Matrix& coordinates) const {
    if (coordinates.size() != dimension * (dimension + 1)) throw ParseError("", 0, 0, "a state has the wrong size");
    return {coordinates.col(0).head(dimension), coordinates.col(0).tail(dimension * dimension).reshaped(dimension, dimension)};
  }
};

template <>
struct Frame<GridDensity> {
  std::shared_ptr<const Grid> grid;
  explicit Frame(const Json& j)
      : grid(std::make_shared<const Grid>(Grid{matrix(j.at("lower")).col(0), matrix(j.at("upper")).col(0), j.at("cells").get<std::vector<Index>>(),
                                               j.at("periodic").get<bool>() ? Boundary::periodic : Boundary::no_flux})) {}
  [[nodiscard]] GridDensity measure(const Matrix& coordinates) const { return {grid, coordinates.col(0)}; }
};

template <>
struct Frame<QuantileFunction> {
  std::shared_ptr<const Vector> masses;
  explicit Frame(const Json& j) : masses(std::make_shared<const Vector>(matrix(j).col(0))) {}
  [[nodiscard]] QuantileFunction measure(const Matrix& coordinates) const { return {masses, coordinates.col(0)}; }
};

template <>
struct Frame<Particles> {
  Index dimension;
  Vector weights;
  explicit Frame(const Json& j) : dimension(j.at("dimension").get<Index>()), weights(matrix(j.at("weights")).col(0)) {}
  [[nodiscard]] Particles measure(const Matrix& coordinates) const {
    if (coordinates.size() != dimension * weights.size()) throw ParseError("", 0, 0, "a state has the wrong size");
    return {coordinates.reshaped(dimension, weights.size()), weights};
  }
};

template <class Measure>
constexpr const char* measure_name = std::is_same_v<Measure, Gaussian>      ? "gaussian"
                                     : std::is_same_v<Measure, Particles>   ? "particles"
                                     : std::is_same_v<Measure, GridDensity> ? "grid_density"
                                                                            : "quantile_function";

template <class Measure>
Json out(const FlowState<Measure>& s) {
  return {{"k", s.k}, {"t", out(s.t)}, {"coordinates", out(Matrix(s.measure.coordinates()))}, {"tangent", out(s.tangent)}};
}

template <class Measure>
FlowState<Measure> state(const Json& j, const Frame<Measure>& frame) {
  return {j.at("k").get<int>(), in(j.at("t")), frame.measure(matrix(j.at("coordinates"))), matrix(j.at("tangent"))};
}

Json out(const FlowRecord& r) {
  Json parts = Json::array();
  for (const auto& [name, value] : r.step.energy.parts) parts.push_back({name, out(value)});
  return {{"k", r.k}, {"t", out(r.t)}, {"h", out(r.h)}, {"status", name(r.step.status)}, {"residual", out(r.step.residual)}, {"gap", out(r.step.gap)},
          {"w2_bound", out(r.step.w2_bound)}, {"w2_moved", out(r.step.w2_moved)}, {"objective", out(r.step.objective)}, {"energy", out(r.step.energy.total)},
          {"parts", parts}, {"iterations", r.step.iterations}, {"mass", out(r.mass)}, {"min_density", out(r.min_density)}, {"mean", out(Matrix(r.mean))},
          {"covariance", out(r.covariance)}, {"seconds", out(r.seconds)}};
}

FlowRecord record(const Json& j) {
  FlowRecord r;
  r.k = j.at("k").get<int>();
  r.t = in(j.at("t"));
  r.h = in(j.at("h"));
  r.step.status = status_from_name(j.at("status").get<std::string>());
  r.step.residual = in(j.at("residual"));
  r.step.gap = in(j.at("gap"));
  r.step.w2_bound = in(j.at("w2_bound"));
  r.step.w2_moved = in(j.at("w2_moved"));
  r.step.objective = in(j.at("objective"));
  r.step.energy.total = in(j.at("energy"));
  for (const Json& part : j.at("parts")) r.step.energy.parts.emplace_back(part.at(0).get<std::string>(), in(part.at(1)));
  r.step.iterations = j.at("iterations").get<int>();
  r.mass = in(j.at("mass"));
  r.min_density = in(j.at("min_density"));
  r.mean = matrix(j.at("mean")).col(0);
  r.covariance = matrix(j.at("covariance"));
  r.seconds = in(j.at("seconds"));
  return r;
}

template <class Measure>
void save(const std::filesystem::path& path, const FlowCheckpoint<Measure>& c, const std::string& label) {
  Json records = Json::array(), states = Json::array();
  for (const FlowRecord& r : c.so_far.records) records.push_back(out(r));
  for (const auto& s : c.so_far.states) states.push_back(out(s));
  const Json json{{"jko_checkpoint", 1}, {"measure", measure_name<Measure>}, {"label", label}, {"frame", out_frame(c.current.measure)},
                  {"current", out(c.current)}, {"previous", out(c.previous)}, {"before_previous", out(c.before_previous)}, {"h_next", out(c.h_next)}, {"h_previous", out(c.h_previous)},
                  {"records", records}, {"states", states}};
  write_atomically(path, json.dump() + "\n");
}

}  // namespace

void save_checkpoint(const std::filesystem::path& path, const FlowCheckpoint<GridDensity>& c, const std::string& label) { save(path, c, label); }
void save_checkpoint(const std::filesystem::path& path, const FlowCheckpoint<Gaussian>& c, const std::string& label) { save(path, c, label); }
void save_checkpoint(const std::filesystem::path& path, const FlowCheckpoint<Particles>& c, const std::string& label) { save(path, c, label); }
void save_checkpoint(const std::filesystem::path& path, const FlowCheckpoint<QuantileFunction>& c, const std::string& label) { save(path, c, label); }

template <class Measure>
FlowCheckpoint<Measure> load_checkpoint(const std::filesystem::path& path, const std::string& label) {
  const std::string file = path.string();
  try {
    const Json json = Json::parse(read_file(path));
    if (json.at("jko_checkpoint").get<int>() != 1) throw ParseError(file, 0, 0, "a checkpoint of another version");
    if (json.at("measure").get<std::string>() != measure_name<Measure>) throw ParseError(file, 0, 0, "a checkpoint of another kind of measure");
    if (json.at("label").get<std::string>() != label) throw ParseError(file, 0, 0, "the checkpoint belongs to another configuration");
    const Frame<Measure> frame(json.at("frame"));
    FlowCheckpoint<Measure> c;
    c.current = state(json.at("current"), frame);
    c.previous = state(json.at("previous"), frame);
    c.before_previous = state(json.at("before_previous"), frame);
    c.h_next = in(json.at("h_next"));
    c.h_previous = in(json.at("h_previous"));
    for (const Json& r : json.at("records")) c.so_far.records.push_back(record(r));
    for (const Json& s : json.at("states")) c.so_far.states.push_back(state(s, frame));
    return c;
  } catch (const nlohmann::json::exception& e) {
    throw ParseError(file, 0, 0, std::string("the checkpoint is damaged: ") + e.what());
  } catch (const IoError&) {
    throw;
  } catch (const ParseError& e) {
    if (std::string(e.what()).starts_with(file)) throw;
    throw ParseError(file, 0, 0, std::string("the checkpoint is damaged: ") + e.what());
  } catch (const Error& e) {
    throw ParseError(file, 0, 0, std::string("the checkpoint is damaged: ") + e.what());
  }
}

template FlowCheckpoint<GridDensity> load_checkpoint<GridDensity>(const std::filesystem::path&, const std::string&);
template FlowCheckpoint<Gaussian> load_checkpoint<Gaussian>(const std::filesystem::path&, const std::string&);
template FlowCheckpoint<Particles> load_checkpoint<Particles>(const std::filesystem::path&, const std::string&);
template FlowCheckpoint<QuantileFunction> load_checkpoint<QuantileFunction>(const std::filesystem::path&, const std::string&);

}  // namespace jko
