#!/usr/bin/env bash
# Verifying 1 GiB of local archives: their digests alone, on one processor and on all, beside
# coreutils' sha256sum over the same files, and beside as many processes of openssl as there are
# processors, which is what the processor can do; and decompressed, beside gzip and pigz.
source "$(dirname "$0")/lib.sh"

SIZE=${SIZE:-1024} # MiB in all
FILES=${FILES:-16}
RUNS=${RUNS:-3}
have pigz || die "no pigz: apt-get install pigz"
facts sha256sum gzip pigz openssl

dist=$BENCH_DIR/dist/debian-12/runtimes
mkdir -p "$BENCH_DIR/store"
! is_root || chown 65534:65534 "$BENCH_DIR/store"
export PYBUILD_HOME=$BENCH_DIR/store
archives "$dist" "$SIZE" "$FILES"
"$PYBUILD" -q verify --target "$BENCH_DIR/dist" --record --lock "$BENCH_DIR/store/lock" >/dev/null ||
  die "the archives are not sound"

verify() { "$PYBUILD" -q verify --target "$BENCH_DIR/dist" --lock "$BENCH_DIR/store/lock" "$@"; }
# at_once COMMAND…: over all archives, one process for each processor, each taking the next file.
at_once() { printf '%s\0' "$dist"/* | xargs -0 -n 1 -P "$(nproc)" "$@"; }

for _ in $(seq "$RUNS"); do
  time_to "sha256sum" sha256sum "$dist"/*
  time_to "openssl, one processor" taskset -c 0 openssl dgst -sha256 "$dist"/*
  time_to "pybuild --digests, one processor" taskset -c 0 "$PYBUILD" -q verify --digests \
    --target "$BENCH_DIR/dist" --lock "$BENCH_DIR/store/lock"
  time_to "openssl, all: the processor's limit" at_once openssl dgst -sha256
  time_to "pybuild --digests, all" verify --digests
  time_to "gzip -t, all" at_once gzip -t
  time_to "pigz -t, all" at_once pigz -p 1 -t
  time_to "pybuild, digests and decompressed, all" verify
done
table sha256sum
echo
table "openssl, all: the processor's limit" "openssl, all: the processor's limit" "pybuild --digests, all"
