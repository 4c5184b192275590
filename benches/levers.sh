#!/usr/bin/env bash
# What each part of the profile `optimized` is worth: CPython built as the formula says, and then as it
# says with one of them taken back to how others do it. Wall-clock time of the stages, and size.
#
#     VERSION=3.13.5 LEVERS='partitions cache' benches/levers.sh     all of them if none is named
source "$(dirname "$0")/lib.sh"
VERSION=${VERSION:-3.13.5}
export PYBUILD_HOME=${PYBUILD_HOME:-$BENCH_DIR/store}
facts

# lever NAME: the edit of formulae/python.toml that takes it back.
lever() {
  case $1 in
    partitions) echo 's/-flto={jobs}/-flto -flto-partition=none/' ;;
    thin-objects) echo 's/-flto={jobs}/-flto={jobs} -ffat-lto-objects/' ;;
    one-link) echo 's/^  "-o", "Programs\/_freeze_module".*//' ;;
    cache) echo 's/"--cache-file=config.cache"//' ;;
    compiler) echo 's/OPT = "-fwrapv -O3 -Wall"/OPT = "-g -fwrapv -O3 -Wall"/; s/OPT = "-O3 -Wall"/OPT = "-g -O3 -Wall"/' ;;
    training-without-lto) echo 's/ -fprofile-generate"/ -fprofile-generate -flto={jobs}"/; s/"CC=gcc -ffile-prefix-map={source}\/=",$/& "AR=gcc-ar",/' ;;
    parallel-training) echo 's/train.sh", "{jobs}"/train.sh", "1"/' ;;
    parallel-compileall) echo 's/"PYTHON_FOR_BUILD=\/bin\/sh {files}\/without-compileall.sh", //' ;;
    *) die "no lever $1" ;;
  esac
}
# In the words of the table.
declare -A words=(
  [none]='as the formula says'
  [partitions]='one LTO partition, on one processor'
  [thin-objects]='objects with machine code besides LTO'
  [one-link]='LTO for the interpreters that build another, too'
  [cache]='no answers of configure kept from the training'
  [compiler]='debug information made, and stripped'
  [training-without-lto]='LTO for the instrumented interpreter, too'
  [parallel-training]='training on one processor'
  [parallel-compileall]='make install compiles the library, three times, before we do'
)

# build NAME FORMULAE: builds it, and says how long that took. Where a training is not said to have
# taken any time it was one that the store had.
build() {
  local json=$BENCH_DIR/$1.json
  if ! "$PYBUILD" sandbox --rebuild --json --formulae "$2" --output "$BENCH_DIR/dist" "$STACK" "python-$VERSION" \
    >"$json" 2>"$BENCH_DIR/$1.log"; then
    tail -n 30 "$BENCH_DIR/$1.log" >&2
    printf '| %s | failed | | | |\n' "${words[$1]}"
    return
  fi
  jq -r --arg what "${words[$1]}" --arg runtime "python-$VERSION" '
    def total(which): [.phases[] | select(.phase | which) | .seconds] | add // 0 | . * 10 | round / 10;
    total(contains("python-profile-")) as $training
    | total(contains($runtime)) as $build
    | total(. == $runtime + ": make") as $make
    | "| \($what) | \($training) s | \($build) s | \($make) s | \(.artifacts[-1].size) |"' "$json"
}

printf '| taken back | training | build | of that make | .tar.gz, bytes |\n|---|---|---|---|---|\n'
for name in none ${LEVERS:-partitions thin-objects one-link cache compiler training-without-lto parallel-training parallel-compileall}; do
  formulae=$BENCH_DIR/formulae.$name
  cp -r "$here/../formulae" "$formulae"
  if [ "$name" != none ]; then
    sed -i "$(lever "$name")" "$formulae/python.toml"
    ! cmp -s "$formulae/python.toml" "$here/../formulae/python.toml" || die "$name changes nothing: look at the formula"
  fi
  build "$name" "$formulae"
done
