//! What a person who mistyped a name probably meant.

/// The candidate nearest to `word`, if one is near enough to be worth suggesting.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(score, _)| *score >= 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn near_names_are_suggested_and_far_ones_are_not() {
        let stacks = ["debian-11", "debian-12", "heroku-20"];
        assert_eq!(nearest("debain-12", stacks), Some("debian-12"));
        assert_eq!(nearest("herokku-20", stacks), Some("heroku-20"));
        assert_eq!(nearest("windows", stacks), None);
    }
}
