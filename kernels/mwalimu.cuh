// mwalimu.cuh: the device's half by inclusion, for programs compiled by nvcc (mwalimu::cuda). Others
// link mwalimu::kernels and need none of it.
//
// Not here: convolutions and linear layers. Their operations include oneDNN's C++ header for the Cpu,
// and nvcc 13.0 dies of an internal error on that of oneDNN 2.6 as C++20 (std::vector over an unnamed
// C struct, with the library of g++ 12). Code that calls them is compiled by the C++ compiler and links
// mwalimu::kernels.
#pragma once

#include "accumulate.cuh"
#include "add.cuh"
#include "augment.cuh"
#include "average_pool.cuh"
#include "batch_norm.cuh"
#include "cast_add.cuh"
#include "code_statistics.cuh"
#include "column_sums.cuh"
#include "copy.cuh"
#include "cross_entropy.cuh"
#include "driver.cuh"
#include "dropout.cuh"
#include "global_pool.cuh"
#include "gradients.cuh"
#include "l2_normalize.cuh"
#include "max_pool.cuh"
#include "mixup.cuh"
#include "multi_crop.cuh"
#include "nearest.cuh"
#include "optimizer.cuh"
#include "queue.cuh"
#include "reduce_ops.cuh"
#include "relu.cuh"
#include "sinkhorn.cuh"
#include "soft_cross_entropy.cuh"
#include "tsne_forces.cuh"
#include "tsne_grid.cuh"
#include "weight_average.cuh"
#include "mwalimu/gpu/cublaslt.hpp"
#include "mwalimu/gpu/cudnn_device.hpp"
