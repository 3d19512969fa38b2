//! Container images for the cluster, where the machine reaches no registry that has them.

use cucumber::{given, then};

use crate::place::repository;
use crate::problem::{Outcome, ensure};
use crate::trial::Trial;

/// Makes it once for this machine, since the larger ones take minutes, and puts it on the cluster unless it is there. The variables are
/// the step's; the cluster's path is one that its shell needs no quotes for.
const LARGE: &str = r#"set -eu
if clusterbook run "$CLUSTER" --on master -- test -e "$TARGET" >/dev/null 2>&1; then exit 0; fi
folder=$XDG_CACHE_HOME/clusterbook/images
mkdir -p "$folder"
file=$folder/$NAME-$(sha256sum <"$SCRIPT" | cut -c 1-12).tar
sh "$SCRIPT" "$NAME" "$file"
clusterbook run "$CLUSTER" --on master --stdin -- "umask 022; cat >$TARGET.part && mv $TARGET.part $TARGET" <"$file"
"#;

/// The same for one that is made of the node's own programs.
const TINY: &str = r#"set -eu
clusterbook run "$CLUSTER" --on master --stdin -- "sh -s $NAME $TARGET" <"$SCRIPT"
"#;

#[given(expr = "the image archive {string} lies on the cluster as {string}")]
async fn archive(trial: &mut Trial, name: String, target: String) -> Outcome {
    let place = trial.place()?;
    let script = repository().join("crates/harness/src/steps/image.sh");
    let steps = if name == "tiny" { TINY } else { LARGE };
    let variables = [
        format!("CLUSTER={}", place.cluster()),
        format!("NAME={name}"),
        format!("TARGET={target}"),
        format!("SCRIPT={}", script.display()),
    ];
    let arguments = variables.into_iter().chain(["sh", "-c", steps].map(str::to_owned));
    place.run("env", &arguments.collect::<Vec<_>>()).await?.succeeded()
}

#[then(expr = "taro's newest output with {string} tells an accuracy of at least {float}")]
async fn accuracy(trial: &mut Trial, line: String, least: f64) -> Outcome {
    let place = trial.place()?;
    let newest = format!("cat \"$(grep -l '^{line}' /home/taro/slurm-*.out | xargs ls -t | head -n 1)\"");
    let printed = place.on_master(&newest).await?;
    let found: Vec<f64> = printed
        .lines()
        .filter_map(|line| line.strip_prefix("accuracy=")?.parse().ok())
        .collect();
    ensure(!found.is_empty() && found.iter().all(|each| *each >= least), || {
        format!("it holds\n{printed}")
    })
}
