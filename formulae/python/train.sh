#!/bin/sh
# Runs what an optimized build is optimized for, with the instrumented interpreter of the working
# directory: CPython's own choice of its tests, which is what its makefile would run for it.
#
#     sh train.sh JOBS

set -e
# What was run while it was built is nothing to optimize for.
find . -name '*.gcda' -delete
# A path that holds wherever a test goes: it finds a shared libpython.
LD_LIBRARY_PATH=$PWD
export LD_LIBRARY_PATH
{
	status=0
	./python -E -m test --pgo --timeout=1200 -j"$1" || status=$?
	echo "$status" >train.status
} 2>&1 | tee train.log
# Tests that fail have trained nevertheless, and some fail for want of a network or of a module for
# tests: then regrtest ends with 2, and with 3 if one has changed its surroundings. But if it could
# not run them, or most of them could not do their work, nothing was learned. (Counters alone say
# little: starting the interpreter makes some of nearly every file.)
status=$(cat train.status)
case $status in
0 | 2 | 3) ;;
*)
	echo "train.sh: the tests ended with $status" >&2
	exit 1
	;;
esac
run=$(grep -c '^[0-9]*:.*[0-9]\] test_' train.log || true)
failed=$(grep -c '^[0-9]*:.*[0-9]\] test_[a-z0-9_]* \(failed\|crashed\|timed\)' train.log || true)
counted=$(find . -name '*.gcda' | wc -l)
echo "train.sh: $run tests, of which $failed failed; $counted files of counters"
if [ "$run" -lt 20 ] || [ $((2 * failed)) -ge "$run" ]; then
	echo 'train.sh: too few of the tests did their work' >&2
	exit 1
fi
if [ "$counted" -lt 100 ]; then
	echo 'train.sh: the interpreter was not instrumented' >&2
	exit 1
fi
