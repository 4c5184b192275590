//! Prefixes that must not become artifacts.

use crate::formula::Formula;
use crate::kit::Case;

/// Builds a `hello` whose one more step is this; its proof must fail and say all of this.
#[track_caller]
fn is_refused(script: &str, said: &[&str]) {
    let Some(case) = Case::new() else { return };
    let run = Formula::hello().step("trouble", script).build(&case);
    let always = [
        "hello-1.0 does not pass its proof",
        "hint: nothing was packaged",
    ];
    run.run().fails(1, &[&always, said].concat());
    case.delivered_nothing();
    case.is_clean();
}

#[test]
fn what_is_no_file_is_refused() {
    is_refused(
        "ln -s /etc/passwd $1/lib/absolute
ln -s ../../outside $1/lib/outside
ln -s nothing $1/lib/dangling
mkfifo $1/lib/pipe
perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Local => shift, Listen => 1) or die $!' $1/s
touch $1/lib/open; chmod 666 $1/lib/open",
        &[
            "- lib/absolute is a symlink to the absolute path /etc/passwd",
            "- lib/dangling is a symlink to nothing, nothing",
            "- lib/open can be written to by anybody (mode 0666)",
            "- lib/outside is a symlink out of the prefix",
            "- lib/pipe is a named pipe",
            "- s is a socket",
        ],
    );
}

#[test]
fn a_build_path_in_a_file_is_refused() {
    is_refused(
        "pwd >$1/lib/where; ln -s lib $1/b",
        &["- lib/where holds `/build/source` at byte 0: /build/source"],
    );
}

#[test]
fn a_library_that_nobody_has_is_refused() {
    is_refused(
        "echo 'int f(void) { return 1; }' >f.c
cc -shared -fPIC -o libnowhere.so f.c
cc -o user -x c - -L. -lnowhere <<'EOF'
int f(void);
int main(void) { return f(); }
EOF
cp user $1/bin/user",
        &["bin/user", "libnowhere.so"],
    );
}

#[test]
fn an_empty_prefix_is_refused() {
    is_refused("rm -r $1/*", &["the prefix is empty"]);
}

#[test]
fn a_wrong_version_is_refused() {
    let Some(case) = Case::new() else { return };
    let formula = Formula::hello().check(
        "test \"$($1/bin/hello)\" = 'hello 1.1' || {
echo it says $($1/bin/hello)
exit 4
}",
    );
    formula.build(&case).run().fails(
        1,
        &[
            "hello-1.0 does not pass its proof, in 2 points",
            "- the check says hello at /app/hello: ",
            "$ sh /build/files/check.sh /app/hello\n",
            "| it says hello 1.0\n",
            "- the check says hello, moved at /tmp/moved/hello: ",
        ],
    );
    case.delivered_nothing();
    case.is_clean();
}

#[test]
fn checks_run_without_compilers_and_without_a_network() {
    let Some(case) = Case::new() else { return };
    let formula = Formula::hello().check(
        "test \"$($1/bin/hello)\" = 'hello 1.0'
for tool in cc gcc make ld; do if command -v $tool; then exit 8; fi; done
if touch $1/lib/more 2>/dev/null; then exit 9; fi
test \"$(grep -c : /proc/net/dev)\" = 1",
    );
    formula.build(&case).run().succeeds();
    case.is_clean();
}
