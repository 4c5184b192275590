//! What `pybuild deploy` ends with: what is published where, and what had to be done for it.

use std::time::Duration;

use serde::Serialize;

use crate::model::{Bytes, FormulaRef, Sha256, StackName};

use super::style::Palette;
use super::summary::{PhaseTime, seconds, to_millis};
use super::table::{Align, Table};
use super::text;

/// The result of one run. As JSON its keys are stable: they are added to, never renamed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Deployment {
    /// The target.
    pub target: String,
    /// The stack built for.
    pub stack: StackName,
    /// What was asked for, in the order of building.
    pub artifacts: Vec<Deployed>,
    /// What was done, in the order of ending.
    pub phases: Vec<PhaseTime>,
    /// Wall-clock seconds from start to end.
    pub seconds: f64,
}

/// One artifact that a target has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Deployed {
    /// The formula and version.
    pub formula: FormulaRef,
    /// The build id.
    pub build: Sha256,
    /// The tarball's key below the target.
    pub key: String,
    /// The tarball's size in bytes.
    pub size: u64,
    /// The tarball's digest.
    pub sha256: Sha256,
    /// Whether something was done for it.
    pub how: How,
}

/// How an artifact came to be in a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// By this run.
    Published,
    /// It was there before.
    There,
}

impl Deployment {
    /// Puts the wall-clock time in, in the precision that the JSON has.
    pub fn new(
        target: String,
        stack: StackName,
        artifacts: Vec<Deployed>,
        phases: Vec<PhaseTime>,
        elapsed: Duration,
    ) -> Self {
        Self {
            target,
            stack,
            artifacts,
            phases,
            seconds: to_millis(elapsed),
        }
    }

    /// For people: a block for each artifact, then the phases.
    pub fn render(&self, palette: Palette) -> String {
        let mut out = String::new();
        for artifact in &self.artifacts {
            out.push_str(&self.block(artifact, palette));
            out.push('\n');
        }
        let mut times = Table::new([Align::Left, Align::Right]);
        for phase in &self.phases {
            times.row([phase.phase.clone(), seconds(phase.seconds)]);
        }
        times.row(["in all".to_owned(), seconds(self.seconds)]);
        out.push_str(&times.render());
        out
    }

    fn block(&self, artifact: &Deployed, palette: Palette) -> String {
        let Deployed {
            formula,
            build,
            key,
            size,
            sha256,
            how,
        } = artifact;
        let mut rows = Table::new([Align::Left, Align::Left]);
        let size = format!("{} ({size} bytes)", Bytes(*size));
        for (what, value) in [
            ("  target", text::redact(&text::clean(&self.target))),
            ("  key", text::clean(key)),
            ("  size", size),
            ("  sha256", sha256.to_string()),
            ("  build", build.to_string()),
        ] {
            rows.row([what.to_owned(), value]);
        }
        let how = match how {
            How::Published => "",
            How::There => " (already there)",
        };
        let name = palette.strong(formula);
        format!("{name} for {}{how}\n{}", self.stack, rows.render())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment() -> Deployment {
        let deployed = |how| Deployed {
            formula: "python-3.11.2".parse().expect("a formula"),
            build: Sha256::of(b"build"),
            key: "debian-12/runtimes/python-3.11.2.tar.gz".to_owned(),
            size: 26_437_858,
            sha256: Sha256::of(b"abc"),
            how,
        };
        Deployment::new(
            "s3://lang-python/".to_owned(),
            "debian-12".parse().expect("a stack"),
            vec![deployed(How::Published), deployed(How::There)],
            vec![PhaseTime::new(
                "uploading python-3.11.2",
                Duration::from_secs(3),
            )],
            Duration::from_millis(4_200),
        )
    }

    #[test]
    fn it_says_what_is_where_and_what_was_done() {
        insta::assert_snapshot!(deployment().render(Palette::default()), @r"
        python-3.11.2 for debian-12
          target  s3://lang-python/
          key     debian-12/runtimes/python-3.11.2.tar.gz
          size    26.4 MB (26437858 bytes)
          sha256  ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
          build   44575cf5b28512d75644bf54a517dcef304ff809fd511747621b4d64f19aac66

        python-3.11.2 for debian-12 (already there)
          target  s3://lang-python/
          key     debian-12/runtimes/python-3.11.2.tar.gz
          size    26.4 MB (26437858 bytes)
          sha256  ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
          build   44575cf5b28512d75644bf54a517dcef304ff809fd511747621b4d64f19aac66

        uploaded python-3.11.2  3.0 s
        in all                  4.2 s
        ");
    }

    #[test]
    fn the_json_has_stable_keys() {
        let json = serde_json::to_string(&deployment()).expect("it serialises");
        insta::assert_snapshot!(json, @r#"{"target":"s3://lang-python/","stack":"debian-12","artifacts":[{"formula":"python-3.11.2","build":"44575cf5b28512d75644bf54a517dcef304ff809fd511747621b4d64f19aac66","key":"debian-12/runtimes/python-3.11.2.tar.gz","size":26437858,"sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","how":"published"},{"formula":"python-3.11.2","build":"44575cf5b28512d75644bf54a517dcef304ff809fd511747621b4d64f19aac66","key":"debian-12/runtimes/python-3.11.2.tar.gz","size":26437858,"sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","how":"there"}],"phases":[{"phase":"uploaded python-3.11.2","seconds":3.0}],"seconds":4.2}"#);
    }
}
