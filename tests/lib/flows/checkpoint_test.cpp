#include <jko/core/error.hpp>
#include <jko/flows/checkpoint.hpp>
#include <jko/io/atomic_file.hpp>
#include <jko/models/families.hpp>
#include <jko/steps/gaussian_step.hpp>
#include <jko/steps/quantile_step.hpp>

#include <doctest/doctest.h>

#include <filesystem>

#include <unistd.h>

using namespace jko;

namespace {

struct StopAt : Observer {
  int left = 17;
  bool stop_requested() override { return left-- == 0; }
};

template <class Step>
void resume_through_a_file(const typename Step::Measure& start, Scheme scheme) {
  const Step step{FreeEnergy(Model(ornstein_uhlenbeck(), (Vector(2) << 1.3, 0.4).finished(), 2))};
  const FlowOptions options{.scheme = scheme, .h = 0.02, .steps = 40, .sensitivity = Sensitivity::shared, .keep_every = 7};
  const auto whole = Flow<Step>(step, start, options).run();
  Flow<Step> first(step, start, options);
  StopAt stop;
  REQUIRE(first.run(&stop).status == Status::cancelled);
  const auto file = std::filesystem::temp_directory_path() / ("jko-checkpoint-" + std::to_string(::getpid()) + ".json");
  save_checkpoint(file, first.checkpoint(), "label");
  CHECK_THROWS_AS((void)load_checkpoint<typename Step::Measure>(file, "another"), ParseError);
  const auto resumed = Flow<Step>(step, load_checkpoint<typename Step::Measure>(file, "label"), options).run();
  std::filesystem::remove(file);
  REQUIRE(resumed.records.size() == whole.records.size());
  REQUIRE(resumed.states.size() == whole.states.size());
  for (std::size_t i = 0; i < whole.states.size(); ++i) {
    CHECK(resumed.states[i].measure.coordinates() == whole.states[i].measure.coordinates());
    CHECK(resumed.states[i].tangent == whole.states[i].tangent);
  }
  for (std::size_t i = 0; i < whole.records.size(); ++i) {
    CHECK(resumed.records[i].step.energy.total == whole.records[i].step.energy.total);
    CHECK(resumed.records[i].step.residual == whole.records[i].step.residual);
    CHECK(resumed.records[i].t == whole.records[i].t);
  }
}

}  // namespace

TEST_CASE("a flow resumed from a file continues to the same bits") {
  for (const Scheme scheme : {Scheme::jko, Scheme::bdf2, Scheme::vim}) {
    resume_through_a_file<QuantileStep>(QuantileFunction::gaussian(2, 2.89, 50), scheme);
    resume_through_a_file<GaussianStep>(Gaussian(Vector::Constant(1, 2), Matrix::Constant(1, 1, 2.89)), scheme);
  }
}

TEST_CASE("a damaged checkpoint is one line") {
  const auto file = std::filesystem::temp_directory_path() / ("jko-damaged-" + std::to_string(::getpid()) + ".json");
  for (const char* text : {"", "{", "{}", "{\"jko_checkpoint\": 1, \"measure\": \"gaussian\", \"label\": \"\", \"frame\": 1}"}) {
    write_atomically(file, text);
    CHECK_THROWS_AS((void)load_checkpoint<Gaussian>(file, ""), ParseError);
  }
  std::filesystem::remove(file);
  CHECK_THROWS_AS((void)load_checkpoint<Gaussian>(file, ""), IoError);
}
