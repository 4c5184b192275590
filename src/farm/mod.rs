//! Many builds: which there are to be made, and running them on this host.

mod local;
mod matrix;

pub use local::{Crew, Ended, Labour, Results, Stopped, run};
pub use matrix::{Job, Matrix, MatrixError, Refused, Stacks, Task, Work, matrix, tasks, wanted};
