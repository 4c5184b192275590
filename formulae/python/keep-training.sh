#!/bin/sh
# Keeps what was learned in the working directory for the build that is optimized by it, and beside
# that what would be found out or generated there a second time.
#
#     sh keep-training.sh PREFIX

set -e
# Of these two, configure does something else where it finds them in its cache (3.11 to 3.13 do):
# another libmpdec, and a flag for the linker left out.
sed -i -e '/^ac_cv_gcc_asm_for_x64=/d' -e '/^ac_cv_wl_no_as_needed=/d' config.cache
# The library's modules that are compiled into the interpreter (from 3.11 on).
generated=$(find Python/frozen_modules -name '*.h' 2>/dev/null || true)
[ ! -e Python/deepfreeze/deepfreeze.c ] || generated="$generated Python/deepfreeze/deepfreeze.c"
find . -name '*.gcda' -type f | sed 's,^\./,,' | LC_ALL=C sort >profiles.list
# In two steps: of a pipe's first command nobody would hear that it failed.
tar -cf profiles.tar config.cache $generated -T profiles.list
tar -xf profiles.tar -C "$1"
