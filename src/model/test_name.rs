//! Names of tests: what a formula's tests are called, by the formula and by what is run.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A test's name: `test_ssl`. It is one argument, one file's name and one word of a report.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TestName(String);

/// A text is not a test's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not the name of a test: names take letters, digits, `_`, `-` and `.`, begin with a letter \
     or `_`, and have at most 100 characters"
)]
pub struct TestNameError(String);

impl TestName {
    /// The longest that a name can be, in bytes.
    pub const LONGEST: usize = 100;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TestName {
    type Err = TestNameError;

    fn from_str(text: &str) -> Result<Self, TestNameError> {
        let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if begins && text.len() <= Self::LONGEST && text.chars().all(is_part) {
            Ok(Self(text.to_owned()))
        } else {
            // What is hostile may be of any length.
            Err(TestNameError(text.chars().take(Self::LONGEST).collect()))
        }
    }
}

impl TryFrom<String> for TestName {
    type Error = TestNameError;

    fn try_from(text: String) -> Result<Self, TestNameError> {
        text.parse()
    }
}

impl From<TestName> for String {
    fn from(name: TestName) -> Self {
        name.0
    }
}

impl fmt::Display for TestName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_word_that_no_program_takes_for_something_else() {
        for text in ["test_ssl", "_x", "a-b.c", &"x".repeat(100)] {
            assert_eq!(text.parse::<TestName>().expect(text).as_str(), text);
        }
        let long = "x".repeat(101);
        for text in ["", "-v", ".", "..", "a/b", "a b", "a\n", "é", "3", &long] {
            assert!(text.parse::<TestName>().is_err(), "{text:?}");
        }
    }
}
