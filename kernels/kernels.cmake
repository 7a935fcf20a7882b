# Every kernel's stem: NAME.cuh holds it, NAME.cu instantiates it. Compiled by nvcc for a device, and by
# g++ for the emulated device of the tests.
set(mwalimu_kernel_stems
  accumulate
  add
  augment
  average_pool
  batch_norm
  code_statistics
  copy
  cross_entropy
  dropout
  global_pool
  gradients
  l2_normalize
  max_pool
  mixup
  multi_crop
  optimizer
  queue
  reduce_ops
  relu
  sinkhorn
  soft_cross_entropy
)
# What a real device alone has: CUDA's runtime, cuDNN, cuBLASLt. tests/emulated/NAME.cpp is its twin.
set(mwalimu_device_stems
  driver
)
