#!/bin/sh
# Makes an installed libffi movable, and says what is in it: finish.sh PREFIX VERSION.
set -eu
prefix=$1 version=$2

sed -i -e 's|^prefix=.*|prefix=${pcfiledir}/../..|' -e "s|$prefix|\${prefix}|g" "$prefix/lib/pkgconfig/libffi.pc"
# libtool's own description names where it was installed.
rm -f "$prefix"/lib/*.la

mkdir -p "$prefix/share/licenses/libffi"
cp LICENSE "$prefix/share/licenses/libffi/"
cat > "$prefix/share/components.json" <<EOF
[{"name": "libffi", "version": "$version", "license": "MIT",
  "purl": "pkg:generic/libffi@$version",
  "cpe": "cpe:2.3:a:libffi_project:libffi:$version:*:*:*:*:*:*:*"}]
EOF
