//! `pybuild shell`: at a terminal, without one, and what it sees.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Stdio;

use nix::sys::signal::Signal;

use crate::formula::Formula;
use crate::kit::{Case, STACK, eventually, give};
use crate::terminal::{Terminal, signal};

/// What the shell says when it is ready.
const PROMPT: &str = "debian-12:/$ ";
/// Ctrl-C, Ctrl-D, Ctrl-Z, Ctrl-\.
const INTERRUPT: &str = "\x03";
const END: &str = "\x04";
const STOP: &str = "\x1a";
const QUIT: &str = "\x1c";

#[test]
fn a_shell_has_a_terminal_of_its_own() {
    let Some(case) = Case::new() else { return };
    let mut terminal = Terminal::new(93);
    let child = terminal.start(Terminal::pybuild(&case).args(["shell", STACK]));
    let greeting = terminal.shows(PROMPT);
    assert!(
        greeting.contains("a shell in the build image of debian-12"),
        "{greeting}"
    );
    assert!(terminal.is_raw());
    for (command, said) in [
        ("tty", "/dev/pts/0"),
        ("stty size", "24 93"),
        ("cd /proc/$$/fd; readlink 0 1 2 | uniq; cd /", "/dev/pts/0"),
        // Of the sandbox's own, not only called so.
        ("stat -Lc %d /proc/$$/fd/0 /dev/pts | uniq -c", "      2 "),
    ] {
        terminal.types(&format!("{command}\r"));
        terminal.shows("\r\n");
        let shown = terminal.shows(PROMPT);
        assert!(shown.starts_with(said), "{command}: {shown}");
    }
    terminal.resize(61);
    terminal.types("while ! stty size | grep 24.61; do :; done\r");
    terminal.shows("\r\n24 61\r\n");
    terminal.shows(PROMPT);
    terminal.types("exit 7\r");
    assert_eq!(terminal.ends(child), 7, "{}", terminal.rest());
    case.is_clean();
}

#[test]
fn keys_are_signals_to_what_runs_in_the_foreground() {
    let Some(case) = Case::new() else { return };
    // It says when it is there, and when it is back.
    let script = "$| = 1; $SIG{CONT} = sub { print qq(back\\n) }; print qq(up\\n); sleep 9 while 1";
    let job = case.at("job");
    fs::write(&job, script).expect("written");
    let mut terminal = Terminal::new(80);
    let bind = format!("{}:/job", job.display());
    let run = Terminal::pybuild(&case).args(["shell", STACK, "--bind", &bind]);
    let child = terminal.start(run);
    terminal.shows(PROMPT);
    for (key, status) in [(INTERRUPT, 130), (QUIT, 131)] {
        terminal.types("perl /job\r");
        terminal.shows("up\r\n");
        terminal.types(key);
        terminal.shows(PROMPT);
        terminal.types("echo =$?=\r");
        terminal.shows(&format!("={status}="));
        terminal.shows(PROMPT);
    }
    terminal.types("perl /job\r");
    terminal.shows("up\r\n");
    terminal.types(STOP);
    terminal.shows("Stopped");
    terminal.shows(PROMPT);
    terminal.types("fg\r");
    terminal.shows("back\r\n");
    terminal.types(INTERRUPT);
    terminal.shows(PROMPT);
    terminal.types("sleep 86400 &\r");
    terminal.shows(PROMPT);
    terminal.types("kill %1; wait; echo still h''ere $(jobs | wc -l)\r");
    terminal.shows("still here");
    terminal.shows(PROMPT);
    terminal.types(END);
    assert_eq!(terminal.ends(child), 0);
    case.is_clean();
}

