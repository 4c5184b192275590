# What the benches share: where things are, the machine's facts, timing, the table. Sourced.
# shellcheck shell=bash
set -euo pipefail
umask 022

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PYBUILD=${PYBUILD:-$here/../target/release/pybuild}
STACK=${STACK:-debian-12}
# Everything is made below this directory, on one file system, and removed at the end.
BENCH_DIR=${BENCH_DIR:-$(mktemp -d "${TMPDIR:-/var/tmp}/pybuild-bench.XXXXXX")}

die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
is_root() { [ "$(id -u)" = 0 ]; }
docker_runs() { have docker && docker info >/dev/null 2>&1; }

have "$PYBUILD" || die "no $PYBUILD: cargo build --release, or set PYBUILD"
mkdir -p "$BENCH_DIR"
# As root pybuild builds as an unprivileged uid, which must be able to pass.
chmod 755 "$BENCH_DIR"

# What was started in the background, by process id.
started=()
clean_up() {
  local id
  for id in "${started[@]}"; do kill "$id" 2>/dev/null || true; done
  wait
  chmod -R u+rwX "$BENCH_DIR" 2>/dev/null || true
  rm -rf "$BENCH_DIR"
}
trap clean_up EXIT

# Ratios mean little without the machine that they come from.
facts() {
  printf '%s, %s\n' "$(date -u '+%Y-%m-%d %H:%M UTC')" "$(uname -srm)"
  printf '%s processors: %s\n' "$(nproc)" "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)"
  awk '/MemTotal/ { printf "%.1f GB of memory; ", $2 * 1024 / 1e9 }' /proc/meminfo
  printf '%s on %s\n' "$BENCH_DIR" "$(stat -f -c %T "$BENCH_DIR")"
  printf 'as uid %s; %s' "$(id -u)" "$("$PYBUILD" --version)"
  local tool
  for tool in "$@"; do printf '; %s' "$({ "$tool" --version || "$tool" version; } 2>/dev/null | head -1)"; done
  printf '\n\n'
}

# time_to NAME COMMAND…: runs the command and adds its wall-clock time to the samples of NAME, and the
# processors' time, which a busy machine changes less. What it prints goes to a file that is shown if
# it fails.
declare -A samples=() worked=()
names=()
time_to() {
  local name=$1 begin end before log=$BENCH_DIR/last.log
  shift
  before=$(processors_time)
  begin=${EPOCHREALTIME/[.,]/} # microseconds
  "$@" >"$log" 2>&1 </dev/null || { cat "$log" >&2; die "failed: $name: $*"; }
  end=${EPOCHREALTIME/[.,]/}
  worked[$name]+=$(($(processors_time) - before))$'\n'
  add_sample "$name" $((end - begin))
}

# What this shell's processes that have ended took of the processors, in ticks (proc_pid_stat(5)).
ticks=$(getconf CLK_TCK)
processors_time() {
  local fields
  read -ra fields <<<"$(sed 's/^.*) //' "/proc/$$/stat")"
  echo $((fields[13] + fields[14]))
}

# add_sample NAME MICROSECONDS
add_sample() {
  [ -n "${samples[$1]:-}" ] || names+=("$1")
  samples[$1]+="$2"$'\n'
}

# middle: the median of numbers, one a line.
middle() { sort -n | awk '{ a[NR] = $1 } END { print (a[int((NR + 1) / 2)] + a[int(NR / 2) + 1]) / 2 }'; }
# median NAME: of its samples, in microseconds.
median() { printf '%s' "${samples[$1]}" | middle; }

