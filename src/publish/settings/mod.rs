//! Everything that opening targets takes.

/// Everything that opening targets takes.
#[derive(Debug, Clone, Default)]
pub struct Settings {}
