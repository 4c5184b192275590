//! One script, and the recipe that runs it.

use std::collections::BTreeMap;

use crate::model::{FormulaRef, GuestPath, Kind};

use super::super::check::prefix;
use super::super::placeholder::Template;
use super::super::recipe::{Archive, Check, FileContent, Recipe, Source, Step};
use super::super::series::PLAIN;
use super::ScriptError;
use super::headers::{BUILD_DEPS, BUILD_PATH, Headers};

/// Where scripts install to that do not say where, unless `DEFAULT_BUILD_PATH` says so.
const DEFAULT_BUILD_PATH: &str = "/app/.heroku/";
/// The variables that scripts see if they are set: where archives are published, and nothing that
/// opens it.
pub const VISIBLE: [&str; 7] = [
    "DEFAULT_BUILD_PATH",
    "S3_BUCKET",
    "S3_PREFIX",
    "S3_REGION",
    "UPSTREAM_S3_BUCKET",
    "UPSTREAM_S3_PREFIX",
    "UPSTREAM_S3_REGION",
];

/// Whether what is filed as a version of `CPython` is that version: archives have been published
/// that were another. `$1` is the prefix, `$2` the version. For every Python there ever was.
const VERSION: &str = r#"
for name in python python3 python2; do
    if [ -e "$1/bin/$name" ]; then
        LD_LIBRARY_PATH=$1/lib exec "$1/bin/$name" -E -c '
import platform, sys
found = platform.python_version()
if found != sys.argv[1]:
    sys.exit("it is Python %s, and is filed as %s" % (found, sys.argv[1]))
' "$2"
    fi
done
echo 'there is no bin/python'
exit 1
"#;

/// What a script finds around it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Those of [`VISIBLE`] that are set.
    pub variables: BTreeMap<String, String>,
    /// The time that files and archives bear, in seconds since 1970.
    pub epoch: i64,
    /// The name that the archive is published under, if it has one of its own.
    pub name: Option<String>,
}

/// A script, and everything that lies beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    pub(super) reference: FormulaRef,
    pub(super) file: FileContent,
    pub(super) headers: Headers,
    files: Vec<FileContent>,
}

impl Script {
    pub(super) fn new(
        reference: &FormulaRef,
        file: &FileContent,
        files: Vec<FileContent>,
    ) -> Result<Self, ScriptError> {
        let headers = Headers::read(&String::from_utf8_lossy(file.bytes()));
        let script = Self {
            reference: reference.clone(),
            file: file.clone(),
            headers,
            files,
        };
        for name in &script.headers.dependencies {
            let plain = |part: &str| !matches!(part, "" | "." | "..");
            if !name.split('/').all(plain) || name.contains(char::is_control) {
                let line = format!("{BUILD_DEPS}…{name}…");
                let why = "no archive can have this name".to_owned();
                return Err(script.header(line, why));
            }
        }
        Ok(script)
    }

    /// Which script.
    pub fn reference(&self) -> &FormulaRef {
        &self.reference
    }

    /// The archives that are to lie in the prefix when it begins, as it names them: with
    /// wildcards, without their ending.
    pub fn dependencies(&self) -> &[String] {
        &self.headers.dependencies
    }

    /// What the script makes: what lies in `runtimes/` is a runtime.
    pub fn kind(&self) -> Kind {
        let first = self.reference.directory().unwrap_or_default();
        if first.split('/').next() == Some(Kind::Runtime.directory()) {
            Kind::Runtime
        } else {
            Kind::Library
        }
    }

    /// How the script is run, after `archives` were unpacked into its prefix.
    pub fn recipe(
        &self,
        around: &Surroundings,
        archives: Vec<Archive>,
    ) -> Result<Recipe, ScriptError> {
        let default = around.variables.get("DEFAULT_BUILD_PATH");
        let default = default.map_or(DEFAULT_BUILD_PATH, String::as_str);
        let build_path = self.headers.build_path.as_deref().unwrap_or(default);
        let prefix = self.prefix(build_path)?;
        let mut run: Vec<Template> = ["/usr/bin/env", "bash", "--"]
            .into_iter()
            .chain([format!("{{files}}/{}", self.reference).as_str()])
            .map(|text| Template::parse(text).expect("a script's path has no braces"))
            .collect();
        // As the script has it: some take a slash off its end.
        run.push(Template::literal(build_path));
        run.extend(around.name.as_deref().map(Template::literal));
        Ok(Recipe {
            reference: self.reference.clone(),
            kind: self.kind(),
            profile: PLAIN.to_owned(),
            prefix,
            released: around.epoch,
            end_of_life: None,
            sources: vec![Source {
                name: "script".to_owned(),
                urls: Vec::new(),
                pool: None,
                sha256: self.file.digest(),
                file: self.reference.stem(),
            }],
            dependencies: Vec::new(),
            archives,
            patches: Vec::new(),
            files: self.files.clone(),
            env: environment(around),
            steps: vec![Step {
                name: "script".to_owned(),
                run,
                cwd: None,
                env: BTreeMap::new(),
                only: None,
            }],
            prune: Vec::new(),
            links: Vec::new(),
            checks: self.checks(),
            modules: Vec::new(),
            network: true,
        })
    }

    fn prefix(&self, build_path: &str) -> Result<GuestPath, ScriptError> {
        prefix(build_path).map_err(|why| self.header(format!("{BUILD_PATH}{build_path}"), why))
    }

    fn header(&self, line: String, why: String) -> ScriptError {
        ScriptError::Header {
            reference: Box::new(self.reference.clone()),
            line,
            why,
        }
    }

    fn checks(&self) -> Vec<Check> {
        let version = self.reference.version();
        let is_python = self.reference.name().as_str() == "python";
        let version = version.filter(|_| is_python && self.kind() == Kind::Runtime);
        let check = |version: &crate::model::Version| {
            let prefix = Template::parse("{prefix}").expect("a placeholder");
            let literal = |text: &&str| Template::literal(text);
            let mut run: Vec<Template> = ["/bin/sh", "-c", VERSION, "sh"]
                .iter()
                .map(literal)
                .collect();
            run.extend([prefix, Template::literal(version.as_str())]);
            Check {
                name: "version".to_owned(),
                run,
                moved: false,
            }
        };
        version.map(check).into_iter().collect()
    }
}

fn environment(around: &Surroundings) -> BTreeMap<String, Template> {
    let own = [("STACK", "{stack}"), ("WORKSPACE_DIR", "{files}")];
    let own = own.map(|(name, value)| {
        let value = Template::parse(value).expect("a placeholder");
        (name.to_owned(), value)
    });
    let shown = around.variables.iter();
    let shown = shown.filter(|(name, _)| VISIBLE.contains(&name.as_str()));
    shown
        .map(|(name, value)| (name.clone(), Template::literal(value)))
        .chain(own)
        .collect()
}
