//! `index.html`: what a target has, for people to browse. One page without scripts that takes
//! nothing from elsewhere. All that it shows may have been written by an enemy.

mod html;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use self::html::{Html, natural};
use crate::model::{Arch, Bytes, FormulaName, Kind, Sha256, StackName, Version};

/// How it looks; the policy of the page allows this and nothing else.
const STYLE: &str = include_str!("style.css");

/// What a target has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// The archives, in any order.
    pub archives: Vec<Listed>,
}

/// One archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The tarball's key, relative to the page.
    pub key: String,
    /// What `.sha256` and record add to it.
    pub sidecars: [&'static str; 2],
    /// The stack it runs on.
    pub stack: StackName,
    /// The formula.
    pub formula: FormulaName,
    /// The version of it, if it has one.
    pub version: Option<Version>,
    /// What it is to the platform.
    pub kind: Kind,
    /// The machine it runs on.
    pub arch: Arch,
    /// Its size in bytes.
    pub size: u64,
    /// Its digest.
    pub sha256: Sha256,
    /// When it was put there, as RFC 3339 has it; it begins with the day.
    pub date: String,
    /// What it is made of.
    pub facts: Vec<Fact>,
}

/// Something that an archive is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// What: `source`.
    pub what: &'static str,
    /// Of which: one or several.
    pub values: Vec<Value>,
}

/// One of these.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Value {
    /// What a person reads.
    pub text: String,
    /// Where it can be had, on the web.
    pub url: Option<String>,
    /// Its digest.
    pub digest: Option<Sha256>,
}

/// The archives of one version, by stack.
type Versions<'a> = BTreeMap<(Reverse<Option<Version>>, &'a str), Vec<&'a Listed>>;

impl Page {
    /// The page. The same archives give the same bytes.
    pub fn render(&self) -> String {
        let mut formulae: BTreeMap<(Kind, &FormulaName), Versions<'_>> = BTreeMap::new();
        for listed in &self.archives {
            let formula = formulae.entry((listed.kind, &listed.formula)).or_default();
            let text = listed.version.as_ref().map_or("-", Version::as_str);
            let version = (Reverse(listed.version.clone()), text);
            formula.entry(version).or_default().push(listed);
        }
        let mut html = Html::default();
        head(&mut html);
        html.raw("<body>\n");
        self.header(&mut html, &formulae.keys().copied().collect::<Vec<_>>());
        html.raw("<main>\n");
        for ((kind, name), versions) in &formulae {
            section(&mut html, *kind, name, versions);
        }
        html.raw("</main>\n</body>\n</html>\n");
        html.finish()
    }

    fn header(&self, html: &mut Html, formulae: &[(Kind, &FormulaName)]) {
        let stacks: BTreeSet<&StackName> = self.archives.iter().map(|one| &one.stack).collect();
        let bytes = self.archives.iter().map(|one| one.size).sum();
        html.raw("<header>\n<h1>Runtimes and libraries</h1>\n<p>");
        html.text(&format!(
            "{} for {}, {} in all",
            count(self.archives.len(), "archive"),
            count(stacks.len(), "stack"),
            Bytes(bytes)
        ));
        if let Some(newest) = self.archives.iter().map(day).max() {
            html.text(&format!(", the newest of {newest}"));
        }
        html.raw(
            ". Beside each lie its SHA-256 (for <code>sha256sum -c</code>) and its record: what it \
             is made of, and how. <a href=\"index.json\">index.json</a> says the same to \
             programs.</p>\n<nav>",
        );
        for (kind, name) in formulae {
            html.raw("<a href=\"#")
                .text(&anchor(*kind, name))
                .raw("\">");
            html.text(name.as_str()).raw("</a>");
        }
        html.raw("</nav>\n</header>\n");
    }
}

