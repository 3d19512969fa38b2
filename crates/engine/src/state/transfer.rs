//! Moving a cluster to a colleague or a new laptop: one encrypted document that holds its history and its secrets.
//!
//! The envelope is an age file with a passphrase, so that the `age` program can open it too. Inside is JSON with a number
//! for its format. The machines themselves stay where they are; only one home should go on changing them.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use age::secrecy::SecretString;
use clusterbook_model::Secret;
use rusqlite::{Transaction, params};
use serde::{Deserialize, Serialize};

use super::error::StateError;
use super::files;
use super::home::Home;
use super::rows::{ActionRow, ApplyInfo, ClusterRow, JournalEnd, JournalRow};
use super::store::{self, Fault, Store};

/// Format of the document that this version writes.
const FORMAT: u64 = 1;

/// What a document says that it is.
const CONTENT: &str = "clusterbook cluster";

/// Work of guessing a passphrase, as a power of two: about a second and 256 MiB for each try. Fixed rather than measured,
/// so that a fast machine doesn't write what a slow one refuses to open.
const WORK: u8 = 18;

/// The part of a document that every format has.
#[derive(Deserialize)]
struct Head {
    content: String,
    schema: u64,
}

#[derive(Serialize)]
struct Written<'a> {
    content: &'static str,
    schema: u64,
    #[serde(flatten)]
    record: &'a Record,
    secrets: BTreeMap<&'a str, &'a str>,
}

#[derive(Deserialize)]
struct Read1 {
    #[serde(flatten)]
    record: Record,
    secrets: BTreeMap<String, String>,
}

/// What the database knows of one cluster.
#[derive(Serialize, Deserialize)]
struct Record {
    cluster: ClusterRow,
    applies: Vec<FullApply>,
    journal: Vec<JournalRow>,
    /// The oldest first.
    actions: Vec<ActionRow>,
}

#[derive(Serialize, Deserialize)]
struct FullApply {
    #[serde(flatten)]
    info: ApplyInfo,
    design: String,
}

/// Plain text of a document; overwritten when it is no longer needed.
struct Plain(Vec<u8>);

impl Drop for Plain {
    fn drop(&mut self) {
        self.0.fill(0);
        std::hint::black_box(&self.0);
    }
}

/// Packs up a cluster that isn't removed. Hold its lock meanwhile, lest an apply be left out halfway.
pub fn export(home: &Home, cluster: &str, passphrase: &Secret) -> Result<Vec<u8>, StateError> {
    let record = Record::load(&home.store()?, cluster)?;
    let folder = home.secrets();
    let mut secrets = Vec::new();
    for name in folder.names(&record.cluster.id)? {
        // Gone since it was listed is gone.
        if let Some(secret) = folder.get(&record.cluster.id, &name)? {
            secrets.push((name, secret));
        }
    }
    let document = Written {
        content: CONTENT,
        schema: FORMAT,
        record: &record,
        secrets: secrets
            .iter()
            .map(|(name, secret)| (name.as_str(), secret.reveal()))
            .collect(),
    };
    seal(&document, passphrase).map_err(|source| StateError::System {
        doing: format!("encrypt cluster {cluster}"),
        source,
    })
}

/// Unpacks a cluster and returns its name. If anything is wrong, nothing has changed.
pub fn import(home: &Home, bytes: &[u8], passphrase: &Secret) -> Result<String, StateError> {
    let plain = unseal(bytes, passphrase)?;
    let not_ours = |error: serde_json::Error| StateError::NotAnExport {
        // The error's own words may quote the document, and with it a secret.
        problem: format!("unexpected content at line {}, column {}", error.line(), error.column()),
    };
    let head: Head = serde_json::from_slice(&plain.0).map_err(not_ours)?;
    if head.content != CONTENT {
        return Err(StateError::NotAnExport {
            problem: "it holds something else".to_owned(),
        });
    }
    if head.schema > FORMAT {
        return Err(StateError::NewerExport {
            found: head.schema,
            known: FORMAT,
        });
    }
    let Read1 { record, secrets } = serde_json::from_slice(&plain.0).map_err(not_ours)?;
    let secrets: Vec<(String, Secret)> = secrets
        .into_iter()
        .map(|(name, text)| (name, Secret::new(text)))
        .collect();
    record.check()?;

    let folder = home.secrets();
    let cluster_id = record.cluster.id.clone();
    let mut placed = false;
    let saved = home.store()?.write("import a cluster", |transaction| {
        record.make_room(transaction)?;
        record.save(transaction)?;
        // Secrets come last before the end of the transaction. Killed in between, they belong to no cluster, and the next
        // attempt writes over them; the other way round there would be a cluster that nobody can log in to.
        folder.put_set(&cluster_id, &secrets)?;
        placed = true;
        Ok(())
    });
    if let Err(error) = saved {
        if placed {
            // The reason is worth more than a second failure on the way back.
            let _ = folder.remove_all(&cluster_id);
        }
        return Err(error);
    }
    Ok(record.cluster.name)
}

