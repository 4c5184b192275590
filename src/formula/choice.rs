//! Which versions a word means: the one place that decides.

use jiff::civil::Date;

use crate::model::{FormulaName, FormulaRef, Kind, Version, Wanted};

use super::catalog::Catalog;
use super::error::FormulaError;
use super::resolve::Formula;

impl Catalog {
    /// What is wanted, word by word, each version once. `today` decides what is supported.
    pub fn choose(&self, wanted: &[Wanted], today: Date) -> Result<Vec<FormulaRef>, FormulaError> {
        let mut chosen: Vec<FormulaRef> = Vec::new();
        for word in wanted {
            for reference in self.chosen(word, today)? {
                if !chosen.contains(&reference) {
                    chosen.push(reference);
                }
            }
        }
        Ok(chosen)
    }

    fn chosen(&self, wanted: &Wanted, today: Date) -> Result<Vec<FormulaRef>, FormulaError> {
        match wanted {
            Wanted::Version(reference) => {
                let (formula, version) = self.release(reference)?;
                let version = formula.meant(version)?;
                Ok(vec![formula.at(version)])
            }
            Wanted::Range { name, numbers } => {
                let formula = self.get(name)?;
                let releases = formula.releases_of(numbers);
                if releases.is_empty() {
                    return Err(nothing(wanted, formula));
                }
                Ok(releases.into_iter().map(|it| formula.at(it)).collect())
            }
            Wanted::Supported(Some(name)) => {
                let formula = self.get(name)?;
                let supported = formula.supported(today);
                if supported.is_empty() {
                    return Err(nothing(wanted, formula));
                }
                Ok(supported)
            }
            Wanted::Supported(None) => {
                let names: Vec<&FormulaName> = self.names().collect();
                let mut supported = Vec::new();
                for name in names {
                    let formula = self.get(name)?;
                    if formula.kind() == Kind::Runtime {
                        supported.extend(formula.supported(today));
                    }
                }
                if supported.is_empty() {
                    return Err(FormulaError::NoneSupported);
                }
                Ok(supported)
            }
        }
    }
}

fn nothing(wanted: &Wanted, formula: &Formula) -> FormulaError {
    FormulaError::Nothing {
        wanted: Box::new(wanted.clone()),
        name: formula.name().clone(),
        known: formula.versions().cloned().collect(),
    }
}

impl Formula {
    fn at(&self, version: &Version) -> FormulaRef {
        FormulaRef::new(self.name().clone(), version.clone())
    }

    /// The releases that begin with these numbers, in order. A pre-release must be named.
    fn releases_of(&self, begin: &[u32]) -> Vec<&Version> {
        self.versions()
            .filter(|it| !it.is_prerelease() && it.numbers().starts_with(begin))
            .collect()
    }

    /// The version that is called so; if none is, the newest release that begins so.
    fn meant(&self, version: &Version) -> Result<&Version, FormulaError> {
        if let Some(exact) = self.versions().find(|it| it.as_str() == version.as_str()) {
            return Ok(exact);
        }
        let newest = (!version.is_prerelease())
            .then(|| self.releases_of(version.numbers()).pop())
            .flatten();
        newest.ok_or_else(|| self.unknown(version))
    }

    /// The newest release of each series whose end of life has not come.
    fn supported(&self, today: Date) -> Vec<FormulaRef> {
        let mut newest: Vec<(usize, &Version)> = Vec::new();
        for release in &self.releases {
            let Some(place) = self.place_of(release) else {
                continue;
            };
            let is_past = self.series[place].is_past(today);
            if is_past || release.version.is_prerelease() {
                continue;
            }
            // They come in order.
            match newest.iter_mut().find(|(series, _)| *series == place) {
                Some((_, version)) => *version = &release.version,
                None => newest.push((place, &release.version)),
            }
        }
        newest.into_iter().map(|(_, it)| self.at(it)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(words: &[&str], today: &str) -> Result<String, String> {
        let catalog = Catalog::load(None).expect("the built-in formulae");
        let wanted: Vec<Wanted> = words.iter().map(|it| it.parse().expect(it)).collect();
        let today = today.parse().expect("a day");
        let chosen = catalog.choose(&wanted, today).map_err(|e| e.to_string())?;
        let chosen: Vec<String> = chosen.iter().map(FormulaRef::to_string).collect();
        Ok(chosen.join(" "))
    }

    #[test]
    fn words_mean_versions() {
        let table: [(&[&str], &str); 6] = [
            (&["python-3.11.2"], "python-3.11.2"),
            (&["python-2.7"], "python-2.7.18"),
            (&["python-2"], "python-2.7.18"),
            (&["sqlite-3.7"], "sqlite-3.7.9"),
            (
                &["sqlite-3.38.*"],
                "sqlite-3.38.0 sqlite-3.38.1 sqlite-3.38.2 sqlite-3.38.3 sqlite-3.38.5",
            ),
            (
                &["python-2.7.18", "python-2.7", "python-3.11.2"],
                "python-2.7.18 python-3.11.2",
            ),
        ];
        for (words, meant) in table {
            let chosen = choose(words, "2026-11-26");
            assert_eq!(chosen.as_deref(), Ok(meant), "{words:?}");
        }
    }

    #[test]
    fn supported_is_the_newest_of_each_series_until_its_end_of_life() {
        // Minor versions alone: the newest of each changes with every release.
        let minors = |word: &str, today: &str| {
            let chosen = choose(&[word], today).expect("something is");
            let minor = |it: &str| it.rsplit_once('.').map(|(minor, _)| minor.to_owned());
            chosen.split(' ').filter_map(minor).collect::<Vec<_>>()
        };
        let (old, new) = ("2025-10-31", "2025-11-01");
        assert!(minors("supported", old).contains(&"python-3.9".to_owned()));
        assert!(!minors("supported", new).contains(&"python-3.9".to_owned()));
        assert_eq!(
            minors("python-supported", "2026-11-26"),
            [
                "python-3.11",
                "python-3.12",
                "python-3.13",
                "python-3.14",
                "python-3.15"
            ]
        );
        // Libraries must be named.
        assert!(
            !choose(&["supported"], new)
                .expect("some")
                .contains("sqlite")
        );
        assert!(
            choose(&["sqlite-supported"], new)
                .expect("one")
                .starts_with("sqlite-3.")
        );
    }

    #[test]
    fn what_means_nothing_is_told() {
        let table = [
            ("python-3.3.*", "no version of python is in `python-3.3.*`"),
            ("python-3.3", "formula `python` has no version 3.3"),
            (
                "python-3.15.0rc9",
                "formula `python` has no version 3.15.0rc9",
            ),
            ("pithon-3.9.*", "there is no formula `pithon`"),
            ("pithon-supported", "there is no formula `pithon`"),
        ];
        for (word, expected) in table {
            assert_eq!(choose(&[word], "2026-11-26"), Err(expected.to_owned()));
        }
        let none = choose(&["python-supported"], "2099-01-01");
        assert_eq!(
            none,
            Err("no version of python is in `python-supported`".to_owned())
        );
        assert_eq!(
            choose(&["supported"], "2099-01-01"),
            Err("no runtime is supported any more".to_owned())
        );
    }
}
