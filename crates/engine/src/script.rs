//! The two scripts that a node ever runs for us: one that looks and one that changes.
//!
//! Both are made whole before they are sent, one of each a round trip, over standard input to `sh -s`: nothing shows up in
//! an argument list, and a connection that breaks half-way leaves a script that never started, because everything stands
//! in a function that the last line calls. What needs deciding is decided here in typed code; the shell is left with a
//! straight list of steps.

use std::collections::BTreeMap;
use std::fmt::Write;

use clusterbook_model::Limits;
use clusterbook_transport::quote;

use crate::item::{ABSENT, Item, Kind, ORIGINAL, OURS, Refresh, Trial};

/// The fingerprint of an edited file that no item asks for.
const EDITED: &str = "edited";

/// Fingerprints by item key: all that were asked for, and the accounts and edits that we made on the node at any time.
pub(crate) type Facts = BTreeMap<String, String>;

/// A change to one item, and what the plan found before.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// What is wanted.
    pub(crate) item: Item,
    /// What must be there now; `None` where nothing is known of it, or where it may move on by itself.
    pub(crate) expected: Option<String>,
    /// For a daemon: what it reads is changed by the same script, so that it must read it again even though it once had read
    /// the very same.
    pub(crate) stale: bool,
}

impl Step {
    /// A step on a node of which nothing is known.
    pub(crate) fn blind(item: Item) -> Self {
        Self {
            item,
            expected: None,
            stale: false,
        }
    }
}

/// How a step went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StepOutcome {
    /// The node is as wanted.
    Done,
    /// Nothing was done, since the node was not as the plan saw it.
    Drift {
        /// The fingerprint that was found instead.
        found: String,
    },
    /// It failed; the text is what the node said.
    Failed(String),
    /// An earlier step failed.
    NotReached,
}

/// Why a whole script was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Another script holds the node.
    Busy,
    /// A newer apply has been here.
    Fence(u64),
}

/// The read-only script that finds the fingerprints of `items`.
pub(crate) fn observe(items: &[Item]) -> String {
    let mut paths = Vec::new();
    let mut files = Vec::new();
    let mut users = Vec::new();
    let mut units = Vec::new();
    let (mut mounts, mut slurm, mut books) = (false, false, false);
    for item in items {
        match &item.kind {
            Kind::File { path, .. } | Kind::Edited { path, .. } => {
                paths.push(path.as_str());
                files.push(path.as_str());
            }
            // Told by the node itself, below.
            Kind::NotEdited { .. } => {}
            Kind::Directory { path, .. } | Kind::Link { path, .. } | Kind::Program { path } => paths.push(path),
            Kind::Account { name, .. } | Kind::NoAccount { name } => users.push(name.as_str()),
            Kind::Service { unit, .. } => units.push(unit.as_str()),
            Kind::NoService { unit } => units.push(unit),
            Kind::SlurmAccount { .. }
            | Kind::NoSlurmAccount { .. }
            | Kind::SlurmUser { .. }
            | Kind::NoSlurmUser { .. } => books = true,
            Kind::Mount { .. } => mounts = true,
            Kind::MountUnit { unit, .. } => units.push(unit.as_str()),
            Kind::SlurmNode { .. } => slurm = true,
            Kind::SlurmDrained { .. } => {}
        }
    }
    let words = |list: &[&str]| list.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ");
    let mut script = String::from("look() {\nLC_ALL=C; export LC_ALL\n");
    if !paths.is_empty() {
        line(&mut script, "echo @path");
        line(
            &mut script,
            &format!(
                "find {} -maxdepth 0 -printf '%y|%m %u:%g|%l|%p\\n' 2>/dev/null",
                words(&paths)
            ),
        );
    }
    if !files.is_empty() {
        line(&mut script, "echo @sum");
        line(&mut script, &format!("sha256sum {} 2>/dev/null", words(&files)));
    }
    if !users.is_empty() {
        line(&mut script, "echo @user");
        line(&mut script, &format!("getent passwd {}", words(&users)));
    }
    // The comment field of an account tells that it is one of ours, also when the design no longer names it.
    line(&mut script, "echo @managed");
    line(
        &mut script,
        "getent passwd | grep '^[^:]*:[^:]*:[^:]*:[^:]*:clusterbook:'",
    );
    // What edited files were before tells which ones are edited, also when the design no longer names them.
    line(&mut script, "echo @edited");
    line(
        &mut script,
        "[ ! -d /var/lib/clusterbook/edited ] || \
         find /var/lib/clusterbook/edited -path /var/lib/clusterbook/edited/readers -prune -o ! -type d ! -name '*.clusterbook-new' -printf '/%P\\n'",
    );
    if !units.is_empty() {
        line(&mut script, "echo @unit");
        line(
            &mut script,
            &format!("systemctl show -p Names -p ActiveState -- {}", words(&units)),
        );
        line(&mut script, "echo @stamp");
        for unit in &units {
            line(
                &mut script,
                &format!(
                    "[ -r {stamp} ] && read -r digest <{stamp} && echo {} \"$digest\"",
                    quote(unit),
                    stamp = quote(&format!("/var/lib/clusterbook/stamp/{unit}")),
                ),
            );
        }
    }
    if books {
        script.push_str(&books_look());
    }
    if mounts {
        line(&mut script, "echo @mount");
        line(&mut script, "cat /proc/self/mounts");
    }
    if slurm {
        line(&mut script, "echo @slurm");
        line(&mut script, "sinfo -h -N -o '%N|%T|%E' 2>/dev/null");
    }
    script.push_str("echo @end\n}\nlook </dev/null\n");
    script
}

