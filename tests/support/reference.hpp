// support/reference: inputs for operations under test, and what every operation promises.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "mwalimu/core/parallel.hpp"
#include "mwalimu/core/random.hpp"
#include "mwalimu/core/tensor.hpp"

namespace mwalimu::test {

/// Uniform numbers in [low, high), a function of the seed; rounded to T.
template <Real T>
Tensor<T> random_tensor(const Shape& shape, std::uint64_t seed, float low = -1, float high = 1) {
  auto tensor = Tensor<T>::empty(shape);
  RandomStream random(seed, Purpose::test, 17);
  for (T& value : tensor.span()) value = convert<T>(random.uniform(low, high));
  return tensor;
}

/// The same values as channels [3, 3 + C) of a tensor with C + 5 channels, the others NaN: rows
/// with a stride, an odd offset, and guards that spoil any result which touches them.
template <Real T>
Tensor<T> channels_of_wider(const Tensor<T>& x) {
  Shape shape = x.shape();
  const int last = shape.rank() - 1;
  shape[last] += 5;
  auto wide = Tensor<T>::full(shape, convert<T>(std::numeric_limits<float>::quiet_NaN()));
  auto view = wide.slice(last, 3, 3 + x.dim(last));
  view.copy_from(x);
  return view;
}

/// Leaves NaN in the allocator's free blocks of this size, so that an operation which forgets an
/// element of its result returns NaN there.
template <Real T>
void poison_pool(const Shape& shape, int blocks = 6) {
  std::vector<Tensor<T>> held;
  for (int i = 0; i < blocks; ++i) {
    held.push_back(Tensor<T>::full(shape, convert<T>(std::numeric_limits<float>::quiet_NaN())));
  }
}

/// Expects f() to return the same numbers, bit for bit, on 1, 2 and 3 threads.
inline void expect_same_on_any_threads(const std::function<std::vector<double>()>& f) {
  const int before = num_threads();
  set_num_threads(1);
  const auto want = f();
  for (const int threads : {2, 3}) {
    set_num_threads(threads);
    EXPECT_EQ(f(), want) << threads << " threads";
  }
  set_num_threads(before);
}

/// Expects f() to throw an E whose text holds `part`.
template <class E, class F>
void expect_error(F&& f, const std::string& part) {
  try {
    f();
    ADD_FAILURE() << "nothing was thrown, want: " << part;
  } catch (const E& error) {
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

template <class T>
void append(std::vector<double>& to, const Tensor<T>& tensor) {
  for (const T value : tensor.to_vector()) to.push_back(convert<double>(value));
}
template <class T>
std::vector<double> values(const Tensor<T>& tensor) {
  std::vector<double> result;
  append(result, tensor);
  return result;
}

}  // namespace mwalimu::test
