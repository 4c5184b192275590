//! Formulae, as files, of scripts that were understood.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::model::{FormulaName, Kind};

use super::super::super::url::file_name;
use super::{Body, Fetched, PREFIX, Refusal, Understood};

/// What proves that a `CPython` is the one that it is filed as.
const VERSION: &str = r#"checks = [{ name = "version", run = ["{prefix}/bin/python", "-E", "-c", "import platform, sys; sys.exit(platform.python_version() != sys.argv[1])", "{version}"] }]"#;

/// One version of a formula to be.
struct Release<'a> {
    one: &'a Understood,
    fetched: &'a Fetched,
    pattern: String,
    part: String,
}

/// The files `NAME.toml` and `NAME.versions.toml` of each formula, by name; and the scripts that
/// cannot be one with the others.
pub fn write(all: &[(Understood, Fetched)]) -> (BTreeMap<String, String>, Vec<Refusal>) {
    let mut refused = Vec::new();
    let mut formulae: BTreeMap<&FormulaName, Vec<Release<'_>>> = BTreeMap::new();
    for (one, fetched) in all {
        let refuse = |why: String| Refusal {
            script: one.script.to_string(),
            place: None,
            why,
        };
        let releases = formulae.entry(one.script.name()).or_default();
        if let Some(other) = releases.first().map(|release| release.one)
            && (other.kind, &other.prefix) != (one.kind, &one.prefix)
        {
            let other = &other.script;
            refused.push(refuse(format!(
                "{other} has this name too, and is another formula"
            )));
            continue;
        }
        if let Some(twin) = releases
            .iter()
            .find(|release| release.one.version == one.version)
        {
            let twin = &twin.one.script;
            refused.push(refuse(format!("{twin} is of the same version")));
            continue;
        }
        match part(one, all) {
            Ok(part) => releases.push(Release {
                one,
                fetched,
                pattern: pattern(one),
                part,
            }),
            Err(why) => refused.push(refuse(why)),
        }
    }
    let mut files = BTreeMap::new();
    for (name, mut releases) in formulae {
        releases.sort_by(|a, b| a.one.version.cmp(&b.one.version));
        let Some(first) = releases.first() else {
            continue;
        };
        files.insert(format!("{name}.toml"), formula(name, first.one, &releases));
        files.insert(format!("{name}.versions.toml"), versions(&releases));
    }
    (files, refused)
}

