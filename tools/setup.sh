#!/usr/bin/env bash
# Installs what Mwalimu is built from on Debian and Ubuntu. Quick and silent when nothing is missing.
set -euo pipefail

if [ "${1:-}" = --help ] || [ "${1:-}" = -h ]; then
  echo "usage: tools/setup.sh"
  echo "Installs, with apt-get, the packages that Mwalimu is built from and that are missing."
  exit 0
fi
[ $# -eq 0 ] || { echo "setup.sh: unknown argument '$1'; see tools/setup.sh --help" >&2; exit 2; }

# Programs may come from anywhere: command:package.
programs=(g++:g++ cmake:cmake ninja:ninja-build ccache:ccache)
# oneDNN's CMake package asks for OpenCL's headers and loader even on a CPU.
libraries=(libdnnl-dev ocl-icd-opencl-dev libstb-dev nlohmann-json3-dev libcli11-dev libgtest-dev
           libbenchmark-dev libboost-context-dev libhnswlib-dev)

missing=()
for pair in "${programs[@]}"; do
  command -v "${pair%%:*}" > /dev/null || missing+=("${pair##*:}")
done

if ! command -v dpkg-query > /dev/null || ! command -v apt-get > /dev/null; then
  echo "setup.sh: no apt-get here; Mwalimu needs what Debian calls: g++ cmake ninja-build" \
       "${libraries[*]}" >&2
  exit 0  # they may be there all the same: CMake names the first that is not
fi

for package in "${libraries[@]}"; do
  status=$(dpkg-query --show --showformat='${db:Status-Abbrev}' "$package" 2> /dev/null || true)
  [[ $status == ?i* ]] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo > /dev/null || {
    echo "setup.sh: no root and no sudo; ask an administrator for: apt-get install ${missing[*]}" >&2
    exit 1
  }
  as_root=(sudo)
fi
echo "setup.sh: installing ${missing[*]}"
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -qq --yes --no-install-recommends "${missing[@]}" > /dev/null
