//! The cluster that scenarios share, built once by the notebooks themselves.
//!
//! Scenarios that only look, or that leave the cluster as they found it, use this one. Before each of them it is brought back to its
//! design, which takes a second when the one before kept its word.

use std::io::Write as _;
use std::sync::Arc;

use tokio::sync::Mutex;

use crate::place::Place;
use crate::problem::{Outcome, Problem};
use crate::program::Ran;
use crate::steps::secrets::Onlooker;

/// Enough for Linpack to be Linpack, small enough for two cores.
pub(crate) const PROBLEM_SIZE: u64 = 8000;

struct Shared {
    place: Arc<Place>,
    design: String,
    built: Arc<Built>,
}

/// What is known about the building.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) ran: Ran,
    /// Command lines of every process of the machine that were seen meanwhile.
    pub(crate) commands: Vec<String>,
}

/// None yet, one, or the reason why there is none: it isn't tried twice.
static SHARED: Mutex<Option<Result<Shared, String>>> = Mutex::const_new(None);

/// The shared cluster's place, the cluster as designed.
pub(crate) async fn cluster() -> Outcome<(Arc<Place>, Arc<Built>)> {
    let mut shared = SHARED.lock().await;
    if shared.is_none() {
        *shared = Some(build().await.map_err(|problem| problem.to_string()));
    } else if let Some(Ok(shared)) = &*shared {
        fs_err::write(shared.place.design_path(), &shared.design)?;
        shared
            .place
            .clusterbook(&["apply", "{cluster}", "--yes"])
            .await?
            .succeeded()?;
    }
    match &*shared {
        Some(Ok(shared)) => Ok((shared.place.clone(), shared.built.clone())),
        Some(Err(problem)) => Err(Problem::new(format!(
            "the shared cluster could not be built: {problem}"
        ))),
        None => Err(Problem::new("the shared cluster was not built")),
    }
}

async fn build() -> Outcome<Shared> {
    let place = Place::new()?;
    let onlooker = Onlooker::start();
    let out = place.out();
    let arguments = [
        ".",
        &out.to_string_lossy(),
        "--flow",
        "main",
        "--until",
        "121",
        "-p",
        "cluster",
        place.cluster(),
        "-p",
        "problem_size",
        &PROBLEM_SIZE.to_string(),
        "-y",
        "compare: {elsewhere: {gflops: 100.0, stream: 10.0}}",
        "--events",
        &out.join("events.jsonl").to_string_lossy(),
        "--junit",
        &out.join("junit.xml").to_string_lossy(),
        "--report",
        &out.join("report.html").to_string_lossy(),
        "--json",
    ]
    .map(str::to_owned);
    let ran = place.run("tmplrun", &arguments).await;
    let commands = onlooker.stop().await;
    let ran = ran?;
    ran.succeeded()?;
    let design = fs_err::read_to_string(place.design_path())?;
    Ok(Shared {
        place,
        design,
        built: Arc::new(Built { ran, commands }),
    })
}

/// Says where the shared cluster is that stays.
pub(crate) async fn announce() {
    if let Some(Ok(shared)) = &*SHARED.lock().await {
        let _ = writeln!(
            std::io::stderr(),
            "kept: cluster {} with CLUSTERBOOK_HOME={} in {}",
            shared.place.cluster(),
            shared.place.state().display(),
            shared.place.work().display()
        );
    }
}