#[test]
fn the_terminal_is_given_back_however_it_ends() {
    let Some(case) = Case::new() else { return };
    let ends: [(&str, Option<Signal>, i32); 6] = [
        ("exit 3\r", None, 3),
        ("false\r\x04", None, 1),
        ("kill -9 $$\r", None, 137),
        // In raw mode, what is left of the shell's own behind it.
        ("sleep 86400 & stty raw -echo; kill -9 $$\r", None, 137),
        (
            "trap '' TERM HUP; sleep 86400\r",
            Some(Signal::SIGTERM),
            143,
        ),
        ("exec sleep 86400\r", Some(Signal::SIGHUP), 129),
    ];
    for (keys, sent, code) in ends {
        let mut terminal = Terminal::new(80);
        let child = terminal.start(Terminal::pybuild(&case).args(["shell", STACK]));
        terminal.shows(PROMPT);
        assert!(terminal.is_raw(), "{keys:?}");
        terminal.types(keys);
        if let Some(sent) = sent {
            signal(&child, sent);
        }
        assert_eq!(terminal.ends(child), code, "{keys:?}: {}", terminal.rest());
    }
    // A command that is not there; nothing was handed over yet.
    let mut terminal = Terminal::new(80);
    let child = terminal.start(Terminal::pybuild(&case).args(["shell", "debian-99"]));
    assert_eq!(terminal.ends(child), 2);
    case.is_clean();
}

#[test]
fn a_terminal_that_goes_away_ends_the_shell() {
    let Some(case) = Case::new() else { return };
    let mut terminal = Terminal::new(80);
    let mut child = terminal.start(Terminal::pybuild(&case).args(["shell", STACK]));
    terminal.shows(PROMPT);
    terminal.types("trap '' HUP; echo o''n\r");
    terminal.shows("on\r\n");
    drop(terminal);
    eventually("its end", || child.try_wait().expect("wait").is_some());
    case.is_clean();
}

#[test]
fn all_that_is_typed_and_printed_arrives() {
    let Some(case) = Case::new() else { return };
    let mut terminal = Terminal::new(80);
    let child = terminal.start(Terminal::pybuild(&case).args(["shell", STACK]));
    terminal.shows(PROMPT);
    terminal.types("seq 40000; echo e''nd\r");
    terminal.shows("\r\n");
    let shown = terminal.shows("end\r\n");
    let numbers = (1..=40_000).map(|number| format!("{number}\r\n"));
    assert!(
        shown == numbers.collect::<String>(),
        "{} bytes",
        shown.len()
    );
    terminal.shows(PROMPT);
    // Far more than a terminal holds before someone reads it.
    let line = format!("{}\n", "x".repeat(899));
    terminal.types("stty -echo; echo re''ady; sleep 0.2; head -n 300 | cksum\r");
    terminal.shows("ready\r\n");
    for _ in 0..300 {
        terminal.types(&line);
    }
    let sum = terminal.shows(PROMPT);
    assert!(sum.contains(" 270000\r\n"), "{sum}");
    // A terminal that nobody inside has open for a while.
    terminal.types("stty echo; exec sh -c 'exec </dev/null >/dev/null 2>&1; sleep 0.3; ");
    terminal.types("echo la\"\"te >/dev/tty; exit 6'\r");
    terminal.shows("late\r\n");
    assert_eq!(terminal.ends(child), 6);
    case.is_clean();
}

#[test]
fn after_a_stop_the_shell_goes_on() {
    let Some(case) = Case::new() else { return };
    let mut terminal = Terminal::new(80);
    let child = terminal.start(Terminal::pybuild(&case).args(["shell", STACK]));
    terminal.shows(PROMPT);
    signal(&child, Signal::SIGSTOP);
    // As the shell that it was started from does meanwhile.
    terminal.make_cooked();
    assert!(!terminal.is_raw());
    signal(&child, Signal::SIGCONT);
    eventually("raw again", || terminal.is_raw());
    terminal.types("exit 5\r");
    assert_eq!(terminal.ends(child), 5);
    case.is_clean();
}

