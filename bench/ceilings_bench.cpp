// ceilings_bench: what the machine gives at most: the lines of the roofline.
//
//   copy      the faster of a copy around the caches and one through them: the ceiling of `roof`
//   stores    a loop that copies through the caches: each line written is read first
//   read      a sum; nothing is written
//   triad     a <- b + s c through the caches
//   multiply  oneDNN's product of square matrices
#include <string>

#include "case.hpp"

namespace mwalimu::bench {
namespace {

constexpr index_t kGrain = 1 << 16;

struct Streams {
  index_t n = static_cast<index_t>(working_set() / 8);  // two of them are a working set
  Tensor<float> a = Tensor<float>::full({n}, 1.0f), b = a.clone(), c = a.clone();
};

void copy(benchmark::State& state) {
  const Rate& rate = copy_rate();
  const double bytes = working_set();
  for (auto _ : state) state.SetIterationTime(bytes / rate.wall);
  count<float>(state, {.bytes = bytes, .flop = 0}, {bytes / rate.wall, bytes / rate.cpu});
}

void stores(benchmark::State& state) {
  Streams s;
  const float* from = s.a.data();
  float* to = s.b.data();
  time_host(state, {.bytes = 8.0 * static_cast<double>(s.n), .flop = 0}, [&] {
    parallel_for(s.n, kGrain, [&](index_t begin, index_t end) {
#pragma omp simd
      for (index_t i = begin; i < end; ++i) to[i] = from[i] * 1.0001f;  // not a call of memcpy
    });
  });
}

void read(benchmark::State& state) {
  const Streams s;
  const float* from = s.a.data();
  time_host(state, {.bytes = 4.0 * static_cast<double>(s.n), .flop = 0}, [&] {
    parallel_for(s.n, kGrain, [&](index_t begin, index_t end) {
      float sum = 0;
#pragma omp simd reduction(+ : sum)
      for (index_t i = begin; i < end; ++i) sum += from[i];
      benchmark::DoNotOptimize(sum);
    });
  });
}

void triad(benchmark::State& state) {
  Streams s;
  const float *b = s.b.data(), *c = s.c.data();
  float* a = s.a.data();
  time_host(state, {.bytes = 12.0 * static_cast<double>(s.n), .flop = 0}, [&] {
    parallel_for(s.n, kGrain, [&](index_t begin, index_t end) {
#pragma omp simd
      for (index_t i = begin; i < end; ++i) a[i] = b[i] + 0.5f * c[i];
    });
  });
}

template <Real T>
void multiply(benchmark::State& state) {
  const Rate& rate = matrix_rate<T>();
  const double flop = 2.0 * kMatrix * kMatrix * kMatrix;
  for (auto _ : state) state.SetIterationTime(flop / rate.wall);
  count<T>(state, {.bytes = 0, .flop = flop}, {flop / rate.wall, flop / rate.cpu});
}

const bool registered = [] {
  const auto add = [](const std::string& name, void (*function)(benchmark::State&)) {
    return on_host(benchmark::RegisterBenchmark(("ceiling/" + name).c_str(), function));
  };
  add("copy/cpu/u8", copy)->Iterations(1);
  add("stores/cpu/f32", stores);
  add("read/cpu/f32", read);
  add("triad/cpu/f32", triad);
  const std::string square = "/N:" + std::to_string(kMatrix);
  add("multiply/cpu/f32" + square, multiply<float>)->Iterations(1);
  add("multiply/cpu/bf16" + square, multiply<bfloat16>)->Iterations(1);
  return true;
}();

}  // namespace
}  // namespace mwalimu::bench
