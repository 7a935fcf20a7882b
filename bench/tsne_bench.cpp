// bench/tsne_bench: one t-SNE run, timed part by part, or the measures of a map made elsewhere.
//
//   tsne_bench POINTS.npy --perplexity 30 --threads 1 [--labels Y.npy] [--save MAP.npy]
//   tsne_bench POINTS.npy --perplexity 30 --device cuda ...
//   tsne_bench POINTS.npy --perplexity 30 --evaluate MAP.npy [--labels Y.npy]
//
// Prints one line of JSON; without a device, {"skipped": why}. The measures are the same for every
// contender: KL of the map with P over floor(3 perplexity) exact neighbours and the exact Z,
// trustworthiness with 12 neighbours (of at most 5,000 rows), accuracy of the 10 nearest labels.
// CPU seconds are of all threads.
// bench/peers/tsne.py runs it beside scikit-learn.

#include <chrono>
#include <ctime>
#include <exception>
#include <iostream>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "mwalimu/core/parallel.hpp"
#include "mwalimu/core/tensor.hpp"
#include "mwalimu/embedding/quality.hpp"
#include "mwalimu/embedding/tsne.hpp"
#include "mwalimu/io/npy.hpp"

namespace {

using namespace mwalimu;
using namespace mwalimu::embedding;

/// CPU seconds of the process and seconds of the clock since the last call.
class Stopwatch {
 public:
  std::pair<double, double> lap() {
    const std::clock_t cpu = std::clock();
    const auto now = std::chrono::steady_clock::now();
    const std::pair out{static_cast<double>(cpu - cpu_) / CLOCKS_PER_SEC,
                        std::chrono::duration<double>(now - wall_).count()};
    cpu_ = cpu;
    wall_ = now;
    return out;
  }

 private:
  std::clock_t cpu_ = std::clock();
  std::chrono::steady_clock::time_point wall_ = std::chrono::steady_clock::now();
};

template <class T>
std::vector<T> read(const std::string& path, index_t& n, index_t& d, io::Dtype dtype) {
  const io::NpyFile file(path);
  const auto& array = file.array();
  require<ValueError>(array.dtype == dtype && !array.shape.empty() && array.shape.size() <= 2, path,
                      ": want a matrix of float32 or a vector of int32");
  n = array.shape[0];
  d = array.shape.size() == 2 ? array.shape[1] : 1;
  return array.values<T>();
}

int run(const std::vector<std::string>& arguments) {
  TsneOptions options;
  std::string evaluate, labels_path, save;
  int threads = 1;
  require<ValueError>(!arguments.empty(), "usage: tsne_bench POINTS.npy [--option value ...]");
  for (std::size_t a = 1; a < arguments.size(); a += 2) {
    require<ValueError>(a + 1 < arguments.size(), arguments[a], ": want a value");
    const std::string &name = arguments[a], &value = arguments[a + 1];
    if (name == "--perplexity") {
      options.perplexity = std::stod(value);
    } else if (name == "--threads") {
      threads = std::stoi(value);
    } else if (name == "--seed") {
      options.seed = std::stoull(value);
    } else if (name == "--spacing") {
      options.grid_spacing = std::stod(value);
    } else if (name == "--repulsion") {
      require<ValueError>(value == "exact" || value == "fft", "--repulsion: want exact or fft");
      options.repulsion = value == "exact" ? Repulsion::exact : Repulsion::fft;
    } else if (name == "--search") {
      require<ValueError>(value == "exact" || value == "hnsw", "--search: want exact or hnsw");
      options.neighbor_search =
          value == "exact" ? NeighborSearch::brute_force : NeighborSearch::hnsw;
    } else if (name == "--device") {
      require<ValueError>(value == "cpu" || value == "cuda", "--device: want cpu or cuda");
      if (value == "cuda") options.device = Device::cuda();
    } else if (name == "--evaluate") {
      evaluate = value;
    } else if (name == "--labels") {
      labels_path = value;
    } else if (name == "--save") {
      save = value;
    } else {
      throw ValueError("unknown option " + name);
    }
  }
  set_num_threads(threads);
  if (!options.device.is_cpu()) {
    try {  // also starts the device, which is none of the times below
      Tensor<float>::full({1}, 0, options.device).to(Device::cpu());
    } catch (const DeviceError& error) {
      std::cout << nlohmann::ordered_json{{"skipped", error.what()}}.dump() << "\n";
      return 0;
    }
  }

  index_t n = 0, d = 0;
  const std::vector<float> values = read<float>(arguments[0], n, d, io::Dtype::f32);
  const Points x(values, n, d);
  nlohmann::ordered_json out{{"n", n}, {"d", d}, {"perplexity", options.perplexity}};
  std::vector<float> map;
  if (evaluate.empty()) {
    Stopwatch watch;
    const TsneInput input = prepare_tsne(x, options);
    const auto prepared = watch.lap();
    TsneResult r = tsne(input, options);
    const auto mapped = watch.lap();
    out["device"] = mwalimu::detail::concatenate(options.device);
    out["threads"] = threads;
    out["cpu"] = prepared.first + mapped.first;
    out["wall"] = prepared.second + mapped.second;
    out["cpu_neighbors"] = prepared.first;
    out["wall_neighbors"] = prepared.second;
    out["iterations"] = r.iterations;
    out["repulsion"] = r.repulsion == Repulsion::fft ? "fft" : "exact";
    out["recall"] = r.neighbor_recall;
    out["kl"] = r.kl;
    map = std::move(r.map);
    if (!save.empty()) io::write_npy(save, {n, 2}, std::span<const float>(map));
  } else {
    index_t rows = 0, columns = 0;
    map = read<float>(evaluate, rows, columns, io::Dtype::f32);
    require<ValueError>(rows == n && columns == 2, evaluate, ": want ", n, " x 2 values");
    const auto list = nearest_neighbors(x, neighbors_for(options.perplexity, n), Metric::euclidean,
                                        NeighborSearch::brute_force);
    out["kl"] = exact_kl(affinities(list, options.perplexity), Coordinates(map, n, 2));
  }
  out["trustworthiness"] = trustworthiness(x, Points(map, n, 2), 12, 5000);
  if (!labels_path.empty()) {
    index_t rows = 0, one = 0;
    const std::vector<int> labels = read<int>(labels_path, rows, one, io::Dtype::i32);
    require<ValueError>(rows == n, labels_path, ": want ", n, " labels");
    out["accuracy"] = knn_accuracy(Points(map, n, 2), labels, 10);
  }
  std::cout << out.dump() << "\n";
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    std::cerr << "tsne_bench: " << error.what() << "\n";
    return 1;
  }
}
