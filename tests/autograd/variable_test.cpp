#include "mwalimu/autograd/variable.hpp"

#include <gtest/gtest.h>

#include "mwalimu/autograd/gradient_check.hpp"

namespace mwalimu {
namespace {

template <class T>
Variable<T> multiply(const Variable<T>& a, const Variable<T>& b) {
  auto product = Tensor<T>::empty_like(a.value());
  for (index_t i = 0; i < product.count(); ++i) {
    product.data()[i] = a.value().data()[i] * b.value().data()[i];
  }
  auto backward = [x = a.value(), y = b.value()](Inputs inputs, const Tensor<T>& dout) {
    const Tensor<T> others[2] = {y, x};
    for (std::size_t k = 0; k < 2; ++k) {
      if (!inputs.needs_grad(k)) continue;
      auto grad = Tensor<T>::empty_like(dout);
      for (index_t i = 0; i < grad.count(); ++i) {
        grad.data()[i] = dout.data()[i] * others[k].data()[i];
      }
      inputs.add_grad(k, std::move(grad));
    }
  };
  return Variable<T>(std::move(product), {a, b}, std::move(backward));
}

template <class T>
Variable<T> add(const Variable<T>& a, const Variable<T>& b) {
  auto sum = a.value().clone();
  accumulate(Cpu{}, b.value(), sum);
  return Variable<T>(std::move(sum), {a, b}, [](Inputs inputs, const Tensor<T>& dout) {
    inputs.add_grad(0, dout);
    inputs.add_grad(1, dout);
  });
}

Tensor<double> vector_of(std::initializer_list<double> values) {
  return Tensor<double>::from(values, {static_cast<index_t>(values.size())});
}

TEST(Variable, GradientsOfOneTensorHandedToTwoInputsStayApart) {
  // Both terms of each sum receive the very same tensor; adding to one must not change the other.
  const auto x = Variable<double>::leaf(vector_of({1, 2}));
  const auto y = Variable<double>::leaf(vector_of({3, 5}));
  const auto a = add(x, y);
  const auto b = multiply(a, a);  // two more contributions to a
  add(add(b, a), x).backward(vector_of({1, 1}));
  EXPECT_EQ(y.grad().to_vector(), (std::vector<double>{2 * 4 + 1, 2 * 7 + 1}));
  EXPECT_EQ(x.grad().to_vector(), (std::vector<double>{2 * 4 + 2, 2 * 7 + 2}));
}

TEST(Variable, GradientsAccumulateOverPasses) {
  const auto x = Variable<double>::leaf(vector_of({3}));
  for (int pass = 0; pass < 2; ++pass) multiply(x, x).backward();
  EXPECT_EQ(x.grad().item(), 12.0);
}

TEST(Accumulate, AddsBetweenAnyStrides) {
  // The target is a range of a wider tensor, whose rest stays; the source is turned, or dense.
  auto numbers = Tensor<double>::empty({3, 20, 70});
  for (index_t i = 0; i < numbers.count(); ++i) numbers.data()[i] = static_cast<double>(i);
  const auto turned = numbers.permute({0, 2, 1}).contiguous().permute({0, 2, 1});
  for (const auto& source : {numbers, turned}) {
    auto wide = Tensor<double>::full({3, 20, 72}, 0.5);
    auto target = wide.slice(2, 1, 71);
    accumulate(Cpu{}, source, target);
    for (index_t i = 0; i < wide.count(); ++i) {
      const index_t row = i / 72, column = i % 72 - 1;
      const bool inside = column >= 0 && column < 70;
      ASSERT_EQ(wide.data()[i], inside ? 0.5 + static_cast<double>(row * 70 + column) : 0.5) << i;
    }
  }
}

TEST(Variable, LeafAddsIntoTheGivenGradient) {
  auto arena = Tensor<double>::full({4}, 0.5);
  const auto x = Variable<double>::leaf(vector_of({2, 3}), arena.slice(0, 1, 3));
  multiply(x, x).backward(vector_of({1, 1}));
  EXPECT_EQ(arena.to_vector(), (std::vector<double>{0.5, 4.5, 6.5, 0.5}));
}

TEST(Variable, SlotOverwritesFirstAndAddsAfterwards) {
  const auto x = Variable<double>::leaf(vector_of({1, 1}));
  const auto through_slot = [](const Variable<double>& a) {
    return Variable<double>(a.value().clone(), {a}, [](Inputs inputs, const Tensor<double>& dout) {
      auto slot = inputs.slot<double>(0);
      for (index_t i = 0; i < dout.count(); ++i) {
        slot.tensor.data()[i] = dout.data()[i] + (slot.accumulate ? slot.tensor.data()[i] : 0.0);
      }
    });
  };
  add(through_slot(x), through_slot(x)).backward(vector_of({1, 2}));
  EXPECT_EQ(x.grad().to_vector(), (std::vector<double>{2, 4}));
}

TEST(Variable, SlotIsLaidOutAsTheValueWhateverArrivedBefore) {
  // The first gradient to arrive is a range of a larger tensor, as concat hands it on.
  const auto x = Variable<double>::leaf(vector_of({1, 1}));
  const auto y = add(x, x);  // not a leaf
  const auto through_slot = [](const Variable<double>& a) {
    return Variable<double>(a.value().clone(), {a}, [](Inputs inputs, const Tensor<double>& dout) {
      auto slot = inputs.slot<double>(0);
      EXPECT_TRUE(slot.tensor.is_contiguous());
      for (index_t i = 0; i < dout.count(); ++i) slot.tensor.data()[i] += dout.data()[i];
    });
  };
  // Newest first: the range arrives, then the slot is asked for.
  const auto slow = through_slot(y);
  const auto column = Variable<double>(y.value().clone(), {y}, [](Inputs inputs, const Tensor<double>& dout) {
    auto wide = Tensor<double>::full({2, 3}, 7.0);
    for (index_t i = 0; i < 2; ++i) wide.data()[3 * i + 1] = dout.data()[i];
    inputs.add_grad(0, Tensor<double>::borrow(wide.data() + 1, {2}, {3}, wide.storage()));
  });
  add(slow, column).backward(vector_of({1, 2}));
  EXPECT_EQ(x.grad().to_vector(), (std::vector<double>{4, 8}));
}

TEST(Variable, NoGradRecordsNothing) {
  const auto x = Variable<double>::leaf(vector_of({3}));
  const NoGrad no_grad;
  EXPECT_FALSE(multiply(x, x).needs_grad());
}

TEST(Variable, SavedTensorsAreFreedAsBackwardGoes) {
  std::weak_ptr<std::byte> saved;
  const auto x = Variable<double>::leaf(vector_of({3}));
  Variable<double> end;
  {
    const auto middle = multiply(x, x);
    saved = middle.value().storage();
    end = multiply(middle, middle);
  }
  EXPECT_FALSE(saved.expired());  // the closure of `end` holds it
  end.backward();
  EXPECT_TRUE(saved.expired());   // although `end` still lives
  EXPECT_EQ(x.grad().item(), 4.0 * 27);
}

TEST(Variable, ValuesThatNoClosureSavedAreFreedInForward) {
  const auto x = Variable<double>::leaf(vector_of({3}));
  std::weak_ptr<std::byte> dropped;
  Variable<double> end;
  {
    const auto middle = add(x, x);
    dropped = middle.value().storage();
    end = add(middle, x);
  }
  EXPECT_TRUE(dropped.expired());
}

TEST(Variable, AChainOfAMillionNodesIsFreedWithoutRecursion) {
  Variable<double> value = Variable<double>::leaf(vector_of({1}));
  const auto pass = [](Inputs inputs, const Tensor<double>& dout) { inputs.add_grad(0, dout); };
  for (int i = 0; i < 1000000; ++i) {
    value = Variable<double>(value.value(), {value}, pass);
  }
  value = Variable<double>();
}

TEST(Variable, ErrorsSayWhatIsMissing) {
  const auto x = Variable<double>::leaf(vector_of({1, 2}));
  EXPECT_THROW(multiply(x, x).backward(), ShapeError);
  EXPECT_THROW(x.grad(), ValueError);
  EXPECT_THROW(Variable<double>(vector_of({1})).backward(), ValueError);
  const auto product = multiply(x, x);
  product.backward(vector_of({1, 1}));
  EXPECT_THROW(product.backward(vector_of({1, 1})), ValueError);
  EXPECT_THROW(multiply(x, x).backward(vector_of({1})), ShapeError);
}

TEST(GradientCheck, AcceptsARightGradientAndRejectsAWrongOne) {
  const auto right = [](const std::vector<Variable<double>>& in) { return multiply(in[0], in[1]); };
  const auto wrong = [](const std::vector<Variable<double>>& in) {
    return Variable<double>(multiply(in[0], in[1]).value(), {in[0], in[1]},
                            [](Inputs inputs, const Tensor<double>& dout) {
                              inputs.add_grad(0, dout);
                            });
  };
  const std::vector<Tensor<double>> at{vector_of({1.5, -2, 0.25}), vector_of({3, 0.5, -1})};
  EXPECT_LT(check_gradients(right, at).worst, 1e-9);
  EXPECT_GT(check_gradients(wrong, at).worst, 1e-2);
}

}  // namespace
}  // namespace mwalimu
