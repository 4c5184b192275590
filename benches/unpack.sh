#!/usr/bin/env bash
# Unpacking an image that is on this host already, of one layer and of eight, beside umoci and tar.
# pybuild ends with a sync of the file system; the others are timed without one, and with one.
. "$(dirname "$0")/lib.sh"

FLATTEN=${FLATTEN:-$here/../target/release/examples/flatten}
RUNS=${RUNS:-3}
have "$FLATTEN" || die "no $FLATTEN: cargo build --release --example flatten, or set FLATTEN"
have umoci || die "no umoci: apt-get install umoci"
. "$here/images.sh"
facts umoci tar

# The tree of a prepared stack: TREE, else the stack's build image.
if [ -z "${TREE:-}" ]; then
  TREE=$BENCH_DIR/tree
  tree "$TREE"
fi

one_and_eight "$TREE"

ours() { # IMAGE
  local layers
  mapfile -t layers <"$BENCH_DIR/$1.layers"
  rm -rf "$BENCH_DIR/store"
  mkdir -m 755 "$BENCH_DIR/store"
  ! is_root || chown 65534:65534 "$BENCH_DIR/store"
  sync
  time_to "pybuild, $1" "$FLATTEN" "$BENCH_DIR/store" "${layers[@]}"
}
theirs() { # IMAGE
  rm -rf "$BENCH_DIR/bundle"
  sync
  time_to "umoci, $1" umoci unpack --rootless --image "$BENCH_DIR/$1:test" "$BENCH_DIR/bundle"
  rm -rf "$BENCH_DIR/bundle"
  sync
  time_to "umoci and sync, $1" bash -c "umoci unpack --rootless --image $BENCH_DIR/$1:test $BENCH_DIR/bundle && sync -f $BENCH_DIR"
}
untar() {
  rm -rf "$BENCH_DIR/out"
  mkdir "$BENCH_DIR/out"
  sync
  time_to "$1, one" bash -c "$2"
}
blob=$(cut -d = -f 1 "$BENCH_DIR/one.layers")
for _ in $(seq "$RUNS"); do
  for image in one eight; do
    ours "$image"
    theirs "$image"
  done
  untar "tar -xz" "tar -xzf $blob -C $BENCH_DIR/out"
  untar "tar -xz, sha256sum and sync" "gzip -dc $blob | tee >(sha256sum >$BENCH_DIR/sum) | tar -xf - -C $BENCH_DIR/out && sync -f $BENCH_DIR"
done
table "umoci and sync, one"
/usr/bin/time -f 'pybuild, one: %M KiB of memory at most' true 2>/dev/null || exit 0
rm -rf "$BENCH_DIR/store"
mkdir -m 755 "$BENCH_DIR/store"
! is_root || chown 65534:65534 "$BENCH_DIR/store"
/usr/bin/time -f 'pybuild, one: %M KiB of memory at most' "$FLATTEN" "$BENCH_DIR/store" "$blob=$(cut -d = -f 2 "$BENCH_DIR/one.layers")" >/dev/null
