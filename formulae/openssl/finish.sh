#!/bin/sh
# Makes an installed OpenSSL movable, and says what is in it: finish.sh PREFIX VERSION.
set -eu
prefix=$1 version=$2

for file in "$prefix"/lib/pkgconfig/*.pc; do
	sed -i -e 's|^prefix=.*|prefix=${pcfiledir}/../..|' -e '/^\(engines\|modules\)dir=/d' "$file"
done
# CMake's files name where this was built, and describe shared libraries.
rm -rf "$prefix/lib/cmake"

mkdir -p "$prefix/share/licenses/openssl"
cp LICENSE.txt "$prefix/share/licenses/openssl/"
cat > "$prefix/share/components.json" <<EOF
[{"name": "openssl", "version": "$version", "license": "Apache-2.0",
  "purl": "pkg:generic/openssl@$version",
  "cpe": "cpe:2.3:a:openssl:openssl:$version:*:*:*:*:*:*:*"}]
EOF
