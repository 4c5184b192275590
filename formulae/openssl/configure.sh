#!/bin/sh
# Configures OpenSSL with the hardening flags of the stack's distribution: those and no other flags
# of its packages, some of which name the paths of the build, which OpenSSL would remember.
#
#     sh configure.sh OPTION...

for name in CPPFLAGS CFLAGS; do
	for flag in $(env -u CFLAGS -u CPPFLAGS dpkg-buildflags --get $name); do
		case $flag in
		-fstack-* | -fcf-protection* | -mbranch-protection* | -Wformat | -Werror=format-security | \
			-D_FORTIFY_SOURCE=* | -U_FORTIFY_SOURCE) set -- "$@" "$flag" ;;
		esac
	done
done
exec ./Configure "$@"
