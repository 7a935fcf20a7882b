# Finds Sean Barrett's stb as Debian builds it (libstb-dev): headers in stb/ and a library with the
# implementations. Defines Stb::Stb.
find_path(Stb_INCLUDE_DIR stb/stb_image.h)
find_library(Stb_LIBRARY stb)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Stb REQUIRED_VARS Stb_LIBRARY Stb_INCLUDE_DIR
  REASON_FAILURE_MESSAGE "install libstb-dev, or set Stb_INCLUDE_DIR and Stb_LIBRARY")
if(Stb_FOUND AND NOT TARGET Stb::Stb)
  add_library(Stb::Stb UNKNOWN IMPORTED)
  set_target_properties(Stb::Stb PROPERTIES IMPORTED_LOCATION "${Stb_LIBRARY}"
                        INTERFACE_INCLUDE_DIRECTORIES "${Stb_INCLUDE_DIR}")
endif()
mark_as_advanced(Stb_INCLUDE_DIR Stb_LIBRARY)
