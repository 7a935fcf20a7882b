// The same program by inclusion alone: this page brings the definitions of the device's half.
#include "mwalimu.cuh"

#include "../cuda_program.cpp"
