//! Standard output: data for people and machines, and what becomes of it when nobody reads on.

use std::io::{self, BufRead, IsTerminal as _, Write};

use serde::Serialize;

use super::text;

/// Writes `text` to standard output. A reader that has gone (`| head`) has seen enough: that is
/// success.
pub fn print(text: &str) -> io::Result<()> {
    print_to(&mut io::stdout().lock(), text.as_bytes())
}

/// Writes a value as indented JSON to standard output.
pub fn print_json(value: &impl Serialize) -> io::Result<()> {
    let mut json = serde_json::to_string_pretty(value)?;
    json.push('\n');
    print(&json)
}

/// Writes a build's log to standard output: as it is to a file or a pipe, without what would
/// steer it to a terminal.
pub fn print_log(log: impl BufRead) -> io::Result<()> {
    let out = io::stdout();
    let clean = out.is_terminal();
    copy_log(log, &mut out.lock(), clean)
}

/// What of one line is looked at before the next begins: a log may be one endless line.
const LINE: u64 = 64 * 1024;

fn copy_log(mut log: impl BufRead, out: &mut impl Write, clean: bool) -> io::Result<()> {
    if !clean {
        return until_closed(io::copy(&mut log, out).map(drop).and_then(|()| out.flush()));
    }
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = io::Read::take(&mut log, LINE);
        if limited.read_until(b'\n', &mut line)? == 0 {
            return until_closed(out.flush());
        }
        let text = text::clean(&String::from_utf8_lossy(&line));
        match writeln!(out, "{text}") {
            Ok(()) => {}
            gone => return until_closed(gone),
        }
    }
}

fn print_to(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    until_closed(out.write_all(bytes).and_then(|()| out.flush()))
}

fn until_closed(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Closed(io::ErrorKind);

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_left_is_no_error_and_a_full_disk_is() {
        let log = || &b"one\ntwo\n"[..];
        let mut gone = Closed(io::ErrorKind::BrokenPipe);
        assert!(print_to(&mut gone, b"x").is_ok());
        assert!(copy_log(log(), &mut gone, true).is_ok());
        assert!(copy_log(log(), &mut gone, false).is_ok());
        let mut full = Closed(io::ErrorKind::StorageFull);
        assert!(print_to(&mut full, b"x").is_err());
        assert!(copy_log(log(), &mut full, true).is_err());
        assert!(copy_log(log(), &mut full, false).is_err());
    }

    #[test]
    fn a_log_is_clean_on_a_terminal_and_untouched_elsewhere() {
        let log = b"\x1b[2Jone\n\xfftwo\n10%\r20%";
        let copied = |clean| {
            let mut out = Vec::new();
            copy_log(&log[..], &mut out, clean).expect("memory takes everything");
            out
        };
        assert_eq!(copied(false), log);
        assert_eq!(copied(true), "one\n\u{fffd}two\n20%\n".as_bytes());
    }
}
