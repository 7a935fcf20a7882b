// autograd/variable: a value that remembers how it was computed.
//
// The graph is defined by running: an operation on Variables computes its value and, when one of its
// inputs needs a gradient, records a Node with a closure that turns the gradient of the result into
// gradients of the inputs. backward() visits the nodes newest first and frees each (closure, saved
// tensors, gradient) as soon as it has run, so memory falls while the pass goes on.
//
// The value is in the Variable, not in the Node: a result that no closure has saved is freed as soon
// as the caller drops it.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <queue>
#include <span>
#include <utility>
#include <vector>

#include "mwalimu/core/profile.hpp"
#include "mwalimu/core/strided.hpp"
#include "mwalimu/core/tensor.hpp"

namespace mwalimu {

template <Element T>
class Variable;
class Inputs;

/// target[i] <- target[i] + source[i]; equal shapes, any strides.
template <Real T>
void accumulate(Gpu, const Tensor<T>& source, Tensor<T>& target);  // kernels/accumulate.cuh
template <Real T>
void accumulate(Cpu, const Tensor<T>& source, Tensor<T>& target) {
  const auto add = [](T& to, const T& from) {
    using A = accumulate_t<T>;
    to = convert<T>(static_cast<A>(to) + static_cast<A>(from));
  };
  const T* read = source.data();
  T* written = target.data();
  if (target.count() == 0) return;
  if (target.strides() == source.strides() && target.is_dense()) {
    parallel_for(target.count(), 16384, [&](index_t begin, index_t end) {
#pragma omp simd
      for (index_t i = begin; i < end; ++i) add(written[i], read[i]);
    });
    return;
  }
  mwalimu::detail::for_each_run(
      target.shape(), target.strides(), source.strides(),
      [&](index_t to_first, index_t from_first, index_t n, index_t to_step, index_t from_step) {
        T* to = written + to_first;
        const T* from = read + from_first;
        if (to_step == 1 && from_step == 1) {
#pragma omp simd
          for (index_t i = 0; i < n; ++i) add(to[i], from[i]);
        } else {
          for (index_t i = 0; i < n; ++i) add(to[i * to_step], from[i * from_step]);
        }
      });
}

namespace detail {

/// Whether new operations record themselves, one switch a thread.
inline bool& grad_enabled() {
  thread_local bool enabled = true;
  return enabled;
}

inline std::uint64_t next_node_order() {
  static std::atomic<std::uint64_t> counter{0};
  return counter.fetch_add(1, std::memory_order_relaxed);
}

struct Node {
  const std::uint64_t order = next_node_order();  // inputs are always older than results
  std::vector<std::shared_ptr<Node>> inputs;
  const char* const layer = current_layer();  // whose backward pass this is, for profiles
  bool queued = false;
  bool leaf = false;
  bool released = false;

  Node() = default;
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;
  virtual ~Node() { release_inputs(); }
  virtual bool has_grad() const = 0;
  /// Runs the closure on the gradient that has arrived, then frees closure, gradient and inputs.
  virtual void propagate() = 0;

  // A chain of a million nodes must not become a million nested destructors.
  void release_inputs() {
    std::vector<std::shared_ptr<Node>> pending = std::move(inputs);
    inputs.clear();
    while (!pending.empty()) {
      const std::shared_ptr<Node> node = std::move(pending.back());
      pending.pop_back();
      if (node.use_count() == 1) {
        for (auto& input : node->inputs) pending.push_back(std::move(input));
        node->inputs.clear();
      }
    }
  }
};

template <Element T>
struct TypedNode final : Node {
  Shape shape, strides;
  Device device;
  Tensor<T> grad;  // shape (0) until a gradient has arrived
  bool arrived = false;
  std::function<void(Inputs, const Tensor<T>&)> closure;

  explicit TypedNode(const Tensor<T>& value)
      : shape(value.shape()), device(value.device()) {
    strides = value.is_dense() ? value.strides() : contiguous_strides(shape);
  }
  bool has_grad() const override { return arrived; }
  void propagate() override;

