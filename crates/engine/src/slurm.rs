//! Slurm of a cluster, asked through its master.

use std::sync::Arc;

use async_trait::async_trait;
use clusterbook_slurm::{Ran, Runner, RunnerError, Slurm};
use clusterbook_transport::{RemoteCommand, quote};

use crate::engine::Engine;
use crate::error::Error;
use crate::reach::{Access, Reach};
use crate::stop::Stop;

/// Runs Slurm's programs on the master, as root or as one of the design's users.
pub struct Controller {
    reach: Arc<dyn Reach>,
    access: Access,
    user: Option<String>,
    stop: Stop,
}

impl Engine {
    /// Slurm of a cluster. With `user`, everything is done as that user, from their home.
    ///
    /// # Errors
    /// When there is no such cluster or user, or its master doesn't run.
    pub async fn slurm(&self, cluster: &str, user: Option<&str>, stop: &Stop) -> Result<Slurm<Controller>, Error> {
        let (session, accesses) = self.select(cluster, &["master".to_owned()]).await?;
        if let Some(user) = user {
            let design = self.design(cluster)?;
            if !design.users.iter().any(|known| known.name == user) {
                return Err(Error::Refused {
                    what: format!("cluster {cluster} has no user {user}"),
                    hint: "add the user with notebook 051, or in the design file, and apply".to_owned(),
                });
            }
        }
        let access = accesses
            .into_iter()
            .next()
            .ok_or_else(|| Error::Bug(format!("cluster {cluster} has no master")))?
            .1
            .map_err(|failure| Error::Failures {
                cluster: cluster.to_owned(),
                failures: vec![failure],
            })?;
        Ok(Slurm::new(Controller {
            reach: session.reach,
            access,
            user: user.map(str::to_owned),
            stop: stop.clone(),
        }))
    }
}

#[async_trait]
impl Runner for Controller {
    async fn run(&self, argv: &[&str], stdin: &[u8]) -> Result<Ran, RunnerError> {
        let line = argv.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ");
        let line = match &self.user {
            None => line,
            // A login shell, so that the job starts from the user's home and environment.
            Some(user) => format!("exec su - {} -c {}", quote(user), quote(&line)),
        };
        let command = RemoteCommand::new(line).with_stdin(stdin.to_vec());
        let output = self
            .reach
            .run(&self.access, &command, &mut |_, _| {}, self.stop.soon_token())
            .await
            .map_err(|error| RunnerError::from(error.message))?;
        Ok(Ran {
            stdout: output.stdout,
            stderr: output.stderr,
            code: output.code,
        })
    }
}
