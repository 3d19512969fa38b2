//! Linpack's own file on the cluster.

use cucumber::then;

use crate::problem::{Outcome, Problem, ensure};
use crate::trial::Trial;

/// Goes where notebook 121 has run Linpack last, as its user.
const NEWEST: &str = "cd $(ls -td /home/taro/linpack/job-* | head -n 1)";

/// A value in the summary that `hpcc` writes, a `name=value` to a line.
fn value(text: &str, name: &str) -> Outcome<f64> {
    let prefix = format!("{name}=");
    text.lines()
        .find_map(|line| line.strip_prefix(&prefix))
        .and_then(|value| value.trim().parse().ok())
        .ok_or_else(|| Problem::new(format!("hpccoutf.txt says no {name}")))
}

#[then(
    expr = "Linpack's file on the cluster says that every residual check PASSED, for N of at least {int}, over at least {int} ranks"
)]
async fn passed(trial: &mut Trial, least_n: u32, least_ranks: u32) -> Outcome {
    let place = trial.place()?;
    let text = place.on_master(&format!("{NEWEST} && cat hpccoutf.txt")).await?;
    let residuals: Vec<&str> = text.lines().filter(|line| line.contains("||Ax-b||_oo/(eps*")).collect();
    ensure(!residuals.is_empty(), || {
        "hpccoutf.txt holds no residual check".to_owned()
    })?;
    for line in residuals {
        ensure(line.trim_end().ends_with("PASSED"), || {
            format!("a residual check did not pass: {line}")
        })?;
    }
    let (n, ranks) = (value(&text, "HPL_N")?, value(&text, "CommWorldProcs")?);
    ensure(n >= f64::from(least_n), || format!("N was {n}"))?;
    ensure(ranks >= f64::from(least_ranks), || format!("there were {ranks} ranks"))?;
    let tflops = value(&text, "HPL_Tflops")?;
    ensure(tflops > 0.0, || format!("it ran at {tflops} Tflop/s"))
}

#[then(expr = "its ranks ran on at least {int} nodes")]
async fn nodes(trial: &mut Trial, least: usize) -> Outcome {
    let place = trial.place()?;
    let hosts = place.on_master(&format!("{NEWEST} && sort -u hosts.txt")).await?;
    ensure(hosts.lines().count() >= least, || format!("they ran on {hosts}"))
}
