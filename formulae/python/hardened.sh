#!/bin/sh
# Runs a command with the hardening flags of the stack's distribution in HARDEN_CFLAGS and
# HARDEN_LDFLAGS, for make to take as $(HARDEN_CFLAGS): those and no other flags of its packages
# (how far to optimize, debugging information, paths of the build).
#
#     sh hardened.sh COMMAND...

flags() {
	for flag in $(env -u CFLAGS -u CPPFLAGS -u LDFLAGS dpkg-buildflags --get "$1"); do
		case $flag in
		-fstack-* | -fcf-protection* | -mbranch-protection* | -Wformat | -Werror=format-security | \
			-D_FORTIFY_SOURCE=* | -U_FORTIFY_SOURCE | -Wl,-z,*) printf ' %s' "$flag" ;;
		esac
	done
}

HARDEN_CFLAGS="$(flags CPPFLAGS)$(flags CFLAGS)"
HARDEN_LDFLAGS="$(flags LDFLAGS)"
if [ -z "$HARDEN_CFLAGS" ] || [ -z "$HARDEN_LDFLAGS" ]; then
	echo 'hardened.sh: dpkg-buildflags of this stack says no hardening flags' >&2
	exit 1
fi
export HARDEN_CFLAGS HARDEN_LDFLAGS
exec "$@"