/// Reads what [`observe`]'s script printed. `None` if it broke off before its end.
pub(crate) fn read_facts(items: &[Item], output: &str) -> Option<Facts> {
    let mut section = "";
    let mut paths = BTreeMap::new();
    let mut sums = BTreeMap::new();
    let mut users = BTreeMap::new();
    let mut managed = BTreeMap::new();
    let mut edited = Vec::new();
    let mut active = BTreeMap::new();
    let mut stamps = BTreeMap::new();
    let mut mounts = Vec::new();
    let mut slurm = BTreeMap::new();
    let mut books = Books::default();
    let mut unit = Unit::default();
    for text in output.lines() {
        if let Some(name) = text.strip_prefix('@') {
            std::mem::take(&mut unit).tell(&mut active);
            section = name;
            continue;
        }
        match section {
            "path" => {
                let mut fields = text.splitn(4, '|');
                if let (Some(sort), Some(mode), Some(link), Some(path)) =
                    (fields.next(), fields.next(), fields.next(), fields.next())
                {
                    paths.insert(path.to_owned(), (sort.to_owned(), mode.to_owned(), link.to_owned()));
                }
            }
            "sum" => {
                if let Some((sum, path)) = text.split_once("  ") {
                    sums.insert(path.to_owned(), sum.to_owned());
                }
            }
            "user" | "managed" => {
                let fields: Vec<&str> = text.split(':').collect();
                if let [name, _, uid, gid, _, home, shell] = fields[..] {
                    let list = if section == "user" { &mut users } else { &mut managed };
                    list.insert(name.to_owned(), format!("{uid}:{gid}:{home}:{shell}"));
                }
            }
            // A unit may be asked for by any of its names.
            "unit" => match text.split_once('=') {
                Some(("Names", names)) => unit.names = names.split(' ').map(str::to_owned).collect(),
                Some(("ActiveState", state)) => unit.state = state.to_owned(),
                _ => std::mem::take(&mut unit).tell(&mut active),
            },
            "stamp" => {
                if let Some((name, digest)) = text.split_once(' ') {
                    stamps.insert(name.to_owned(), digest.to_owned());
                }
            }
            // Kept either as it was, or as a note that there was nothing.
            "edited" => edited.extend(
                text.strip_prefix("/was")
                    .or_else(|| text.strip_prefix("/none"))
                    .map(str::to_owned),
            ),
            "association" => books.association(text),
            "account" => {
                if let Some((name, organization)) = text.split_once('|') {
                    books.organizations.insert(name.to_owned(), organization.to_owned());
                }
            }
            "slurm-user" => {
                if let Some((name, account)) = text.split_once('|') {
                    books.defaults.insert(name.to_owned(), account.to_owned());
                }
            }
            "mount" => mounts.extend(text.split(' ').nth(1).map(str::to_owned)),
            "slurm" => {
                let mut fields = text.splitn(3, '|');
                if let (Some(name), Some(state)) = (fields.next(), fields.next()) {
                    slurm.insert(name.to_owned(), slurm_state(state, fields.next().unwrap_or_default()));
                }
            }
            _ => {}
        }
    }
    if section != "end" {
        return None;
    }
    let found = |item: &Item| match &item.kind {
        Kind::File { path, .. } | Kind::Edited { path, .. } => {
            let (_, mode, _) = paths.get(path)?;
            Some(format!("{mode} {}", sums.get(path).map_or("-", String::as_str)))
        }
        Kind::Directory { path, .. } => {
            let (sort, mode, _) = paths.get(path)?;
            (sort == "d").then(|| mode.clone())
        }
        Kind::Link { path, .. } => {
            let (sort, _, target) = paths.get(path)?;
            (sort == "l").then(|| target.clone())
        }
        Kind::Account { name, .. } | Kind::NoAccount { name } => users.get(name).cloned(),
        Kind::Service { unit, .. } => {
            let state = active.get(unit).map_or("inactive", String::as_str);
            let stamp = stamps.get(unit).map_or("none", String::as_str);
            Some(format!("{state} {stamp}"))
        }
        Kind::NotEdited { path } => Some(if edited.contains(path) { EDITED } else { ORIGINAL }.to_owned()),
        Kind::NoService { unit } => match active.get(*unit).map(String::as_str) {
            None | Some("inactive" | "failed") => None,
            Some(state) => Some(format!("{state} -")),
        },
        Kind::SlurmAccount { name, .. } | Kind::NoSlurmAccount { name } => books.account(name),
        Kind::SlurmUser { name, .. } | Kind::NoSlurmUser { name } => books.user(name),
        Kind::Program { path } => paths.contains_key(path).then(|| "there".to_owned()),
        Kind::MountUnit { unit, .. } => {
            let state = active.get(unit).map_or("inactive", String::as_str);
            let stamp = stamps.get(unit).map_or("none", String::as_str);
            Some(format!("{state} {stamp}"))
        }
        Kind::Mount { path } => mounts.contains(path).then(|| "mounted".to_owned()),
        Kind::SlurmNode { name, .. } => slurm.get(name).cloned(),
        Kind::SlurmDrained { .. } => None,
    };
    let mut facts: Facts = managed
        .iter()
        .map(|(name, account)| (format!("user:{name}"), account.clone()))
        .chain(edited.iter().map(|path| (format!("edit:{path}"), EDITED.to_owned())))
        .chain(books.ours())
        .collect();
    for item in items {
        facts.insert(item.key.clone(), found(item).unwrap_or_else(|| ABSENT.to_owned()));
    }
    Some(facts)
}

