#!/bin/sh
# Takes out of an installed Python what nobody needs to run it: symbols of the compiler's own, scripts
# whose first line names the place that it was built for, and, where no Tk was there to build with,
# what can only be imported with it.
#
#     sh slim.sh PREFIX

set -e
find "$1" -type f \( -name '*.so' -o -name '*.so.*' -o -path "$1/bin/python*" \) |
	while read -r file; do
		case $(head -c 4 "$file" | od -An -tx1 | tr -d ' ') in
		7f454c46)
			chmod u+w "$file"
			strip --strip-unneeded "$file"
			;;
		esac
	done
find "$1/lib" -name '*.a' -type f -delete
for script in "$1"/bin/*; do
	case $(head -c 2 "$script" | tr -d '\0') in
	'#!')
		case $(head -n 1 "$script") in
		*"$1"/*) rm "$script" ;;
		esac
		;;
	esac
done
for library in "$1"/lib/python*; do
	ls "$library"/lib-dynload/_tkinter*.so >/dev/null 2>&1 ||
		rm -rf "$library/idlelib" "$library/tkinter" "$library/turtledemo" "$library/turtle.py" "$library/lib-tk"
done
# Links to what is gone.
find "$1/bin" -xtype l -delete
