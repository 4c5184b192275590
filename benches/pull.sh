#!/usr/bin/env bash
# From a registry on loopback to a root file system on disk: pybuild prepare, docker pull, podman pull,
# skopeo and umoci. An image of one layer and one of eight, each time into an empty store. Then how long
# a stack that is here already takes, and the memory that preparing takes.
. "$(dirname "$0")/lib.sh"

RUNS=${RUNS:-3}
MIB=${MIB:-520} # of files; compressed it is about a third
. "$here/images.sh"
have docker-registry || die "no docker-registry: apt-get install docker-registry"
have skopeo || die "no skopeo: apt-get install skopeo"
is_root || die "docker and podman are measured as root"
peers=()
for tool in docker podman umoci; do have "$tool" && peers+=("$tool"); done
facts skopeo "${peers[@]}"

# The files: TREE, else so many of this host's own programs and libraries.
if [ -z "${TREE:-}" ]; then
  TREE=$BENCH_DIR/tree
  mkdir "$TREE"
  find /usr/lib /usr/bin /usr/share -xdev -type f -perm /004 ! -perm /6000 -size -20M -printf '%s %p\0' 2>/dev/null |
    shuf -z --random-source=<(yes) |
    awk -v RS='\0' -v ORS='\0' -v most=$((MIB * 1048576)) '(sum += $1) <= most { sub(/^[0-9]+ \//, ""); print }' |
    tar -c --owner=0 --group=0 -C / --null -T - --hard-dereference 2>/dev/null | tar -x -C "$TREE"
fi
one_and_eight "$TREE"

port=$(free_port)
mkdir "$BENCH_DIR/registry"
cat >"$BENCH_DIR/registry.yml" <<END
version: 0.1
log: { level: error }
storage: { filesystem: { rootdirectory: $BENCH_DIR/registry } }
http: { addr: "127.0.0.1:$port" }
END
docker-registry serve "$BENCH_DIR/registry.yml" >"$BENCH_DIR/registry.log" 2>&1 &
started+=($!)
until_listening "$port" $!
mkdir "$BENCH_DIR/manifests"
for image in one eight; do
  skopeo copy -q --dest-tls-verify=false "oci:$BENCH_DIR/$image:test" "docker://127.0.0.1:$port/bench:$image"
  cat >"$BENCH_DIR/manifests/$image.toml" <<END
schema = 1
name = "$image"
end_of_life = 2999-01-01
architectures = ["amd64", "arm64"]
[[from]]
image.build = "127.0.0.1:$port/bench:$image"
END
  rm -rf "${BENCH_DIR:?}/$image"
done

# A docker daemon of our own, away from any other.
docker_here() { docker --host "unix://$BENCH_DIR/docker.sock" "$@"; }
if have dockerd; then
  dockerd --host "unix://$BENCH_DIR/docker.sock" --data-root "$BENCH_DIR/docker" --exec-root "$BENCH_DIR/docker-run" \
    --pidfile "$BENCH_DIR/docker.pid" --iptables=false --bridge=none --storage-driver overlay2 >"$BENCH_DIR/docker.log" 2>&1 &
  started+=($!)
  for _ in $(seq 100); do docker_here info >/dev/null 2>&1 && break || sleep 0.2; done
  docker_here info >/dev/null 2>&1 || { printf 'docker: no daemon of our own starts here: not measured\n'; peers=("${peers[@]/docker/}"); }
else
  peers=("${peers[@]/docker/}")
fi

# A file system that has just removed many files is slow to make new ones (ext4 passes over inodes that
# were freed within a minute), for whoever comes next. So nothing is removed within a round, and a minute
# is waited between them.
round=0
store() { printf '%s/round/store-%s' "$BENCH_DIR" "$image"; }
prepare() { # COMMAND…
  "$@" "$PYBUILD" --store "$(store)" --quiet prepare --manifests "$BENCH_DIR/manifests" "$image"
}
podman_here() { podman --root "$BENCH_DIR/podman" --runroot "$BENCH_DIR/podman-run" --storage-driver overlay "$@"; }
begin() {
  [ $((round += 1)) = 1 ] && [ ! -e "$BENCH_DIR/round" ] || { rm -rf "$BENCH_DIR/round"; sync; sleep 65; }
  mkdir -m 755 "$BENCH_DIR/round"
  for image in one eight; do
    mkdir -m 755 "$(store)"
    chown 65534:65534 "$(store)"
  done
}

for _ in $(seq "$RUNS"); do
  begin
  for image in one eight; do
    from=127.0.0.1:$port/bench:$image
    sync
    time_to "pybuild prepare, $image" prepare
    for peer in "${peers[@]}"; do
      sync
      case $peer in
      docker) time_to "docker pull, $image" docker_here pull -q "$from" ;;
      podman) time_to "podman pull, $image" podman_here pull -q --tls-verify=false "$from" ;;
      umoci) time_to "skopeo and umoci, $image" sh -c "skopeo copy -q --src-tls-verify=false docker://$from oci:$BENCH_DIR/round/copy-$image:test && umoci unpack --image $BENCH_DIR/round/copy-$image:test $BENCH_DIR/round/bundle-$image" ;;
      esac
    done
  done
  for image in one eight; do
    from=127.0.0.1:$port/bench:$image
    [[ " ${peers[*]} " != *" docker "* ]] || docker_here rmi -f "$from" >/dev/null
    [[ " ${peers[*]} " != *" podman "* ]] || podman_here rmi -f "$from" >/dev/null
  done
done
for image in one eight; do
  shown=()
  for name in "${names[@]}"; do [[ $name != *", $image" ]] || shown+=("$name"); done
  fastest=$(for name in "${shown[@]}"; do [[ $name == pybuild* ]] || printf '%s %s\n' "$(median "$name")" "$name"; done | sort -g | head -1 | cut -d ' ' -f 2-)
  table "${fastest:-${shown[0]}}" "${shown[@]}"
done
image=eight
for _ in $(seq 20); do time_to "a stack that is here" prepare; done
table "a stack that is here" "a stack that is here"
begin
for image in one eight; do
  prepare /usr/bin/time -f "pybuild, $image: %M KiB of memory at most" >/dev/null
done
