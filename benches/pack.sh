#!/usr/bin/env bash
# Packing a prefix of 190 MB: to .tar.gz beside tar and pigz, to .tar.zst beside tar and zstd at the
# same level; the time and the size. Goals: at most 0.5 times pigz and no longer than zstd, neither
# more than 3 % larger.
source "$(dirname "$0")/lib.sh"
RUNS=${RUNS:-3}
ZSTD_RUNS=${ZSTD_RUNS:-1}
PACK=${PACK:-$(dirname "$PYBUILD")/examples/pack}
have "$PACK" || die "no $PACK: cargo build --release --example pack"
have pigz && have zstd || die "no pigz or no zstd: apt-get install pigz zstd"
facts tar pigz zstd

# A prefix that is there, TREE, or one made of this host's own Python (its modules and their bytecode,
# and with it their tests as far as they are installed), and of libraries and programs as there is
# room for: what a Python prefix has beside modules.
if [ -z "${TREE:-}" ]; then
  TREE=$BENCH_DIR/tree
  mkdir -p "$TREE"
  {
    find /usr/lib/python3* -type f -readable -printf '%s %p\n' 2>/dev/null | LC_ALL=C sort -k 2
    find /usr/lib/*-linux-gnu* /usr/bin -type f -readable -size -20M -printf '%s %p\n' 2>/dev/null |
      LC_ALL=C sort -k 2 | shuf --random-source=<(yes 1)
  } | awk '(sum += $1) <= 190e6 { sub(/^[0-9]+ /, ""); print }' |
    tar -c -T - --absolute-names --hard-dereference --transform='s,^/,,' | tar -x -C "$TREE"
fi
find "$TREE" -type f -exec cat {} + | wc -c | # and so all is in memory
  awk -v files="$(find "$TREE" -type f | wc -l)" '{ printf "%d files of %.0f MB together\n", files, $1 / 1e6 }'
level=$(sed -n 's/^const ZSTD_LEVEL: i32 = \(.*\);/\1/p' "$here/../src/archive/pack.rs")

out=$BENCH_DIR/out
mkdir -p "$out"
# In order, which makes the peers' archives smaller too.
tarred() { tar --sort=name -C "$TREE" -cf - .; }
pigz_peer() { tarred | pigz >"$out/pigz"; }
zstd_peer() { tarred | zstd -q -T0 "-$level" >"$out/zstd"; }
ours() { "$PACK" "$TREE" "$out/ours.tar.$1"; }

for ((run = 0; run < RUNS; run++)); do
  time_to "tar | pigz" pigz_peer
  time_to "pybuild, .tar.gz" ours gz
done
for ((run = 0; run < ZSTD_RUNS; run++)); do
  time_to "tar | zstd -T0 -$level" zstd_peer
  time_to "pybuild, .tar.zst" ours zst
done

# sizes PEER OURS
sizes() {
  printf 'size: %s bytes, %s of ours: ' "$(stat -c %s "$out/$1")" "$(stat -c %s "$out/$2")"
  awk -v a="$(stat -c %s "$out/$1")" -v b="$(stat -c %s "$out/$2")" 'BEGIN { printf "%+.1f %%\n\n", (b / a - 1) * 100 }'
}
echo
table "tar | pigz" "tar | pigz" "pybuild, .tar.gz"
sizes pigz ours.tar.gz
table "tar | zstd -T0 -$level" "tar | zstd -T0 -$level" "pybuild, .tar.zst"
sizes zstd ours.tar.zst
