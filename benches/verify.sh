#!/usr/bin/env bash
# Verifying 1 GiB of local archives, beside coreutils' sha256sum over the same files: their digests
# alone, on one processor and on all; and decompressed, beside gzip -t.
. "$(dirname "$0")/lib.sh"

SIZE=${SIZE:-1024} # MiB in all
FILES=${FILES:-16}
RUNS=${RUNS:-3}
facts sha256sum gzip

# Archives as large as runtimes are, each of another part of this host's libraries.
dist=$BENCH_DIR/dist/debian-12/runtimes
mkdir -p "$dist" "$BENCH_DIR/store"
is_root && chown 65534:65534 "$BENCH_DIR/store"
export PYBUILD_HOME=$BENCH_DIR/store
each=$((SIZE / FILES))
find /usr/lib /usr/bin /usr/share -type f -readable -size -20M -print0 2>/dev/null | sort -z >"$BENCH_DIR/names"
for n in $(seq "$FILES"); do
  file=$dist/python-3.11.$n.tar.gz
  sort -zR --random-source=<(yes "$n") "$BENCH_DIR/names" >"$BENCH_DIR/mine"
  # Cut at a size, then ended as an archive: one member that holds compressed bytes as they are.
  (tar -c --null -T "$BENCH_DIR/mine" 2>/dev/null || true) | gzip -1 2>/dev/null | head -c $((each * 1048576 - 4096)) >"$BENCH_DIR/part" || true
  tar -cz --owner=0 --group=0 -C "$BENCH_DIR" -f "$file" part
done
(cd "$BENCH_DIR/dist" && find . -name '*.tar.gz' -print0 | xargs -0 cat) >/dev/null # warm
"$PYBUILD" -q verify --target "$BENCH_DIR/dist" --record --lock "$BENCH_DIR/store/lock" >/dev/null ||
  die "the archives are not sound"

digests() { "$@" "$PYBUILD" -q verify --digests --target "$BENCH_DIR/dist" --lock "$BENCH_DIR/store/lock"; }
for _ in $(seq "$RUNS"); do
  time_to "sha256sum" bash -c "sha256sum $dist/*"
  time_to "digests, one processor" digests taskset -c 0
  time_to "digests, all" digests env
  time_to "gzip -t" bash -c "gzip -t $dist/*"
  time_to "whole, all" "$PYBUILD" -q verify --target "$BENCH_DIR/dist" --lock "$BENCH_DIR/store/lock"
done
table sha256sum
