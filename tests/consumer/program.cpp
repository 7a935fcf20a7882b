// A researcher's first program: a tensor, one differentiable step, its gradient.
#include <iostream>

#include "mwalimu/autograd/variable.hpp"
#include "mwalimu/ops/linear.hpp"

int main() {
  using namespace mwalimu;
  const auto x = Tensor<float>::from({1, 2, 3, 4}, {2, 2});
  const auto weight = Variable<float>::leaf(Tensor<float>::from({1, 0, 0, 1, 1, 1}, {3, 2}));
  const Variable<float> y = ops::linear(Variable<float>(x), weight);
  y.backward(Tensor<float>::full(y.shape(), 1.0f));
  std::cout << "y " << y.shape() << ", dweight[0] = " << weight.grad().to_vector()[0] << "\n";
  return weight.grad().to_vector() == std::vector<float>{4, 6, 4, 6, 4, 6} ? 0 : 1;
}
