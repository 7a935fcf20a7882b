// tests/simt/buffer: memory for the executor's own tests: a block of its exact size, as aligned as
// a device's, so that AddressSanitizer guards its end.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <new>
#include <vector>

namespace mwalimu::simt {

template <class T>
class Buffer {
 public:
  explicit Buffer(std::size_t count) : count_(count) {
    memory_ = static_cast<T*>(::operator new(bytes(), kAlignment));
    poison();
  }
  explicit Buffer(const std::vector<T>& values) : Buffer(values.size()) { fill(values); }
  ~Buffer() { ::operator delete(memory_, kAlignment); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  T* get() { return memory_; }
  const T* get() const { return memory_; }
  std::size_t bytes() const { return count_ * sizeof(T); }
  std::vector<T> copy() const { return {memory_, memory_ + count_}; }
  void fill(const std::vector<T>& values) { std::copy(values.begin(), values.end(), memory_); }
  void fill(T value) { std::fill_n(memory_, count_, value); }
  /// NaN in every floating-point type: yesterday's right answer hides bugs.
  void poison() { std::memset(static_cast<void*>(memory_), 0xFF, bytes()); }

 private:
  static constexpr std::align_val_t kAlignment{256};
  T* memory_;
  std::size_t count_;
};

}  // namespace mwalimu::simt
