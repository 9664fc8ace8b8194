#!/usr/bin/env bash
# Builds the README's program and a claim of one's own outside the source tree against an installed jko, by pkg-config and by CMake: run.sh PREFIX
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
prefix=$1
libdir=$(dirname "$(find "$prefix" -name libjko.so | head -n 1)")
[[ -n $libdir ]] || { echo "no installed jko under $prefix" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export LD_LIBRARY_PATH=$libdir
data=$here/../../validation/data/tcm_monthly_1953_1999.csv
# shellcheck disable=SC2046
PKG_CONFIG_PATH=$libdir/pkgconfig g++ -std=c++20 "$here/main_job.cpp" -o "$work/main_job" $(PKG_CONFIG_PATH=$libdir/pkgconfig pkg-config --cflags --libs jko-estimators)
"$work/main_job" "$data" >"$work/pkg-config.txt"
cmake -S "$here" -B "$work/cmake" -Djko_DIR="$libdir/cmake/jko" >"$work/cmake.log" || { cat "$work/cmake.log"; exit 1; }
cmake --build "$work/cmake" >>"$work/cmake.log" || { cat "$work/cmake.log"; exit 1; }
"$work/cmake/main_job" "$data" >"$work/cmake.txt"
cat "$work/pkg-config.txt"
cmp "$work/pkg-config.txt" "$work/cmake.txt"
echo "consumer: pkg-config and CMake builds agree"
# The recipe of a claim of one's own (docs/recipes/own_check.md), in C++ and as a TOML file, with what is installed.
PKG_CONFIG_PATH=$libdir/pkgconfig g++ -std=c++20 "$here/../../docs/examples/own_check.cpp" -o "$work/own_check" $(PKG_CONFIG_PATH=$libdir/pkgconfig pkg-config --cflags --libs jko-validation)
"$work/own_check" "$work/own"
grep -q '"id": *"descent"' "$work/own/report.json"
"$prefix/bin/jko" study "$here/../../docs/examples/claims.toml" --out "$work/claims"
grep -q '"id": *"second-moment"' "$work/claims/study.json"
echo "consumer: own claims in C++ and TOML"
