#!/bin/sh
# Proves the prefix of a libffi: check.sh PREFIX VERSION. Silent and 0 if it is what it should be;
# else one line for each thing that is not, and 1.

prefix=$1 version=$2
failures=0

fail() {
	echo "libffi: $*" >&2
	failures=1
}

for file in include/ffi.h include/ffitarget.h lib/libffi.a; do
	[ -s "$prefix/$file" ] || fail "$file is missing or empty"
done
grep -qx "Version: $version" "$prefix/lib/pkgconfig/libffi.pc" || fail "libffi.pc is not of $version"
find "$prefix" -name '*.so*' | grep . >&2 && fail "there are shared libraries, which would be linked instead"

exit $failures
