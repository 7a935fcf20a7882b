# Every kernel's stem: NAME.cuh holds it, NAME.cu instantiates it. Compiled by nvcc for a device, and by
# g++ for the emulated device of the tests.
set(mwalimu_kernel_stems
  accumulate
  add
  augment
  average_pool
  batch_norm
  cast_add
  code_statistics
  column_sums
  copy
  cross_entropy
  dropout
  global_pool
  gradients
  l2_normalize
  max_pool
  mixup
  multi_crop
  nearest
  optimizer
  queue
  reduce_ops
  relu
  sinkhorn
  soft_cross_entropy
  tsne_forces
  tsne_grid
  weight_average
)
# Host code around libraries, NAME.cpp: gpu/NAME.hpp instantiated, for a device and for the emulated one.
set(mwalimu_host_stems
  conv2d
  linear
)
# What a real device alone has: CUDA's runtime (NAME.cu), cuDNN and cuBLASLt (NAME.cpp).
# tests/emulated/NAME.cpp is its twin.
set(mwalimu_device_stems
  driver
)
set(mwalimu_library_stems
  cublaslt
  cudnn
)
