#!/usr/bin/env bash
# `deploy-runtimes` where nothing is left to be done: 1,000 artifacts that are published already, in a
# bucket of a local S3 server that is 5 ms away in each direction. Goal: less than 3 s.
source "$(dirname "$0")/lib.sh"
RUNS=${RUNS:-5}
VERSIONS=${VERSIONS:-250}
STACKS=${STACKS:-4}
LATENCY=${LATENCY:-5}
facts "$S3_SERVER"

# A runtime of many versions, and stacks for it that are this one under other names. Neither is
# built, so what would build them matters only in how much there is to read.
mkdir -p "$BENCH_DIR/formulae" "$BENCH_DIR/manifests"
cat >"$BENCH_DIR/formulae/many.toml" <<'FORMULA'
schema = 1
name   = "many"
kind   = "runtime"
prefix = "/app/.heroku/many"
[common]
steps  = [{ name = "install", run = ["cp", "-r", ".", "{prefix}"] }]
checks = [{ name = "version", run = ["{prefix}/bin/many", "--version"] }]
[[series]]
versions = ">=1.0, <2.0"
FORMULA
{
  printf 'schema = 1\n[sources.tgz]\nurls = ["https://example.org/many-{version}.tar.gz"]\n[versions]\n'
  for n in $(seq "$VERSIONS"); do
    printf '"1.0.%s" = { released = 2024-01-01, tgz = { sha256 = "%064d" } }\n' "$n" "$n"
  done
} >"$BENCH_DIR/formulae/many.versions.toml"
stacks=()
for n in $(seq "$STACKS"); do
  stacks+=("bench-$n")
  sed "s/^name *=.*/name = \"bench-$n\"/; s/^stack *=.*/stack = \"bench-$n\"/" \
    "$here/../rootfs-manifests/$STACK.toml" >"$BENCH_DIR/manifests/bench-$n.toml"
done

serve bench
# What is looked at is which objects there are, not what is in them.
for stack in "${stacks[@]}"; do
  mkdir -p "$BENCH_DIR/s3/bench/$stack/runtimes"
  for n in $(seq "$VERSIONS"); do
    for suffix in '' .sha256 .json; do
      printf 'many-1.0.%s' "$n" >"$BENCH_DIR/s3/bench/$stack/runtimes/many-1.0.$n.tar.gz$suffix"
    done
  done
done

deploy() {
  "$PYBUILD" --quiet deploy-runtimes --runtimes 'many-1.*' --stacks "${stacks[*]}" --target s3://bench/ \
    --formulae "$BENCH_DIR/formulae" --manifests "$BENCH_DIR/manifests" --json >"$BENCH_DIR/result"
}
for ((run = 0; run < RUNS; run++)); do time_to "nothing to do, no latency" deploy; done
slowly "$LATENCY"
for ((run = 0; run < RUNS; run++)); do time_to "nothing to do, $LATENCY ms each way" deploy; done
printf '%s artifacts, %s requests each time\n' \
  "$(grep -c '"state": *"there"' "$BENCH_DIR/result")" "$(($(requests) / RUNS))"
table "nothing to do, no latency"
