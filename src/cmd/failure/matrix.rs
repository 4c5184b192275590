//! What the edge knows about a matrix's errors: what to do.

use crate::farm::MatrixError;
use crate::model::{StackName, nearest};
use crate::ui::{ExitKind, Failure};

impl From<MatrixError> for Failure {
    fn from(error: MatrixError) -> Self {
        let hint = match &error {
            MatrixError::Formula(_) => None,
            MatrixError::Name(_) | MatrixError::Range { .. } | MatrixError::Nothing { .. } => Some(
                "--runtimes 'python-3.11.2 python-3.9.*' --stacks 'debian-12 debian-13', or \
                 `supported` in either"
                    .to_owned(),
            ),
            MatrixError::Empty {
                name,
                known,
                pattern,
            } => {
                let known: Vec<String> = known.iter().map(|it| format!("{name}-{it}")).collect();
                let near = nearest(pattern, known.iter().map(String::as_str));
                let all = known.join(", ");
                Some(near.map_or_else(
                    || format!("there are {all}"),
                    |near| format!("there is {near}; in all there are {all}"),
                ))
            }
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
