#!/usr/bin/env bash
# Every public header compiles alone and with only the parts to its left on the include path.
# usage: headers_alone.sh COMPILER SOURCE_ROOT [flags...]
set -euo pipefail
compiler=$1 root=$2
shift 2
flags=("$@")
roots=()
failed=0
check() { # header, include roots...
  local header=$1
  shift
  echo "#include \"$header\"" | $compiler -std=c++20 -fsyntax-only -Wall -Wextra -Wpedantic -Wconversion -Werror "$@" -x c++ - ||
    { echo "does not compile alone: $header" >&2; return 1; }
}
export -f check
export compiler
for part in lib estimators analysis validation; do
  roots+=("-I$root/$part/include")
  printf '%s\0' $(cd "$root/$part/include" && find jko -name '*.hpp' | sort) |
    xargs -0 -P 2 -I{} bash -c 'check "$@"' _ {} "${flags[@]}" "${roots[@]}" || failed=1
done
exit $failed
