#!/usr/bin/env bash
# Starting `true` on a prepared stack, seen from outside: pybuild, bubblewrap with the same
# namespaces on the same files, and docker where its daemon runs. Goal: at most 1.3 times bubblewrap,
# at least 20 times under docker.
source "$(dirname "$0")/lib.sh"
RUNS=${RUNS:-100}
have bwrap || die "no bwrap: apt-get install bubblewrap"
facts bwrap

"$PYBUILD" prepare "$STACK"
root=$BENCH_DIR/tree
tree "$root"

bwrap_args=(--unshare-all --unshare-cgroup --die-with-parent --new-session --clearenv
  --setenv PATH /usr/bin:/bin --hostname pybuild --uid 1000 --gid 1000 --cap-drop ALL)
# Since 0.11 bubblewrap can put a writable overlay on top, as pybuild does.
if bwrap --help 2>&1 | grep -q -- --tmp-overlay; then
  bwrap_args+=(--overlay-src "$root" --tmp-overlay /)
else
  bwrap_args+=(--ro-bind "$root" /)
fi
bwrap_args+=(--proc /proc --dev /dev --tmpfs /tmp --tmpfs /dev/shm --chdir /)

docker_image=
if docker_runs; then
  docker_image=pybuild-bench-start:$$
  tar -C "$root" -c . | docker import - "$docker_image" >/dev/null
  trap 'docker rmi "$docker_image" >/dev/null; clean_up' EXIT
else
  echo "docker is left out: no daemon answers"
fi

# Taking turns, so that what else the machine does meets all of them.
for ((run = 0; run < RUNS + 3; run++)); do
  time_to "spawn alone" /bin/true
  time_to "bwrap" bwrap "${bwrap_args[@]}" -- true
  time_to "pybuild run" "$PYBUILD" --quiet run "$STACK" -- true
  if [ -n "$docker_image" ] && ((run % 10 == 0)); then
    time_to "docker run" docker run --rm --network none "$docker_image" true
  fi
  # The first runs warm the caches of all.
  if ((run == 2)); then samples=() names=(); fi
done

table bwrap
if [ -n "$docker_image" ]; then
  awk -v a="$(median "docker run")" -v b="$(median "pybuild run")" \
    'BEGIN { printf "docker run takes %.1f times as long as pybuild run\n", a / b }'
fi
