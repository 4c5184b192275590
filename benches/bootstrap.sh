#!/usr/bin/env bash
# Bootstrapping a stack with the same packages: pybuild and mmdebstrap, both downloading everything;
# then pybuild from its own download cache. Goal: at most 0.6 times mmdebstrap.
source "$(dirname "$0")/lib.sh"
RUNS=${RUNS:-3}
have mmdebstrap || die "no mmdebstrap: apt-get install mmdebstrap"
facts mmdebstrap

manifest=$here/../rootfs-manifests/$STACK.toml
suite=$(sed -n 's/^suites *= *\["\([^"]*\)"\].*/\1/p' "$manifest")
[ -n "$suite" ] || die "$manifest names no single suite"
# The same mirror that pybuild takes.
mirror=${PYBUILD_DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' | head -1)}
[ -n "$mirror" ] || die "no Debian mirror: set PYBUILD_DEBIAN_MIRROR"

store=$BENCH_DIR/store
list() { sort "$1" >"$1.sorted" && mv "$1.sorted" "$1"; }

# Which packages, with versions: what pybuild has installed is what mmdebstrap is asked for.
"$PYBUILD" prepare "$STACK"
"$PYBUILD" run "$STACK" -- dpkg-query -W -f '${Package} ${Version}\n' >"$BENCH_DIR/ours"
list "$BENCH_DIR/ours"
include=$(cut -d' ' -f1 "$BENCH_DIR/ours" | paste -sd,)
echo "$(wc -l <"$BENCH_DIR/ours") packages of $suite; pybuild also makes the run image"

format=null
if is_root; then format=directory; fi
peer() {
  mmdebstrap --quiet --variant=custom --format="$format" --include="$include" \
    --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
    --aptopt='Acquire::Languages "none"' "$suite" "$BENCH_DIR/peer" "$mirror"
}

for ((run = 0; run < RUNS; run++)); do
  rm -rf "$BENCH_DIR/peer"
  time_to "mmdebstrap ($format)" peer
  if [ -d "$BENCH_DIR/peer" ]; then
    dpkg-query --admindir="$BENCH_DIR/peer/var/lib/dpkg" -W -f '${Package} ${Version}\n' >"$BENCH_DIR/theirs"
    list "$BENCH_DIR/theirs"
    cmp -s "$BENCH_DIR/ours" "$BENCH_DIR/theirs" ||
      echo "the package lists differ: $(diff "$BENCH_DIR/ours" "$BENCH_DIR/theirs" | grep -c '^[<>]') lines"
    rm -rf "$BENCH_DIR/peer"
  fi

  rm -rf "$store" "$store.cached"
  time_to "pybuild, downloading everything" "$PYBUILD" --store "$store" --quiet prepare "$STACK"

  # A store that has the downloads and nothing else.
  mkdir -m 755 "$store.cached"
  cp -a "$store/blobs" "$store.cached/"
  chown --reference="$store" "$store.cached"
  time_to "pybuild, from its download cache" "$PYBUILD" --store "$store.cached" --quiet prepare "$STACK"
done

table "mmdebstrap ($format)"
