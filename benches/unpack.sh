#!/usr/bin/env bash
# Unpacking an image that is on this host already, of one layer and of eight, beside umoci and tar.
# pybuild ends with a sync of the file system; the others are timed without one, and with one.
. "$(dirname "$0")/lib.sh"

FLATTEN=${FLATTEN:-$here/../target/release/examples/flatten}
RUNS=${RUNS:-3}
have "$FLATTEN" || die "no $FLATTEN: cargo build --release --example flatten, or set FLATTEN"
have umoci || die "no umoci: apt-get install umoci"
have jq || die "no jq: apt-get install jq"
facts umoci tar

# The tree of a prepared stack: TREE, else the stack's build image.
if [ -z "${TREE:-}" ]; then
  TREE=$BENCH_DIR/tree
  tree "$TREE"
fi

# image NAME TARBALL…: an OCI layout with these layers, compressed with gzip -6 as registries have it.
image() {
  local layout=$BENCH_DIR/$1 file diff blob size layers='[]' diffs='[]' digest
  shift
  mkdir -p "$layout/blobs/sha256"
  put() { # FILE MEDIA-TYPE: its descriptor
    digest=$(sha256sum "$1" | cut -c1-64)
    size=$(stat -c %s "$1")
    mv "$1" "$layout/blobs/sha256/$digest"
    jq -cn --arg m "$2" --arg d "sha256:$digest" --argjson s "$size" '{mediaType: $m, digest: $d, size: $s}'
  }
  for file; do
    diff=sha256:$(sha256sum "$file" | cut -c1-64)
    gzip -6 -n <"$file" >"$file.gz"
    blob=$(put "$file.gz" application/vnd.oci.image.layer.v1.tar+gzip)
    layers=$(jq -c --argjson b "$blob" '. + [$b]' <<<"$layers")
    diffs=$(jq -c --arg d "$diff" '. + [$d]' <<<"$diffs")
  done
  jq -cn --argjson d "$diffs" '{architecture: "amd64", os: "linux", config: {}, rootfs: {type: "layers", diff_ids: $d}}' >"$layout/x"
  blob=$(put "$layout/x" application/vnd.oci.image.config.v1+json)
  jq -cn --argjson c "$blob" --argjson l "$layers" '{schemaVersion: 2, config: $c, layers: $l}' >"$layout/x"
  blob=$(put "$layout/x" application/vnd.oci.image.manifest.v1+json)
  jq -cn --argjson m "$blob" '{schemaVersion: 2, manifests: [$m + {annotations: {"org.opencontainers.image.ref.name": "test"}}]}' >"$layout/index.json"
  printf '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"
  # What FLATTEN takes.
  paste -d = <(jq -r --arg dir "$layout/blobs/sha256/" '.[].digest | $dir + ltrimstr("sha256:")' <<<"$layers") \
    <(jq -r '.[] | ltrimstr("sha256:")' <<<"$diffs") >"$layout.layers"
}

tar --numeric-owner --owner=0 --group=0 -C "$TREE" -cf "$BENCH_DIR/all.tar" .
# Eight layers: every eighth file each, the directories in all.
(cd "$TREE" && find . -type d -printf '%p\0') >"$BENCH_DIR/dirs"
parts=()
for n in $(seq 0 7); do
  (cd "$TREE" && find . ! -type d -printf '%p\0' | LC_ALL=C sort -z | awk -v RS='\0' -v ORS='\0' -v n="$n" 'NR % 8 == n') >"$BENCH_DIR/files"
  cat "$BENCH_DIR/dirs" "$BENCH_DIR/files" |
    tar --numeric-owner --owner=0 --group=0 --no-recursion --null --hard-dereference -C "$TREE" -cf "$BENCH_DIR/$n.tar" -T -
  parts+=("$BENCH_DIR/$n.tar")
done
image one "$BENCH_DIR/all.tar"
image eight "${parts[@]}"
printf '%s of files in %s; compressed %s\n' "$(find "$TREE" | wc -l)" "$(du -sh --apparent-size "$TREE" | cut -f 1)" "$(du -sh "$BENCH_DIR/one" | cut -f 1)"

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