/// What a browser must know first. The policy comes before anything that it could apply to.
fn head(html: &mut Html) {
    let digest = BASE64_STANDARD.encode(Sha256::of(STYLE.as_bytes()).as_bytes());
    html.raw("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    html.raw("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; ");
    html.raw("style-src 'sha256-").text(&digest);
    html.raw("'; base-uri 'none'; form-action 'none'\">\n");
    html.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    html.raw("<meta name=\"color-scheme\" content=\"light dark\">\n");
    html.raw("<meta name=\"referrer\" content=\"no-referrer\">\n");
    html.raw("<title>Runtimes and libraries</title>\n<style>");
    html.raw(STYLE).raw("</style>\n</head>\n");
}

fn anchor(kind: Kind, name: &FormulaName) -> String {
    format!("{kind}-{name}")
}

fn count(count: usize, what: &str) -> String {
    let many = if count == 1 { "" } else { "s" };
    format!("{count} {what}{many}")
}

fn day(listed: &Listed) -> &str {
    listed.date.split('T').next().unwrap_or_default()
}

/// A formula: versions down, stacks across.
fn section(html: &mut Html, kind: Kind, name: &FormulaName, versions: &Versions<'_>) {
    let stacks = versions.values().flatten().map(|one| &one.stack);
    let mut stacks: Vec<&StackName> = stacks.collect::<BTreeSet<_>>().into_iter().collect();
    stacks.sort_by_cached_key(|stack| natural(stack.as_str()));
    html.raw("<section>\n<h2 id=\"").text(&anchor(kind, name));
    html.raw("\">").text(name.as_str());
    html.raw(" <small>").text(kind.as_str());
    html.raw("</small></h2>\n<div class=\"scroll\"><table>\n");
    html.raw("<thead><tr><th scope=\"col\">version</th>");
    for stack in &stacks {
        html.raw("<th scope=\"col\">").text(stack.as_str());
        html.raw("</th>");
    }
    html.raw("</tr></thead>\n");
    for ((_, version), archives) in versions {
        let mut archives = archives.clone();
        archives.sort_by_cached_key(|one| (natural(one.stack.as_str()), one.arch, &one.key));
        row(html, version, &stacks, &archives);
    }
    html.raw("</table></div>\n</section>\n");
}

fn row(html: &mut Html, version: &str, stacks: &[&StackName], archives: &[&Listed]) {
    html.raw("<tbody>\n<tr><th scope=\"row\">").text(version);
    html.raw("</th>");
    for stack in stacks {
        let mut here = archives
            .iter()
            .filter(|one| one.stack == **stack)
            .peekable();
        if here.peek().is_none() {
            html.raw("<td class=\"none\">–</td>");
            continue;
        }
        html.raw("<td data-stack=\"")
            .text(stack.as_str())
            .raw("\">");
        for one in here {
            archive(html, one);
        }
        html.raw("</td>");
    }
    html.raw("</tr>\n<tr class=\"more\"><td colspan=\"");
    html.text(&(stacks.len() + 1).to_string());
    html.raw("\"><details><summary>what ").text(version);
    html.raw(" is made of</summary>\n<div class=\"cards\">\n");
    for one in archives {
        card(html, one);
    }
    html.raw("</div></details></td></tr>\n</tbody>\n");
}

fn archive(html: &mut Html, listed: &Listed) {
    html.raw("<div class=\"archive\"><a class=\"file\" href=\"");
    html.href(&listed.key).raw("\">").text(file(&listed.key));
    html.raw("</a><span class=\"about\">");
    html.text(&Bytes(listed.size).to_string());
    html.raw(" · <time datetime=\"").text(&listed.date);
    html.raw("\">").text(day(listed));
    html.raw("</time></span><span class=\"about\"><a href=\"");
    let [checksum, record] = listed.sidecars;
    html.href(&format!("{}{checksum}", listed.key));
    html.raw("\" title=\"SHA-256 ")
        .text(&listed.sha256.to_string());
    html.raw("\"><code>").text(&listed.sha256.short());
    html.raw("</code></a> · <a href=\"");
    html.href(&format!("{}{record}", listed.key));
    html.raw("\">record</a>");
    html.raw("</span></div>");
}

fn file(key: &str) -> &str {
    key.rsplit('/').next().unwrap_or(key)
}

/// All that is known of an archive.
fn card(html: &mut Html, listed: &Listed) {
    html.raw("<div class=\"card\"><h3>")
        .text(listed.stack.as_str());
    html.raw(" <span class=\"none\">")
        .text(listed.arch.as_str());
    html.raw("</span></h3>\n<dl>\n<dt>archive</dt><dd>");
    html.text(&listed.key).raw("<code>");
    html.text(&listed.sha256.to_string());
    html.raw("</code></dd>\n");
    for Fact { what, values } in &listed.facts {
        html.raw("<dt>").text(what).raw("</dt>");
        for value in values {
            html.raw("<dd>");
            self::value(html, value);
            html.raw("</dd>");
        }
        html.raw("\n");
    }
    html.raw("</dl></div>\n");
}

fn value(html: &mut Html, value: &Value) {
    let Value { text, url, digest } = value;
    // Only what is certainly a place on the web is one to go to.
    let web = |url: &&String| url.starts_with("https://") || url.starts_with("http://");
    match url.as_ref().filter(web) {
        Some(url) => {
            html.raw("<a rel=\"noopener noreferrer\" href=\"").text(url);
            html.raw("\">").text(text).raw("</a>");
        }
        None => drop(html.text(text)),
    }
    if let Some(digest) = digest {
        html.raw("<code>").text(&digest.to_string()).raw("</code>");
    }
}

#[cfg(test)]
mod tests;
