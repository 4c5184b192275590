#!/usr/bin/env bash
# What the sandbox costs a build: the same configure and parallel make, inside it and in a plain
# chroot of the same files. Goal: at most 1.02.
source "$(dirname "$0")/lib.sh"
RUNS=${RUNS:-3}
VERSION=${VERSION:-3.9.2}
facts

"$PYBUILD" prepare "$STACK"
source=$(source_of python "$VERSION")
root=$BENCH_DIR/tree
tree "$root"

# On a tmpfs in both: a sandbox has one there already. As in a real build, only what the stack has is
# seen through the sandbox's layers, not what the build writes.
build='set -eu
mkdir /tmp/overhead
cd /tmp/overhead
tar --strip-components=1 -xf -
./configure --prefix=/app/.heroku/python --with-ensurepip=no
make -j'$(nproc)

# tar reads standard input of a pipe only if it is told how the file is compressed.
case $(od -An -tx1 -N2 "$source" | tr -d ' ') in
  1f8b) unpack=(gzip -dc) ;;
  fd37) unpack=(xz -dc) ;;
  *) unpack=(cat) ;;
esac
"${unpack[@]}" "$source" >"$BENCH_DIR/source.tar"

outside() { plain "$root" sh -c "$build" <"$BENCH_DIR/source.tar"; }
inside() { "$PYBUILD" --quiet run "$STACK" -- sh -c "$build" <"$BENCH_DIR/source.tar"; }

# Each begins as often as the other, since the first of a pair may find colder caches.
for ((run = 0; run < RUNS; run++)); do
  if ((run % 2)); then
    time_to "in the sandbox" inside
    time_to "in a chroot" outside
  else
    time_to "in a chroot" outside
    time_to "in the sandbox" inside
  fi
done

table "in a chroot"
