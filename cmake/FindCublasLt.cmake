# FindCublasLt: cuBLASLt, in the CUDA toolkit or in the `nvidia` packages of a Python that has PyTorch.
# Defines CublasLt::cublasLt.
include(FindPackageHandleStandardArgs)
include(${CMAKE_CURRENT_LIST_DIR}/NvidiaPython.cmake)
find_path(CublasLt_INCLUDE_DIR cublasLt.h
  HINTS ${CUDAToolkit_INCLUDE_DIRS} ${MWALIMU_NVIDIA_PYTHON}/cublas ${MWALIMU_NVIDIA_PYTHON}/cu13
  PATH_SUFFIXES include)
find_library(CublasLt_LIBRARY NAMES cublasLt libcublasLt.so.13 libcublasLt.so.12
  HINTS ${CUDAToolkit_LIBRARY_DIR} ${MWALIMU_NVIDIA_PYTHON}/cublas ${MWALIMU_NVIDIA_PYTHON}/cu13
  PATH_SUFFIXES lib64 lib)
find_package_handle_standard_args(CublasLt REQUIRED_VARS CublasLt_LIBRARY CublasLt_INCLUDE_DIR)
if(CublasLt_FOUND AND NOT TARGET CublasLt::cublasLt)
  add_library(CublasLt::cublasLt UNKNOWN IMPORTED)
  set_target_properties(CublasLt::cublasLt PROPERTIES IMPORTED_LOCATION ${CublasLt_LIBRARY}
                        INTERFACE_INCLUDE_DIRECTORIES "${CublasLt_INCLUDE_DIR}")
endif()
mark_as_advanced(CublasLt_INCLUDE_DIR CublasLt_LIBRARY)
