//! Why two files of the same path differ, as far as their format is known. Pure.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::elf::{Insides, is_elf};
use super::text::{Line, lines, moved};
use super::{ar, pyc};

/// Lines of a text that are shown.
const LINES: usize = 8;
/// Characters of such a line.
const WIDTH: usize = 160;

/// In what two contents of a path differ, each a sentence.
pub fn explain(path: &[u8], a: &[u8], b: &[u8]) -> Vec<String> {
    if a == b {
        return Vec::new();
    }
    if is_elf(a) && is_elf(b) {
        return elf(path, a, b);
    }
    if path.ends_with(b".pyc")
        && let Some(told) = pyc::differences(a, b)
    {
        return told;
    }
    if let (Some(one), Some(other)) = (ar::members(a), ar::members(b)) {
        return archive(&one, &other);
    }
    if let (Some(a), Some(b)) = (text(a), text(b)) {
        return changed_lines(a, b);
    }
    vec![bytes(a, b)]
}

fn elf(path: &[u8], a: &[u8], b: &[u8]) -> Vec<String> {
    let path = Path::new(OsStr::from_bytes(path));
    match (Insides::parse(path, a), Insides::parse(path, b)) {
        (Ok(one), Ok(other)) => one.differences(&other),
        (Err(why), _) => vec![
            format!("the first cannot be looked into: {why}"),
            bytes(a, b),
        ],
        (_, Err(why)) => vec![
            format!("the second cannot be looked into: {why}"),
            bytes(a, b),
        ],
    }
}

/// A static library: its members one by one.
fn archive(a: &[(String, &[u8])], b: &[(String, &[u8])]) -> Vec<String> {
    let names = |members: &[(String, &[u8])]| -> Vec<String> {
        members.iter().map(|(name, _)| name.clone()).collect()
    };
    let mut told = Vec::new();
    if names(a) != names(b) {
        let (one, other) = (a.len().to_string(), b.len().to_string());
        told.push(format!("has other members: {}", moved(&one, &other)));
        return told;
    }
    for ((name, one), (_, other)) in a.iter().zip(b) {
        if one == other {
            continue;
        }
        let why = if is_elf(one) && is_elf(other) {
            elf(name.as_bytes(), one, other).join("; ")
        } else {
            bytes(one, other)
        };
        told.push(format!("{name}: {why}"));
    }
    if told.is_empty() {
        told.push("differs in the headers of its members: times, owners or modes".to_owned());
    }
    told
}

fn text(bytes: &[u8]) -> Option<&str> {
    let text = str::from_utf8(bytes).ok()?;
    (!text.contains('\0')).then_some(text)
}

fn changed_lines(a: &str, b: &str) -> Vec<String> {
    let changed = lines(a, b);
    if changed.is_empty() {
        return vec!["differs in how its lines end".to_owned()];
    }
    let shown = changed.iter().take(LINES).map(|line| {
        let (mark, line) = match line {
            Line::Only(line) => ('-', line),
            Line::Other(line) => ('+', line),
        };
        let cut: String = line.chars().take(WIDTH).collect();
        let more = if cut.len() < line.len() { "…" } else { "" };
        format!("{mark} {cut}{more}")
    });
    let mut told: Vec<String> = shown.collect();
    match changed.len().saturating_sub(LINES) {
        0 => {}
        1 => told.push("and 1 line more".to_owned()),
        more => told.push(format!("and {more} lines more")),
    }
    told
}

fn bytes(a: &[u8], b: &[u8]) -> String {
    let at = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let common = a.len().min(b.len());
    if at == common {
        let (shorter, longer) = if a.len() < b.len() {
            ("first", b.len() - a.len())
        } else {
            ("second", a.len() - b.len())
        };
        return format!("the {shorter} ends {longer} bytes earlier");
    }
    let other = a.iter().zip(b).filter(|(a, b)| a != b).count();
    let are = if other == 1 { "byte is" } else { "bytes are" };
    format!("{other} of its first {common} {are} other, from byte {at} on")
}

#[cfg(test)]
mod tests;