fn formula(name: &FormulaName, first: &Understood, releases: &[Release<'_>]) -> String {
    let scripts: Vec<String> = releases
        .iter()
        .map(|one| one.one.script.to_string())
        .collect();
    let mut text = format!(
        "# Imported from scripts for bob-builder: {}\nschema = 1\nname   = {}\nkind   = {}\nprefix = {}\n",
        scripts.join(", "),
        quoted(name.as_str()),
        quoted(first.kind.as_str()),
        quoted(&first.prefix),
    );
    for group in releases.chunk_by(|a, b| a.part == b.part) {
        let [from, .., to] = group else {
            let only = &group[0];
            let range = format!("={}", only.one.version);
            let _ = write!(
                text,
                "\n[[series]]\nversions = {}\n{}",
                quoted(&range),
                only.part
            );
            continue;
        };
        let range = format!(">={}, <={}", from.one.version, to.one.version);
        let _ = write!(
            text,
            "\n[[series]]\nversions = {}\n{}",
            quoted(&range),
            from.part
        );
    }
    text
}

fn versions(releases: &[Release<'_>]) -> String {
    let mut patterns: Vec<&str> = Vec::new();
    for release in releases {
        if !patterns.contains(&release.pattern.as_str()) {
            patterns.push(&release.pattern);
        }
    }
    let flavour = |pattern: &str| {
        let n = patterns
            .iter()
            .position(|known| *known == pattern)
            .unwrap_or(0);
        if n == 0 {
            "tar".to_owned()
        } else {
            format!("tar-{}", n + 1)
        }
    };
    let mut text =
        "# The digests are those of what was fetched when this was written: compare them \
                    with what upstream says.\nschema = 1\n"
            .to_owned();
    for pattern in &patterns {
        let _ = write!(
            text,
            "\n[sources.{}]\nurls = [{}]\n",
            flavour(pattern),
            quoted(pattern)
        );
    }
    text.push_str("\n[versions]\n");
    for Release {
        one,
        fetched,
        pattern,
        ..
    } in releases
    {
        let Fetched { sha256, released } = fetched;
        let flavour = flavour(pattern);
        let _ = writeln!(
            text,
            "{} = {{ released = {released}, {flavour} = {{ sha256 = \"{sha256}\" }} }}",
            quoted(one.version.as_str()),
        );
    }
    text
}

/// The URL, with what the version says of it as placeholders.
fn pattern(one: &Understood) -> String {
    let two = format!("/{}/", one.version.prefix(2));
    let url = braced(&one.url).replace(one.version.as_str(), "{version}");
    if one.version.numbers().len() > 2 {
        url.replace(&two, "/{version.2}/")
    } else {
        url
    }
}

/// How a version is built: what stands below the range of a series.
fn part(one: &Understood, all: &[(Understood, Fetched)]) -> Result<String, String> {
    let Body {
        env,
        steps,
        prune,
        links,
    } = &one.body;
    let mut text = String::new();
    let mut lines: Vec<String> = Vec::new();
    let mut dependencies: Vec<String> = Vec::new();
    for name in &one.dependencies {
        let mut others = all.iter().map(|(other, _)| other);
        let found = others.find(|other| other.script.to_string() == *name);
        let found = found.ok_or_else(|| format!("it begins with {name}, which is not imported"))?;
        let formula = found.script.name();
        dependencies.push(quoted(&format!("{formula}-{}", found.version)));
        let from = quoted(&format!("{{deps.{formula}}}/."));
        lines.push(format!(
            "  {{ name = {}, run = [\"cp\", \"-a\", {from}, \"{{prefix}}/\"] }},",
            quoted(&format!("begin with {formula}"))
        ));
    }
    let filled = |text: &str| template(text, one);
    let mut names: Vec<String> = Vec::new();
    for run in steps {
        let name = step_name(run, &names);
        let words: Vec<String> = run.iter().map(|word| quoted(&filled(word))).collect();
        lines.push(format!(
            "  {{ name = {}, run = [{}] }},",
            quoted(&name),
            words.join(", ")
        ));
        names.push(name);
    }
    if !dependencies.is_empty() {
        let _ = writeln!(text, "dependencies = [{}]", dependencies.join(", "));
    }
    if !env.is_empty() {
        let env = env.iter();
        let env = env.map(|(name, value)| format!("{name} = {}", quoted(&filled(value))));
        let _ = writeln!(text, "env = {{ {} }}", env.collect::<Vec<_>>().join(", "));
    }
    let _ = write!(text, "steps = [\n{}\n]\n", lines.join("\n"));
    if !prune.is_empty() {
        let prune: Vec<String> = prune.iter().map(|glob| quoted(&filled(glob))).collect();
        let _ = writeln!(text, "prune = [{}]", prune.join(", "));
    }
    if !links.is_empty() {
        let all = links.iter().map(|(path, to)| {
            let (path, to) = (quoted(&filled(path)), quoted(&filled(to)));
            format!("{{ path = {path}, to = {to} }}")
        });
        let _ = writeln!(text, "links = [{}]", all.collect::<Vec<_>>().join(", "));
    }
    if one.script.name().as_str() == "python" && one.kind == Kind::Runtime {
        let _ = writeln!(text, "{VERSION}");
    }
    Ok(text)
}

/// What a person calls a step: `configure`, `make`, `install`.
fn step_name(run: &[String], taken: &[String]) -> String {
    let is_value = |word: &&String| word.contains('=') || *word == "env";
    let mut words = run.iter().skip_while(is_value);
    let program = words.next().map_or("step", String::as_str);
    let program = file_name(program).unwrap_or(program);
    let name = match words.find(|word| !word.starts_with('-') && !word.contains('=')) {
        Some(target) if program == "make" => target.as_str(),
        _ => program,
    };
    let count = taken
        .iter()
        .filter(|taken| taken.split(' ').next() == Some(name))
        .count();
    if count == 0 {
        name.to_owned()
    } else {
        format!("{name} {}", count + 1)
    }
}

/// A value of a script as a formula has it.
fn template(text: &str, one: &Understood) -> String {
    let text = text.replace("{jobs}", "\u{3}");
    let text = braced(&text).replace(&format!("{PREFIX}//"), &format!("{PREFIX}/"));
    let text = text.replace(one.version.as_str(), "{version}");
    let text = text.replace(PREFIX, "{prefix}").replace('\u{3}', "{jobs}");
    // `--prefix=/app/.heroku/python/` is what it is without its last slash.
    match text.strip_suffix("{prefix}/") {
        Some(before) if before.ends_with('=') => format!("{before}{{prefix}}"),
        _ => text,
    }
}

fn braced(text: &str) -> String {
    text.replace('{', "{{").replace('}', "}}")
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
