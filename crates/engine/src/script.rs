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
    let mut groups = Vec::new();
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
            Kind::UnixGroup { name, .. } | Kind::NoUnixGroup { name } => groups.push(name.as_str()),
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
    if !groups.is_empty() {
        line(&mut script, "echo @group");
        line(&mut script, &format!("getent group {}", words(&groups)));
    }
    // The comment field of an account tells that it is one of ours, also when the design no longer names it.
    line(&mut script, "echo @managed");
    line(
        &mut script,
        "getent passwd | grep '^[^:]*:[^:]*:[^:]*:[^:]*:clusterbook:'",
    );
    // A group has no comment field, so a note beside it tells the same.
    line(&mut script, "echo @our-group");
    line(
        &mut script,
        "for note in /var/lib/clusterbook/unix-group/*; do [ ! -e \"$note\" ] || getent group \"${note##*/}\"; done",
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
    let mut groups = BTreeMap::new();
    let mut our_groups = BTreeMap::new();
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
            "group" | "our-group" => {
                let fields: Vec<&str> = text.split(':').collect();
                if let [name, _, gid, members] = fields[..] {
                    let list = if section == "group" {
                        &mut groups
                    } else {
                        &mut our_groups
                    };
                    let mut members: Vec<&str> = members.split(',').collect();
                    members.sort_unstable();
                    list.insert(name.to_owned(), format!("{gid}:{}", members.join(",")));
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
        Kind::UnixGroup { name, .. } | Kind::NoUnixGroup { name } => groups.get(name).cloned(),
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
        .chain(
            our_groups
                .iter()
                .map(|(name, group)| (format!("unix-group:{name}"), group.clone())),
        )
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
        Kind::UnixGroup { name, gid, members } => {
            let name = quote(name);
            (
                format!("found_unix_group {name}"),
                format!("unix_group {name} {gid} {}", quote(&members.join(","))),
            )
        }
        Kind::NoUnixGroup { name } => {
            let name = quote(name);
            (format!("found_unix_group {name}"), format!("no_unix_group {name}"))
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
pub(crate) mod tests;
