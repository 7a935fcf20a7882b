// simt/host: the vocabulary of CUDA kernels for a C++20 compiler, without any header of CUDA.
// Kernels include it through kernels/simt.cuh. One CUDA thread is one fiber; the fibers of a block
// share an operating-system thread; the executor (simt_host) switches between them at barriers,
// collectives of warps and waits. docs/simt.md tells how.
#pragma once

#include "simt/atomics.hpp"
#include "simt/barriers.hpp"
#include "simt/cooperative_groups.hpp"
#include "simt/launch.hpp"
#include "simt/math.hpp"
#include "simt/memory.hpp"
#include "simt/options.hpp"
#include "simt/specifiers.hpp"
#include "simt/traffic.hpp"
#include "simt/vectors.hpp"
#include "simt/warp.hpp"
