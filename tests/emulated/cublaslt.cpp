// cuBLASLt's part on the emulated device: BLAS's definition of a product, as loops.
#include "emulated/stream.hpp"
#include "mwalimu/gpu/matmul_problem.hpp"

namespace mwalimu::gpu {
namespace {

template <class T, class D>
void multiply(const MatmulProblem& p, const T* a, const T* b, const D* bias, D* d) {
  using A = accumulate_t<T>;
  for (index_t j = 0; j < p.n; ++j) {
    for (index_t i = 0; i < p.m; ++i) {
      A sum = 0;
      for (index_t k = 0; k < p.k; ++k) {
        sum += convert<A>(a[p.op_a == 'N' ? i + k * p.lda : k + i * p.lda]) *
               convert<A>(b[p.op_b == 'N' ? k + j * p.ldb : j + k * p.ldb]);
      }
      D& result = d[i + j * p.ldd];
      if (p.accumulate) sum += convert<A>(result);
      if (p.bias) sum += convert<A>(bias[i]);
      result = convert<D>(sum);
    }
  }
}

template <class T, class D>
bool queue(Gpu on, const MatmulProblem& p, const void* a, const void* b, const void* bias,
           void* d) {
  emulated::enqueue(on.stream, [=] {
    multiply(p, static_cast<const T*>(a), static_cast<const T*>(b), static_cast<const D*>(bias),
             static_cast<D*>(d));
  });
  return true;
}

}  // namespace

template <class X>
bool BasicMultiplication<X>::run(Gpu on, const MatmulProblem& p, const void* a, const void* b,
                                 const void* bias, void* d) {
  if (p.type == "float32") return queue<float, float>(on, p, a, b, bias, d);
  if (p.type == "float64") {
    // As if no algorithm added a bias of double, so that the way around is taken somewhere.
    return !p.bias && queue<double, double>(on, p, a, b, bias, d);
  }
  const bool wide = p.out == "float32";
  if (p.type == "float16") {
    return wide ? queue<half, float>(on, p, a, b, bias, d) : queue<half, half>(on, p, a, b, bias, d);
  }
  return wide ? queue<bfloat16, float>(on, p, a, b, bias, d)
              : queue<bfloat16, bfloat16>(on, p, a, b, bias, d);
}

template struct BasicMultiplication<>;

}  // namespace mwalimu::gpu
