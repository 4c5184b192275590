//! Shows a plan as a shell script that a person can read, and paste line by line.

use std::collections::BTreeMap;
use std::fmt;

use crate::artifact::check::Check;
use crate::model::{Glob, Sha256, command_line, quoted};
use crate::sandbox::Access;

use super::planned::{Bind, BuildPlan, PlannedStep, What};

impl fmt::Display for BuildPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head(f)?;
        let common = common_env(&self.steps);
        if !common.is_empty() {
            writeln!(f, "\n# for every step")?;
        }
        for (name, value) in &common {
            writeln!(f, "export {name}={}", quoted(value))?;
        }
        for PlannedStep {
            name,
            argv,
            cwd,
            env,
        } in &self.steps
        {
            writeln!(f, "\n# {name}")?;
            write!(f, "(cd {} && ", quoted(cwd.as_str()))?;
            let own: BTreeMap<_, _> = env
                .iter()
                .filter(|(name, _)| !common.contains_key(*name))
                .collect();
            for (name, value) in own {
                write!(f, "{name}={} ", quoted(value))?;
            }
            writeln!(f, "{})", command_line(argv))?;
        }
        self.tail(f)
    }
}

impl BuildPlan {
    fn head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let platform = &self.platform;
        writeln!(
            f,
            "# {}, profile {}, for {} on {}",
            self.reference, self.profile, platform.stack, platform.arch
        )?;
        writeln!(f, "# build id     {}", self.build_id)?;
        writeln!(f, "# build image  {}", platform.build_image)?;
        writeln!(f, "# run image    {}", platform.run_image)?;
        writeln!(
            f,
            "# source       {} ({})",
            self.source.file, self.source.name
        )?;
        writeln!(f, "#              {}", self.source.sha256)?;
        let network = if self.network { "the host's" } else { "none" };
        writeln!(f, "# network      {network}")?;
        for Bind {
            what,
            target,
            access,
        } in &self.binds
        {
            let access = match access {
                Access::ReadOnly => "ro",
                Access::ReadWrite => "rw",
            };
            writeln!(f, "# bind {access}      {target}: {}", self.described(what))?;
        }
        Ok(())
    }

    fn described(&self, what: &What) -> String {
        match what {
            What::Source if self.reference.is_script() => "where it works, empty".to_owned(),
            What::Source => "the source".to_owned(),
            What::Files if self.reference.is_script() => {
                format!("the {} files of the scripts", self.files.len())
            }
            What::Files => {
                let files = self.files.iter().map(|file| file.path().to_owned());
                let patches = self.patches.iter().map(|p| format!("patches/{}", p.path()));
                let all: Vec<String> = files.chain(patches).collect();
                match all.as_slice() {
                    [] => "no files".to_owned(),
                    all => all.join(", "),
                }
            }
            What::Dependency(reference) => {
                let mut dependencies = self.dependencies.iter();
                let id = dependencies
                    .find(|dependency| dependency.reference == *reference)
                    .map(|dependency| format!(", build id {}", dependency.build_id.short()));
                format!("{reference}{}", id.unwrap_or_default())
            }
            What::Home => "an empty home".to_owned(),
            What::Prefix => {
                let archives = self.archives.iter();
                let archives: Vec<String> = archives
                    .map(|archive| {
                        // Nobody has read it: no archive is empty.
                        if archive.sha256 == Sha256::of(b"") {
                            archive.name.clone()
                        } else {
                            format!("{} ({})", archive.name, archive.sha256.short())
                        }
                    })
                    .collect();
                match archives.as_slice() {
                    [] => "the prefix".to_owned(),
                    archives => format!("the prefix, with {}", archives.join(", ")),
                }
            }
        }
    }

    /// What follows the steps. The globs are not the shell's: they are told, not pasted.
    fn tail(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.prune.is_empty() {
            let globs: Vec<&str> = self.prune.iter().map(Glob::as_str).collect();
            writeln!(f, "\n# removed from the prefix: {}", globs.join(" "))?;
        }
        if !self.links.is_empty() {
            writeln!(f, "\n# links")?;
        }
        for link in &self.links {
            let path = format!("{}/{}", self.prefix, link.path);
            writeln!(f, "ln -s {} {}", quoted(&link.to), quoted(&path))?;
        }
        for Check {
            name,
            prefix,
            argv,
            cwd,
            env: _, // the same seven variables for each
        } in &self.checks
        {
            writeln!(f, "\n# check {name} (run image, prefix at {prefix})")?;
            writeln!(f, "(cd {} && {})", quoted(cwd.as_str()), command_line(argv))?;
        }
        Ok(())
    }
}

/// The variables that have the same value in every step.
pub fn common_env(steps: &[PlannedStep]) -> BTreeMap<String, String> {
    let Some((first, rest)) = steps.split_first() else {
        return BTreeMap::new();
    };
    let everywhere =
        |name: &str, value: &String| rest.iter().all(|step| step.env.get(name) == Some(value));
    first
        .env
        .iter()
        .filter(|(name, value)| everywhere(name, value))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

impl PlannedStep {
    /// The command as one would paste it into a shell.
    pub fn command_line(&self) -> String {
        command_line(&self.argv)
    }
}
