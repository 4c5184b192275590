//! Which packages a set of names needs: the essential ones, what is asked for, and what those
//! depend on. No recommendations. The same universe and names always give the same answer.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::index::Record;
use super::relation::{self, Relation, RelationError};
use super::version;
use crate::model::nearest;

/// All packages of a stack's suites: of each name its newest version.
pub struct Universe<'a> {
    records: Vec<Record<'a>>,
    by_name: HashMap<&'a str, usize>,
    /// What is provided, by whom (an index of `records`), at which version if one is said.
    providers: HashMap<&'a str, Vec<(usize, Option<&'a str>)>>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// A name asked for is no package's.
    #[error("no package is named `{name}`{}", nearest.as_ref().map(|n| format!("; `{n}` is")).unwrap_or_default())]
    Unknown {
        /// What was asked for.
        name: String,
        /// What was probably meant.
        nearest: Option<String>,
    },
    /// A dependency that no package fulfils.
    #[error("`{}` needs `{needs}`, which no package of the suite fulfils", chain.join("` > `"))]
    Unsatisfiable {
        /// The package with the dependency, after those that led to it, the first asked for.
        chain: Vec<String>,
        /// The dependency.
        needs: String,
    },
    /// Two packages that cannot be installed together.
    #[error("`{}` and `{}` cannot be installed together: the former says {field} `{relation}`", first.join("` > `"), second.join("` > `"))]
    Conflict {
        /// The package that objects, after those that led to it.
        first: Vec<String>,
        /// The one it objects to, likewise.
        second: Vec<String>,
        /// `Conflicts` or `Breaks`.
        field: &'static str,
        /// What it says.
        relation: String,
    },
    /// A field that is no list of relations.
    #[error("the entry of `{package}`: {source}")]
    Relation {
        /// The package.
        package: String,
        /// What is wrong.
        source: RelationError,
    },
}

impl<'a> Universe<'a> {
    /// The universe of these records. Of one name the newest version counts; of equal ones the
    /// first.
    pub fn new(records: Vec<Record<'a>>) -> Result<Self, ResolveError> {
        let mut by_name: HashMap<&str, usize> = HashMap::with_capacity(records.len());
        for (i, record) in records.iter().enumerate() {
            by_name
                .entry(record.name)
                .and_modify(|best| {
                    if version::compare(record.version, records[*best].version).is_gt() {
                        *best = i;
                    }
                })
                .or_insert(i);
        }
        let mut providers: HashMap<&str, Vec<_>> = HashMap::new();
        for (i, record) in records.iter().enumerate() {
            if record.provides.is_empty() || by_name[record.name] != i {
                continue;
            }
            for provided in relations(record, record.provides)?.into_iter().flatten() {
                let version = provided.versions.map(|(_, version)| version);
                providers
                    .entry(provided.name)
                    .or_default()
                    .push((i, version));
            }
        }
        for list in providers.values_mut() {
            list.sort_by_key(|(i, _)| (records[*i].priority, records[*i].name));
        }
        Ok(Self {
            records,
            by_name,
            providers,
        })
    }

    /// The essential packages, those of `names`, and all that they need, each after what it
    /// depends on as far as there are no cycles.
    pub fn resolve(&self, names: &[String]) -> Result<Vec<&Record<'a>>, ResolveError> {
        let mut choice = Choice {
            universe: self,
            parent: HashMap::new(),
            queue: VecDeque::new(),
        };
        for i in self.essential() {
            choice.take(i, None);
        }
        for name in names {
            let i = self.by_name.get(name.as_str()).copied();
            let i = i.ok_or_else(|| self.unknown(name))?;
            choice.take(i, None);
        }
        choice.close()?;
        choice.check_conflicts()?;
        choice.ordered()
    }

    fn essential(&self) -> Vec<usize> {
        let mut essential: Vec<usize> = (0..self.records.len())
            .filter(|i| self.records[*i].essential && self.by_name[self.records[*i].name] == *i)
            .collect();
        essential.sort_by_key(|i| self.records[*i].name);
        essential
    }

    fn unknown(&self, name: &str) -> ResolveError {
        // Sorted, so that of equally near names always the same is suggested.
        let names: BTreeSet<&str> = self.by_name.keys().copied().collect();
        ResolveError::Unknown {
            name: name.to_owned(),
            nearest: nearest(name, names).map(str::to_owned),
        }
    }

    /// The packages that fulfil a relation: the one of that name, then those that provide it.
    fn candidates(&self, relation: &Relation<'_>) -> Vec<usize> {
        // One architecture: `:any` and `:native` are what is there; another is not.
        if !matches!(relation.qualifier, None | Some("any" | "native")) {
            return Vec::new();
        }
        let named = self.by_name.get(relation.name).copied();
        let named = named.filter(|i| relation.admits(self.records[*i].version));
        let provided = self.providers.get(relation.name).into_iter().flatten();
        let provided = provided
            .filter(|(_, version)| relation.admits_provided(*version))
            .map(|(i, _)| *i);
        let mut found: Vec<usize> = named.into_iter().collect();
        for i in provided {
            if !found.contains(&i) {
                found.push(i);
            }
        }
        found
    }
}

