#!/usr/bin/env bash
# Starting `true` on a prepared stack, seen from outside: pybuild, bubblewrap on the same files, and
# docker where its daemon runs. Goal: at most 1.3 times bubblewrap, at least 20 times under docker.
source "$(dirname "$0")/lib.sh"
RUNS=${RUNS:-100}
have bwrap || die "no bwrap: apt-get install bubblewrap"
have hyperfine || die "no hyperfine: apt-get install hyperfine"
facts bwrap hyperfine

"$PYBUILD" prepare "$STACK"
root=$BENCH_DIR/tree
tree "$root"

# The least that bubblewrap does for a sandbox; pybuild has, besides, an overlay on its layers, a
# system call filter, limits, and parts of /proc hidden.
bwrap_args=(--unshare-all --bind "$root" / --proc /proc --dev /dev --tmpfs /tmp)

docker_image=
if docker_runs; then
  docker_image=pybuild-bench-start:$$
  tar -C "$root" -c . | docker import - "$docker_image" >/dev/null
  trap 'docker rmi "$docker_image" >/dev/null; clean_up' EXIT
else
  echo "docker is left out: no daemon answers"
fi

# started NAME COMMAND…: five starts in a row, timed by hyperfine without a shell between, since that
# of a shell's fork would be a good part of what is measured.
started() {
  local name=$1 seconds
  shift
  hyperfine -N --warmup 1 --runs 5 --style none --export-json "$BENCH_DIR/times.json" "${*@Q}" \
    >"$BENCH_DIR/last.log" 2>&1 || { cat "$BENCH_DIR/last.log" >&2; die "failed: $name: $*"; }
  for seconds in $(tr -d ' \n' <"$BENCH_DIR/times.json" | sed 's/.*"times":\[\([^]]*\)\].*/\1/; s/,/ /g'); do
    add_sample "$name" "$(awk -v s="$seconds" 'BEGIN { printf "%.0f", s * 1e6 }')"
  done
}

# Taking turns, so that what else the machine does meets all of them.
for ((run = 0; run * 5 < RUNS; run++)); do
  started "bwrap" bwrap "${bwrap_args[@]}" true
  started "pybuild run" "$PYBUILD" run "$STACK" -- true
  if [ -n "$docker_image" ] && ((run % 4 == 0)); then
    started "docker run" docker run --rm --network none "$docker_image" true
  fi
done

table bwrap
awk -v a="$(median "pybuild run")" -v b="$(median bwrap)" \
  'BEGIN { printf "pybuild run takes %.2f times as long as bwrap (medians)\n", a / b }'
if [ -n "$docker_image" ]; then
  awk -v a="$(median "docker run")" -v b="$(median "pybuild run")" \
    'BEGIN { printf "docker run takes %.1f times as long as pybuild run\n", a / b }'
fi
