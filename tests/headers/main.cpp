#include "all.hpp"

int (*num_threads_of_other_unit())();  // in other.cpp, which includes the same headers

// One definition a program: an inline function has one address in both units.
int main() { return &mwalimu::num_threads == num_threads_of_other_unit() ? 0 : 1; }
