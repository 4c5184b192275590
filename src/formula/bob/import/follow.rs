//! Follows a script from its first line to its last.

use crate::model::Glob;

use super::super::super::check::prefix;
use super::super::super::url::file_name;
use super::fetch::fetched;
use super::lexer::{Command, Part, commands, lines};
use super::values::{Values, last, shown};
use super::{
    Body, Followed, PREFIX, Refusal, Script, Understood, WORKSPACE, Workspace, stem, version_of,
};

/// Files that read one another go no deeper.
const MAX_DEPTH: u8 = 8;

/// Words that begin what is not followed.
const CONTROL: [&str; 19] = [
    "if", "then", "else", "elif", "fi", "for", "while", "until", "do", "done", "case", "esac",
    "function", "select", "[[", "[", "test", "{", "!",
];
/// Commands of the shell's own that change what comes after them, and programs that need what a
/// formula's step does not have.
const NOT_STEPS: [&str; 18] = [
    "alias", "apt", "apt-get", "break", "continue", "dpkg", "eval", "exec", "let", "local", "popd",
    "pushd", "read", "return", "shift", "sudo", "trap", "unset",
];

/// Where the script is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Where it began.
    Work,
    /// In the unpacked source.
    Source,
}

struct Follower<'a> {
    workspace: &'a Workspace,
    read: &'a mut Vec<String>,
    /// The file that is followed, and the line in it.
    at: (String, usize),
    values: Values,
    place: Place,
    /// What was fetched, and what the directory is called that it was unpacked to.
    url: Option<String>,
    downloaded: Option<String>,
    source: Option<String>,
    ended: bool,
    body: Body,
}

/// Follows a script; notes which other files it reads.
pub(super) fn follow(
    script: &Script,
    workspace: &Workspace,
    read: &mut Vec<String>,
) -> Result<Understood, Refusal> {
    let path = script.reference.to_string();
    let build_path = script.headers.build_path.clone();
    let build_path = build_path.unwrap_or_else(|| "/app/.heroku/".to_owned());
    let slash = if build_path.ends_with('/') { "/" } else { "" };
    let variables = [
        ("0", format!("{WORKSPACE}/{path}")),
        ("BASH_SOURCE", format!("{WORKSPACE}/{path}")),
        ("1", format!("{PREFIX}{slash}")),
        ("WORKSPACE_DIR", WORKSPACE.to_owned()),
    ];
    let mut follower = Follower {
        workspace,
        read,
        at: (path.clone(), 0),
        values: Values(
            variables
                .map(|(name, value)| (name.to_owned(), value))
                .into(),
        ),
        place: Place::Work,
        url: None,
        downloaded: None,
        source: None,
        ended: false,
        body: Body::default(),
    };
    let whole = |why: String| Refusal {
        script: path.clone(),
        place: None,
        why,
    };
    let text = String::from_utf8_lossy(script.file.bytes()).into_owned();
    if let Err(why) = follower.text(&text, 0) {
        let place = Some(follower.at);
        let script = path.clone();
        return Err(Refusal { script, place, why });
    }
    let Follower { url, body, .. } = follower;
    let url = url.ok_or_else(|| whole("it fetches no tarball".to_owned()))?;
    if body.steps.is_empty() {
        return Err(whole("it runs nothing in what it fetches".to_owned()));
    }
    let prefix = prefix(&build_path).map_err(whole)?.to_string();
    let version = script.reference.version().cloned();
    let version = version.or_else(|| version_of(file_name(&url)?));
    Ok(Understood {
        version: version.ok_or_else(|| whole("nothing says which version it is of".to_owned()))?,
        script: script.reference.clone(),
        url,
        kind: script.kind(),
        prefix,
        dependencies: script.headers.dependencies.clone(),
        body,
    })
}