  void add_grad(Tensor<T> part) {
    require<ShapeError>(part.shape() == shape, "backward: a gradient of shape ", part.shape(),
                        " arrived for a value of shape ", shape);
    if (!arrived) {
      // A leaf's gradient outlives the pass, so it must not share memory with another's.
      grad = leaf && part.storage().use_count() > 1 ? part.clone() : std::move(part);
      arrived = true;
      return;
    }
    // The storage may be shared: `a + b` hands one tensor to both of its inputs.
    if (!leaf && grad.storage().use_count() > 1) grad = grad.clone();
    on_device(device, [&](auto place) { accumulate(place, part, grad); });
  }
};

}  // namespace detail

/// Whether operations on this thread record themselves for backward.
inline bool grad_enabled() { return detail::grad_enabled(); }

/// While it lives, operations on this thread record nothing and save nothing.
class NoGrad {
 public:
  NoGrad() : before_(std::exchange(detail::grad_enabled(), false)) {}
  ~NoGrad() { detail::grad_enabled() = before_; }
  NoGrad(const NoGrad&) = delete;
  NoGrad& operator=(const NoGrad&) = delete;

 private:
  bool before_;
};

/// Where an operation writes an input's gradient.
template <Element T>
struct GradientSlot {
  Tensor<T> tensor;  ///< shape and strides of the input's value
  bool accumulate;   ///< add to what is there; otherwise overwrite, what is there is undefined
};

/// The inputs of an operation, as its backward closure sees them. Inputs are passed to the closure
/// and not captured by it: a closure that captured them would keep its own node alive.
class Inputs {
 public:
  explicit Inputs(std::span<const std::shared_ptr<detail::Node>> nodes) : nodes_(nodes) {}

  /// False where nobody will use the gradient of input i: skip its computation.
  bool needs_grad(std::size_t i) const { return nodes_[i] != nullptr; }
  /// Adds a gradient of the input's shape. Ignored where needs_grad(i) is false.
  template <Element T>
  void add_grad(std::size_t i, Tensor<T> part) const {
    if (needs_grad(i)) node<T>(i).add_grad(std::move(part));
  }
  /// Memory to write the gradient of input i into, for operations that can add in place. The
  /// gradient counts as arrived: the operation must write every element. Wants needs_grad(i).
  template <Element T>
  GradientSlot<T> slot(std::size_t i) const {
    auto& to = node<T>(i);
    if (to.arrived) {
      // What arrived may be shared with another input, or be a range of a larger gradient.
      const bool own = to.leaf || to.grad.storage().use_count() == 1;
      if (!own || !(to.grad.strides() == to.strides)) {
        auto copy = Tensor<T>::with_strides(to.shape, to.strides, to.device);
        copy.copy_from(to.grad);
        to.grad = std::move(copy);
      }
      return {to.grad, true};
    }
    to.grad = Tensor<T>::with_strides(to.shape, to.strides, to.device);
    to.arrived = true;
    return {to.grad, false};
  }

 private:
  template <Element T>
  detail::TypedNode<T>& node(std::size_t i) const {
    auto* typed = dynamic_cast<detail::TypedNode<T>*>(nodes_[i].get());
    require<ValueError>(typed != nullptr, "backward: input ", i, " does not hold ", type_name<T>());
    return *typed;
  }
  std::span<const std::shared_ptr<detail::Node>> nodes_;
};

template <Element T>
void detail::TypedNode<T>::propagate() {
  if (leaf) return;
  const auto function = std::exchange(closure, nullptr);
  const Tensor<T> incoming = std::exchange(grad, Tensor<T>());
  arrived = false;
  released = true;
  if (!function) return;
  const BackwardScope backward;
  const LayerScope in_layer(layer, incoming.device());
  function(Inputs(inputs), incoming);
}

/// An input of an operation, of any element type.
class Edge {
 public:
  template <Element T>
  Edge(const Variable<T>& variable) : node_(variable.node()) {}
  const std::shared_ptr<detail::Node>& node() const { return node_; }

 private:
  std::shared_ptr<detail::Node> node_;
};

/// A Tensor and its place in the graph. Copies refer to the same node.
template <Element T>
class Variable {
 public:
  using Backward = std::function<void(Inputs, const Tensor<T>&)>;