/// Typing into a terminal, from inside: CVE-2017-5226, CVE-2019-7303, CVE-2023-28100.
#[test]
fn nothing_is_typed_but_by_the_person() {
    let Some(case) = Case::new() else { return };
    let mut terminal = Terminal::new(80);
    let child = terminal.start(Terminal::pybuild(&case).args(["shell", STACK]));
    terminal.shows(PROMPT);
    let script = format!(
        r#"open(T, "+<", "/dev/tty") or die; for my $fd (0, 1, 2, fileno(T)) {{
        for my $r (0x5412, 0x100005412, 0x541c, 0x5423) {{ my $x = "x"; $! = 0;
        my $y = syscall({}, $fd, $r, $x); print $y, " ", $! + 0, "\n" }} }}"#,
        libc::SYS_ioctl
    )
    .replace('\n', " ");
    // The person types the script itself: nobody else does any typing.
    terminal.types(&format!("perl -e '{script}' | sort | uniq -c\r"));
    terminal.shows("16 -1 1\r\n");
    let rest = terminal.shows(PROMPT);
    assert_eq!(rest, "");
    terminal.types("exit\r");
    assert_eq!(terminal.ends(child), 0);
    case.is_clean();
}

#[test]
fn without_a_terminal_a_shell_reads_its_commands() {
    let Some(case) = Case::new() else { return };
    let (input, mut typed) = std::io::pipe().expect("a pipe");
    typed
        .write_all(b"tty; : </dev/tty; echo $-; exit 9\n")
        .expect("written");
    drop(typed);
    let run = case.pybuild().args(["shell", STACK, "--quiet"]);
    let ran = run.stdin(input.into()).run();
    assert_eq!(ran.code, 9, "{}", ran.err);
    assert_eq!(ran.out, "not a tty\nhBs\n");
    assert!(
        ran.err.contains("/dev/tty: No such device or address"),
        "{}",
        ran.err
    );
    let ran = case.pybuild().args(["shell", STACK]).run();
    assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{}", ran.err);
    case.is_clean();
}

/// Not even where only what is printed goes to it.
#[test]
fn the_persons_terminal_is_never_inside() {
    let Some(case) = Case::new() else { return };
    let mut terminal = Terminal::new(80);
    let script = case.at("script");
    let text = "readlink /proc/$$/fd/[12]; tty <&1; : </dev/tty\n";
    fs::write(&script, text).expect("written");
    let mut command = case
        .pybuild()
        .args(["shell", STACK, "--quiet"])
        .into_command();
    command
        .stdin(Stdio::from(fs::File::open(&script).expect("readable")))
        .stdout(terminal.stream())
        .stderr(terminal.stream());
    // Standard input is no terminal to be controlled by.
    let child = command.spawn().expect("pybuild starts");
    let before = terminal.shows("No such device or address");
    assert!(!terminal.is_raw());
    assert!(before.starts_with(&"/dev/pts/0\r\n".repeat(3)), "{before}");
    assert_eq!(terminal.ends(child), 1);
    case.is_clean();
}

#[test]
fn nothing_but_the_terminal_is_told_of_the_host() {
    let Some(case) = Case::new() else { return };
    let env = |name: &str, value: &str| {
        let run = case.pybuild().env(name, value).env("TERM", "xterm");
        let run = run
            .args(["run", STACK, "--", "sh", "-c", "env | sort"])
            .run();
        run.succeeds().out
    };
    let usual = env("AWS_SECRET_ACCESS_KEY", "canary");
    assert!(
        !usual.contains("canary") && usual.contains("TERM=xterm\n"),
        "{usual}"
    );
    assert!(env("COLORTERM", "truecolor").contains("COLORTERM=truecolor\n"));
    assert_eq!(env("COLORTERM", "/etc/passwd"), usual);
    assert_eq!(env("LD_PRELOAD", ""), usual);
}

/// Makes a directory of a file, which those that builds run as own.
fn directory(case: &Case, name: &str) -> std::path::PathBuf {
    let dir = case.at(name);
    fs::create_dir_all(&dir).expect("mkdir");
    fs::write(dir.join("file"), "of the host\n").expect("written");
    give(&dir);
    give(&dir.join("file"));
    dir
}

