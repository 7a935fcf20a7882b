// bench/flop: the arithmetic of a network's convolutions, read off the graph that it records.
#pragma once

#include <memory>
#include <unordered_set>
#include <vector>

#include "mwalimu/autograd/variable.hpp"

namespace mwalimu::bench {

/// Operations of the convolutions, two a multiply-add; taps that fall into the padding included.
struct Arithmetic {
  double forward = 0, backward = 0;
};

/// What one of the images costs. A convolution is a node with a weight of rank 4; its backward pass
/// computes the weight's gradient and, where its input needs one, the input's.
/// @param result  recorded, of a batch of `images`.
inline Arithmetic convolutions(const Variable<float>& result, index_t images) {
  using Node = mwalimu::detail::Node;
  using Typed = mwalimu::detail::TypedNode<float>;
  Arithmetic sum;
  std::unordered_set<const Node*> seen;
  std::vector<const Node*> pending{result.node().get()};
  while (!pending.empty()) {
    const Node* node = pending.back();
    pending.pop_back();
    if (node == nullptr || !seen.insert(node).second) continue;
    for (const auto& input : node->inputs) pending.push_back(input.get());
    if (node->inputs.size() < 2) continue;
    const auto* made = dynamic_cast<const Typed*>(node);
    const auto* weight = dynamic_cast<const Typed*>(node->inputs[1].get());
    if (made == nullptr || weight == nullptr || !weight->leaf || weight->shape.rank() != 4) continue;
    const Shape& w = weight->shape;
    const double products = 2.0 * static_cast<double>(made->shape.count() * w[1] * w[2] * w[3]) /
                            static_cast<double>(images);
    sum.forward += products;
    sum.backward += node->inputs[0] == nullptr ? products : 2 * products;
  }
  return sum;
}

/// The same for an encoder on images of one size.
template <class Encoder>
Arithmetic convolutions_of(Encoder& encoder, index_t side) {
  constexpr index_t kImages = 2;  // one alone has no batch statistics in a 1 x 1 map
  const auto images = Tensor<float>::full({kImages, side, side, 3}, 0.5f);
  return convolutions(encoder(Variable<float>(images)), kImages);
}
template <class Encoder>
double forward_flop(Encoder& encoder, index_t images, index_t side) {
  return convolutions_of(encoder, side).forward * static_cast<double>(images);
}
template <class Encoder>
double training_flop(Encoder& encoder, index_t images, index_t side) {
  const Arithmetic one = convolutions_of(encoder, side);
  return (one.forward + one.backward) * static_cast<double>(images);
}

}  // namespace mwalimu::bench
