#!/bin/sh
# Stands in for PYTHON_FOR_BUILD in `make install`: the fresh interpreter, but
# it compiles no library. That is done once, reproducibly, by compile.py, and
# not three times over with the time of day in every file.

for argument; do
	case $argument in
	*/compileall.py | compileall) exit 0 ;;
	esac
done
exec ./python -E "$@"
