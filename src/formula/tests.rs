//! How a formula says that what it makes is tested: two commands, and sets of tests with names.
//!
//! What tests see is no part of a build, and of no build id: their helper files lie apart, in
//! `NAME/tests`, and how they have ended before in `NAME/baselines/STACK/SERIES.toml`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::model::{FormulaName, StackName, TestName, Version};

use super::error::FormulaError;
use super::placeholder::Template;
use super::raw::RawTests;
use super::recipe::FileContent;
use super::resolve::{Formula, splice};
use super::series::is_word;
use super::sheet::Text;
use super::strings::{Arg, Checker, Scope};

/// Where the helper files of tests lie, in a formula's directory.
pub(super) const TESTS: &str = "tests/";
/// Where it lies how tests have ended before.
pub(super) const BASELINES: &str = "baselines/";
/// The suite that is always there: every test.
const ALL: &str = "all";

/// How a version is tested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tests {
    /// Puts the tests in their place, if that is needed, and prints their names, one a line. At
    /// least a program.
    pub list: Vec<Template>,
    /// Runs the test whose name follows as the last argument. At least a program.
    pub run: Vec<Template>,
    /// Sets of tests. What a version does not have of one is passed over.
    pub suites: BTreeMap<String, Vec<TestName>>,
    /// The helper files that tests see at `{files}`.
    pub files: Vec<FileContent>,
}

/// How the tests of a formula have ended before, on any stack.
#[derive(Debug, Clone, Copy)]
pub struct Baselines<'a> {
    formula: &'a FormulaName,
    files: &'a BTreeMap<String, FileContent>,
}

/// Tests whose lists are not yet spliced in.
#[derive(Debug, Clone)]
pub(super) struct Tested {
    list: Vec<Arg>,
    run: Vec<Arg>,
    suites: BTreeMap<String, Vec<TestName>>,
}

impl Formula {
    /// How `version` is tested, if the formula says it.
    pub fn tests(&self, version: &Version) -> Result<Option<Tests>, FormulaError> {
        let (_, series) = self.find(version)?;
        Ok(series.tests.as_ref().map(|tests| Tests {
            list: splice(&tests.list, &[], &series.modules),
            run: splice(&tests.run, &[], &series.modules),
            suites: tests.suites.clone(),
            files: self.test_files.clone(),
        }))
    }

    /// How its tests have ended before.
    pub fn baselines(&self) -> Baselines<'_> {
        Baselines {
            formula: &self.name,
            files: &self.baselines,
        }
    }
}

impl Baselines<'_> {
    /// Where the baseline of a version lies below the directory of formulae: one for a minor
    /// series, `python/baselines/debian-12/3.11.toml`.
    pub fn path(self, version: &Version, stack: &StackName) -> PathBuf {
        let Self { formula, .. } = self;
        PathBuf::from(format!("{formula}/{}", place(version, stack)))
    }

    /// The baseline, as text, if there is one.
    pub fn text(self, version: &Version, stack: &StackName) -> Option<String> {
        let file = self.files.get(&place(version, stack))?;
        Some(String::from_utf8_lossy(file.bytes()).into_owned())
    }

    /// All of them, as text, by where they lie below the directory of formulae.
    pub fn all(self) -> impl Iterator<Item = (PathBuf, String)> {
        self.files.iter().map(move |(path, file)| {
            let path = PathBuf::from(format!("{}/{path}", self.formula));
            (path, String::from_utf8_lossy(file.bytes()).into_owned())
        })
    }
}

fn place(version: &Version, stack: &StackName) -> String {
    format!("{BASELINES}{stack}/{}.toml", version.prefix(2))
}

impl Checker<'_> {
    pub(super) fn tests(&mut self, raw: &RawTests) -> Option<Tested> {
        let list = self.run(&raw.list, Scope::Tests);
        let run = self.run(&raw.run, Scope::Tests);
        let mut suites = BTreeMap::new();
        for (name, tests) in &raw.suites {
            self.suite_name(name);
            if tests.get_ref().is_empty() {
                let message = format!("the suite `{}` has no test", name.get_ref());
                self.sheet.problem(tests.span(), "no test", message, None);
            }
            let tests = self.test_names(name.get_ref(), tests.get_ref());
            suites.insert(name.get_ref().clone(), tests);
        }
        Some(Tested {
            list: list?,
            run: run?,
            suites,
        })
    }

    fn suite_name(&mut self, name: &Text) {
        let text = name.get_ref();
        if text == ALL {
            self.sheet.problem(
                name.span(),
                "there already",
                "the suite `all` is always there: every test",
                Some("call this one otherwise".to_owned()),
            );
        } else if !is_word(text) {
            self.sheet.problem(
                name.span(),
                "not a suite's name",
                format!("`{text}` cannot name a suite"),
                Some("names take lower-case letters, digits, `-` and `_`".to_owned()),
            );
        }
    }

    fn test_names(&mut self, suite: &str, raw: &[Text]) -> Vec<TestName> {
        let mut tests: Vec<TestName> = Vec::new();
        for text in raw {
            match text.get_ref().parse::<TestName>() {
                Ok(test) if tests.contains(&test) => {
                    let message = format!("`{test}` is in the suite `{suite}` twice");
                    self.sheet
                        .problem(text.span(), "the same again", message, None);
                }
                Ok(test) => tests.push(test),
                Err(error) => {
                    let message = error.to_string();
                    self.sheet
                        .problem(text.span(), "not a test's name", message, None);
                }
            }
        }
        tests
    }
}
