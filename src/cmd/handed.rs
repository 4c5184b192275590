//! What settings are resolved from, as the steward tells its worker, and root its keeper.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::publish::Inputs;

/// What settings are resolved from, on its way to another process of ours. The one place where
/// secrets are written down: to a socket between two processes that both have them.
#[derive(Serialize, Deserialize)]
pub(super) struct Handed {
    target: Option<String>,
    upstream: Option<String>,
    env: BTreeMap<String, String>,
    env_file: Option<(PathBuf, String)>,
    config: Option<(PathBuf, String)>,
    aws_config: Option<String>,
    aws_credentials: Option<String>,
}

impl std::fmt::Debug for Handed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Handed(…)")
    }
}

impl From<&Inputs> for Handed {
    fn from(inputs: &Inputs) -> Self {
        let Inputs {
            target,
            upstream,
            env,
            env_file,
            config,
            aws_config,
            aws_credentials,
        } = inputs.clone();
        // What is not UTF-8 has been refused where it matters.
        let text =
            |(name, value): (String, std::ffi::OsString)| Some((name, value.into_string().ok()?));
        Self {
            target,
            upstream,
            env: env.into_iter().filter_map(text).collect(),
            env_file,
            config,
            aws_config,
            aws_credentials,
        }
    }
}

impl From<Handed> for Inputs {
    fn from(handed: Handed) -> Self {
        let Handed {
            target,
            upstream,
            env,
            env_file,
            config,
            aws_config,
            aws_credentials,
        } = handed;
        Self {
            target,
            upstream,
            env: env
                .into_iter()
                .map(|(name, value)| (name, value.into()))
                .collect(),
            env_file,
            config,
            aws_config,
            aws_credentials,
        }
    }
}
