//! A runtime's own tests: running them where it is going to run, each in a sandbox of its own; how
//! they ended; and what has changed since somebody looked.
//!
//! What runs inside is not trusted: a result is one bounded line, strictly read, and whatever says
//! nothing of the kind has crashed.

mod baseline;
mod compare;
mod outcome;
mod run;
mod spool;

pub use baseline::{Baseline, BaselineError};
pub use compare::{Comparison, Judged, Verdict, compare};
pub use outcome::{Ending, Outcome};
pub use run::{Ran, Round, Subject, SuiteError, Tools, list, run};
