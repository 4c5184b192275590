#!/bin/sh
# Proves the prefix of an OpenSSL: check.sh PREFIX VERSION. Silent and 0 if it is what it should
# be; else one line for each thing that is not, and 1.

prefix=$1 version=$2
failures=0

fail() {
	echo "openssl: $*" >&2
	failures=1
}

for file in include/openssl/ssl.h include/openssl/evp.h lib/libssl.a lib/libcrypto.a; do
	[ -s "$prefix/$file" ] || fail "$file is missing or empty"
done
grep -q "OPENSSL_VERSION_STR \"$version\"" "$prefix/include/openssl/opensslv.h" ||
	fail "its headers are not those of $version"
for name in libssl libcrypto openssl; do
	grep -qx "Version: $version" "$prefix/lib/pkgconfig/$name.pc" || fail "$name.pc is not of $version"
done
find "$prefix" -name '*.so*' | grep . >&2 && fail "there are shared libraries, which would be linked instead"

exit $failures
