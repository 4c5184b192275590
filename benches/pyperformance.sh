#!/usr/bin/env bash
# How fast a CPython is: the benchmarks of pyperformance, which comes from PyPI, one after the other and
# for each the two interpreters in turn, so that a machine that is busy for a while is so for both. Goals:
# a geometric mean of at least 0.99 of the same version built as others build it, and of at least 1.00 of
# Debian's own python3.11 for 3.11.2; a start that takes no longer.
#
#     benches/pyperformance.sh PREFIX PEER     BENCHMARKS='nbody json_loads' for some of them alone
#
# Both are prefixes, or interpreters, that run on this host: those that `KEEP=DIR benches/optimized.sh`
# leaves on a host that is like the stack, say, or /usr/bin/python3.11 with python3.11-venv.
source "$(dirname "$0")/lib.sh"
[ $# = 2 ] || die "two prefixes or interpreters: PREFIX PEER"
export PIP_DISABLE_PIP_VERSION_CHECK=1

# interpreter WHAT: the program of a prefix.
interpreter() {
  local found
  if [ -d "$1" ]; then
    found=$(find "$1/bin" -regex '.*/python3\.[0-9]+' | head -1)
  else
    found=$1
  fi
  [ -x "$found" ] || die "no interpreter in $1"
  printf '%s' "$found"
}
ours=$(interpreter "$(realpath "$1")")
peer=$(interpreter "$(realpath "$2")")

# with INTERPRETER COMMAND…: where a shared libpython is found in no other way, in the way of those who
# build it so.
with() {
  local interpreter=$1
  shift
  if "$interpreter" -c '' 2>/dev/null; then
    "$@"
  else
    LD_LIBRARY_PATH=$(dirname "$(dirname "$interpreter")")/lib "$@"
  fi
}

for interpreter in "$ours" "$peer"; do
  printf '%s: %s\n' "$interpreter" "$(with "$interpreter" "$interpreter" -VV | tr '\n' ' ')"
done
facts
with "$ours" "$ours" -m venv "$BENCH_DIR/tool"
tool=$BENCH_DIR/tool/bin/python
with "$ours" "$tool" -m pip install -q "pyperformance${PYPERFORMANCE:+==$PYPERFORMANCE}"
cd "$BENCH_DIR"
benchmarks=${BENCHMARKS:-$(with "$ours" "$tool" -m pyperformance list | sed -n 's/^- //p')}
for benchmark in $benchmarks; do
  for which in ours peer; do
    python=${!which}
    # What a version has no wheels for, or cannot run, is told and left out.
    with "$python" "$BENCH_DIR/tool/bin/pyperformance" run --fast --inherit-environ LD_LIBRARY_PATH \
      --python "$python" -b "$benchmark" --append "$which.json" >"$which.log" 2>&1 ||
      printf 'left out: %s of %s\n' "$benchmark" "$which"
  done
done
with "$ours" "$tool" -m pyperf compare_to --table peer.json ours.json
