#!/bin/sh
# Proves a SQLite prefix: check.sh PREFIX VERSION. Silent and 0 if it is what
# it should be; else one line for each thing that is not, and 1.

prefix=$1 version=$2
shell=$prefix/bin/sqlite3
failures=0

fail() {
	echo "sqlite: $*" >&2
	failures=1
}

# expect NAME WANTED SQL: the SQL, run in an empty database, prints WANTED
expect() {
	got=$("$shell" -batch -init /dev/null :memory: "$3" 2>&1)
	[ "$got" = "$2" ] || fail "$1: expected '$2', got '$got'"
}

# since VERSION: this SQLite is as new as that
since() {
	[ "$(printf '%s\n' "$1" "$version" | sort -V | head -n 1)" = "$1" ]
}

expect "version" "$version" "SELECT sqlite_version()"
expect "thread safety" 1 "SELECT sqlite_compileoption_used('THREADSAFE=1')"
expect "column metadata" 1 "SELECT sqlite_compileoption_used('ENABLE_COLUMN_METADATA')"
expect "loadable extensions" 0 "SELECT sqlite_compileoption_used('OMIT_LOAD_EXTENSION')"
for fts in 3 4 5; do
	[ $fts = 5 ] && ! since 3.9 && continue
	expect "FTS$fts" "ab cd" "CREATE VIRTUAL TABLE t USING fts$fts(x); INSERT INTO t VALUES('ab cd'); SELECT x FROM t WHERE t MATCH 'cd'"
done
expect "RTREE" 7 "CREATE VIRTUAL TABLE t USING rtree(id, a, b); INSERT INTO t VALUES(7, 1, 2); SELECT id FROM t WHERE a <= 1.5 AND b >= 1.5"
since 3.25 && expect "GEOPOLY" "1.0" "SELECT geopoly_area('[[0,0],[1,0],[1,1],[0,1],[0,0]]')"
since 3.9 && expect "JSON" 2 "SELECT json_extract('{\"a\":[1,2]}', '\$.a[1]')"
since 3.8.11 && expect "DBSTAT" t "CREATE TABLE t(x); SELECT name FROM dbstat WHERE name = 't'"
since 3.35 && expect "math functions" "8.0" "SELECT pow(2, 3)"

for file in include/sqlite3.h include/sqlite3ext.h lib/libsqlite3.a lib/libsqlite3.so.0 lib/pkgconfig/sqlite3.pc; do
	[ -s "$prefix/$file" ] || fail "$file is missing or empty"
done

grep -n @ "$prefix/lib/pkgconfig/sqlite3.pc" >&2 && fail "sqlite3.pc is not filled in"

exit $failures
