#!/usr/bin/env bash
# Verifying 1 GiB of local archives, beside coreutils' sha256sum over the same files: their digests
# alone, on one processor and on all; and decompressed, beside gzip -t.
. "$(dirname "$0")/lib.sh"

SIZE=${SIZE:-1024} # MiB in all
FILES=${FILES:-16}
RUNS=${RUNS:-3}
facts sha256sum gzip

# Archives as large as runtimes are, each of another part of this host's own programs and libraries,
# which gzip -1 makes a third of.
dist=$BENCH_DIR/dist/debian-12/runtimes
mkdir -p "$dist" "$BENCH_DIR/store"
! is_root || chown 65534:65534 "$BENCH_DIR/store"
export PYBUILD_HOME=$BENCH_DIR/store
each=$((SIZE * 1048576 * 3 / FILES))
find /usr/lib /usr/bin -type f -readable -perm /004 ! -perm /6000 -size -20M -printf '%s %p\n' 2>/dev/null |
  LC_ALL=C sort -k 2 >"$BENCH_DIR/names"
for n in $(seq "$FILES"); do
  shuf --random-source=<(yes "$n") "$BENCH_DIR/names" |
    awk -v most="$each" '{ sum += $1; if (sum <= most) { sub(/^[0-9]+ \//, ""); print } }' |
    tar -c --owner=0 --group=0 --mode=go-w,a-s -C / -T - --hard-dereference 2>/dev/null |
    gzip -1 >"$dist/python-3.11.$n.tar.gz"
done
printf '%s of archives\n' "$(du -shL "$dist" | cut -f 1)"
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
