//! The build ids that artifacts can have, told before anything is built.

use std::collections::{BTreeMap, BTreeSet};

use crate::artifact::record::Record;
use crate::build::{BuildOptions, PlannedDependency, Platform, plan};
use crate::formula::{Recipe, Source};
use crate::model::{FormulaRef, Kind, Sha256};
use crate::publish::Found;

/// What may have been learned in the trainings that recipes depend on, by digest.
#[derive(Debug, Default)]
pub(super) struct Trained(BTreeMap<FormulaRef, BTreeSet<Sha256>>);

impl Trained {
    /// What the artifacts that were found say that they were trained with.
    pub(super) fn of_all<'f>(found: impl IntoIterator<Item = &'f Found>) -> Self {
        let mut trained = Self::default();
        for found in found {
            if let Found::Whole(record) = found {
                trained.add(record);
            }
        }
        trained
    }

    fn add(&mut self, record: &Record) {
        for dependency in &record.making.dependencies {
            let known = self.0.entry(dependency.reference.clone()).or_default();
            known.insert(dependency.sha256);
        }
    }

    /// The digests with which a dependency can be planned.
    fn of(&self, recipe: &Recipe) -> Vec<Option<Sha256>> {
        if recipe.kind != Kind::Profile {
            return vec![None];
        }
        let known = self.0.get(&recipe.reference).into_iter().flatten();
        known.copied().map(Some).collect()
    }
}

/// The build ids that each of these recipes can have on a platform, one for each form of its source
/// and of its dependencies' sources, and for each way in which it may have been trained.
/// Dependencies come before what needs them.
pub(super) fn build_ids(
    recipes: &[Recipe],
    platform: &Platform,
    trained: &Trained,
) -> Vec<Vec<Sha256>> {
    let mut known: Vec<(&Recipe, Vec<Sha256>)> = Vec::new();
    for recipe in recipes {
        let mut choices = vec![Vec::new()];
        for reference in &recipe.dependencies {
            let found = known
                .iter()
                .find(|(known, _)| known.reference == *reference);
            let planned = found.into_iter().flat_map(|(recipe, ids)| {
                let trained = trained.of(recipe);
                ids.iter().flat_map(move |build_id| {
                    let of = |trained: &Option<Sha256>| PlannedDependency {
                        reference: reference.clone(),
                        build_id: *build_id,
                        trained: *trained,
                    };
                    trained.iter().map(of).collect::<Vec<_>>()
                })
            });
            let planned: Vec<PlannedDependency> = planned.collect();
            let with = |chosen: &Vec<PlannedDependency>| {
                let each = planned.iter();
                each.map(|one| chosen.iter().chain([one]).cloned().collect())
                    .collect::<Vec<_>>()
            };
            choices = choices.iter().flat_map(with).collect();
        }
        // How many jobs run at once is not part of the id.
        let options = BuildOptions { jobs: 1 };
        let id = |source: &Source, dependencies: &[PlannedDependency]| {
            plan(recipe, source, platform, dependencies, &options).build_id
        };
        let of = |source| choices.iter().map(move |chosen| id(source, chosen));
        known.push((recipe, recipe.sources.iter().flat_map(of).collect()));
    }
    known.into_iter().map(|(_, ids)| ids).collect()
}