/// What `systemctl show` says of one unit.
#[derive(Default)]
struct Unit {
    names: Vec<String>,
    state: String,
}

impl Unit {
    fn tell(self, active: &mut BTreeMap<String, String>) {
        for name in self.names {
            active.insert(name.trim_end_matches(".service").to_owned(), self.state.clone());
        }
    }
}

/// What `sacctmgr` says: a line for each association of an account, or of a user in one.
#[derive(Default)]
struct Books {
    /// Parent, shares and limits by account.
    accounts: BTreeMap<String, String>,
    /// By user: a line of account, shares and limits for each of their accounts.
    users: BTreeMap<String, Vec<String>>,
    organizations: BTreeMap<String, String>,
    defaults: BTreeMap<String, String>,
}

impl Books {
    fn association(&mut self, text: &str) {
        let mut fields = text.splitn(4, '|');
        let (Some(account), Some(user), Some(parent), Some(rest)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return;
        };
        if user.is_empty() {
            self.accounts.insert(account.to_owned(), format!("{parent}|{rest}"));
        } else {
            let lines = self.users.entry(user.to_owned()).or_default();
            lines.push(format!("{account}|{rest};"));
        }
    }

    fn account(&self, name: &str) -> Option<String> {
        let organization = self.organizations.get(name).map_or("", String::as_str);
        Some(format!("{}|{organization}", self.accounts.get(name)?))
    }

    fn user(&self, name: &str) -> Option<String> {
        let mut lines = self.users.get(name)?.clone();
        lines.sort();
        let default = self.defaults.get(name).map_or("", String::as_str);
        Some(format!("{default};{}", lines.concat()))
    }

    /// The accounts that we made, and the users who are in them, whether the design names them or not.
    fn ours(&self) -> impl Iterator<Item = (String, String)> {
        let is_ours = |account: &str| self.organizations.get(account).is_some_and(|found| found == OURS);
        let accounts = self
            .accounts
            .keys()
            .filter(move |name| is_ours(name))
            .filter_map(|name| Some((format!("slurm-account:{name}"), self.account(name)?)));
        let in_ours = move |lines: &[String]| lines.iter().any(|line| line.split('|').next().is_some_and(is_ours));
        let users = self
            .users
            .iter()
            .filter(move |(name, lines)| *name != "root" && in_ours(lines))
            .filter_map(|(name, _)| Some((format!("slurm-user:{name}"), self.user(name)?)));
        accounts.chain(users)
    }
}

/// The part of a look that asks for accounts. Where slurmdbd is starting it is waited for; where it doesn't run, there are none.
fn books_look() -> String {
    format!(
        "tries=0\nwhile [ \"$(systemctl show -p ActiveState --value slurmdbd.service)\" = activating ] && [ \"$tries\" -lt 300 ]; do \
         tries=$((tries + 1)); sleep 0.1; done\n\
         echo @association\nsacctmgr -nP show assoc format=Account,User,ParentName,Share,{columns} 2>/dev/null\n\
         echo @account\nsacctmgr -nP show account format=Account,Organization 2>/dev/null\n\
         echo @slurm-user\nsacctmgr -nP show user format=User,DefaultAccount 2>/dev/null\n",
        columns = Limits::COLUMNS
    )
}

/// `up` for a node that takes jobs or that a person has drained, else Slurm's own word for its state. One that Slurm drained itself,
/// because it had fewer GPUs than are configured, is as good as down.
fn slurm_state(state: &str, reason: &str) -> String {
    let away = state.ends_with('*')
        || ["down", "unknown", "future", "fail", "inval"]
            .iter()
            .any(|word| state.starts_with(word));
    let fewer = reason.starts_with("gres/") && state.starts_with("drain");
    if away || fewer {
        state.to_owned()
    } else {
        "up".to_owned()
    }
}

/// The script that carries out `steps` as part of the cluster's apply with this number. Numbers count per cluster, and a
/// machine may serve a cluster made after another, so the fence goes by the cluster's identity.
pub(crate) fn apply(cluster_id: &str, number: u64, steps: &[Step]) -> String {
    let mut script = String::from(include_str!("node/apply.sh"));
    if steps.iter().any(|step| step.item.in_database()) {
        script.push_str(include_str!("node/books.sh"));
        line(
            &mut script,
            &format!("associations=Account,User,ParentName,Share,{}", Limits::COLUMNS),
        );
    }
    script.push_str("\nchange() {\n");
    line(&mut script, &format!("enter {} {number}", quote(cluster_id)));
    // First of all: what is refused then leaves no trace.
    for step in steps {
        if let Kind::Service {
            inputs,
            trial: Trial::Slurmctld,
            ..
        } = &step.item.kind
        {
            try_slurmctld(&mut script, steps, inputs);
        }
    }
    for step in steps.iter().filter(|step| step.stale) {
        let unit = match &step.item.kind {
            Kind::Service { unit, .. } | Kind::MountUnit { unit, .. } => unit,
            _ => continue,
        };
        // Before anything is changed: a script that is cut short then leaves a daemon that is known to be out of date.
        line(&mut script, &format!("rm -f \"$state\"/stamp/{}", quote(unit)));
    }
    // All are looked at before the first is touched: an account that is made gives names to the owners of files that are there already.
    for (index, step) in steps.iter().enumerate() {
        if let (Some(_), (Some(found), _)) = (&step.expected, words(&step.item)) {
            line(&mut script, &format!("found_{index}=$({found})"));
        }
    }
    for (index, step) in steps.iter().enumerate() {
        let (found, act) = words(&step.item);
        if let (Some(expected), Some(_)) = (&step.expected, found) {
            let expected = quote(expected);
            line(
                &mut script,
                &format!("if expect {index} {expected} \"$found_{index}\"; then"),
            );
            line(&mut script, &act);
            line(&mut script, &format!("finish {index} $?"));
            line(&mut script, "fi");
        } else {
            line(&mut script, &act);
            line(&mut script, &format!("finish {index} $?"));
        }
    }
    script.push_str("echo end\n}\nchange </dev/null\n");
    script
}

