#include "driver.cuh"

template struct mwalimu::gpu::BasicDriver<>;
