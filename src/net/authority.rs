//! What authorises requests: given with each, and renewed when a server refuses it.

use super::NetError;
use crate::model::Secret;
use crate::sys::interrupt::Interrupt;

/// Gives what authorises requests. It is sent to the URL that was asked for alone: a redirect to
/// another origin (scheme, host, port) loses it.
pub trait Authority: Sync {
    /// What a request to `url` says in `Authorization`; `None` is a request without.
    fn authorization(&self, url: &str) -> Option<Secret>;

    /// `url` itself, not where it redirects to, has answered 401 to a request with `sent`, with
    /// these `WWW-Authenticate` headers. Says whether asking once more makes sense: not where
    /// nothing else can be said.
    fn challenged(
        &self,
        _url: &str,
        _sent: Option<&Secret>,
        _challenges: &[String],
        _interrupt: &Interrupt,
    ) -> Result<bool, NetError> {
        Ok(false)
    }
}

/// Requests that nothing authorises.
#[derive(Debug, Clone, Copy)]
pub struct Anonymous;

impl Authority for Anonymous {
    fn authorization(&self, _: &str) -> Option<Secret> {
        None
    }
}
