#!/usr/bin/env bash
# CPython from a prepared stack to a packaged tarball: pybuild, and the way that it replaces (serial
# make in a container, then tar). Goal: at most 0.5 times that.
source "$(dirname "$0")/lib.sh"
RUNS=${RUNS:-1}
VERSION=${VERSION:-3.9.2}
facts

# Everything that is not timed: the stack, the sources, the dependencies.
"$PYBUILD" sandbox --profile plain --output "$BENCH_DIR/dist" "$STACK" "python-$VERSION"
source=$(source_of python "$VERSION")

# What heroku's builds/runtimes/python-3.9.2 does after its download.
{ replaced_begins; cat; } >"$BENCH_DIR/replaced.sh" <<'SCRIPT'
./configure --prefix="$prefix" --with-ensurepip=no >configure.log 2>&1
say configure
make >make.log 2>&1
say make
make install >install.log 2>&1
find "$prefix" -depth -type d '(' -name test -o -name tests ')' -exec rm -rf {} +
ln -s python3 "$prefix/bin/python"
say install
tar -C "$prefix" -czf /python.tar.gz .
say pack
SCRIPT

docker_image=
if docker_runs; then
  docker_image=pybuild-bench-python:$$
  way="replaced: docker"
else
  way="replaced: chroot (no docker daemon answers)"
fi
root=$BENCH_DIR/tree
tree "$root"
cp "$source" "$root/source.tar"
cp "$BENCH_DIR/replaced.sh" "$root/replaced.sh"
if [ -n "$docker_image" ]; then
  tar -C "$root" -c . | docker import - "$docker_image" >/dev/null
  trap 'docker rmi "$docker_image" >/dev/null; clean_up' EXIT
fi

replaced() {
  if [ -n "$docker_image" ]; then
    docker run --rm "$docker_image" sh /replaced.sh
  else
    plain "$root" sh /replaced.sh
  fi
}

for ((run = 0; run < RUNS; run++)); do
  time_to "$way" replaced
  awk 'NR > 1 { printf "  %-10s %7.1f s\n", $1, ($2 - last) / 1e9 } { last = $2 }' "$BENCH_DIR/last.log"
  time_to "pybuild sandbox --rebuild" "$PYBUILD" sandbox --profile plain --rebuild --output "$BENCH_DIR/dist" "$STACK" "python-$VERSION"
  sed 's/^/  /' "$BENCH_DIR/last.log"
done

table "$way"
