#!/usr/bin/env bash
# Uploading archives to a bucket of a local S3 server and verifying them there, beside rclone and the
# AWS CLI, each as it is without options about speed; first with the server on this host, then with a
# server that is LATENCY milliseconds away in each direction. Goal: at least as fast.
#
# Uploading is examples/put: files to a target as `deploy` publishes them (create-only, with SHA-256
# checked by the server) without what `deploy` does before. Verifying is `verify --digests` with
# digests that were recorded before, `rclone checksum --download` with the same digests, and `aws s3 cp`
# to a directory and sha256sum there.
source "$(dirname "$0")/lib.sh"
SIZE=${SIZE:-512} # MiB in all
FILES=${FILES:-24}
RUNS=${RUNS:-3}
LATENCY=${LATENCY:-5}
PUT=${PUT:-$(dirname "$PYBUILD")/examples/put}
have "$PUT" || die "no $PUT: cargo build --release --example put"
have rclone && have aws || die "no rclone or no aws: apt-get install rclone awscli"
facts "$S3_SERVER" rclone aws

dist=$BENCH_DIR/dist
archives "$dist/debian-12/runtimes" "$SIZE" "$FILES"
mkdir -p "$BENCH_DIR/store"
! is_root || chown 65534:65534 "$BENCH_DIR/store"
export PYBUILD_HOME=$BENCH_DIR/store
lock=$BENCH_DIR/store/lock
"$PYBUILD" -q verify --target "$dist" --record --lock "$lock" >/dev/null || die "the archives are not sound"
(cd "$dist" && find . -type f -printf "%P\\0" | sort -z | xargs -0 sha256sum) >"$BENCH_DIR/sums"

# A bucket for each tool, and rclone without its recursive lists: s3s-fs 0.14 takes an empty delimiter
# for one, and answers 500 where rclone asks whether a directory is an object. rclone would find
# nothing, or wait and try again.
tools=(pybuild rclone aws)
serve "${tools[@]}"
export RCLONE_CONFIG=$BENCH_DIR/rclone.conf RCLONE_CONFIG_BENCH_TYPE=s3 RCLONE_CONFIG_BENCH_PROVIDER=Other
export RCLONE_CONFIG_BENCH_ENV_AUTH=true RCLONE_DISABLE=ListR
: >"$RCLONE_CONFIG"

pybuild_up() { "$PUT" "$dist" "s3://$1/"; }
rclone_up() { rclone copy "$dist" "bench:$1"; }
aws_up() { aws s3 cp --only-show-errors --recursive "$dist" "s3://$1/"; }
pybuild_verify() { "$PYBUILD" -q verify --digests --target "s3://$1/" --lock "$lock"; }
rclone_verify() { rclone checksum sha256 --download "$BENCH_DIR/sums" "bench:$1"; }
aws_verify() {
  rm -rf "$BENCH_DIR/down"
  aws s3 cp --only-show-errors --recursive "s3://$1/" "$BENCH_DIR/down"
  (cd "$BENCH_DIR/down" && sha256sum --quiet -c "$BENCH_DIR/sums")
}

# Each goes first as often as the others. What is uploaded is what the same tool then verifies.
measure() {
  local run n tool
  for ((run = 0; run < RUNS; run++)); do
    for n in "${!tools[@]}"; do
      tool=${tools[(run + n) % ${#tools[@]}]}
      time_to "$tool: upload, $1" "${tool}_up" "$tool"
      cmp -s <(cd "$BENCH_DIR/s3/$tool" && find . -type f -exec sha256sum {} + | sort) \
        <(sed 's,  ,  ./,' "$BENCH_DIR/sums" | sort) || die "$tool has not uploaded what there was"
      time_to "$tool: verify, $1" "${tool}_verify" "$tool"
      rm -rf "$BENCH_DIR/s3/$tool"/* "$BENCH_DIR/down"
    done
  done
}
tables() {
  local what
  for what in upload verify; do
    echo
    table "rclone: $what, $1" "pybuild: $what, $1" "rclone: $what, $1" "aws: $what, $1"
  done
}

export RCLONE_CONFIG_BENCH_ENDPOINT=$AWS_ENDPOINT_URL
measure "server here"
tables "server here"
if ((LATENCY)); then
  slowly "$LATENCY"
  export RCLONE_CONFIG_BENCH_ENDPOINT=$AWS_ENDPOINT_URL
  measure "$LATENCY ms away"
  tables "$LATENCY ms away"
fi