impl Record {
    fn load(store: &Store, cluster: &str) -> Result<Self, StateError> {
        store.read("export a cluster", |transaction| {
            let Some(cluster) = store::alive(transaction, cluster)? else {
                return Err(Fault::State(StateError::NoSuchCluster {
                    cluster: cluster.to_owned(),
                }));
            };
            let id = &cluster.id;
            let applies = transaction
                .prepare(&format!(
                    "SELECT {}, design FROM applies WHERE cluster_id = ?1 ORDER BY number",
                    store::APPLY
                ))?
                .query_map([id], |row| {
                    Ok(FullApply {
                        info: store::apply_info(row)?,
                        design: row.get("design")?,
                    })
                })?
                .collect::<Result<_, _>>()?;
            let journal = transaction
                .prepare(&format!(
                    "SELECT {} FROM journal WHERE cluster_id = ?1 ORDER BY id",
                    store::JOURNAL
                ))?
                .query_map([id], store::journal_row)?
                .collect::<Result<_, _>>()?;
            let actions = transaction
                .prepare("SELECT what, detail, outcome, at, run_id FROM actions WHERE cluster_id = ?1 ORDER BY id")?
                .query_map([id], store::action_row)?
                .collect::<Result<_, _>>()?;
            Ok(Self {
                applies,
                journal,
                actions,
                cluster,
            })
        })
    }

    /// Names become names of files, so they aren't taken on trust, even from one who knew the passphrase.
    fn check(&self) -> Result<(), StateError> {
        files::check_name("the id of a cluster", &self.cluster.id)?;
        files::check_name("the name of a cluster", &self.cluster.name)?;
        match self.cluster.is_removed() {
            false => Ok(()),
            true => Err(StateError::NotAnExport {
                problem: "its cluster was removed".to_owned(),
            }),
        }
    }

    fn last_number(&self) -> u64 {
        self.applies.iter().map(|apply| apply.info.number).max().unwrap_or(0)
    }

    /// Refuses if the cluster is here already. One that was removed here gives way to its own longer history, as when a
    /// cluster comes back to the laptop that it once left.
    fn make_room(&self, transaction: &Transaction<'_>) -> Result<(), Fault> {
        let exists = |cluster: String| Err(Fault::State(StateError::ClusterExists { cluster }));
        if let Some(other) = store::alive(transaction, &self.cluster.name)? {
            return exists(other.name);
        }
        let id = &self.cluster.id;
        let Some(earlier) = transaction
            .prepare(&format!("SELECT {} FROM clusters WHERE id = ?1", store::CLUSTER))?
            .query_map([id], store::cluster_row)?
            .next()
            .transpose()?
        else {
            return Ok(());
        };
        if !earlier.is_removed() {
            return exists(earlier.name);
        }
        let known: i64 = transaction.query_row(
            "SELECT coalesce(max(number), 0) FROM applies WHERE cluster_id = ?1",
            [id],
            |row| row.get(0),
        )?;
        let known = u64::try_from(known).unwrap_or(0);
        if known > self.last_number() {
            return Err(Fault::State(StateError::OutdatedExport {
                cluster: self.cluster.name.clone(),
                exported: self.last_number(),
                known,
            }));
        }
        for table in ["journal", "applies", "actions"] {
            transaction.execute(&format!("DELETE FROM {table} WHERE cluster_id = ?1"), [id])?;
        }
        transaction.execute("DELETE FROM clusters WHERE id = ?1", [id])?;
        Ok(())
    }