impl Follower<'_> {
    fn text(&mut self, text: &str, depth: u8) -> Followed {
        if depth == MAX_DEPTH {
            return Err("files read one another too deeply".to_owned());
        }
        for (number, line) in lines(text) {
            if self.ended {
                break;
            }
            self.at.1 = number;
            for pipeline in commands(&line)? {
                self.pipeline(&pipeline, depth)?;
            }
        }
        Ok(())
    }

    fn pipeline(&mut self, pipeline: &[Command], depth: u8) -> Followed {
        for command in pipeline {
            // Before its words are looked at, which may be patterns or unknown.
            if let Some(
                [
                    Part::Text {
                        text,
                        quoted: false,
                    },
                ],
            ) = command.words.first().map(Vec::as_slice)
                && CONTROL.contains(&text.as_str())
            {
                return Err(format!("`{text}` is not followed"));
            }
        }
        match pipeline {
            [command] => {
                let mut env = Vec::new();
                let mut words = command.words.as_slice();
                while let [first, rest @ ..] = words {
                    let Some((name, value)) = self.values.assignment(first)? else {
                        break;
                    };
                    env.push((name, value));
                    words = rest;
                }
                if words.is_empty() {
                    self.values.0.extend(env);
                    return Ok(());
                }
                let words = self.values.words(words)?;
                self.command(&words, &env, depth)
            }
            [fetch, unpack] => {
                let (fetch, unpack) = (
                    self.values.words(&fetch.words)?,
                    self.values.words(&unpack.words)?,
                );
                let url = fetched(&fetch)?.0;
                if unpack.first().map(String::as_str) != Some("tar") {
                    return Err(format!("a pipe into {} is not followed", shown(&unpack[0])));
                }
                self.fetch(url)?;
                self.unpack(&unpack, None)
            }
            _ => Err("a pipe of more than two commands is not followed".to_owned()),
        }
    }

    fn command(&mut self, words: &[String], env: &[(String, String)], depth: u8) -> Followed {
        let Some((program, rest)) = words.split_first() else {
            return Ok(());
        };
        let program = program.as_str();
        match (program, rest) {
            ("echo" | "printf" | "set" | "hash" | ":" | "true", _) => Ok(()),
            ("exit", []) => {
                self.ended = true;
                Ok(())
            }
            ("exit", [code]) if code == "0" => {
                self.ended = true;
                Ok(())
            }
            ("export", names) => self.export(names),
            ("source" | ".", [file]) => self.source(file, depth),
            ("curl" | "wget", _) => {
                let (url, file) = fetched(words)?;
                self.downloaded = Some(file.ok_or("where it is downloaded to is not followed")?);
                self.fetch(url)
            }
            ("tar", _) => {
                let file = self.downloaded.clone();
                self.unpack(
                    words,
                    Some(&file.ok_or("what is unpacked was not fetched before")?),
                )
            }
            ("cd", [to]) => self.cd(to),
            ("mv", [from, to]) if self.is_source(from) => {
                self.source = Some(last(to).to_owned());
                Ok(())
            }
            ("rm", _) => self.remove(rest),
            ("find", [base, rest @ ..]) if base.starts_with(PREFIX) => self.find(base, rest),
            ("ln", _) if rest.iter().any(|word| word.starts_with(PREFIX)) => self.link(rest),
            ("mkdir", [words @ .., dir]) if below(dir) == Some("") => match words {
                [] => Ok(()),
                [flag] if flag == "-p" => Ok(()),
                _ => Err("this `mkdir` is not followed".to_owned()),
            },
            _ if NOT_STEPS.contains(&program) => Err(format!("`{program}` is not followed")),
            _ if self.place == Place::Source => {
                let mut run: Vec<String> = Vec::new();
                if !env.is_empty() {
                    run.push("env".to_owned());
                    run.extend(env.iter().map(|(name, value)| format!("{name}={value}")));
                }
                run.extend(words.iter().cloned());
                self.body.steps.push(run);
                Ok(())
            }
            _ => Err(format!(
                "`{}` is not followed outside of the source",
                shown(program)
            )),
        }
    }

    fn export(&mut self, names: &[String]) -> Followed {
        for word in names {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, value.to_owned()),
                None => match self.values.0.get(word) {
                    Some(value) => (word.as_str(), value.clone()),
                    None => return Err(format!("nobody knows ${word}")),
                },
            };
            if value.contains(WORKSPACE) {
                return Err(format!("${name} leads to other files of the directory"));
            }
            self.values.0.insert(name.to_owned(), value.clone());
            self.body.env.retain(|(known, _)| known != name);
            self.body.env.push((name.to_owned(), value));
        }
        Ok(())
    }

    fn source(&mut self, file: &str, depth: u8) -> Followed {
        let path = file
            .strip_prefix(WORKSPACE)
            .and_then(|path| path.strip_prefix('/'));
        let mut files = self.workspace.files().iter();
        let found = path.and_then(|path| files.find(|file| file.path() == path));
        let Some(found) = found else {
            return Err(format!(
                "{} is not in the directory of scripts",
                shown(file)
            ));
        };
        let path = found.path().to_owned();
        if !self.read.contains(&path) {
            self.read.push(path.clone());
        }
        let before = std::mem::replace(&mut self.at, (path, 0));
        let own = self
            .values
            .0
            .insert("BASH_SOURCE".to_owned(), file.to_owned());
        self.text(&String::from_utf8_lossy(found.bytes()), depth + 1)?;
        self.values
            .0
            .extend(own.map(|own| ("BASH_SOURCE".to_owned(), own)));
        self.at = before;
        Ok(())
    }

    fn fetch(&mut self, url: String) -> Followed {
        if self.url.is_some() {
            return Err("it fetches more than one thing".to_owned());
        }
        if !url.starts_with("https://") && !url.starts_with("http://") {
            return Err(format!("{} is not fetched by https or http", shown(&url)));
        }
        self.url = Some(url);
        Ok(())
    }

    /// `tar xz`, `tar -xf FILE`, with `-C DIR` or not: what is unpacked is what was fetched.
    fn unpack(&mut self, words: &[String], file: Option<&str>) -> Followed {
        let mut rest = words[1..].iter();
        let mut named = None;
        let mut extracts = false;
        while let Some(word) = rest.next() {
            match word.as_str() {
                "-C" | "--directory" => drop(rest.next()),
                flags if flags.starts_with("--") => {
                    return Err(format!("`tar {flags}` is not followed"));
                }
                flags if !extracts || flags.starts_with('-') => {
                    let flags = flags.trim_start_matches('-');
                    if !flags.chars().all(|c| "xzjJvfp".contains(c)) {
                        return Err(format!("`tar {}` is not followed", shown(flags)));
                    }
                    extracts |= flags.contains('x');
                    if flags.ends_with('f') {
                        named = rest.next().cloned().filter(|name| name != "-");
                    }
                }
                word => return Err(format!("`tar … {}` is not followed", shown(word))),
            }
        }
        if !extracts || named.as_deref().map(last) != file.map(last) {
            return Err("this `tar` does not unpack what was fetched".to_owned());
        }
        let name = self.url.as_deref().and_then(file_name).unwrap_or_default();
        self.source = Some(stem(name).to_owned());
        Ok(())
    }

    fn is_source(&self, path: &str) -> bool {
        self.place == Place::Work && self.source.as_deref() == Some(last(path))
    }

    fn cd(&mut self, to: &str) -> Followed {
        match (self.place, to) {
            (Place::Source, "..") => self.place = Place::Work,
            (Place::Work, to) if self.is_source(to) => self.place = Place::Source,
            (_, to) => return Err(format!("`cd {}` is not followed", shown(to))),
        }
        Ok(())
    }

    /// What is removed of the prefix; what is removed of the source is gone anyway.
    fn remove(&mut self, rest: &[String]) -> Followed {
        for word in rest.iter().filter(|word| !word.starts_with('-')) {
            match below(word) {
                Some("") => return Err("the whole prefix is removed".to_owned()),
                Some(path) => self.prune(path)?,
                None if self.place == Place::Work && self.is_source(word) => {}
                None => return Err(format!("`rm {}` is not followed", shown(word))),
            }
        }
        Ok(())
    }

    fn prune(&mut self, glob: &str) -> Followed {
        if glob.parse::<Glob>().is_err() {
            return Err(format!("`{}` is no pattern of a formula", shown(glob)));
        }
        self.body.prune.push(glob.to_owned());
        Ok(())
    }

    /// `find PREFIX ( -type d -a ( -name test -o -name tests ) ) -exec rm -rf '{}' +`
    fn find(&mut self, base: &str, rest: &[String]) -> Followed {
        let not = || "this `find` is not followed".to_owned();
        let words: Vec<&str> = rest
            .iter()
            .map(String::as_str)
            .filter(|word| !matches!(*word, "(" | ")" | "-a"))
            .collect();
        let at = words
            .iter()
            .position(|word| *word == "-exec")
            .ok_or_else(not)?;
        let (tests, action) = words.split_at(at);
        let removes = matches!(action, ["-exec", "rm", "-rf" | "-fr", "{}", "+" | ";"]);
        let ["-type", "d", names @ ..] = tests else {
            return Err(not());
        };
        let base = below(base).unwrap_or_default();
        let mut found = Vec::new();
        for (n, pair) in names.split(|word| *word == "-o").enumerate() {
            match pair {
                ["-name", name] if n == 0 || !name.is_empty() => found.push(*name),
                _ => return Err(not()),
            }
        }
        if !removes || found.is_empty() {
            return Err(not());
        }
        for name in found {
            let base = if base.is_empty() {
                String::new()
            } else {
                format!("{base}/")
            };
            self.prune(&format!("{base}**/{name}"))?;
        }
        Ok(())
    }

    /// `ln [-s] TARGET LINK`, both in the prefix.
    fn link(&mut self, rest: &[String]) -> Followed {
        let plain: Vec<&String> = rest.iter().filter(|word| !word.starts_with('-')).collect();
        let [to, path] = plain.as_slice() else {
            return Err("this `ln` is not followed".to_owned());
        };
        let path = below(path).filter(|path| !path.is_empty());
        let path = path.ok_or("this `ln` does not make a link in the prefix")?;
        let depth = path.matches('/').count();
        let to = match below(to) {
            Some(to) => {
                let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
                match to.rsplit_once('/') {
                    Some((same, name)) if same == directory => name.to_owned(),
                    _ => format!("{}{to}", "../".repeat(depth)),
                }
            }
            None if to.starts_with('/') => return Err("a link leads out of the prefix".to_owned()),
            None => (*to).clone(),
        };
        self.body.links.push((path.to_owned(), to));
        Ok(())
    }
}

/// A path below the prefix, without slashes around it; empty for the prefix itself.
fn below(path: &str) -> Option<&str> {
    let path = path.strip_prefix(PREFIX)?;
    (path.is_empty() || path.starts_with('/')).then(|| path.trim_matches('/'))
}
