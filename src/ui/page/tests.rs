//! A page as a person gets it, and what an enemy would put into it.

use super::*;

fn listed(key: &str, stack: &str, reference: &str) -> Listed {
    let reference: crate::model::FormulaRef = reference.parse().expect("a reference");
    Listed {
        key: key.to_owned(),
        sidecars: [".sha256", ".json"],
        stack: stack.parse().expect("a stack"),
        formula: reference.name().clone(),
        version: reference.version().cloned(),
        kind: if reference.name().as_str() == "sqlite" {
            Kind::Library
        } else {
            Kind::Runtime
        },
        arch: Arch::Amd64,
        size: 21_655_140,
        sha256: Sha256::of(key.as_bytes()),
        date: "2026-11-20T07:30:00Z".to_owned(),
        facts: vec![Fact {
            what: "source",
            values: vec![Value {
                text: "source.tgz".to_owned(),
                url: Some("https://example.org/source.tgz".to_owned()),
                digest: Some(Sha256::of(b"source")),
            }],
        }],
    }
}

fn page() -> Page {
    let one = |stack: &str, directory: &str, reference: &str| {
        let key = format!("{stack}/{directory}/{reference}.tar.gz");
        listed(&key, stack, reference)
    };
    let flat = "python-3.9.2-debian-11-amd64.tar.zst";
    Page {
        archives: vec![
            one("debian-12", "libraries", "sqlite-3.46.1"),
            one("debian-9", "runtimes", "python-3.9.2"),
            one("debian-11", "runtimes", "python-3.9.2"),
            listed(flat, "debian-11", "python-3.9.2"),
            one("debian-11", "runtimes", "python-3.11.2"),
        ],
    }
}

#[test]
fn the_page_is_one_to_read() {
    let digest = BASE64_STANDARD.encode(Sha256::of(STYLE.as_bytes()).as_bytes());
    // How it looks is not a matter of this.
    let html = page().render().replace(STYLE, "…").replace(&digest, "…");
    insta::assert_snapshot!(html);
}

#[test]
fn the_order_of_the_archives_does_not_matter() {
    let mut other = page();
    other.archives.reverse();
    assert_eq!(other.render(), page().render());
}

#[test]
fn an_empty_target_has_a_page_too() {
    let html = Page::default().render();
    assert!(
        html.contains("0 archives for 0 stacks, 0 B in all."),
        "{html}"
    );
}

/// Every tag and attribute of a page, as a browser would find them.
fn tags(html: &str) -> Vec<&str> {
    let mut tags = Vec::new();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        let end = rest[at..].find('>').expect("it is closed");
        tags.push(&rest[at..=at + end]);
        rest = &rest[at + end + 1..];
    }
    tags
}

#[test]
fn nothing_that_an_archive_says_becomes_markup_or_a_script() {
    let evil = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>&lt;\u{202e}\x1b[2J";
    let mut sound = page();
    let mut page = page();
    for listed in &mut page.archives {
        listed.date = evil.to_owned();
        let value = |url: &str| Value {
            text: evil.to_owned(),
            url: Some(url.to_owned()),
            digest: None,
        };
        listed.facts[0].values = [
            "javascript:alert(1)",
            " javascript:alert(1)",
            "data:text/html,<script>",
            "//example.org/",
            "https://example.org/\" onclick=\"alert(1)",
        ]
        .map(value)
        .into();
    }
    page.archives[0].key = format!("javascript:{evil}");
    page.archives[1].key = format!("//example.org/{evil}");
    let html = page.render();
    for wrong in [
        "<script",
        "<img",
        "onclick=\"",
        "javascript:alert(1)\"",
        "\u{202e}",
        "\x1b",
    ] {
        assert!(!html.contains(wrong), "{wrong}: {html}");
    }
    // The same elements with the same attributes, whatever is in them.
    let names = |html: &str| -> Vec<String> {
        let tags = tags(html).into_iter();
        let bare = tags.map(|tag| {
            let mut quoted = tag.split('"').step_by(2);
            quoted.by_ref().collect::<String>()
        });
        bare.collect()
    };
    for (listed, other) in sound.archives.iter_mut().zip(&page.archives) {
        listed.key.clone_from(&other.key);
        listed.facts[0].values = [None, None, None, None, Some("https://example.org/")]
            .map(|url| Value {
                text: "x".to_owned(),
                url: url.map(str::to_owned),
                digest: None,
            })
            .into();
    }
    assert_eq!(names(&html), names(&sound.render()));
    for tag in tags(&html) {
        if let Some((_, after)) = tag.split_once("href=\"") {
            let href = after.split('"').next().unwrap_or_default();
            let ours = href.starts_with("https://example.org/") || href.starts_with('#');
            let relative = !href.contains(':') && !href.starts_with('/');
            assert!(ours || relative, "{tag}");
        }
    }
}

#[test]
fn the_policy_allows_the_style_and_nothing_else() {
    let html = page().render();
    let style = html
        .split("<style>")
        .nth(1)
        .and_then(|rest| rest.split("</style>").next());
    let digest = BASE64_STANDARD.encode(Sha256::of(style.expect("a style").as_bytes()).as_bytes());
    let policy = format!(
        "content=\"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'\""
    );
    assert!(html.contains(&policy), "{html}");
    let at = |what: &str| html.find(what).expect("there");
    assert!(at("Content-Security-Policy") < at("<style>"));
    for outside in ["src=", "@import", "url(", "style=", "<link"] {
        assert!(!html.contains(outside), "{outside}");
    }
}
