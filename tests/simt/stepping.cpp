// A kernel for tools/simt_gdb.py to step through; gdb_test.py names its lines by their comments.
#include <cstdio>

#include "simt.cuh"

__global__ void reverse_kernel(const int* in, int* out) {
  __shared__ int tile[64];
  const int t = static_cast<int>(threadIdx.x);
  tile[t] = in[blockIdx.x * 64 + t];        // store
  __syncthreads();                          // barrier
  const int mirrored = tile[63 - t];        // load
  out[blockIdx.x * 64 + t] = mirrored + t;  // result
}

int main() {
  int in[128], out[128];
  for (int i = 0; i < 128; ++i) in[i] = 100 + i;
  mwalimu::simt::options().workers = 1;
  mwalimu::simt::options().order = mwalimu::simt::Schedule::forward;
  mwalimu::simt::launch(reverse_kernel, 2, 64, 0, nullptr, static_cast<const int*>(in),
                        static_cast<int*>(out));
  std::printf("out[5] = %d\n", out[5]);
}
