//! The last step: finding the command's program and becoming it.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::Path;

use nix::errno::Errno;

use super::wire::Failure;
use crate::sys::call::CallError;
use crate::sys::process;

/// Looks for the program as `execvp(3)` does, in the command's own `PATH`.
pub(super) fn execute(argv: &[String], env: &BTreeMap<String, String>) -> Failure {
    let text = |text: &str| CString::new(text).map_err(|_| Failure::Other(format!("{text:?}")));
    let arguments = argv
        .iter()
        .map(|arg| text(arg))
        .collect::<Result<Vec<_>, _>>();
    let variables = env
        .iter()
        .map(|(name, value)| text(&format!("{name}={value}")))
        .collect::<Result<Vec<_>, _>>();
    let (arguments, variables) = match (arguments, variables) {
        (Ok(arguments), Ok(variables)) => (arguments, variables),
        (Err(failure), _) | (_, Err(failure)) => return failure,
    };
    let name = argv.first().map_or("", String::as_str);
    let path = env.get("PATH").map_or("", String::as_str);
    let candidates: Vec<String> = if name.contains('/') {
        vec![name.to_owned()]
    } else {
        let dirs = path.split(':').filter(|dir| !dir.is_empty());
        dirs.map(|dir| format!("{dir}/{name}")).collect()
    };
    let mut denied = None;
    for candidate in candidates {
        let program = match text(&candidate) {
            Ok(program) => program,
            Err(failure) => return failure,
        };
        match process::exec(&program, &arguments, &variables) {
            Errno::ENOENT if Path::new(&candidate).exists() => {
                return Failure::NoInterpreter { program: candidate };
            }
            Errno::ENOENT | Errno::ENOTDIR => {}
            errno => {
                let failure = CallError::new("execve", &candidate)(errno).into();
                // As in execvp(3): a later directory may hold one that can be executed.
                if errno != Errno::EACCES {
                    return failure;
                }
                denied.get_or_insert(failure);
            }
        }
    }
    denied.unwrap_or_else(|| Failure::NoProgram {
        program: name.to_owned(),
        path: if name.contains('/') {
            "the sandbox"
        } else {
            path
        }
        .to_owned(),
    })
}
