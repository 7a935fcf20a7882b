// bench/tsne_bench: one t-SNE run, timed part by part, or the measures of a map made elsewhere.
//
//   tsne_bench POINTS.npy --perplexity 30 --threads 1 [--labels Y.npy] [--save MAP.npy]
//   tsne_bench mixture:1000000x50 --perplexity 30 --threads 2 --exact-kl 1
//   tsne_bench POINTS.npy --perplexity 30 --device cuda ...
//   tsne_bench POINTS.npy --perplexity 30 --evaluate MAP.npy [--labels Y.npy]
//
// Prints one line of JSON, and how far it is to standard error; without a device, {"skipped": why}.
// The measures are the same for every contender: KL of the map with P over floor(3 perplexity)
// exact neighbours and the exact Z, trustworthiness with 12 neighbours (of at most 5,000 rows, or
// --rows), accuracy of the 10 nearest labels. A run's own kl is that of its own neighbours; beyond
// kExactKlLimit Z is the grid's, and exact_kl that of all pairs, where it is asked for. CPU seconds
// are of all threads; peak_mb is the process's largest memory so far.
// bench/peers/tsne.py runs it beside scikit-learn.

#include <sys/resource.h>

#include <chrono>
#include <ctime>
#include <exception>
#include <iostream>
#include <memory>
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
#include "mwalimu/train/progress.hpp"
#include "tsne_mixture.hpp"

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

/// The largest memory of the process so far, in MB of 10^6 bytes.
double peak_mb() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) * 1024e-6;
}

/// Lines on standard error, ten seconds apart.
class Lines {
 public:
  void show(const std::string& what, index_t done, index_t total, const std::string& note = {}) {
    if (done == 0 || progress_ == nullptr) {
      progress_ = std::make_unique<train::Progress>(
          what, total,
          train::ProgressOptions{.unit = what, .terminal = false, .stream = &std::cerr});
    }
    progress_->update(done, note);
  }
  void end() { progress_ = nullptr; }

 private:
  std::unique_ptr<train::Progress> progress_;
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

/// POINTS.npy, or mixture:NxD with its labels.
std::vector<float> read_points(const std::string& name, index_t& n, index_t& d,
                               std::vector<int>& labels) {
  const std::string prefix = "mixture:";
  if (!name.starts_with(prefix)) return read<float>(name, n, d, io::Dtype::f32);
  const std::size_t times = name.find('x', prefix.size());
  require<ValueError>(times != std::string::npos, "want mixture:POINTSxCOLUMNS, got ", name);
  n = std::stol(name.substr(prefix.size(), times - prefix.size()));
  d = std::stol(name.substr(times + 1));
  require<ValueError>(n >= 4 && d >= 1, "want at least mixture:4x1, got ", name);
  for (index_t i = 0; i < n; ++i) labels.push_back(static_cast<int>(i % 50));
  return bench::mixture(n, d);
}

int run(const std::vector<std::string>& arguments) {
  TsneOptions options;
  std::string evaluate, labels_path, save;
  int threads = 1, rows = 5000;
  bool all_pairs_kl = false;
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
      require<ValueError>(value == "exact" || value == "lists" || value == "hnsw",
                          "--search: want exact, lists or hnsw");
      options.neighbor_search = value == "exact"   ? NeighborSearch::brute_force
                                : value == "lists" ? NeighborSearch::lists
                                                   : NeighborSearch::hnsw;
    } else if (name == "--order-above") {
      options.map_order_above = std::stol(value);
    } else if (name == "--exact-kl") {
      all_pairs_kl = std::stoi(value) != 0;
    } else if (name == "--rows") {
      rows = std::stoi(value);
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
  std::vector<int> labels;
  const std::vector<float> values = read_points(arguments[0], n, d, labels);
  const Points x(values, n, d);
  nlohmann::ordered_json out{{"n", n}, {"d", d}, {"perplexity", options.perplexity}};
  std::vector<float> map;
  if (evaluate.empty()) {
    Stopwatch watch;
    nlohmann::ordered_json phases;
    double cpu = 0, wall = 0;
    const auto phase = [&](const char* name) {
      const auto [phase_cpu, phase_wall] = watch.lap();
      phases[name] = {{"cpu", phase_cpu}, {"wall", phase_wall}, {"peak_mb", peak_mb()}};
      cpu += phase_cpu;
      wall += phase_wall;
    };
    Lines lines;
    options.search_progress = [&](index_t done, index_t total) {
      lines.show("neighbours", done, total);
    };
    options.callback = [&](const TsneProgress& at) {
      lines.show("iterations", at.iteration, at.total, "KL " + std::to_string(at.kl));
      return true;
    };
    TsneInput input = prepare_tsne(x, options);
    phase("neighbors");
    lines.end();
    const Affinities p = affinities(input.neighbors, options.perplexity);
    const double recall = input.neighbors.recall;
    input.neighbors = {};
    phase("affinities");
    TsneResult r = optimise(p, initial_state(std::move(input.start)), options);
    phase("iterations");
    out["device"] = mwalimu::detail::concatenate(options.device);
    out["threads"] = threads;
    out["cpu"] = cpu;
    out["wall"] = wall;
    out["cpu_neighbors"] = phases["neighbors"]["cpu"];
    out["wall_neighbors"] = phases["neighbors"]["wall"];
    out["iterations"] = r.iterations;
    out["repulsion"] = r.repulsion == Repulsion::fft ? "fft" : "exact";
    out["recall"] = recall;
    out["edges"] = p.row_begin[n];
    out["kl"] = r.kl;
    out["kl_is_exact"] = r.kl_is_exact;
    if (all_pairs_kl) {
      out["exact_kl"] = exact_kl(p, Coordinates(r.map, n, 2));
      phase("exact_kl");
    }
    out["phases"] = phases;
    map = std::move(r.map);
    if (!save.empty()) io::write_npy(save, {n, 2}, std::span<const float>(map));
  } else {
    index_t map_rows = 0, columns = 0;
    map = read<float>(evaluate, map_rows, columns, io::Dtype::f32);
    require<ValueError>(map_rows == n && columns == 2, evaluate, ": want ", n, " x 2 values");
    const auto list = nearest_neighbors(x, neighbors_for(options.perplexity, n), Metric::euclidean,
                                        NeighborSearch::brute_force);
    out["kl"] = exact_kl(affinities(list, options.perplexity), Coordinates(map, n, 2));
  }
  out["trustworthiness"] = trustworthiness(x, Points(map, n, 2), 12, rows);
  if (!labels_path.empty()) {
    index_t one = 0, count = 0;
    labels = read<int>(labels_path, count, one, io::Dtype::i32);
    require<ValueError>(count == n, labels_path, ": want ", n, " labels");
  }
  if (!labels.empty()) out["accuracy"] = knn_accuracy(Points(map, n, 2), labels, 10);
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