/// Tries what these steps make of a running controller's configuration.
fn try_slurmctld(script: &mut String, steps: &[Step], inputs: &[String]) {
    let mut first = None;
    for (index, step) in steps.iter().enumerate() {
        let (path, text) = match &step.item.kind {
            Kind::File { path, content, .. } => (path, content.reveal()),
            Kind::Edited { path, content, .. } => (path, &**content),
            _ => continue,
        };
        let Some(name) = path.strip_prefix("/etc/slurm/") else {
            continue;
        };
        // On a new node there is nothing yet that could be spared.
        if !inputs.contains(&step.item.key) || step.expected.is_none() {
            continue;
        }
        if first.is_none() {
            first = Some(index);
            line(script, "trial_begin");
        }
        line(script, &format!("trial_put {} {}", quote(name), quote(text)));
    }
    if let Some(index) = first {
        line(script, &format!("trial_slurmctld || finish {index} 1"));
    }
}

/// The shell's words to find an item's fingerprint, where it can drift, and to bring the item about.
fn words(item: &Item) -> (Option<String>, String) {
    let (found, act) = match &item.kind {
        Kind::File {
            path,
            mode,
            owner,
            content,
        } => {
            let path = quote(path);
            // What a new file's permissions must lack.
            let umask = 0o666 & !mode;
            (
                format!("found_file {path}"),
                format!("put {path} {umask:04o} {owner} {}", quote(content.reveal())),
            )
        }
        Kind::Edited {
            path,
            mode,
            owner,
            content,
            readers,
        } => {
            let path = quote(path);
            let mut notes = String::new();
            for (unit, refresh) in readers {
                let how = if *refresh == Refresh::Reload {
                    "reload"
                } else {
                    "restart"
                };
                line(&mut notes, &format!("{how} {unit}"));
            }
            (
                format!("found_file {path}"),
                format!(
                    "edit {path} {mode:04o} {} {} {}",
                    quote(owner),
                    quote(content),
                    quote(&notes)
                ),
            )
        }
        Kind::NotEdited { path } => {
            let path = quote(path);
            (format!("found_edit {path}"), format!("put_back {path}"))
        }
        Kind::Directory { path, mode, owner } => {
            let path = quote(path);
            (
                format!("found_dir {path}"),
                format!("put_dir {path} {mode:o} {}", quote(owner)),
            )
        }
        Kind::Link { path, target } => {
            let path = quote(path);
            (
                format!("found_link {path}"),
                format!("put_link {path} {}", quote(target)),
            )
        }
        Kind::Account { name, uid, home } => {
            let name = quote(name);
            (
                format!("found_user {name}"),
                format!("account {name} {uid} {}", quote(home)),
            )
        }
        Kind::NoAccount { name } => {
            let name = quote(name);
            (format!("found_user {name}"), format!("no_account {name}"))
        }
        Kind::Service {
            unit,
            digest,
            refresh,
            trial,
            ..
        } => {
            let refresh = match refresh {
                Refresh::Start => "start",
                Refresh::Restart => "restart",
                Refresh::ScontrolReconfigure => "reconfigure",
                Refresh::Reload => "reload",
            };
            let act = format!("service {unit} {digest} {refresh}");
            let act = match trial {
                Trial::Runs => format!("{act} && runs {unit} {digest}"),
                Trial::None | Trial::Slurmctld => act,
            };
            (format!("found_service {unit}"), act)
        }
        Kind::NoService { unit } => (format!("found_no_service {unit}"), format!("no_service {unit}")),
        Kind::SlurmAccount { name, parent, settings } => {
            let name = quote(name);
            (
                format!("found_slurm_account {name}"),
                format!("slurm_account {name} {} {}", quote(parent), quoted(settings)),
            )
        }
        Kind::NoSlurmAccount { name } => {
            let name = quote(name);
            (
                format!("found_slurm_account {name}"),
                format!("no_slurm_account {name}"),
            )
        }
        Kind::SlurmUser {
            name,
            accounts,
            settings,
        } => {
            let name = quote(name);
            (
                format!("found_slurm_user {name}"),
                format!("slurm_user {name} {} {}", quote(&accounts.join(",")), quoted(settings)),
            )
        }
        Kind::NoSlurmUser { name } => {
            let name = quote(name);
            (format!("found_slurm_user {name}"), format!("no_slurm_user {name}"))
        }
        // Whether a mount or a Slurm node still is as it was doesn't matter: the step only waits or reports.
        Kind::Mount { path } => {
            let path = quote(path);
            let report = format!("mountpoint -q {path} || {{ echo {path} is not mounted >&2; false; }}");
            return (None, report);
        }
        Kind::Program { path } => {
            let path = quote(path);
            let report = format!(
                "[ -x {path} ] || {{ echo {path} is not in the image that this node was made from: take the node out of the design, apply, and add it again >&2; false; }}"
            );
            return (None, report);
        }
        Kind::MountUnit { unit, digest, .. } => {
            let unit = quote(unit);
            (
                format!("found_mount_unit {unit}"),
                format!("mount_unit {unit} {digest}"),
            )
        }
        Kind::SlurmNode { name, .. } => return (None, format!("slurm_node {}", quote(name))),
        Kind::SlurmDrained { name } => return (None, format!("slurm_drained {}", quote(name))),
    };
    (Some(found), act)
}

