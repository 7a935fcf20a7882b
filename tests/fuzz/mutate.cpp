// fuzz/mutate: a driver for a fuzz target that needs no fuzzing engine: changes good inputs at
// random, the same way on every machine. A finding ends the process, as a sanitizer or abort()
// does; the input lies in finding.bin, and NAME_fuzz finding.bin runs it again.
//
//     pickle_fuzz                    so many runs as ctest makes
//     pickle_fuzz --runs 10000000 --seed 7
//     pickle_fuzz --write DIR        the seeds as files, for libFuzzer
//     pickle_fuzz FILE...            these inputs
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>

#include "fuzz/target.hpp"

extern "C" const char* __asan_default_options();
extern "C" const char* __asan_default_options() {
  return "max_allocation_size_mb=512:allocator_may_return_null=0:handle_abort=0:handle_segv=0:"
         "abort_on_error=1";
}

namespace {

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() {  // splitmix64
    std::uint64_t z = state_ += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
  }
  std::size_t below(std::size_t n) { return n == 0 ? 0 : static_cast<std::size_t>(next() % n); }

 private:
  std::uint64_t state_;
};

// Numbers at which readers go wrong.
constexpr std::uint64_t kEdges[] = {
    0,          1,          2,          63,         64,        127,        128,        255,
    256,        0x7fff,     0x8000,     0xffff,     0x10000,   0x7fffffff, 0x80000000, 0xfffffffe,
    0xffffffff, 1ull << 32, 1ull << 62, 1ull << 63, ~0ull - 1, ~0ull};

void change(std::string& bytes, const std::vector<std::string>& seeds, Random& random) {
  const std::size_t at = random.below(bytes.size() + 1), left = bytes.size() - at;
  const std::size_t length = random.below(std::min<std::size_t>(left, 16) + 1);
  switch (random.below(9)) {
    case 0:
      if (left > 0) bytes[at] = static_cast<char>(bytes[at] ^ (1 << random.below(8)));
      return;
    case 1:
      if (left > 0) bytes[at] = static_cast<char>(random.next());
      return;
    case 2:
      bytes.erase(at, length);
      return;
    case 3:
      bytes.insert(at, bytes.substr(random.below(bytes.size() + 1), 1 + random.below(32)));
      return;
    case 4: {  // a number of 1, 2, 4 or 8 bytes, either end first
      std::uint64_t edge = kEdges[random.below(std::size(kEdges))];
      const std::size_t width = std::min<std::size_t>(std::size_t{1} << random.below(4), left);
      if (random.below(4) == 0) edge = __builtin_bswap64(edge);
      std::memcpy(bytes.data() + at, &edge, width);
      return;
    }
    case 5: {  // part of another seed
      const std::string& other = seeds[random.below(seeds.size())];
      bytes.replace(at, length, other.substr(random.below(other.size() + 1), random.below(64)));
      return;
    }
    case 6:
      bytes.resize(at);
      return;
    case 7:  // a number as text
      bytes.insert(at, std::to_string(kEdges[random.below(std::size(kEdges))]));
      return;
    default:
      bytes.insert(at, 1 + random.below(4), static_cast<char>(random.next()));
  }
}

std::string current;  // for the handler

void keep_finding(int) {
  if (std::FILE* file = std::fopen("finding.bin", "wb")) {
    std::fwrite(current.data(), 1, current.size(), file);
    std::fclose(file);
  }
  std::_Exit(1);
}
void run(const std::string& bytes) {
  // Its own allocation, so that a sanitizer sees the first byte past the end.
  const std::vector<std::uint8_t> exact(bytes.begin(), bytes.end());
  LLVMFuzzerTestOneInput(exact.data(), exact.size());
}

}  // namespace

int main(int argc, char** argv) {
  std::uint64_t runs = 20000, seed = 1;
  std::vector<std::string> files;
  std::filesystem::path write;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--runs" && i + 1 < argc) {
      runs = std::stoull(argv[++i]);
    } else if (word == "--seed" && i + 1 < argc) {
      seed = std::stoull(argv[++i]);
    } else if (word == "--write" && i + 1 < argc) {
      write = argv[++i];
    } else {
      files.push_back(word);
    }
  }
  const std::vector<std::string> seeds = mwalimu::fuzz::seeds();
  if (!write.empty()) {
    std::filesystem::create_directories(write);
    for (std::size_t i = 0; i < seeds.size(); ++i) {
      std::ofstream(write / std::to_string(i), std::ios::binary) << seeds[i];
    }
    return 0;
  }
  for (const std::string& name : files) {
    std::ifstream file(name, std::ios::binary);
    run({std::istreambuf_iterator<char>(file), {}});
  }
  if (!files.empty()) return 0;

  std::signal(SIGABRT, keep_finding);
  std::signal(SIGSEGV, keep_finding);
  double slowest = 0;
  for (std::uint64_t i = 0; i < runs; ++i) {
    Random random(seed * 0x100000001b3u + i);
    current = seeds[random.below(seeds.size())];
    if (i >= seeds.size()) {
      for (std::size_t n = 1 + random.below(6); n > 0; --n) change(current, seeds, random);
    }
    const auto before = std::chrono::steady_clock::now();
    run(current);
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - before;
    slowest = std::max(slowest, taken.count());
  }
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  std::cout << runs << " runs without a finding; slowest " << slowest << " s, "
            << usage.ru_maxrss / 1024 << " MiB at most" << std::endl;
  return 0;
}