/// The packages chosen so far.
struct Choice<'u, 'a> {
    universe: &'u Universe<'a>,
    /// Each package chosen, and the one that needed it first.
    parent: HashMap<usize, Option<usize>>,
    /// Those whose dependencies are still to be looked at.
    queue: VecDeque<usize>,
}

impl<'u, 'a> Choice<'u, 'a> {
    fn take(&mut self, i: usize, parent: Option<usize>) {
        if let std::collections::hash_map::Entry::Vacant(entry) = self.parent.entry(i) {
            entry.insert(parent);
            self.queue.push_back(i);
        }
    }

    /// Takes what the chosen ones depend on. A dependency that leaves a choice waits until all
    /// that leave none are met, since they may well have met it too.
    fn close(&mut self) -> Result<(), ResolveError> {
        let mut open: VecDeque<(usize, Vec<Relation<'a>>)> = VecDeque::new();
        loop {
            if let Some(i) = self.queue.pop_front() {
                for group in depends(&self.universe.records[i])? {
                    match self.ways(i, &group)?[..] {
                        [only] => self.take(only, Some(i)),
                        _ => open.push_back((i, group)),
                    }
                }
            } else if let Some((i, group)) = open.pop_front() {
                let ways = self.ways(i, &group)?;
                if !ways.iter().any(|way| self.parent.contains_key(way)) {
                    self.take(ways[0], Some(i));
                }
            } else {
                return Ok(());
            }
        }
    }

    /// The packages that meet a dependency of package `i`, the preferred one first; never none.
    fn ways(&self, i: usize, group: &[Relation<'a>]) -> Result<Vec<usize>, ResolveError> {
        let mut ways: Vec<usize> = Vec::new();
        for way in group.iter().flat_map(|r| self.universe.candidates(r)) {
            if !ways.contains(&way) {
                ways.push(way);
            }
        }
        if ways.is_empty() {
            let needs: Vec<String> = group.iter().map(ToString::to_string).collect();
            return Err(ResolveError::Unsatisfiable {
                chain: self.chain(i),
                needs: needs.join(" | "),
            });
        }
        Ok(ways)
    }

    /// How package `i` came to be chosen, what was asked for first.
    fn chain(&self, i: usize) -> Vec<String> {
        let mut chain = Vec::new();
        let mut at = Some(i);
        while let Some(i) = at {
            chain.push(self.universe.records[i].name.to_owned());
            at = self.parent.get(&i).copied().flatten();
        }
        chain.reverse();
        chain
    }

    fn check_conflicts(&self) -> Result<(), ResolveError> {
        for i in self.sorted() {
            let record = &self.universe.records[i];
            for (field, value) in [("Conflicts", record.conflicts), ("Breaks", record.breaks)] {
                for relation in relations(record, value)?.into_iter().flatten() {
                    let hit = self.universe.candidates(&relation).into_iter();
                    // A package may conflict with what it provides itself: with the others then.
                    let hit = hit
                        .filter(|other| *other != i)
                        .find(|other| self.parent.contains_key(other));
                    if let Some(other) = hit {
                        return Err(ResolveError::Conflict {
                            first: self.chain(i),
                            second: self.chain(other),
                            field,
                            relation: relation.to_string(),
                        });
                    }
                }
            }
        }
        Ok(())
    }

    fn sorted(&self) -> Vec<usize> {
        let mut chosen: Vec<usize> = self.parent.keys().copied().collect();
        chosen.sort_by_key(|i| self.universe.records[*i].name);
        chosen
    }

    /// Depth first, so that a package comes after its dependencies; a cycle is cut where it
    /// closes, never at a `Pre-Depends` that can be honoured, since those are walked first.
    fn ordered(&self) -> Result<Vec<&'u Record<'a>>, ResolveError> {
        let mut needs: HashMap<usize, Vec<usize>> = HashMap::new();
        for i in self.sorted() {
            let mut met = Vec::new();
            for group in depends(&self.universe.records[i])? {
                let ways = self.ways(i, &group)?.into_iter();
                met.extend(ways.filter(|way| self.parent.contains_key(way)));
            }
            needs.insert(i, met);
        }
        let mut order = Vec::with_capacity(needs.len());
        let mut seen: BTreeSet<usize> = BTreeSet::new();
        for start in self.sorted() {
            // A stack of (package, how many of its needs were walked): dependencies nest deeply.
            let mut stack = Vec::new();
            if seen.insert(start) {
                stack.push((start, 0));
            }
            while let Some((i, walked)) = stack.last_mut() {
                if let Some(next) = needs[i].get(*walked).copied() {
                    *walked += 1;
                    if seen.insert(next) {
                        stack.push((next, 0));
                    }
                } else {
                    order.push(&self.universe.records[*i]);
                    stack.pop();
                }
            }
        }
        Ok(order)
    }
}

fn depends<'a>(record: &Record<'a>) -> Result<Vec<Vec<Relation<'a>>>, ResolveError> {
    let mut groups = relations(record, record.pre_depends)?;
    groups.extend(relations(record, record.depends)?);
    Ok(groups)
}

