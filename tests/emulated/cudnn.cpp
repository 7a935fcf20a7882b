// cuDNN's part on the emulated device: the same problems, solved by the loops that the Cpu has for
// double.
#include <type_traits>

#include "emulated/stream.hpp"
#include "mwalimu/cpu/conv2d_loops.hpp"
#include "mwalimu/gpu/conv_problem.hpp"

namespace mwalimu::gpu {
namespace {

template <class T>
void convolve(const ConvProblem& p, const void* x, const void* weight, const void* out) {
  const cpu::Conv2dLoops<T> loops(p.x, p.weight, p.out, {p.stride, p.padding, p.groups});
  const auto in = [](const void* data) { return static_cast<const T*>(data); };
  const auto into = [](const void* data) { return const_cast<T*>(static_cast<const T*>(data)); };
  const auto strides = channels_last_strides(p.weight);
  switch (p.pass) {
    case ConvPass::forward:
      return loops.forward(in(x), View<const T, 4>(in(weight), p.weight, strides), into(out));
    case ConvPass::backward_data:
      return loops.backward_data(in(out), View<const T, 4>(in(weight), p.weight, strides), into(x));
    case ConvPass::backward_weight: {
      // Sums in float, left in T as cuDNN leaves them.
      using A = accumulate_t<T>;
      index_t count = 1;
      for (const index_t extent : p.weight) count *= extent;
      std::vector<A> sums(static_cast<std::size_t>(count));
      loops.backward_weight(in(x), in(out), false, View<A, 4>(sums.data(), p.weight, strides));
      T* to = into(weight);
      for (const A sum : sums) *to++ = convert<T>(sum);
    }
  }
}

}  // namespace

template <class X>
void BasicConvolution<X>::run(Gpu on, const ConvProblem& problem, const void* x,
                              const void* weight, const void* out) {
  // cuDNN refuses addresses that are less aligned than its plan was made for.
  require<CudnnError>(common_alignment({x, weight, out}) >= problem.alignment, problem,
                      ": an operand is not aligned to ", problem.alignment, " bytes");
  emulated::enqueue(on.stream, [=] {
    if (problem.type == "float32") return convolve<float>(problem, x, weight, out);
    if (problem.type == "float64") return convolve<double>(problem, x, weight, out);
    if (problem.type == "float16") return convolve<half>(problem, x, weight, out);
    convolve<bfloat16>(problem, x, weight, out);
  });
}

template struct BasicConvolution<>;

}  // namespace mwalimu::gpu
