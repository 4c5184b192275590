//! A suite's `Packages` index: what packages there are, read in place from tens of megabytes.

use super::deb822;

/// One package of an index. Texts are the index's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// `Package`.
    pub name: &'a str,
    /// `Version`.
    pub version: &'a str,
    /// `Architecture`: the index's own, or `all`.
    pub arch: &'a str,
    /// `Essential: yes`.
    pub essential: bool,
    /// `Priority`, as a number: 0 is `required`.
    pub priority: u8,
    /// `Pre-Depends`.
    pub pre_depends: &'a str,
    /// `Depends`.
    pub depends: &'a str,
    /// `Provides`.
    pub provides: &'a str,
    /// `Conflicts`.
    pub conflicts: &'a str,
    /// `Breaks`.
    pub breaks: &'a str,
    /// Where the package is, below the mirror's root.
    pub filename: &'a str,
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: &'a str,
}

/// Why an index cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// A field that every package has is not there.
    #[error("the entry of `{package}` has no {field}")]
    Missing {
        /// The package, as far as it is known.
        package: String,
        /// The field.
        field: &'static str,
    },
    /// A field cannot be understood.
    #[error("the entry of `{package}` has the {field} `{value}`")]
    Wrong {
        /// The package.
        package: String,
        /// The field.
        field: &'static str,
        /// What it says.
        value: String,
    },
}

/// Reads an index. Packages of other architectures are left out.
pub fn parse<'a>(text: &'a str, arch: &str) -> Result<Vec<Record<'a>>, IndexError> {
    // A stanza of Debian's indexes takes 800 bytes.
    let mut records = Vec::with_capacity(text.len() / 800);
    for stanza in deb822::stanzas(text) {
        let record = record(stanza)?;
        if record.arch == arch || record.arch == "all" {
            records.push(record);
        }
    }
    Ok(records)
}

fn record(stanza: deb822::Stanza<'_>) -> Result<Record<'_>, IndexError> {
    let mut record = Record {
        name: "",
        version: "",
        arch: "",
        essential: false,
        priority: u8::MAX,
        pre_depends: "",
        depends: "",
        provides: "",
        conflicts: "",
        breaks: "",
        filename: "",
        size: 0,
        sha256: "",
    };
    let mut size = "";
    for (name, value) in stanza.fields() {
        match name {
            "Package" => record.name = value,
            "Version" => record.version = value,
            "Architecture" => record.arch = value,
            "Essential" => record.essential = value == "yes",
            "Priority" => record.priority = priority(value),
            "Pre-Depends" => record.pre_depends = value,
            "Depends" => record.depends = value,
            "Provides" => record.provides = value,
            "Conflicts" => record.conflicts = value,
            "Breaks" => record.breaks = value,
            "Filename" => record.filename = value,
            "Size" => size = value,
            "SHA256" => record.sha256 = value,
            _ => {}
        }
    }
    for (field, value) in [
        ("Package", record.name),
        ("Version", record.version),
        ("Architecture", record.arch),
        ("Filename", record.filename),
        ("Size", size),
        ("SHA256", record.sha256),
    ] {
        if value.is_empty() {
            return Err(IndexError::Missing {
                package: record.name.to_owned(),
                field,
            });
        }
    }
    let wrong = |field, value: &str| IndexError::Wrong {
        package: record.name.to_owned(),
        field,
        value: value.to_owned(),
    };
    record.size = size.parse().map_err(|_| wrong("Size", size))?;
    // The name becomes a file name of dpkg's database.
    let of_name =
        |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'+' | b'-' | b'.');
    if !record.name.bytes().all(of_name) || record.name.starts_with(['.', '-']) {
        return Err(wrong("Package", record.name));
    }
    if record.filename.split('/').any(|part| part == "..") {
        return Err(wrong("Filename", record.filename));
    }
    Ok(record)
}

fn priority(value: &str) -> u8 {
    const ORDER: [&str; 5] = ["required", "important", "standard", "optional", "extra"];
    let place = ORDER.iter().position(|name| *name == value);
    place
        .and_then(|place| u8::try_from(place).ok())
        .unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &str = "Package: a\nVersion: 1-1\nArchitecture: amd64\nPriority: standard\n\
        Depends: b\nFilename: pool/a.deb\nSize: 12\nSHA256: 00\n\n";

    #[test]
    fn entries_are_read_and_other_architectures_left_out() {
        let other = ENTRY.replace("amd64", "arm64");
        let all = ENTRY
            .replace("amd64", "all")
            .replace("Package: a", "Package: b");
        let text = format!("{ENTRY}{other}{all}");
        let records = parse(&text, "amd64").expect("an index");
        let names: Vec<_> = records.iter().map(|r| (r.name, r.arch)).collect();
        assert_eq!(names, [("a", "amd64"), ("b", "all")]);
        assert_eq!((records[0].size, records[0].priority), (12, 2));
    }

    #[test]
    fn broken_entries_are_named() {
        for (from, to, said) in [
            ("Size: 12\n", "", "the entry of `a` has no Size"),
            ("Size: 12", "Size: x", "the entry of `a` has the Size `x`"),
            (
                "Package: a",
                "Package: ../a",
                "the entry of `../a` has the Package `../a`",
            ),
            (
                "pool/",
                "pool/../../",
                "the entry of `a` has the Filename `pool/../../a.deb`",
            ),
        ] {
            let text = ENTRY.replace(from, to);
            let error = parse(&text, "amd64").expect_err(said);
            assert_eq!(error.to_string(), said);
        }
    }
}