    fn save(&self, transaction: &Transaction<'_>) -> Result<(), Fault> {
        let cluster = &self.cluster;
        let id = &cluster.id;
        let saved = (|| {
            transaction.execute(
                "INSERT INTO clusters (id, name, provider, created_at) VALUES (?1, ?2, ?3, ?4)",
                params![id, cluster.name, cluster.provider, cluster.created_at.to_string()],
            )?;
            let mut insert = transaction.prepare(
                "INSERT INTO applies (cluster_id, number, what, design, design_path, user, host, pid, run_id,
                    started_at, ended_at, outcome, message)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            )?;
            for FullApply { info, design } in &self.applies {
                let (word, message) = info.outcome.as_ref().map(store::outcome_columns).unzip();
                insert.execute(params![
                    id,
                    store::to_sql_number(info.number),
                    info.what,
                    design,
                    info.design_path.as_ref().map(|path| path.to_string_lossy()),
                    info.user,
                    info.host,
                    info.pid,
                    info.run_id,
                    info.started_at.to_string(),
                    info.ended_at.map(|time| time.to_string()),
                    word,
                    message.flatten(),
                ])?;
            }
            let mut insert = transaction.prepare(
                "INSERT INTO journal (cluster_id, number, change, action, begun_at, ended_at, outcome, message,
                    taken_over_by)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?;
            for row in &self.journal {
                let (word, message, by) = match &row.end {
                    None => (None, None, None),
                    Some(JournalEnd::Done) => (Some("done"), None, None),
                    Some(JournalEnd::Failed(message)) => (Some("failed"), Some(message), None),
                    Some(JournalEnd::TakenOver { by }) => (Some("taken over"), None, Some(store::to_sql_number(*by))),
                };
                insert.execute(params![
                    id,
                    store::to_sql_number(row.number),
                    row.change,
                    row.action,
                    row.begun_at.to_string(),
                    row.ended_at.map(|time| time.to_string()),
                    word,
                    message,
                    by,
                ])?;
            }
            for action in &self.actions {
                store::insert_action(transaction, id, action)?;
            }
            Ok(())
        })();
        saved.map_err(|error: rusqlite::Error| match error.sqlite_error_code() {
            // The tables accept whatever we export, so what they refuse is somebody else's.
            Some(rusqlite::ErrorCode::ConstraintViolation) => Fault::State(StateError::NotAnExport {
                problem: "its parts don't belong together".to_owned(),
            }),
            _ => Fault::Sql(error),
        })
    }
}

/// Written straight into the cipher, so that the plain text never lies in memory as a whole.
fn seal(document: &Written<'_>, passphrase: &Secret) -> io::Result<Vec<u8>> {
    let mut recipient = age::scrypt::Recipient::new(SecretString::from(passphrase.reveal()));
    recipient.set_work_factor(WORK);
    let mut sealed = Vec::new();
    let recipients = [&recipient as &dyn age::Recipient];
    let mut writer = age::Encryptor::with_recipients(recipients.into_iter())
        .map_err(io::Error::other)?
        .wrap_output(&mut sealed)?;
    serde_json::to_writer(&mut writer, document)?;
    writer.flush()?;
    writer.finish()?;
    Ok(sealed)
}

fn unseal(bytes: &[u8], passphrase: &Secret) -> Result<Plain, StateError> {
    let not_ours = |problem: &str| StateError::NotAnExport {
        problem: problem.to_owned(),
    };
    let decryptor = age::Decryptor::new_buffered(bytes).map_err(|error| match error {
        age::DecryptError::Io(source) if source.kind() == io::ErrorKind::UnexpectedEof => {
            StateError::BrokenExport { source }
        }
        _ => not_ours("it isn't an age file"),
    })?;
    if !decryptor.is_scrypt() {
        return Err(not_ours("it isn't encrypted with a passphrase"));
    }
    let mut identity = age::scrypt::Identity::new(SecretString::from(passphrase.reveal()));
    identity.set_max_work_factor(WORK);
    let mut reader = decryptor
        .decrypt([&identity as &dyn age::Identity].into_iter())
        .map_err(|error| match error {
            age::DecryptError::ExcessiveWork { .. } => {
                not_ours("opening it would take more work than any export of ours")
            }
            age::DecryptError::InvalidMac => StateError::BrokenExport {
                source: io::ErrorKind::InvalidData.into(),
            },
            age::DecryptError::InvalidHeader => not_ours("its age header makes no sense"),
            _ => StateError::WrongPassphrase,
        })?;
    let mut plain = Plain(Vec::with_capacity(bytes.len()));
    reader
        .read_to_end(&mut plain.0)
        .map_err(|source| StateError::BrokenExport { source })?;
    Ok(plain)
}