  Variable() = default;
  /// A constant.
  Variable(Tensor<T> value) : value_(std::move(value)) {}  // NOLINT: a tensor is a variable
  /// A leaf: gradients of `value` gather in grad().
  static Variable leaf(Tensor<T> value) {
    Variable variable(std::move(value));
    variable.node_ = std::make_shared<detail::TypedNode<T>>(variable.value_);
    variable.node_->leaf = true;
    return variable;
  }
  /// A leaf whose gradients are added into `grad`, which must hold numbers already (zeros).
  static Variable leaf(Tensor<T> value, Tensor<T> grad) {
    require<ShapeError>(value.shape() == grad.shape() && value.strides() == grad.strides(),
                        "leaf: want a gradient laid out as the value ", value.shape(), ", got ",
                        grad.shape());
    Variable variable = leaf(std::move(value));
    variable.node_->grad = std::move(grad);
    variable.node_->arrived = true;
    return variable;
  }
  /// The result of an operation. `backward(inputs, grad)` gets the gradient of this value and hands
  /// the inputs theirs. A constant if no input needs a gradient or recording is off.
  Variable(Tensor<T> value, std::initializer_list<Edge> inputs, Backward backward)
      : Variable(std::move(value), std::span<const Edge>(inputs.begin(), inputs.size()),
                 std::move(backward)) {}
  Variable(Tensor<T> value, std::span<const Edge> inputs, Backward backward)
      : value_(std::move(value)) {
    bool needed = false;
    for (const Edge& edge : inputs) needed = needed || edge.node() != nullptr;
    if (!needed || !grad_enabled()) return;
    node_ = std::make_shared<detail::TypedNode<T>>(value_);
    for (const Edge& edge : inputs) node_->inputs.push_back(edge.node());
    node_->closure = std::move(backward);
  }

  const Tensor<T>& value() const { return value_; }
  Tensor<T>& value() { return value_; }
  const Shape& shape() const { return value_.shape(); }
  index_t dim(int i) const { return value_.dim(i); }

  bool needs_grad() const { return node_ != nullptr; }
  /// The gradient gathered by a leaf. @throws ValueError  no gradient has arrived.
  const Tensor<T>& grad() const {
    require<ValueError>(node_ != nullptr && node_->arrived,
                        "grad: no gradient has arrived here; want a leaf after backward()");
    return node_->grad;
  }
  bool has_grad() const { return node_ != nullptr && node_->arrived; }
  /// Forgets a leaf's gradient.
  void clear_grad() {
    if (node_ == nullptr) return;
    node_->grad = Tensor<T>();
    node_->arrived = false;
  }
  /// The same value as a constant.
  Variable detach() const { return Variable(value_); }

  /// Adds d(this)/d(leaf) to the gradient of every leaf this value depends on, then the graph is
  /// gone. @throws ShapeError  the value is not a single number.
  void backward() const {
    require<ShapeError>(value_.count() == 1,
                        "backward: want a single number, or give its gradient; got ", shape());
    backward(Tensor<T>::full(shape(), convert<T>(1.0f), value_.device()));
  }
  /// Adds sum_i gradient[i] d(this[i])/d(leaf). @throws ValueError  nothing was recorded, or the
  /// graph has been freed by an earlier backward.
  void backward(Tensor<T> gradient) const;

  const std::shared_ptr<detail::TypedNode<T>>& node() const { return node_; }

 private:
  Tensor<T> value_;
  std::shared_ptr<detail::TypedNode<T>> node_;
};

template <Element T>
void Variable<T>::backward(Tensor<T> gradient) const {
  require<ValueError>(node_ != nullptr, "backward: no input of this value needs a gradient");
  require<ValueError>(!node_->released, "backward: this graph has been used and freed already");
  node_->add_grad(std::move(gradient));

  const auto older = [](const auto& a, const auto& b) { return a->order < b->order; };
  std::priority_queue<std::shared_ptr<detail::Node>, std::vector<std::shared_ptr<detail::Node>>,
                      decltype(older)>
      ready(older);
  ready.push(node_);
  node_->queued = true;
  while (!ready.empty()) {
    // All consumers of this node are newer, so they have run: its gradient is complete.
    const std::shared_ptr<detail::Node> node = ready.top();
    ready.pop();
    node->queued = false;
    if (node->leaf) continue;
    if (node->has_grad()) {
      node->propagate();
      for (const auto& input : node->inputs) {
        if (input != nullptr && !input->queued) {
          input->queued = true;
          ready.push(input);
        }
      }
    }
    node->release_inputs();
  }
}

}  // namespace mwalimu
