//! Which Debian mirror this host uses: read from its apt configuration (sources.list(5)).

use std::fs;
use std::path::Path;

use super::deb822;

/// Names of suites that only Debian has. Derivatives that reuse its release names are told apart
/// later: their signatures do not verify.
const SUITES: [&str; 15] = [
    "stretch",
    "buster",
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "duke",
    "sid",
    "oldoldstable",
    "oldstable",
    "stable",
    "testing",
    "unstable",
    "experimental",
    "rc-buggy",
];

/// The Debian mirror of the host's apt configuration below `etc_apt` (`/etc/apt`), if it has one.
pub fn of_host(etc_apt: &Path) -> Option<String> {
    let mut names = vec![etc_apt.join("sources.list")];
    if let Ok(parts) = fs::read_dir(etc_apt.join("sources.list.d")) {
        let mut parts: Vec<_> = parts.flatten().map(|entry| entry.path()).collect();
        parts.sort();
        names.extend(parts);
    }
    let read = |path: &Path| fs::read_to_string(path).ok();
    let files: Vec<(String, String)> = names
        .iter()
        .filter_map(|path| Some((path.to_str()?.to_owned(), read(path.as_path())?)))
        .collect();
    choose(&files, |list| read(Path::new(list)))
}

/// The Debian mirror that these files of apt's name: a pair each of file name and content, in
/// apt's order. `read` gives the content of the list that a `mirror+file:` URI points to.
pub fn choose(files: &[(String, String)], read: impl Fn(&str) -> Option<String>) -> Option<String> {
    let sources = files.iter().flat_map(|(name, content)| match () {
        () if has_extension(name, "list") => one_line_sources(content),
        () if has_extension(name, "sources") => deb822_sources(content),
        () => Vec::new(),
    });
    let mut sources: Vec<(Rank, String)> = sources
        .filter_map(|source| Some((rank(&source)?, usable(&source.uri, &read)?)))
        .collect();
    sources.sort_by_key(|(rank, _)| *rank); // stable: of equals apt's order
    sources.into_iter().next().map(|(_, uri)| uri)
}

fn has_extension(name: &str, wanted: &str) -> bool {
    Path::new(name).extension().is_some_and(|e| e == wanted)
}

/// One URI with one suite.
struct Source {
    uri: String,
    suite: String,
    components: Vec<String>,
}

/// Which source speaks most surely of a whole mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Suite,
    Pocket,
}

/// `None`: not Debian's, or a part of the archive that has no base suites.
fn rank(source: &Source) -> Option<Rank> {
    if !source
        .components
        .iter()
        .any(|component| component == "main")
    {
        return None;
    }
    let (base, pocket) = source
        .suite
        .split_once(['-', '/'])
        .map_or((source.suite.as_str(), None), |(base, pocket)| {
            (base, Some(pocket))
        });
    if !SUITES.contains(&base) {
        return None;
    }
    match pocket {
        None => Some(Rank::Suite),
        // The security archive is a mirror of its own, without the base suites; so are others.
        Some("updates" | "proposed-updates" | "backports" | "backports-sloppy")
            if source.suite.contains('-') =>
        {
            Some(Rank::Pocket)
        }
        Some(_) => None,
    }
}

/// The URI as something that can be fetched from.
fn usable(uri: &str, read: &impl Fn(&str) -> Option<String>) -> Option<String> {
    let uri = uri.trim_end_matches('/');
    let (scheme, rest) = uri.split_once(':')?;
    match scheme {
        "http" | "https" | "file" => Some(uri.to_owned()),
        "copy" => Some(format!("file:{rest}")),
        "mirror+file" => {
            let list = read(rest.strip_prefix("//").unwrap_or(rest))?;
            // A line is a URI, then fields after a tab; the first is as good as any.
            let lines = list.lines().map(str::trim);
            let mut uris = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
            let first = uris.next()?.split_ascii_whitespace().next()?;
            (!first.starts_with("mirror")).then(|| usable(first, read))?
        }
        _ => None,
    }
}

/// `deb [options] uri suite component…`
fn one_line_sources(content: &str) -> Vec<Source> {
    let source = |line: &str| {
        let line = line.split('#').next().unwrap_or_default().trim();
        let rest = line.strip_prefix("deb")?;
        let rest = rest.strip_prefix([' ', '\t'])?.trim_start();
        let rest = match rest.strip_prefix('[') {
            Some(options) => options.split_once(']')?.1,
            None => rest,
        };
        let mut words = rest.split_ascii_whitespace().map(str::to_owned);
        Some(Source {
            uri: words.next()?,
            suite: words.next()?,
            components: words.collect(),
        })
    };
    content.lines().filter_map(source).collect()
}

