# Images as registries have them, made of a tree. Sourced after lib.sh.
# shellcheck shell=bash

have jq || die "no jq: apt-get install jq"

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
  jq -cn --argjson c "$blob" --argjson l "$layers" '{schemaVersion: 2, mediaType: "application/vnd.oci.image.manifest.v1+json", config: $c, layers: $l}' >"$layout/x"
  blob=$(put "$layout/x" application/vnd.oci.image.manifest.v1+json)
  jq -cn --argjson m "$blob" '{schemaVersion: 2, manifests: [$m + {annotations: {"org.opencontainers.image.ref.name": "test"}}]}' >"$layout/index.json"
  printf '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"
  # What examples/flatten.rs takes.
  paste -d = <(jq -r --arg dir "$layout/blobs/sha256/" '.[].digest | $dir + ltrimstr("sha256:")' <<<"$layers") \
    <(jq -r '.[] | ltrimstr("sha256:")' <<<"$diffs") >"$layout.layers"
}

# one_and_eight TREE: the images `one`, of one layer, and `eight`: the directories in each, and every
# eighth file.
one_and_eight() {
  local tree=$1 n parts=()
  tar --numeric-owner --owner=0 --group=0 -C "$tree" -cf "$BENCH_DIR/all.tar" .
  (cd "$tree" && find . -type d -printf '%p\0') >"$BENCH_DIR/dirs"
  for n in $(seq 0 7); do
    (cd "$tree" && find . ! -type d -printf '%p\0' | LC_ALL=C sort -z | awk -v RS='\0' -v ORS='\0' -v n="$n" 'NR % 8 == n') >"$BENCH_DIR/files"
    cat "$BENCH_DIR/dirs" "$BENCH_DIR/files" |
      tar --numeric-owner --owner=0 --group=0 --no-recursion --null --hard-dereference -C "$tree" -cf "$BENCH_DIR/$n.tar" -T -
    parts+=("$BENCH_DIR/$n.tar")
  done
  image one "$BENCH_DIR/all.tar"
  image eight "${parts[@]}"
  rm -f "$BENCH_DIR"/*.tar
  printf '%s files in %s; compressed %s\n' "$(find "$tree" | wc -l)" "$(du -sh --apparent-size "$tree" | cut -f 1)" "$(du -sh "$BENCH_DIR/one" | cut -f 1)"
}
