//! What the edge knows about a matrix's errors: what to do.

use crate::farm::MatrixError;
use crate::model::StackName;
use crate::ui::{ExitKind, Failure};

impl From<MatrixError> for Failure {
    fn from(error: MatrixError) -> Self {
        let hint = match &error {
            MatrixError::Formula(_) => None,
            MatrixError::Name(_) | MatrixError::Wanted(_) | MatrixError::Nothing { .. } => Some(
                "--runtimes 'python-3.11.2 python-3.9.*' --stacks 'debian-12 debian-13', or \
                 `supported` in either"
                    .to_owned(),
            ),
            MatrixError::Stack { nearest, known, .. } => Some(if let Some(nearest) = nearest {
                format!("did you mean `{nearest}`?")
            } else {
                let known: Vec<&str> = known.iter().map(StackName::as_str).collect();
                format!("there are {}", known.join(", "))
            }),
        };
        match error {
            MatrixError::Formula(error) => (*error).into(),
            error => {
                let failure = Self::new(ExitKind::Usage, error);
                hint.into_iter().fold(failure, Self::hint)
            }
        }
    }
}
