//! Steps that fail, hang, flood, or try to get out.

use std::fs;
use std::io::Write as _;

use crate::formula::Formula;
use crate::kit::{Case, STACK};

/// A `hello` whose one more step is this.
fn with(script: &str) -> Formula {
    Formula::hello().step("trouble", script)
}

#[test]
fn a_failing_step_shows_why_and_where_to_read_on() {
    let Some(case) = Case::new() else { return };
    let formula = with(
        "for i in $(seq 500); do echo line $i; done
echo 'x.c:1:2: error: no such thing' >&2
exit 3",
    );
    let ran = formula.build(&case).run().fails(
        1,
        &[
            "error: trouble of hello-1.0 failed with exit code 3",
            "| x.c:1:2: error: no such thing\n",
            "| line 500\n",
            "log: ",
            "hint: the command was: sh /build/files/trouble.sh /app/hello",
            "hint: `pybuild log` shows everything",
            "hint: --shell-on-failure opens a shell",
        ],
    );
    assert!(!ran.err.contains("| line 400\n"), "{}", ran.err);
    case.delivered_nothing();
    let said = ran.err.lines().find_map(|line| line.strip_prefix("log: "));
    let file = fs::read_to_string(said.expect("a log's path")).expect("a log");
    for args in [&["log"][..], &["log", "hello-1.0"]] {
        let log = case.pybuild().args(args).run().succeeds();
        assert_eq!(log.out, file);
        assert!(log.out.contains("\nline 1\n") && log.out.contains("\nline 500\n"));
        assert!(
            log.out
                .contains("\n# trouble\n$ sh /build/files/trouble.sh"),
            "{}",
            log.out
        );
    }
    case.pybuild()
        .args(["log", "helo-1.0"])
        .run()
        .fails(2, &["hint: there is one of hello-1.0"]);
    case.is_clean();
}

#[test]
fn a_step_that_cannot_be_executed_is_named() {
    let Some(case) = Case::new() else { return };
    let formula = Formula::hello();
    let formulae = formula.write(&case.at("")).join("hello.toml");
    let run = formula.build(&case);
    let text = fs::read_to_string(&formulae).expect("readable");
    fs::write(&formulae, text.replacen("[\"sh\"", "[\"nonesuch\"", 1)).expect("written");
    run.run().fails(
        1,
        &[
            "compile of hello-1.0: ",
            "nonesuch: not found in /usr",
            "hint: ",
        ],
    );
    case.delivered_nothing();
    case.is_clean();
}

#[test]
fn a_step_that_hangs_is_ended() {
    let Some(case) = Case::new() else { return };
    let formula = with(
        "trap '' TERM INT HUP
echo about to hang
sleep 86400",
    );
    let run = formula.build(&case).args(["--timeout", "1s"]).run();
    run.fails(1, &["trouble of hello-1.0 ", "time", "| about to hang\n"]);
    case.delivered_nothing();
    case.is_clean();
}

#[test]
fn daemons_that_a_step_leaves_end_with_it() {
    let Some(case) = Case::new() else { return };
    // They keep the output open, leave their session, and ignore what can be ignored.
    let formula = with(
        "trap '' TERM INT HUP
setsid sh -c 'sleep 86400 & sleep 86400' &
(setsid sleep 86400 &)
echo left",
    );
    formula.build(&case).run().succeeds();
    case.is_clean();
}

#[test]
fn a_step_that_fills_memory_is_ended() {
    let Some(case) = Case::new() else { return };
    // In several processes, none of which takes much.
    let formula = with(
        "for i in 1 2 3 4 5 6 7 8; do
perl -e '$x = \"x\" x 60_000_000; sleep 86400' &
done
wait",
    );
    let run = formula.build(&case).args(["--memory", "200M"]).run();
    run.fails(1, &["trouble of hello-1.0 ", "memory"]);
    case.delivered_nothing();
    case.is_clean();
}

#[test]
fn a_step_that_prints_without_end_is_ended() {
    let Some(case) = Case::new() else { return };
    let formula = with("yes | head -c 1G");
    let run = formula.build(&case).args(["--max-output", "3M"]).run();
    run.fails(1, &["trouble of hello-1.0 ", "print"]);
    let log = case.pybuild().args(["log"]).run().succeeds();
    assert!(log.out.len() < 4 << 20, "{}", log.out.len());
    case.delivered_nothing();
    case.is_clean();
    // What is allowed is taken, and is no burden.
    let formula = with("yes | head -c 100M");
    formula.build(&case).run().succeeds();
    case.is_clean();
}

#[test]
fn a_fork_bomb_is_contained() {
    let Some(case) = Case::new() else { return };
    let formula = with(
        "bomb() { bomb | bomb & }
bomb
sleep 86400",
    );
    let run = formula.build(&case).args(["--timeout", "3s"]).run();
    run.fails(1, &["trouble of hello-1.0 "]);
    case.delivered_nothing();
    case.is_clean();
}

#[test]
fn a_step_sees_and_changes_nothing_but_its_own() {
    let Some(case) = Case::new() else { return };
    let secret = case.at("secret");
    fs::write(&secret, "of the host").expect("written");
    let script = format!(
        "{}\n{}",
        format_args!("if cat {} 2>/dev/null; then exit 9; fi", secret.display()),
        r#"denied() { if ( eval "$1" ) 2>/dev/null; then echo "ALLOWED: $1"; exit 9; fi; }
denied 'echo x >/build/files/compile.sh'
denied 'mount -t tmpfs none /tmp'
denied 'unshare -U true'
denied 'mknod /tmp/device c 1 3'
denied 'chown 0 /tmp'
denied 'chmod 4755 hello'
denied 'echo x >/proc/sys/kernel/core_pattern'
denied 'perl -MIO::Socket::INET -e "IO::Socket::INET->new(PeerAddr => q(1.1.1.1:80), Timeout => 5) or exit 1"'
test "$(ls /proc | grep -c '^[0-9]*$')" -lt 10
test "$(id -u)" = 1000"#
    );
    with(&script).build(&case).run().succeeds();
    case.is_clean();
}

#[test]
fn what_a_step_does_to_its_stack_ends_with_it() {
    let Some(case) = Case::new() else { return };
    let look = || {
        let script = "cat /etc/passwd; ls -l /usr/bin/make /etc";
        let run = case
            .pybuild()
            .args(["run", STACK, "--", "sh", "-c", script]);
        run.run().succeeds().out
    };
    let before = look();
    let spoil = "echo x >/etc/passwd; rm /usr/bin/make; rm -r /etc/alternatives; exit 0";
    with(spoil).build(&case).run().succeeds();
    assert_eq!(look(), before);
    case.is_clean();
}

#[test]
fn a_shell_is_opened_where_a_step_failed() {
    let Some(case) = Case::new() else { return };
    let (input, mut typed) = std::io::pipe().expect("a pipe");
    let script = b"cat half-done; pwd; echo $SOURCE_DATE_EPOCH; exit\n";
    typed.write_all(script).expect("written");
    drop(typed);
    let formula = with("echo so far >half-done\nexit 3");
    let run = formula.build(&case).args(["--shell-on-failure"]);
    let ran = run.stdin(input.into()).run();
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert_eq!(ran.out, "so far\n/build/source\n1704153600\n");
    assert!(
        ran.err
            .contains("a shell in the sandbox where trouble failed"),
        "{}",
        ran.err
    );
    assert!(
        ran.err
            .contains("trouble of hello-1.0 failed with exit code 3"),
        "{}",
        ran.err
    );
    case.is_clean();
}