fn deb822_sources(content: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    for stanza in deb822::stanzas(content) {
        let words = |name| -> Vec<String> {
            let value = stanza.get(name).unwrap_or_default();
            let lines = deb822::lines(value);
            let words = lines.flat_map(str::split_ascii_whitespace);
            words.map(str::to_owned).collect()
        };
        let disabled = ["no", "false", "without", "off", "disable", "0"];
        let enabled = stanza.get("Enabled").unwrap_or("yes").to_ascii_lowercase();
        if disabled.contains(&enabled.as_str()) || !words("Types").iter().any(|t| t == "deb") {
            continue;
        }
        for uri in words("URIs") {
            for suite in words("Suites") {
                sources.push(Source {
                    uri: uri.clone(),
                    suite,
                    components: words("Components"),
                });
            }
        }
    }
    sources
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(files: &[(&str, &str)]) -> Option<String> {
        let files: Vec<_> = files
            .iter()
            .map(|(name, content)| ((*name).to_owned(), (*content).to_owned()))
            .collect();
        choose(&files, |list| {
            (list == "/etc/apt/mirrors")
                .then(|| "# ours\n\nhttp://m.example.org/debian/\tpriority:1\n".to_owned())
        })
    }

    #[test]
    fn the_mirror_is_found_in_every_way_of_writing_it() {
        let deb822 = "# comment\nTypes: deb deb-src\nURIs: https://m.example.org/debian/\n\
            Suites: bookworm bookworm-updates\nComponents: main\n\nTypes: deb\n\
            URIs: https://m.example.org/debian-security\nSuites: bookworm-security\nComponents: main\n";
        let disabled = deb822.replacen("Types:", "Enabled: no\nTypes:", 1);
        let source_only = deb822.replacen("deb deb-src", "deb-src", 1);
        let list = "a.list";
        let table = [
            (
                list,
                "deb http://m.example.org/debian bookworm main",
                Some("http://m.example.org/debian"),
            ),
            (
                list,
                "deb [arch=amd64 signed-by=/k.gpg] http://m.example.org/debian/ stable contrib main # x",
                Some("http://m.example.org/debian"),
            ),
            (
                list,
                "# deb http://m.example.org/debian bookworm main",
                None,
            ),
            (
                list,
                "deb-src http://m.example.org/debian bookworm main",
                None,
            ),
            (
                list,
                "deb http://m.example.org/debian-security bookworm-security main",
                None,
            ),
            (
                list,
                "deb http://m.example.org/debian-security buster/updates main",
                None,
            ),
            (list, "deb http://m.example.org/x bookworm-pgdg main", None),
            (
                list,
                "deb http://m.example.org/ubuntu noble main universe",
                None,
            ),
            (
                list,
                "deb http://m.example.org/docker bookworm stable",
                None,
            ),
            (list, "deb http://m.example.org/flat ./", None),
            (list, "deb cdrom:[Debian 12]/ bookworm main", None),
            (
                list,
                "deb file:/srv/mirror bookworm main",
                Some("file:/srv/mirror"),
            ),
            (
                list,
                "deb copy:/srv/mirror bookworm main",
                Some("file:/srv/mirror"),
            ),
            (
                list,
                "deb mirror+file:/etc/apt/mirrors sid main",
                Some("http://m.example.org/debian"),
            ),
            (
                list,
                "deb mirror+file:///etc/apt/mirrors sid main",
                Some("http://m.example.org/debian"),
            ),
            (list, "deb mirror+file:/nowhere sid main", None),
            (
                list,
                "deb http://a.example.org/debian sid-backports main\ndeb http://b.example.org/debian sid main",
                Some("http://b.example.org/debian"),
            ),
            (
                list,
                "deb http://a.example.org/debian bookworm-backports main",
                Some("http://a.example.org/debian"),
            ),
            (list, "deb\ndeb [x\ndeb a", None),
            ("a.sources", deb822, Some("https://m.example.org/debian")),
            ("a.sources", &disabled, None),
            ("a.sources", &source_only, None),
            (
                "a.list.save",
                "deb http://m.example.org/debian bookworm main",
                None,
            ),
        ];
        for (name, content, uri) in table {
            assert_eq!(chosen(&[(name, content)]).as_deref(), uri, "{content}");
        }
    }

    #[test]
    fn of_several_files_the_first_that_will_do_counts() {
        let files = [
            ("sources.list", ""),
            ("1.list", "deb http://u.example.org/ubuntu noble main"),
            (
                "2.sources",
                "Types: deb\nURIs: http://one.example.org/debian\nSuites:\n trixie\n# x\nComponents:\n main\n",
            ),
            ("3.list", "deb http://two.example.org/debian trixie main"),
        ];
        assert_eq!(
            chosen(&files).as_deref(),
            Some("http://one.example.org/debian")
        );
    }
}