#[test]
fn directories_are_shown_as_asked_for() {
    let Some(case) = Case::new() else { return };
    let dir = directory(&case, "shown");
    let shown = dir.to_str().expect("UTF-8");
    let run = |binds: &[&str], script: &str| {
        let mut run = case.pybuild().args(["run", STACK]).cwd(&case.at(""));
        for bind in binds {
            run = run.args(["--bind", bind]);
        }
        run.args(["--", "sh", "-c", script]).run()
    };
    let ran = run(&["shown"], &format!("cat {shown}/file; touch {shown}/new"));
    assert_eq!(ran.out, "of the host\n");
    assert!(ran.err.contains("Read-only file system"), "{}", ran.err);
    let ran = run(&["shown:/a/b", "shown/file:/etc/c"], "cat /a/b/file /etc/c");
    assert_eq!(ran.succeeds().out, "of the host\nof the host\n");
    run(&["shown:/a:rw"], "echo new >/a/new").succeeds();
    assert_eq!(fs::read(dir.join("new")).expect("there"), b"new\n");
    assert_eq!(fs::read(dir.join("file")).expect("there"), b"of the host\n");
    // Where it cannot be, and what cannot be.
    for (bind, said) in [
        ("missing", "missing"),
        ("shown:/proc/x", "nothing can be bound to /proc/x"),
        ("shown:/dev", "nothing can be bound to /dev"),
        ("shown:/sys/fs", "nothing can be bound to /sys/fs"),
        ("shown:/", "nothing can be bound to /"),
        ("shown:/a/../proc", "`..`"),
        ("shown:b", "neither an absolute path"),
        (":/b", "no directory"),
    ] {
        run(&[bind], "true").fails(2, &[said]);
    }
    case.is_clean();
}

/// A symlink of the image's, or of another directory that is shown, leads no bind there either.
#[test]
fn no_link_leads_a_directory_to_what_the_sandbox_needs() {
    let Some(case) = Case::new() else { return };
    let (shown, links) = (directory(&case, "shown"), directory(&case, "links"));
    let taken = "to which nothing can be bound";
    for (place, said) in [
        ("/proc", taken),
        ("/dev", "Read-only file system"),
        ("/dev/shm", taken),
        ("/sys", taken),
    ] {
        let name = place[1..].replace('/', "-");
        symlink(place, links.join(&name)).expect("symlink");
        let bind = format!("{}:/links/{name}/self", shown.display());
        let links = format!("{}:/links", links.display());
        let run = case.pybuild().args(["run", STACK, "--bind", &links]);
        let ran = run.args(["--bind", &bind, "--", "true"]).run();
        assert_ne!(ran.code, 0, "{place}");
        assert!(ran.err.contains(said), "{place}: {}", ran.err);
    }
    case.is_clean();
}

#[test]
fn formulae_that_are_worked_on_are_there_at_once() {
    let Some(case) = Case::new() else { return };
    let formulae = Formula::hello().write(&case.at(""));
    fs::create_dir(case.at("patches")).expect("mkdir");
    fs::write(case.at("patches/a.patch"), "a patch\n").expect("written");
    let script = case.at("script");
    let text = "cat /formulae/hello.versions.toml /patches/a.patch; touch /formulae/x";
    fs::write(&script, text).expect("written");
    let versions = fs::read_to_string(formulae.join("hello.versions.toml")).expect("there");
    let here = case.pybuild().args(["shell", STACK]).cwd(&case.at(""));
    let given = case
        .pybuild()
        .args(["shell", STACK, "--formulae"])
        .args([&formulae]);
    for run in [here, given] {
        let ran = run
            .stdin(fs::File::open(&script).expect("readable").into())
            .run();
        assert_eq!(ran.out, format!("{versions}a patch\n"), "{}", ran.err);
        assert!(ran.err.contains("Read-only file system"), "{}", ran.err);
        let said = format!("/formulae is {}, read-only", formulae.display());
        assert!(ran.err.contains(&said), "{}", ran.err);
        assert!(ran.err.contains("/patches is "), "{}", ran.err);
    }
    // Those that nobody asked for, and that builds may not read, are left out; and it is told.
    if nix::unistd::geteuid().is_root() {
        fs::set_permissions(&formulae, fs::Permissions::from_mode(0o700)).expect("chmod");
        let run = case.pybuild().args(["shell", STACK]).cwd(&case.at(""));
        let ran = run.run().succeeds();
        assert!(ran.err.contains("may not read"), "{}", ran.err);
    }
    case.is_clean();
}