fn quoted(words: &[String]) -> String {
    words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
}

/// Reads what [`apply`]'s script printed. `said` is its standard error, told with the step that failed.
pub(crate) fn read_outcomes(steps: usize, output: &str, said: &str) -> Result<Vec<StepOutcome>, Refused> {
    let mut outcomes = vec![StepOutcome::NotReached; steps];
    for text in output.lines() {
        let mut fields = text.splitn(4, ' ');
        match (fields.next(), fields.next(), fields.next(), fields.next()) {
            (Some("refused"), Some("fence"), Some(number), None) => {
                return Err(Refused::Fence(number.parse().unwrap_or(u64::MAX)));
            }
            (Some("refused"), ..) => return Err(Refused::Busy),
            (Some("step"), Some(index), Some(result), found) => {
                let Some(outcome) = index.parse().ok().and_then(|index: usize| outcomes.get_mut(index)) else {
                    continue;
                };
                *outcome = match result {
                    "ok" => StepOutcome::Done,
                    "drift" => StepOutcome::Drift {
                        found: found.unwrap_or_default().to_owned(),
                    },
                    _ => StepOutcome::Failed(said.trim().to_owned()),
                };
            }
            _ => {}
        }
    }
    Ok(outcomes)
}

fn line(script: &mut String, text: &str) {
    // Writing to a String can't fail.
    let _ = writeln!(script, "{text}");
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::item::{Content, digest};
    use crate::stacks::Barrier;

    /// The scripts are real shell, so they are run by the real shell, on a folder that stands for a node.
    struct Node {
        root: tempfile::TempDir,
        owner: String,
    }

    impl Node {
        fn new() -> Self {
            let name = |flag| {
                let output = Command::new("id").arg(flag).output().expect("id runs");
                String::from_utf8(output.stdout).expect("a name").trim().to_owned()
            };
            Self {
                root: tempfile::tempdir().expect("a folder"),
                owner: format!("{}:{}", name("-un"), name("-gn")),
            }
        }

        fn path(&self, name: &str) -> String {
            self.root.path().join(name).display().to_string()
        }

        fn file(&self, name: &str, text: &str) -> Item {
            Item::file_of(&self.path(name), 0o640, &self.owner, Content::Text(text.into()))
        }

        fn run(&self, script: &str) -> (String, String) {
            let script = script.replace("/var/lib/clusterbook", &self.path("state"));
            let mut shell = Command::new("/bin/sh")
                .arg("-s")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("a shell");
            shell
                .stdin
                .take()
                .expect("its input")
                .write_all(script.as_bytes())
                .expect("it reads");
            let output = shell.wait_with_output().expect("it ends");
            let text = |bytes| String::from_utf8(bytes).expect("text");
            (text(output.stdout), text(output.stderr))
        }

        fn look(&self, items: &[Item]) -> Facts {
            let (output, said) = self.run(&observe(items));
            read_facts(items, &output).unwrap_or_else(|| panic!("broke off: {said}"))
        }

        fn change(&self, number: u64, steps: &[Step]) -> Result<Vec<StepOutcome>, Refused> {
            let (output, said) = self.run(&apply("0123456789ab", number, steps));
            read_outcomes(steps.len(), &output, &said)
        }
    }

    fn fresh(items: &[Item]) -> Vec<Step> {
        items.iter().map(|item| Step::blind(item.clone())).collect()
    }

    fn seen(items: &[Item], facts: &Facts) -> Vec<Step> {
        items
            .iter()
            .map(|item| Step {
                item: item.clone(),
                expected: facts.get(&item.key).cloned(),
                stale: false,
            })
            .collect()
    }

    #[test]
    fn what_was_applied_is_what_is_then_found() {
        let node = Node::new();
        let items = [
            Item::directory(&node.path("deep/folder"), 0o750, &node.owner),
            node.file("deep/folder/plain", "one\ntwo $HOME `id` \\ 'quoted'\n"),
            node.file("no newline at the end", "x"),
            node.file("empty", ""),
            node.file("日本語", "計算機\n"),
            node.file("tricky", "end-of-file-7c1d\n"),
            Item::link(&node.path("deep/link"), "../elsewhere"),
        ];
        assert!(node.look(&items).values().all(|found| found == ABSENT));
        assert_eq!(node.change(1, &fresh(&items)), Ok(vec![StepOutcome::Done; items.len()]));
        let facts = node.look(&items);
        for item in &items {
            assert_eq!(facts[&item.key], item.want, "{}", item.key);
        }
        assert_eq!(
            fs_err::read_to_string(node.path("deep/folder/plain")).expect("it is there"),
            "one\ntwo $HOME `id` \\ 'quoted'\n"
        );
    }

    #[test]
    fn what_changed_since_the_plan_is_reported_and_left_alone() {
        let node = Node::new();
        let first = [node.file("conf", "a\n"), node.file("other", "b\n")];
        node.change(1, &fresh(&first)).expect("it is carried out");
        let facts = node.look(&first);
        let wanted = [node.file("conf", "new\n"), node.file("other", "new\n")];
        fs_err::write(node.path("conf"), "a person's own\n").expect("it is written");
        let outcomes = node.change(2, &seen(&wanted, &facts)).expect("it is carried out");
        assert!(matches!(&outcomes[0], StepOutcome::Drift { found } if *found != facts[&first[0].key]));
        assert_eq!(outcomes[1], StepOutcome::Done);
        assert_eq!(
            fs_err::read_to_string(node.path("conf")).expect("it is there"),
            "a person's own\n"
        );
    }

    #[test]
    fn a_failure_ends_the_script_and_says_why() {
        let node = Node::new();
        fs_err::write(node.path("in the way"), "").expect("it is written");
        let items = [
            node.file("before", "x\n"),
            node.file("in the way/file", "x\n"),
            node.file("after", "x\n"),
        ];
        let outcomes = node.change(1, &fresh(&items)).expect("it is carried out");
        assert_eq!(outcomes[0], StepOutcome::Done);
        assert!(
            matches!(&outcomes[1], StepOutcome::Failed(why) if why.contains("in the way")),
            "{outcomes:?}"
        );
        assert_eq!(outcomes[2], StepOutcome::NotReached);
    }

    #[test]
    fn an_older_apply_is_refused_and_changes_nothing() {
        let node = Node::new();
        node.change(7, &fresh(&[node.file("conf", "seven\n")]))
            .expect("the newer one");
        let older = node.change(6, &fresh(&[node.file("conf", "six\n")]));
        assert_eq!(older, Err(Refused::Fence(7)));
        assert_eq!(
            fs_err::read_to_string(node.path("conf")).expect("it is there"),
            "seven\n"
        );
        node.change(7, &fresh(&[node.file("conf", "again\n")]))
            .expect("the same one");
    }

    #[test]
    fn half_a_script_does_nothing() {
        let node = Node::new();
        let script = apply(
            "0123456789ab",
            1,
            &fresh(&[node.file("conf", "x\n"), node.file("conf2", "y\n")]),
        );
        node.run(&script[..script.len() - "change </dev/null\n".len() - 2]);
        assert!(!fs_err::exists(node.path("conf")).expect("it can be looked at"));
        assert_eq!(read_facts(&[], "@managed\n"), None, "a look that broke off is no look");
    }

    fn edited(node: &Node, name: &str, content: &str) -> Item {
        let file = clusterbook_model::EditedFile {
            path: node.path(name),
            nodes: vec!["all".to_owned()],
            mode: "0750".to_owned(),
            owner: node.owner.clone(),
            reload: Vec::new(),
            restart: Vec::new(),
            content: content.to_owned(),
        };
        Item::edited(&file, Vec::new())
    }

    #[test]
    fn what_was_there_before_the_first_edit_is_put_back() {
        let node = Node::new();
        let (old, new) = (node.path("old.conf"), node.path("deep/new.conf"));
        fs_err::write(&old, "from the package\n").expect("a file");
        let mode = |path: &str| {
            use std::os::unix::fs::PermissionsExt as _;
            fs_err::metadata(path).expect("a file").permissions().mode() & 0o777
        };
        let before = mode(&old);
        let items = |content: &str| {
            [
                edited(&node, "old.conf", content),
                edited(&node, "deep/new.conf", content),
            ]
        };
        for content in ["one\n", "two\n"] {
            let (said, trouble) = node.run(&apply("0123456789ab", 1, &fresh(&items(content))));
            let outcomes = read_outcomes(2, &said, &trouble).expect("it is not refused");
            assert_eq!(outcomes, [StepOutcome::Done, StepOutcome::Done], "{trouble}");
            assert_eq!(fs_err::read_to_string(&old).expect("a file"), content);
            assert_eq!(mode(&new), 0o750);
        }
        let (said, _) = node.run(&observe(&items("two\n")));
        let facts = read_facts(&items("two\n"), &said).expect("a whole look");
        assert!(
            items("two\n").iter().all(|item| facts[&item.key] == item.want),
            "{facts:?}"
        );

        // A look that asks for none of them still tells that they are edited.
        let (said, _) = node.run(&observe(&[]));
        let facts = read_facts(&[], &said).expect("a whole look");
        let keys: Vec<&str> = facts.keys().map(String::as_str).collect();
        assert_eq!(keys, [format!("edit:{new}"), format!("edit:{old}")]);

        let back = [Item::not_edited(&old), Item::not_edited(&new)];
        let steps: Vec<Step> = back
            .iter()
            .map(|item| Step {
                item: item.clone(),
                expected: Some(EDITED.to_owned()),
                stale: false,
            })
            .collect();
        let (said, trouble) = node.run(&apply("0123456789ab", 2, &steps));
        let outcomes = read_outcomes(2, &said, &trouble).expect("it is not refused");
        assert_eq!(outcomes, [StepOutcome::Done, StepOutcome::Done], "{trouble}");
        assert_eq!(fs_err::read_to_string(&old).expect("a file"), "from the package\n");
        assert_eq!(mode(&old), before);
        assert!(!fs_err::exists(&new).expect("it can be looked at"));
        let (said, _) = node.run(&observe(&[]));
        assert!(read_facts(&[], &said).expect("a whole look").is_empty());
    }

    #[test]
    fn a_folder_is_not_replaced_by_a_file() {
        let node = Node::new();
        fs_err::create_dir(node.path("conf")).expect("a folder");
        let (said, trouble) = node.run(&apply("0123456789ab", 1, &fresh(&[edited(&node, "conf", "x\n")])));
        let outcomes = read_outcomes(1, &said, &trouble).expect("it is not refused");
        assert!(
            matches!(&outcomes[0], StepOutcome::Failed(said) if said.contains("is a folder")),
            "{outcomes:?}"
        );
    }

    #[test]
    fn a_controllers_configuration_is_tried_before_anything_else_is_done() {
        let conf = Item::file("/etc/slurm/slurm.conf", 0o644, "SchedulerTyp=x\n");
        let daemon = Item::service("slurmctld", Refresh::ScontrolReconfigure, &[&conf]).tried(Trial::Slurmctld);
        let steps = |expected: Option<&str>| {
            [
                Step {
                    item: conf.clone(),
                    expected: expected.map(str::to_owned),
                    stale: false,
                },
                Step {
                    item: daemon.clone(),
                    expected: None,
                    stale: expected.is_some(),
                },
            ]
        };
        let script = apply("0123456789ab", 1, &steps(Some("644 root:root sum")));
        let place = |text: &str| script.rfind(text).unwrap_or_else(|| panic!("{text} is not there"));
        assert!(place("trial_slurmctld || finish 0 1") < place("stamp/slurmctld"));
        assert!(place("trial_put slurm.conf") < place("put /etc/slurm/slurm.conf"));
        // A new node has nothing that could be spared.
        assert!(!apply("0123456789ab", 1, &steps(None)).contains("trial_put slurm.conf"));
    }

    #[test]
    fn daemons_accounts_and_mounts_are_read_from_what_systems_print() {
        let items = [
            Item::service("munge", Refresh::Restart, &[]),
            Item::service("slurmd", Refresh::Restart, &[]),
            Item::account("taro", 2001, "/home/taro"),
            Item::mount("/home"),
            Item::slurm_node("c1", None),
            Item::slurm_node("c2", None),
            Item::slurm_node("c3", None),
            Item::slurm_node("c4", None),
            Item::slurm_node("g1", None),
            Item::mount_unit(
                "data\\x2d1.mount",
                "/data-1",
                &Item::file("/etc/systemd/system/x", 0o644, ""),
            ),
        ];
        let output = "@user\ntaro:x:2001:2001:clusterbook:/home/taro:/bin/bash\n@managed\n\
            taro:x:2001:2001:clusterbook:/home/taro:/bin/bash\nhanako:x:2002:2002:clusterbook:/home/hanako:/bin/bash\n\
            @unit\nNames=munge.service\nActiveState=active\n\nActiveState=activating\nNames=slurmd-alias.service slurmd.service\n\
            \nNames=data\\x2d1.mount\nActiveState=active\n@stamp\nmunge 0123\ndata\\x2d1.mount 4567\n@mount\n/dev/vda /home ext4 rw 0 0\n\
            @slurm\nc1|idle|none\nc2|down*|Not responding\nc3|drained|disk\n\
            g1|drained|gres/gpu count reported lower than configured (0 < 2)\n@end\n";
        let facts = read_facts(&items, output).expect("a whole look");
        let found = |item: &Item| facts[&item.key].as_str();
        assert_eq!(found(&items[0]), "active 0123");
        assert_eq!(found(&items[1]), "activating none");
        assert_eq!(found(&items[2]), items[2].want);
        assert_eq!(found(&items[3]), "mounted");
        assert_eq!(found(&items[4]), "up");
        assert_eq!(found(&items[5]), "down*");
        assert_eq!(found(&items[6]), "up", "what a person drained is left alone");
        assert_eq!(found(&items[7]), ABSENT);
        assert_eq!(found(&items[8]), "drained", "what Slurm drained by itself is not");
        assert_eq!(found(&items[9]), "active 4567");
        assert!(
            facts.contains_key("user:hanako"),
            "an account of ours that left the design is seen"
        );
    }

    fn an_account(limits: &str) -> (clusterbook_model::Design, Vec<Item>) {
        let parameters = serde_json::json!({
            "name": "demo",
            "accounting": {"accounts": [{"name": "lab", "fairshare": 2, "limits": {"MaxJobs": 3}}, {"name": "guests"}]},
            "users": [{"name": "taro", "accounts": ["lab", "guests"], "limits": {"MaxTRESPerJob": limits}}],
        });
        let design = clusterbook_model::Design::from_parameters(&parameters).expect("a design");
        let accounting = &design.accounting;
        let user = &design.users[0];
        let held: Vec<_> = accounting
            .accounts_of(user)
            .into_iter()
            .map(|name| (name, user.limits.below(&accounting.limits_of(name))))
            .collect();
        let items = vec![
            Item::slurm_account(&accounting.accounts[0], &accounting.limits_of("lab")),
            Item::slurm_user(user, &held),
            Item::no_slurm_user("hanako"),
        ];
        (design, items)
    }

    #[test]
    fn accounts_are_read_from_what_sacctmgr_prints() {
        let (_, items) = an_account("cpu=4");
        let output = "@managed\n@association\nroot|||1||||||||||||\nroot|root||1||||||||||||\n\
            lab||root|2|||||||3|||||\nlab|taro||1|||||||3||cpu=4|||\nguests||root|1||||||||||||\nguests|taro||1|||||||||cpu=4|||\n\
            guests|hanako||1||||||||||||\nold||root|1||||||||||||\ntheirs||root|1||||||||||||\ntheirs|ichiro||1||||||||||||\n\
            @account\nroot|root\nlab|clusterbook\nguests|clusterbook\nold|clusterbook\ntheirs|the centre\n\
            @slurm-user\nroot|root\ntaro|lab\nhanako|guests\nichiro|theirs\n@end\n";
        let facts = read_facts(&items, output).expect("a whole look");
        assert_eq!(facts[&items[0].key], items[0].want);
        assert_eq!(facts[&items[1].key], items[1].want);
        assert_ne!(facts[&items[2].key], ABSENT, "somebody who must go");
        assert!(
            facts.contains_key("slurm-account:old"),
            "an account of ours that left the design"
        );
        assert!(
            !facts.contains_key("slurm-account:theirs") && !facts.contains_key("slurm-user:ichiro"),
            "an administrator's own accounts are nobody's business here"
        );
        assert!(!facts.contains_key("slurm-user:root"), "root stays");
        let (_, others) = an_account("cpu=8");
        assert_ne!(others[1].want, items[1].want);
        // Slurm without a database, or one that doesn't answer, has none of them.
        let empty = read_facts(&items, "@managed\n@association\n@account\n@slurm-user\n@end\n").expect("a whole look");
        assert!(empty.values().all(|found| found == ABSENT));
    }

    /// The functions are run by a real shell, with a `sacctmgr` that keeps nothing and writes down what it was told.
    #[test]
    fn accounts_are_brought_about_by_sacctmgr() {
        let node = Node::new();
        let log = node.path("told");
        let (_, items) = an_account("cpu=4");
        let pretended = format!(
            "sacctmgr() {{ case \"$*\" in *show*account=root*) echo root ;; *show*tres*) echo 'gres|gpu' ;; *show*) ;; \
             *) echo \"$*\" >>{log} ;; esac; }}\nscancel() {{ :; }}\nchange() {{"
        );
        let script = apply("0123456789ab", 1, &fresh(&items)).replacen("change() {", &pretended, 1);
        let (output, said) = node.run(&script);
        assert_eq!(
            read_outcomes(items.len(), &output, &said),
            Ok(vec![StepOutcome::Done; 3]),
            "{said}"
        );
        let told = fs_err::read_to_string(&log).expect("it was told something");
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(
            lines[0],
            "-Qi add account lab parent=root organization=clusterbook description=lab"
        );
        assert!(lines[1].starts_with("-Qi modify account where name=lab set organization=clusterbook fairshare=2"));
        assert!(lines[1].contains(" MaxJobs=3 "), "{told}");
        assert!(
            lines[1].contains(" GrpTRES=billing=-1,cpu=-1,mem=-1,node=-1,gres/gpu=-1 "),
            "limits on GPUs are lifted where there are any: {told}"
        );
        assert_eq!(lines[2], "-Qi add user taro account=lab defaultaccount=lab");
        assert_eq!(lines[3], "-Qi add user taro account=guests defaultaccount=lab");
        assert!(lines[4].starts_with("-Qi modify user where name=taro set defaultaccount=lab fairshare=1 "));
        assert!(
            lines[4].contains(" MaxTRESPerJob=billing=-1,cpu=4,mem=-1,node=-1,gres/gpu=-1 "),
            "{told}"
        );
        assert_eq!(lines.len(), 5, "nobody is there who must go: {told}");
    }

    #[test]
    fn a_daemon_reads_again_what_was_edited_behind_its_back() {
        let conf = Item::file("/etc/slurm/slurm.conf", 0o644, "ReturnToService=2\n");
        let daemon = Item::service("slurmctld", Refresh::ScontrolReconfigure, &[&conf]);
        let mut facts = Facts::from([
            (conf.key.clone(), "644 root:root somebody's".to_owned()),
            (daemon.key.clone(), daemon.want.clone()),
        ]);
        let wanted = || {
            vec![
                ("controller", Barrier::Nothing, conf.clone()),
                ("controller", Barrier::Nothing, daemon.clone()),
            ]
        };
        let differences = crate::observe::differences(wanted(), &facts);
        let steps: Vec<Step> = differences.into_iter().map(|difference| difference.step).collect();
        assert_eq!(steps.len(), 2, "the file, and the daemon that may have read it");
        let script = apply("0123456789ab", 1, &steps);
        let forgets = script.find("rm -f \"$state\"/stamp/slurmctld").expect("its stamp goes");
        assert!(
            forgets < script.find("put /etc/slurm/slurm.conf").expect("the file is put"),
            "first of all"
        );
        facts.insert(conf.key.clone(), conf.want.clone());
        assert!(crate::observe::differences(wanted(), &facts).is_empty());
    }

    #[test]
    fn a_daemon_is_refreshed_when_anything_that_it_reads_changes() {
        let service =
            |text: &str| Item::service("munge", Refresh::Restart, &[&Item::file("/etc/key", 0o400, text)]).want;
        assert_ne!(service("a"), service("b"));
        assert_eq!(service("a"), service("a"));
        assert_ne!(
            digest(["ab", "c"]),
            digest(["a", "bc"]),
            "parts don't run into each other"
        );
    }
}
