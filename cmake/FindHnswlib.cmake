# Finds hnswlib, headers alone (Debian: libhnswlib-dev). Defines Hnswlib::Hnswlib, which tells the
# library by MWALIMU_HNSWLIB that it is there.
find_path(Hnswlib_INCLUDE_DIR hnswlib/hnswlib.h)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Hnswlib REQUIRED_VARS Hnswlib_INCLUDE_DIR
  REASON_FAILURE_MESSAGE "install libhnswlib-dev, or set Hnswlib_INCLUDE_DIR")
if(Hnswlib_FOUND AND NOT TARGET Hnswlib::Hnswlib)
  add_library(Hnswlib::Hnswlib INTERFACE IMPORTED)
  set_target_properties(Hnswlib::Hnswlib PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES "${Hnswlib_INCLUDE_DIR}"
    INTERFACE_COMPILE_DEFINITIONS MWALIMU_HNSWLIB)
endif()
mark_as_advanced(Hnswlib_INCLUDE_DIR)
