#include "all.hpp"

int (*num_threads_of_other_unit())() { return &mwalimu::num_threads; }