# table PEER [NAME…]: every name's median (or only these names'), least and greatest, its ratio to
# PEER's median, and the median of the processors' time, where it is known.
table() {
  local peer=$1 name of cpu
  shift
  local shown=("$@")
  (($#)) || shown=("${names[@]}")
  of=$(median "$peer")
  printf '%-44s %10s %10s %10s %4s %7s %8s\n' '' 'median s' 'min s' 'max s' runs ratio 'cpu s'
  for name in "${shown[@]}"; do
    cpu=
    [ -z "${worked[$name]:-}" ] || cpu=$(printf '%s' "${worked[$name]}" | middle | awk -v ticks="$ticks" '{ printf "%.2f", $1 / ticks }')
    printf '%s' "${samples[$name]}" | sort -n | awk -v name="$name" -v median="$(median "$name")" -v peer="$of" -v cpu="$cpu" '
      NR == 1 { min = $1 } { max = $1 }
      END { printf "%-44s %10.4f %10.4f %10.4f %4d %7.2f %8s\n", name, median / 1e6, min / 1e6, max / 1e6, NR, median / peer, cpu }'
  done
  printf 'ratio: to %s\n' "$peer"
}

# archives DIR MIB COUNT: about so many archives that have so many MiB together, each of another part
# of this host's own programs and libraries.
archives() {
  local dir=$1 wanted=$(($2 * 1048576)) each=$(($2 * 1048576 / $3)) list=$BENCH_DIR/files sum=0 n=0 archive
  mkdir -p "$dir"
  find /usr/lib /usr/bin -type f -readable -perm /004 ! -perm /6000 -size -20M -printf '%s %p\n' 2>/dev/null |
    LC_ALL=C sort -k 2 >"$list"
  while ((sum < wanted)); do
    archive=$dir/python-3.11.$((n += 1)).tar.gz
    # gzip -1 makes a third of them, more or less.
    shuf --random-source=<(yes "$n") "$list" |
      awk -v most=$((3 * each)) '(sum += $1) <= most { sub(/^[0-9]+ \//, ""); print }' |
      tar -c --owner=0 --group=0 --mode=go-w,a-s -C / -T - --hard-dereference 2>/dev/null |
      gzip -1 >"$archive"
    sum=$((sum + $(stat -c %s "$archive")))
  done
  printf '%s archives of %s MiB together\n' "$n" $((sum / 1048576))
}

# free_port: one that nobody listens at.
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# until_listening PORT PROCESS
until_listening() {
  until (: <>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; do
    kill -0 "$2" 2>/dev/null || die "the process that was to listen at port $1 has ended"
    sleep 0.02
  done
}

# serve BUCKET…: an S3 server on this host with these buckets, whose objects are files below
# $BENCH_DIR/s3/BUCKET; what programs need to know of it is put into the environment.
S3_SERVER=${S3_SERVER:-s3s-fs}
serve() {
  have "$S3_SERVER" || die "no $S3_SERVER: cargo install s3s-fs --features binary, or set S3_SERVER"
  have python3 || die "no python3"
  local bucket
  for bucket in "$@"; do mkdir -p "$BENCH_DIR/s3/$bucket"; done
  server_port=$(free_port)
  export AWS_ACCESS_KEY_ID=bench AWS_SECRET_ACCESS_KEY=no-secret AWS_REGION=us-east-1
  export AWS_DEFAULT_REGION=us-east-1 AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null
  unset AWS_PROFILE AWS_SESSION_TOKEN AWS_CA_BUNDLE AWS_ENDPOINT_URL_S3
  export NO_PROXY=127.0.0.1 no_proxy=127.0.0.1
  RUST_LOG=off "$S3_SERVER" --host 127.0.0.1 --port "$server_port" --access-key bench \
    --secret-key no-secret "$BENCH_DIR/s3" >"$BENCH_DIR/s3.log" 2>&1 &
  started+=($!)
  until_listening "$server_port" $!
  export AWS_ENDPOINT_URL=http://127.0.0.1:$server_port
}

# slowly MILLISECONDS: from now on programs reach the server by way of a proxy that lets so much
# time pass in each direction. How often it was asked, `requests` tells.
slowly() {
  local port
  port=$(free_port)
  python3 "$here/latency.py" "$port" "$server_port" "$1" "$BENCH_DIR/requests" &
  started+=($!)
  until_listening "$port" $!
  export AWS_ENDPOINT_URL=http://127.0.0.1:$port
}
requests() { tail -n 1 "$BENCH_DIR/requests"; }

# tree DIR: the stack's build image as one plain directory, for the peers.
tree() {
  mkdir -p "$1"
  "$PYBUILD" run "$STACK" -- tar --one-file-system --exclude=./proc --exclude=./sys --exclude=./dev -C / -cf - . |
    tar --no-same-owner -C "$1" -xf -
  mkdir -p "$1"/{proc,sys,dev,tmp,app}
}

# plain TREE COMMAND…: in the tree with nothing but chroot; needs mounts for /proc and /dev, and so
# a mount namespace, and where this is not root a user namespace.
plain() {
  local root=$1 user=()
  shift
  is_root || user=(--map-root-user)
  unshare --mount "${user[@]}" sh -euc '
    root=$1
    shift
    mount --rbind /proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount -t tmpfs tmpfs "$root/tmp"
    # Whoever runs this in the background has SIGINT ignored, and tests of Python raise it.
    exec env -i --default-signal PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/ LC_ALL=C.UTF-8 \
      chroot "$root" "$@"' sh "$root" "$@"
}

# replaced_begins: how a script begins that builds CPython as others do, in a tree of its own.
replaced_begins() {
  cat <<'SCRIPT'
set -eu
say() { echo "$1 $(date +%s%N)"; }
prefix=/app/.heroku/python
rm -rf /build-replaced "$prefix"
mkdir -p /build-replaced "$prefix"
cd /build-replaced
say begin
tar --strip-components=1 -xf /source.tar
say unpack
SCRIPT
}

# source_of FORMULA VERSION: the source tarball in the store, by the digests of the formula's table.
source_of() {
  local digest
  for digest in $(sed -n "/^\"$2\"/p" "$here/../formulae/$1.versions.toml" | grep -oE '[0-9a-f]{64}'); do
    if [ -e "$PYBUILD_HOME/blobs/$digest" ]; then
      printf '%s' "$PYBUILD_HOME/blobs/$digest"
      return
    fi
  done
  die "the store $PYBUILD_HOME has no source of $1-$2: build it once with pybuild"
}

# The store that the benches use: the user's own, so that a prepared stack is there already.
if [ -z "${PYBUILD_HOME:-}" ]; then
  if is_root; then
    PYBUILD_HOME=/var/cache/pybuild
  else
    PYBUILD_HOME=${XDG_CACHE_HOME:-$HOME/.cache}/pybuild
  fi
fi
export PYBUILD_HOME
