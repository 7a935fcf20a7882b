# shellcheck shell=bash
# What the scripts of this folder share. Sourced, never run.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# configure PRESET: installs what is missing, then configures build/PRESET.
configure() {
  "$root/tools/setup.sh"
  local launcher=()
  if command -v ccache > /dev/null; then
    launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
    # ccache fails where it cannot write, and a home folder may be read-only or missing.
    local cache=${CCACHE_DIR:-${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/ccache}
    if ! { mkdir -p "$cache" && [ -w "$cache" ]; } 2> /dev/null; then
      export CCACHE_DIR=$root/build/ccache
    fi
  fi
  (cd "$root" && cmake --preset "$1" "${launcher[@]}")
}

# build PRESET [cmake --build options]: compiles on every core this process may use.
build() {
  local preset=$1
  shift
  (cd "$root" && cmake --build --preset "$preset" --parallel "$(nproc)" "$@")
}