fn relations<'a>(
    record: &Record<'_>,
    value: &'a str,
) -> Result<Vec<Vec<Relation<'a>>>, ResolveError> {
    relation::parse(value).map_err(|source| ResolveError::Relation {
        package: record.name.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::super::index;
    use super::*;

    /// A universe from lines `name version; Field: value; Field: value`.
    fn text(lines: &[&str]) -> String {
        let entry = |line: &&str| {
            let mut parts = line.split("; ");
            let (name, version) = parts
                .next()
                .and_then(|p| p.split_once(' '))
                .expect("a name and a version");
            let fields: Vec<&str> = parts.collect();
            format!(
                "Package: {name}\nVersion: {version}\nArchitecture: amd64\nFilename: {name}.deb\n\
                 Size: 1\nSHA256: 00\n{}\n\n",
                fields.join("\n")
            )
        };
        lines.iter().map(entry).collect()
    }

    fn resolve(lines: &[&str], names: &[&str]) -> Result<String, String> {
        let text = text(lines);
        let records = index::parse(&text, "amd64").expect("an index");
        let universe = Universe::new(records).map_err(|e| e.to_string())?;
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let chosen = universe.resolve(&names).map_err(|e| e.to_string())?;
        let chosen: Vec<String> = chosen
            .iter()
            .map(|r| format!("{} {}", r.name, r.version))
            .collect();
        Ok(chosen.join(", "))
    }

    #[test]
    fn dependencies_are_followed_in_order() {
        let table: [(&[&str], &[&str], &str); 9] = [
            (
                &[
                    "a 1; Depends: b, c (>= 2)",
                    "b 1; Pre-Depends: c",
                    "c 2",
                    "d 1",
                ],
                &["a"],
                "c 2, b 1, a 1",
            ),
            // The essential ones need no asking.
            (&["a 1; Essential: yes", "b 1"], &["b"], "a 1, b 1"),
            // The newest version of a name counts.
            (&["a 1:1", "a 2", "b 1; Depends: a"], &["b"], "a 1:1, b 1"),
            // The first alternative, unless another is there already, even if asked for later.
            (&["a 1; Depends: b | c", "b 1", "c 1"], &["a"], "b 1, a 1"),
            (
                &["a 1; Depends: b | c", "b 1", "c 1"],
                &["a", "c"],
                "c 1, a 1",
            ),
            // An alternative that nothing fulfils is passed over.
            (
                &["a 1; Depends: b (>= 2) | c", "b 1", "c 1"],
                &["a"],
                "c 1, a 1",
            ),
            // What is provided: by priority, then by name.
            (
                &[
                    "a 1; Depends: awk",
                    "gawk 1; Provides: awk",
                    "mawk 1; Provides: awk; Priority: required",
                ],
                &["a"],
                "mawk 1, a 1",
            ),
            (
                &[
                    "a 1; Depends: v (>= 2)",
                    "p 1; Provides: v",
                    "q 1; Provides: v (= 3)",
                ],
                &["a"],
                "q 1, a 1",
            ),
            // Cycles end, and a name with an architecture that is ours is ours.
            (
                &["a 1; Depends: b:any", "b 1; Depends: a"],
                &["a"],
                "b 1, a 1",
            ),
        ];
        for (lines, names, chosen) in table {
            assert_eq!(resolve(lines, names).as_deref(), Ok(chosen), "{lines:?}");
        }
    }

    #[test]
    fn what_cannot_be_is_explained() {
        let table: [(&[&str], &[&str], &str); 6] = [
            (
                &["zlib1g-dev 1"],
                &["zlib-dev"],
                "no package is named `zlib-dev`; `zlib1g-dev` is",
            ),
            (
                &["a 1; Depends: b", "b 1; Depends: c (>= 2) | d", "c 1"],
                &["a"],
                "`a` > `b` needs `c (>= 2) | d`, which no package of the suite fulfils",
            ),
            (
                &["a 1; Depends: b:i386", "b 1"],
                &["a"],
                "`a` needs `b:i386`, which no package of the suite fulfils",
            ),
            (
                &["a 1; Depends: b", "b 1", "c 1; Breaks: b (<< 2)"],
                &["a", "c"],
                "`c` and `a` > `b` cannot be installed together: the former says Breaks `b (<< 2)`",
            ),
            (
                &["a 1; Conflicts: v; Provides: v", "b 1; Provides: v"],
                &["a", "b"],
                "`a` and `b` cannot be installed together: the former says Conflicts `v`",
            ),
            (
                &["a 1; Depends: b (1)", "b 1"],
                &["a"],
                "the entry of `a`: `b (1)` is not a relation between packages",
            ),
        ];
        for (lines, names, said) in table {
            assert_eq!(resolve(lines, names), Err(said.to_owned()));
        }
        // A conflict with what only the package itself provides is none.
        assert!(resolve(&["a 1; Conflicts: v; Provides: v"], &["a"]).is_ok());
    }
}
