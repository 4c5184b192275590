//! How long chance is tried.

use proptest::prelude::ProptestConfig;

/// So many cases, as take a second or two, unless `PROPTEST_CASES` says how many.
pub(crate) fn config(cases: u32) -> ProptestConfig {
    let usual = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => usual,
        None => ProptestConfig { cases, ..usual },
    }
}
