# FindCudnn: cuDNN 9, which NVIDIA ships without a CMake package. Looks beside the CUDA toolkit, in the
# system, in CUDNN_ROOT, and in the `nvidia` packages of a Python that has PyTorch.
# Defines Cudnn::cudnn and Cudnn_VERSION.
include(FindPackageHandleStandardArgs)
include(${CMAKE_CURRENT_LIST_DIR}/NvidiaPython.cmake)
find_path(Cudnn_INCLUDE_DIR cudnn_graph.h
  HINTS ${CUDNN_ROOT} ENV CUDNN_ROOT ${CUDAToolkit_INCLUDE_DIRS} ${MWALIMU_NVIDIA_PYTHON}/cudnn
  PATH_SUFFIXES include)
find_library(Cudnn_LIBRARY NAMES cudnn libcudnn.so.9
  HINTS ${CUDNN_ROOT} ENV CUDNN_ROOT ${CUDAToolkit_LIBRARY_DIR} ${MWALIMU_NVIDIA_PYTHON}/cudnn
  PATH_SUFFIXES lib64 lib)
if(Cudnn_INCLUDE_DIR)
  file(STRINGS ${Cudnn_INCLUDE_DIR}/cudnn_version.h lines
       REGEX "#define CUDNN_(MAJOR|MINOR|PATCHLEVEL) +[0-9]+")
  string(REGEX REPLACE "[^0-9;]" "" numbers "${lines}")
  string(REPLACE ";" "." Cudnn_VERSION "${numbers}")
endif()
find_package_handle_standard_args(Cudnn REQUIRED_VARS Cudnn_LIBRARY Cudnn_INCLUDE_DIR
                                        VERSION_VAR Cudnn_VERSION)
if(Cudnn_FOUND AND NOT TARGET Cudnn::cudnn)
  add_library(Cudnn::cudnn UNKNOWN IMPORTED)
  set_target_properties(Cudnn::cudnn PROPERTIES IMPORTED_LOCATION ${Cudnn_LIBRARY}
                        INTERFACE_INCLUDE_DIRECTORIES "${Cudnn_INCLUDE_DIR}")
endif()
mark_as_advanced(Cudnn_INCLUDE_DIR Cudnn_LIBRARY)
