#!/usr/bin/env bash
# Gathers the libraries that Mwalimu is built from into one folder, for a machine without network.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: tools/bundle_deps.sh [FOLDER]
Downloads Debian's packages of the libraries that Mwalimu is built from (oneDNN, GoogleTest, Google
Benchmark, CLI11, nlohmann-json, stb, Boost.Context, hnswlib) and unpacks them into FOLDER (default: deps).
Runs on Debian or Ubuntu, changes nothing outside FOLDER, needs no root. Take FOLDER along and build
there with

  cmake --preset cuda -C FOLDER/mwalimu-deps.cmake

tools/gpu_check.sh does so by itself where it finds a folder named deps. What the other machine has
itself: a C++20 compiler with OpenMP, CMake 3.25, Ninja or make, a glibc that is not older than this
machine's packages want (the last line says which), and for a GPU nvcc, cuDNN, cuBLASLt. The folder has
57 MiB, 14 MiB as an archive, two thirds of it oneDNN.

example: tools/bundle_deps.sh && tar -czf mwalimu-deps.tar.gz deps
TEXT
}

folder=deps
for argument in "$@"; do
  case $argument in
    -h | --help) usage; exit 0 ;;
    -*) echo "bundle_deps.sh: unknown option '$argument'; see tools/bundle_deps.sh --help" >&2; exit 2 ;;
    *) folder=$argument ;;
  esac
done
if [ -e "$folder" ] && [ ! -f "$folder/mwalimu-deps.cmake" ]; then
  echo "bundle_deps.sh: '$folder' exists and is no bundle of ours; name another folder" >&2
  exit 2
fi
for program in apt-get apt-cache dpkg-deb; do
  command -v "$program" > /dev/null || {
    echo "bundle_deps.sh: no $program here; run this on Debian or Ubuntu and take FOLDER along" >&2
    exit 1
  }
done

# Headers and CMake packages, and the shared libraries behind them.
packages=(libdnnl-dev libdnnl2 ocl-icd-opencl-dev ocl-icd-libopencl1 opencl-c-headers
          opencl-clhpp-headers libstb-dev libstb0 nlohmann-json3-dev libcli11-dev libgtest-dev
          libgmock-dev libbenchmark-dev libbenchmark1debian libhnswlib-dev)
# Boost's packages carry its version in their names.
boost=$(apt-cache depends libboost-context-dev | sed -n 's/.*Depends: \(libboost-context[0-9.]*-dev\)/\1/p')
[ -n "$boost" ] || {
  echo "bundle_deps.sh: apt knows no libboost-context-dev; run apt-get update first" >&2
  exit 1
}
version=${boost#libboost-context}
packages+=("$boost" "libboost${version}" "libboost-context${version%-dev}.0")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/packages" "$work/root"
echo "bundle_deps.sh: downloading ${#packages[@]} packages"
# The sandbox of apt's own user cannot write into a private temporary folder.
(cd "$work/packages" && apt-get download -qq -o APT::Sandbox::User="$(id -un)" "${packages[@]}")

# Whole or absent: unpacked beside the target, moved when complete.
for package in "$work"/packages/*.deb; do
  dpkg-deb -x "$package" "$work/root"
done
# stb and Boost are headers for the most part: keep those that are used.
rm -rf "$work"/root/usr/share/{doc,man,lintian,bug} "$work/root/usr/bin"
boost_headers=$work/root/usr/include/boost
find "$work/root" -name '*.a' ! -name 'libg*.a' ! -name 'libbenchmark*.a' \
  ! -name 'libboost_context.a' -delete
# Only Boost.Context and what its headers include.
mkdir "$work/boost"
for part in assert config context core cstdint.hpp config.hpp version.hpp assert.hpp \
            current_function.hpp detail predef predef.h preprocessor intrusive move mp11 \
            smart_ptr static_assert.hpp throw_exception.hpp exception type_traits limits.hpp; do
  [ -e "$boost_headers/$part" ] && mv "$boost_headers/$part" "$work/boost/"
done
rm -rf "$boost_headers"
mv "$work/boost" "$boost_headers"

architecture=$(basename "$(dirname "$(find "$work/root/usr/lib" -name 'libdnnl.so')")")
cat > "$work/root/mwalimu-deps.cmake" <<TEXT
# Initial cache: cmake -C FOLDER/mwalimu-deps.cmake ...  Finds the libraries beside this file.
set(root "\${CMAKE_CURRENT_LIST_DIR}/usr")
set(packages "\${root}/lib/$architecture/cmake")
set(CMAKE_PREFIX_PATH "\${root}" CACHE PATH "")
set(CMAKE_LIBRARY_PATH "\${root}/lib/$architecture" CACHE PATH "")
set(CMAKE_INCLUDE_PATH "\${root}/include" CACHE PATH "")
foreach(name dnnl GTest benchmark)
  set(\${name}_DIR "\${packages}/\${name}" CACHE PATH "")
endforeach()
file(GLOB found "\${packages}/Boost-*")
set(Boost_DIR "\${found}" CACHE PATH "")
set(nlohmann_json_DIR "\${root}/share/cmake/nlohmann_json" CACHE PATH "")
file(GLOB_RECURSE found "\${root}/CLI11Config.cmake")
get_filename_component(found "\${found}" DIRECTORY)
set(CLI11_DIR "\${found}" CACHE PATH "")
TEXT

# The newest symbols of the C library that a bundled library asks for.
glibc=$(find "$work/root/usr/lib" -name 'lib*.so*' -type f -exec grep -aoh 'GLIBC_2\.[0-9]*' {} + |
        sort -uV | tail -1)

rm -rf "$folder"
mkdir -p "$(dirname "$folder")"
mv "$work/root" "$folder"
echo "bundle_deps.sh: $(du -sh "$folder" | cut -f1) in $folder; build with" \
     "cmake --preset cuda -C $folder/mwalimu-deps.cmake; wants glibc ${glibc#GLIBC_} or newer there"
