#include "copy.cuh"

namespace mwalimu {
template void copy_elements(Gpu, const Shape&, ElementType, const void*, const Shape&, ElementType,
                            void*, const Shape&);
template void fill_elements(Gpu, const Shape&, const void*, std::size_t, void*, const Shape&);
}  // namespace mwalimu
