#!/usr/bin/env bash
# An optimized CPython from a prepared stack to a packaged tarball: pybuild, with its training, and the
# way that others build one (profile-guided and link-time optimization as configure's own switches do
# it, a shared libpython, make with as many jobs as there are processors). Goals: at most 0.5 times its
# time; a .tar.zst of at most 10.2 MB and a .tar.gz of at most 14 MB for 3.13.5.
#
#     VERSION=3.13.5 benches/optimized.sh     KEEP=DIR leaves both prefixes there, for pyperformance.sh
source "$(dirname "$0")/lib.sh"
VERSION=${VERSION:-3.13.5}
export PYBUILD_HOME=${PYBUILD_HOME:-$BENCH_DIR/store}
facts

# Everything that is not timed: the stack, the source, SQLite. The training is timed.
"$PYBUILD" sandbox --profile plain --output "$BENCH_DIR/dist" "$STACK" "python-$VERSION"
source=$(source_of python "$VERSION")
[ -z "${KEEP:-}" ] || mkdir -p "$KEEP"

{ replaced_begins; cat; } >"$BENCH_DIR/replaced.sh" <<'SCRIPT'
trap '[ $? = 0 ] || tail -n 40 ./*.log' EXIT
./configure --prefix="$prefix" --with-ensurepip=no --enable-optimizations --with-lto --enable-shared \
  --without-static-libpython >configure.log 2>&1
say configure
make -j"$(nproc)" >make.log 2>&1
say make
make install >install.log 2>&1
find "$prefix" -depth -type d '(' -name test -o -name tests ')' -exec rm -rf {} +
find "$prefix" -name '*.so*' -type f -exec strip --strip-unneeded {} +
strip --strip-unneeded "$prefix"/bin/python3.[0-9]*[0-9]
say install
SCRIPT

root=$BENCH_DIR/tree
tree "$root"
cp "$source" "$root/source.tar"
cp "$BENCH_DIR/replaced.sh" "$root/replaced.sh"
way="configure --enable-optimizations --with-lto"
replaced() { plain "$root" sh /replaced.sh; }

time_to "pybuild sandbox" "$PYBUILD" sandbox --output "$BENCH_DIR/dist" "$STACK" "python-$VERSION"
sed 's/^/  /' "$BENCH_DIR/last.log"
"$PYBUILD" sandbox --compress zst --output "$BENCH_DIR/dist" "$STACK" "python-$VERSION" >/dev/null
if [ -z "${ONLY_OURS:-}" ]; then
  time_to "$way" replaced
  awk 'NR > 1 { printf "  %-10s %7.1f s\n", $1, ($2 - last) / 1e9 } { last = $2 }' "$BENCH_DIR/last.log"
  tar -C "$root/app/.heroku/python" --sort=name -cf "$BENCH_DIR/replaced.tar" .
  for how in 'gzip -9' 'zstd -q -22 --ultra --long -T0'; do
    printf '%s of what it installed, without tests: %s bytes\n' "$how" "$($how -c <"$BENCH_DIR/replaced.tar" | wc -c)"
  done
  [ -z "${KEEP:-}" ] || cp -a "$root/app/.heroku/python" "$KEEP/replaced"
fi
find "$BENCH_DIR/dist" -name "python-$VERSION.tar.*" ! -name '*.sha256' ! -name '*.json' -printf '%f: %s bytes\n'
if [ -n "${KEEP:-}" ]; then
  mkdir -p "$KEEP/ours"
  tar -C "$KEEP/ours" -xf "$BENCH_DIR/dist/$STACK/runtimes/python-$VERSION.tar.gz"
fi
[ -n "${ONLY_OURS:-}" ] || table "$way"