#[test]
fn a_shell_has_the_formulae_that_it_is_with() {
    let Some(case) = Case::new() else { return };
    let formulae = Formula::hello().write(&case.at(""));
    let with = |verb: &str| {
        let run = case
            .pybuild()
            .args([verb, STACK, "--with", "hello-1.0", "--formulae"]);
        let run = run.args([&formulae]).arg("--source-mirror");
        run.args([case.at("sources")])
    };
    let script = "hello; command -v hello; cat /app/hello/lib/hello.dat; echo mine >>/app/hello/lib/hello.dat";
    for image in ["build", "run"] {
        let ran = with("run")
            .args(["--image", image, "--", "sh", "-c", script])
            .run();
        let ran = ran.succeeds();
        assert_eq!(
            ran.out, "hello 1.0\n/app/hello/bin/hello\ndata\n",
            "{image}: {}",
            ran.err
        );
    }
    let file = case.at("script");
    fs::write(&file, "hello; exit 4").expect("written");
    let ran = with("shell")
        .stdin(fs::File::open(&file).expect("readable").into())
        .run();
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (4, "hello 1.0\n"),
        "{}",
        ran.err
    );
    let plan = with("shell").arg("--dry-run").run().succeeds().out;
    assert!(
        plan.contains("build hello-1.0, unless the store has it"),
        "{plan}"
    );
    case.is_clean();
}

#[test]
fn the_network_is_there_if_it_is_asked_for() {
    let Some(case) = Case::new() else { return };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    let port = listener.local_addr().expect("an address").port();
    let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port}");
    let run = |args: &[&str]| {
        let run = case.pybuild().args(["run", STACK]).args(args);
        run.args(["--", "bash", "-c", &script]).run()
    };
    run(&["--network"]).succeeds();
    assert!(run(&[]).err.contains("Connection refused"));
    let shown = Path::new("/etc/resolv.conf");
    if shown.exists() {
        let run = case
            .pybuild()
            .args(["run", STACK, "--network", "--", "cat"]);
        let ran = run.args([shown]).run().succeeds();
        assert_eq!(ran.out.as_bytes(), fs::read(shown).expect("readable"));
    }
    case.is_clean();
}

#[test]
fn a_shell_where_a_step_failed_has_a_terminal_too() {
    let Some(case) = Case::new() else { return };
    let mut terminal = Terminal::new(77);
    let formula = Formula::hello().step("trouble", "echo so far >half-done\nexit 3");
    let run = formula.build_by(&case, Terminal::pybuild(&case));
    let child = terminal.start(run.args(["--shell-on-failure"]));
    terminal.shows("a shell in the sandbox where trouble failed");
    terminal.shows("$ ");
    terminal.types("stty size; cat half-done\r");
    terminal.shows("24 77\r\nso far\r\n");
    terminal.types("sh -c 'echo u''p; exec sleep 86400'; echo =$?=\r");
    terminal.shows("up\r\n");
    terminal.types(INTERRUPT);
    terminal.shows("$ ");
    terminal.types("exit\r");
    terminal.shows("trouble of hello-1.0 failed with exit code 3");
    assert_eq!(terminal.ends(child), 1);
    case.is_clean();
}
