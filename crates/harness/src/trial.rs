//! One scenario's memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use cucumber::event::ScenarioFinished;

use crate::engine::{Engine, Listing};
use crate::place::{self, Place};
use crate::problem::{Outcome, Problem, ensure};
use crate::program::{Ran, Running};

/// What the steps of a scenario tell each other.
#[derive(Debug, Default, cucumber::World)]
pub(crate) struct Trial {
    place: Option<Arc<Place>>,
    /// The place is the shared one and outlives the scenario.
    pub(crate) shared: bool,
    /// The last program that ended.
    pub(crate) ran: Option<Ran>,
    /// Programs that run beside the scenario.
    pub(crate) running: Vec<Running>,
    /// What the provider listed at an earlier step.
    pub(crate) listed: Option<Listing>,
    /// What steps took down for later ones, by subject.
    pub(crate) noted: BTreeMap<String, String>,
    /// The last job.
    pub(crate) job: Option<u64>,
}

impl Trial {
    /// This scenario's place, made at its first use.
    pub(crate) fn place(&mut self) -> Outcome<Arc<Place>> {
        match &self.place {
            Some(place) => Ok(place.clone()),
            None => {
                let place = Place::new()?;
                self.place = Some(place.clone());
                Ok(place)
            }
        }
    }

    /// Takes the shared place.
    pub(crate) fn share(&mut self, place: Arc<Place>) {
        self.place = Some(place);
        self.shared = true;
    }

    /// Fails unless what was noted about a subject is still so.
    pub(crate) fn still(&self, subject: &str, found: &str) -> Outcome {
        let noted = self.noted.get(subject);
        ensure(noted.is_some_and(|noted| noted == found), || {
            format!("noted {noted:?}, now {found}")
        })
    }

    pub(crate) fn ran(&self) -> Outcome<&Ran> {
        self.ran
            .as_ref()
            .ok_or_else(|| Problem::new("no program has ended in this scenario yet"))
    }

    pub(crate) async fn listing(&mut self) -> Outcome<Listing> {
        let place = self.place()?;
        Engine::find()?.listing(place.cluster()).await
    }
}

/// Puts things in order after a scenario, however it ended.
pub(crate) async fn end(ending: &ScenarioFinished, trial: Option<&mut Trial>) {
    let Some(trial) = trial else { return };
    for mut running in trial.running.drain(..) {
        if running.kill().is_ok() {
            let _ = running.finish().await;
        }
    }
    let failed = !matches!(ending, ScenarioFinished::StepPassed);
    let Some(place) = trial.place.take() else { return };
    if trial.shared || (failed && place::keeps_failed()) {
        return;
    }
    // Kept in the list when it fails, so that the end of the run tries again and reports it.
    if place.empty().await.is_ok() {
        place.forget();
    }
}
