// Named stretches of work: what a Profiler records, its table and its trace.
#include "mwalimu/core/profile.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "mwalimu/autograd/variable.hpp"
#include "mwalimu/ops/relu.hpp"
#include "mwalimu/report/profile_report.hpp"
#include "support/temp_dir.hpp"

namespace mwalimu {
namespace {

using Kind = ProfileRecord::Kind;

void work_for(std::chrono::microseconds time) { std::this_thread::sleep_for(time); }

TEST(Profile, NothingIsRecordedUnlessAsked) {
  Profiler::instance().start();
  Profiler::instance().stop();
  { const ProfileScope scope("unheard", Cpu{}); }
  EXPECT_TRUE(Profiler::instance().records().empty());
}

TEST(Profile, ScopesNestAndEndInsideOut) {
  Profiler::instance().start();
  {
    const ProfileScope outer("outer", Cpu{});
    { const ProfileScope inner("inner", Cpu{}); work_for(std::chrono::microseconds(200)); }
    { const ProfileScope inner("inner", Cpu{}); }
  }
  Profiler::instance().stop();
  const auto& records = Profiler::instance().records();
  ASSERT_EQ(records.size(), 3u);
  EXPECT_EQ(records[0].name, "inner");
  EXPECT_EQ(records[0].depth, 1);
  EXPECT_EQ(records[2].name, "outer");
  EXPECT_EQ(records[2].depth, 0);
  EXPECT_LE(records[2].begin, records[0].begin);
  EXPECT_GE(records[2].end, records[1].end);

  const auto rows = report::profile_rows(records, Kind::operation);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].name, "outer");
  EXPECT_EQ(rows[1].calls, 2);
  EXPECT_NEAR(rows[0].self, rows[0].total - rows[1].total, 1e-6);
}

TEST(Profile, ThreadsHaveRowsOfTheirOwn) {
  Profiler::instance().start();
  { const ProfileScope scope("here", Cpu{}); }
  std::thread([] { const ProfileScope scope("there", Cpu{}); }).join();
  Profiler::instance().stop();
  const auto& records = Profiler::instance().records();
  ASSERT_EQ(records.size(), 2u);
  EXPECT_NE(records[0].thread, records[1].thread);
  EXPECT_EQ(records[1].depth, 0);
}

TEST(Profile, BackwardBelongsToTheLayerOfItsForward) {
  const auto leaf = Variable<float>::leaf(Tensor<float>::full({4}, 1.0f));
  Profiler::instance().start();
  Variable<float> y;
  {
    const LayerScope layer("encoder.0", Device::cpu());
    y = ops::relu(leaf);
  }
  y.backward(Tensor<float>::full({4}, 1.0f));
  Profiler::instance().stop();
  std::vector<std::string> layers;
  for (const auto& r : Profiler::instance().records()) {
    if (r.kind == Kind::layer) layers.push_back(r.name);
  }
  EXPECT_EQ(layers, (std::vector<std::string>{"encoder.0", "encoder.0 backward"}));
}

TEST(Profile, TraceIsReadableJson) {
  Profiler::instance().start();
  { const ProfileScope scope("a \"quoted\" name", Cpu{}); }
  Profiler::instance().stop();
  const test::TempDir folder;
  report::write_chrome_trace(folder / "trace.json", Profiler::instance().records());
  std::ifstream file(folder / "trace.json");
  const auto trace = nlohmann::json::parse(file);
  bool found = false;
  for (const auto& event : trace.at("traceEvents")) {
    found = found || (event.at("name") == "a \"quoted\" name" && event.at("ph") == "X" &&
                      event.at("dur").get<double>() >= 0);
  }
  EXPECT_TRUE(found);
  const auto table = report::profile_table(Profiler::instance().records(), Kind::operation, 1);
  EXPECT_NE(table.find("a \"quoted\" name"), std::string::npos) << table;
}

}  // namespace
}  // namespace mwalimu
