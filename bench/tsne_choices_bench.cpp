// bench/tsne_choices_bench: where t-SNE's ways of computing the same cross over, in one run.
//
//   tsne_choices_bench neighbors 20000x64 5000x784 [--repeats 3] [--neighbors 90]
//   tsne_choices_bench repulsion 2000 3000 5000 [--repeats 3]
//   tsne_choices_bench transforms 800 2000 4050 [--repeats 3]
//   tsne_choices_bench order 100000 200000 600000 [--repeats 3]
//
// One thread. CPU seconds; medians of the repeats, the ways in turn within each. Ratios are of the
// same repeat, so that what else the machine does falls on both sides; their smallest and largest
// are in brackets. The limits by_products(), kBruteForceLimit, kExactRepulsionLimit and
// kMapOrderLimit come from it. The transforms are those of the grid beside kissfft's, which must be
// installed (libkissfft-dev).

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <exception>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "mwalimu/core/parallel.hpp"
#include "mwalimu/core/random.hpp"
#include "mwalimu/embedding/lane_fft.hpp"
#include "mwalimu/embedding/tsne.hpp"
#include "tsne_mixture.hpp"

#if defined(MWALIMU_KISSFFT)
#include <kissfft/kiss_fft.h>

#include <cmath>
#endif

namespace {

using namespace mwalimu;
using namespace mwalimu::embedding;
using bench::mixture;

double cpu_seconds(const std::function<void()>& work) {
  const std::clock_t begin = std::clock();
  work();
  return static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// "1.23 [1.20 1.31]" of a[r] / b[r].
std::string ratio(const std::vector<double>& a, const std::vector<double>& b) {
  std::vector<double> r;
  for (std::size_t i = 0; i < a.size(); ++i) r.push_back(a[i] / b[i]);
  std::sort(r.begin(), r.end());
  char text[80];
  std::snprintf(text, sizeof text, "%.2f [%.2f %.2f]", r[r.size() / 2], r.front(), r.back());
  return text;
}

/// Beyond 50,000 points without direct sums, beyond 100,000 without the graph.
void neighbors(index_t n, index_t d, index_t k, int repeats) {
  const bool with_direct = n <= 50000, with_graph = n <= 100000;
  const std::vector<float> values = mixture(n, d);
  const Points x(values, n, d);
  std::vector<std::int32_t> index(n * k);
  std::vector<float> distance(n * k);
  const auto self = [](index_t i) { return i; };
  std::vector<double> direct, products, lists, graph;
  double lists_recall = 0, recall = 0;
  for (int r = 0; r < repeats; ++r) {
    direct.push_back(!with_direct ? 0 : cpu_seconds([&] {
      embedding::detail::brute_force(x, x, self, k, index.data(), distance.data());
    }));
    products.push_back(cpu_seconds([&] {
      embedding::detail::product_search(x, x, self, k, index.data(), distance.data());
    }));
    lists.push_back(cpu_seconds([&] {
      lists_recall = nearest_neighbors(x, k, Metric::euclidean, NeighborSearch::lists).recall;
    }));
    if (!kHasHnsw || !with_graph) continue;
    graph.push_back(cpu_seconds([&] {
      recall = nearest_neighbors(x, k, Metric::euclidean, NeighborSearch::hnsw).recall;
    }));
  }
  std::printf("%6ld x %-4ld k %-4ld direct %8.3f s, products %8.3f s, direct/products %s, "
              "lists %8.3f s, products/lists %s, recall %.4f",
              static_cast<long>(n), static_cast<long>(d), static_cast<long>(k), median(direct),
              median(products), ratio(direct, products).c_str(), median(lists),
              ratio(products, lists).c_str(), lists_recall);
  if (!graph.empty()) {
    std::printf(", graph %8.3f s, products/graph %s, recall %.4f", median(graph),
                ratio(products, graph).c_str(), recall);
  }
  std::printf("\n");
  std::fflush(stdout);
}

/// All iterations of a run, since a map grows while it is made, and with it the grid.
void repulsion(index_t n, int repeats) {
  const std::vector<float> values = mixture(n, 50);
  TsneOptions options;
  const TsneInput input = prepare_tsne(Points(values, n, 50), options);
  std::vector<double> exact, fft;
  FieldGrid::Shape grid;
  for (int repeat = 0; repeat < repeats; ++repeat) {
    options.repulsion = Repulsion::exact;
    exact.push_back(cpu_seconds([&] { tsne(input, options); }));
    options.repulsion = Repulsion::fft;
    fft.push_back(cpu_seconds([&] { grid = tsne(input, options).state.grid; }));
  }
  std::printf("%6ld points, at last %ld x %ld nodes: exact %.2f s, grid %.2f s, exact/grid %s\n",
              static_cast<long>(n), static_cast<long>(grid.rows), static_cast<long>(grid.columns),
              median(exact), median(fft), ratio(exact, fft).c_str());
  std::fflush(stdout);
}

#if defined(MWALIMU_KISSFFT)
/// Sixteen sequences of n complex numbers: in lanes, and one after another by kissfft.
void transforms(index_t n, int repeats) {
  using embedding::detail::ComplexLanes;
  constexpr index_t kLanes = embedding::detail::kLanes;
  constexpr int kRounds = 16;  // of transforms between two fillings: values grow by sqrt(n) in each
  const int fillings = static_cast<int>(500000 / n) + 1;
  std::vector<ComplexLanes> filling(n), x, scratch(n);
  std::vector<kiss_fft_cpx> rows(kLanes * n), spectra(kLanes * n);
  RandomStream random(1, Purpose::test, 0);
  for (index_t i = 0; i < n; ++i) {
    for (index_t lane = 0; lane < kLanes; ++lane) {
      kiss_fft_cpx& value = rows[lane * n + i];
      value = {1e-20f * random.normal(), 1e-20f * random.normal()};
      filling[i].part[0][lane] = value.r;
      filling[i].part[1][lane] = value.i;
    }
  }
  const embedding::detail::LaneFft fft(n);
  kiss_fft_cfg config = kiss_fft_alloc(static_cast<int>(n), 0, nullptr, nullptr);
  const auto by_kissfft = [&] {
    for (index_t lane = 0; lane < kLanes; ++lane) {
      kiss_fft(config, &rows[lane * n], &spectra[lane * n]);
    }
  };
  by_kissfft();
  x = filling;
  const ComplexLanes* spectrum = fft.forward(x.data(), scratch.data());
  double difference = 0, size = 0;
  for (index_t i = 0; i < n; ++i) {
    for (index_t lane = 0; lane < kLanes; ++lane) {
      const kiss_fft_cpx& want = spectra[lane * n + i];
      difference += std::pow(double{spectrum[i].part[0][lane]} - want.r, 2) +
                    std::pow(double{spectrum[i].part[1][lane]} - want.i, 2);
      size += std::pow(double{want.r}, 2) + std::pow(double{want.i}, 2);
    }
  }
  require<Error>(difference <= 1e-12 * size, "transforms: ", n, " numbers are off by ",
                 std::sqrt(difference / size));
  std::vector<double> ours, kissfft;
  for (int r = 0; r < repeats; ++r) {
    ours.push_back(cpu_seconds([&] {
      for (int f = 0; f < fillings; ++f) {
        x = filling;
        ComplexLanes *from = x.data(), *to = scratch.data();
        for (int round = 0; round < kRounds; ++round) {
          if (fft.forward(from, to) == to) std::swap(from, to);
        }
      }
    }));
    kissfft.push_back(cpu_seconds([&] {
      for (int f = 0; f < fillings * kRounds; ++f) by_kissfft();
    }));
  }
  kiss_fft_free(config);
  const double calls = 1e-6 * fillings * kRounds;
  std::printf("%6ld numbers: in lanes %.1f us, kissfft %.1f us, kissfft/lanes %s\n",
              static_cast<long>(n), median(ours) / calls, median(kissfft) / calls,
              ratio(kissfft, ours).c_str());
  std::fflush(stdout);
}
#else
void transforms(index_t, int) {
  mwalimu::detail::fail<ValueError>("transforms: built without kissfft (libkissfft-dev)");
}
#endif

/// Fifty iterations in the order of the points and along their map, from the end of early
/// exaggeration and 200 later; there also along the map of the first.
void order(index_t n, int repeats) {
  const std::vector<float> values = mixture(n, 3);
  TsneOptions options;
  const TsneInput input = prepare_tsne(Points(values, n, 3), options);
  const Affinities p = affinities(input.neighbors, options.perplexity);
  const embedding::detail::Plan plan = embedding::detail::plan(options, n);
  constexpr int kSteps = 50;
  TsneState state = initial_state(input.start);
  const auto advance = [&](int until, index_t order_above) {
    options.map_order_above = order_above;
    embedding::detail::Descent descent(p, state, options);
    descent.advance(state.iteration, until, plan, {});
    state = descent.state(until);
  };
  // CPU seconds of kSteps steps from here, without the renumbering itself.
  const auto steps = [&](TsneState from, index_t order_above) {
    options.map_order_above = order_above;
    embedding::detail::Descent descent(p, from, options);
    descent.advance(from.iteration, from.iteration + 1, plan, {});
    return cpu_seconds(
        [&] { descent.advance(from.iteration + 1, from.iteration + 1 + kSteps, plan, {}); });
  };
  advance(plan.early, n);
  for (const int at : {plan.early, plan.early + 200}) {
    advance(at, 0);
    TsneState fresh = state;
    fresh.order.clear();
    std::vector<double> given, along, before;
    for (int repeat = 0; repeat < repeats; ++repeat) {
      given.push_back(steps(fresh, n));
      along.push_back(steps(fresh, 0));
      before.push_back(state.order.empty() ? along.back() : steps(state, 0));
    }
    std::printf("%7ld points at %d, ms a step: as given %.2f, along the map %.2f (%s), along that "
                "of %d %.2f (%s)\n",
                static_cast<long>(n), at, 1e3 * median(given) / kSteps,
                1e3 * median(along) / kSteps, ratio(given, along).c_str(), plan.early,
                1e3 * median(before) / kSteps, ratio(given, before).c_str());
    std::fflush(stdout);
  }
}

void run(const std::vector<std::string>& arguments) {
  require<ValueError>(!arguments.empty() &&
                          (arguments[0] == "neighbors" || arguments[0] == "repulsion" ||
                           arguments[0] == "transforms" || arguments[0] == "order"),
                      "usage: tsne_choices_bench neighbors|repulsion|transforms|order SIZES "
                      "[--repeats R]");
  set_num_threads(1);
  int repeats = 3;
  index_t k = 90;
  std::vector<std::string> sizes;
  for (std::size_t a = 1; a < arguments.size(); ++a) {
    if (arguments[a] == "--repeats" || arguments[a] == "--neighbors") {
      require<ValueError>(a + 1 < arguments.size(), arguments[a], ": want a number");
      const int value = std::stoi(arguments[a + 1]);
      require<ValueError>(value >= 1, arguments[a], ": want 1 or more, got ", value);
      if (arguments[a++] == "--repeats") {
        repeats = value;
      } else {
        k = value;
      }
    } else {
      sizes.push_back(arguments[a]);
    }
  }
  for (const std::string& size : sizes) {
    const index_t n = std::stol(size);
    if (arguments[0] == "transforms") {
      transforms(n, repeats);
      continue;
    }
    require<ValueError>(n > k, "want more than ", k, " points, got ", n);
    if (arguments[0] == "repulsion") {
      repulsion(n, repeats);
      continue;
    }
    if (arguments[0] == "order") {
      order(n, repeats);
      continue;
    }
    const std::size_t times = size.find('x');
    require<ValueError>(times != std::string::npos, "want POINTSxCOLUMNS, got ", size);
    neighbors(n, std::stol(size.substr(times + 1)), k, repeats);
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    run({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "tsne_choices_bench: %s\n", error.what());
    return 1;
  }
}
