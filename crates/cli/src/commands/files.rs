//! `clusterbook files`

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use clusterbook_engine::{Error as EngineError, FileOnNode, Found, Part, Stop, Version};
use clusterbook_model::{DesignFile, EditedFile, diff};
use serde::Serialize;

use crate::context::Context;
use crate::design::{self, Opened};
use crate::error::{CommandError, Ending};
use crate::output::{Tone, count, plain};

/// Show, set, compare and roll back configuration files on nodes
#[derive(clap::Args)]
#[command(after_help = "\
`set`, `remove` and `roll-back` edit the design file; nodes change by `clusterbook apply` only, and \
`clusterbook plan` is the dry run. Files that follow from other parameters are refused, with the name of the \
parameter. DESIGN is the path of a *.cluster.yaml, or a cluster's name for NAME.cluster.yaml here.

Examples:
  clusterbook files show demo /etc/motd --on compute
  clusterbook files set demo /etc/motd --from motd
  clusterbook files set demo /etc/chrony/conf.d/a.conf --from a.conf --restart chrony
  clusterbook files diff demo /etc/motd && clusterbook apply demo
  clusterbook files versions demo /etc/motd
  clusterbook files roll-back demo /etc/motd 3
  clusterbook files roll-back demo slurm_conf 3 && clusterbook apply demo")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// List the files of a design
    List {
        /// The design
        design: String,
    },
    /// Show what a file holds on nodes now; any file may be asked for
    Show {
        /// The design
        design: String,
        /// Absolute path on the nodes
        path: String,
        /// Nodes: a name, a group, master or all; may be given several times
        #[arg(long, value_name = "NODES", default_value = "all")]
        on: Vec<String>,
    },
    /// Set what a file holds, in the design file
    Set {
        /// The design
        design: String,
        /// Absolute path on the nodes
        path: String,
        /// File here that holds the content; - for standard input
        #[arg(long, value_name = "FILE")]
        from: PathBuf,
        /// Where: all, master or a group; may be given several times. Default: as before, else all
        #[arg(long, value_name = "NODES")]
        nodes: Vec<String>,
        /// Octal permission bits. Default: as before, else 0644
        #[arg(long)]
        mode: Option<String>,
        /// USER:GROUP. Default: as before, else root:root
        #[arg(long)]
        owner: Option<String>,
        /// Service that reads its configuration again when the file changes; may be given several times
        #[arg(long, value_name = "SERVICE")]
        reload: Vec<String>,
        /// Service that is restarted when the file changes; may be given several times
        #[arg(long, value_name = "SERVICE")]
        restart: Vec<String>,
    },
    /// Take a file out of the design file: applying puts back what was there before its first edit
    Remove {
        /// The design
        design: String,
        /// Absolute path on the nodes
        path: String,
        /// Its nodes, where several files have the path
        #[arg(long, value_name = "NODES")]
        nodes: Vec<String>,
    },
    /// Show how a file on the nodes differs from the design. Ends with status 3 if it does
    Diff {
        /// The design
        design: String,
        /// Absolute path on the nodes
        path: String,
    },
    /// List the applies that changed a file or slurm_conf
    Versions {
        /// The cluster
        name: String,
        /// Absolute path on the nodes, or slurm_conf
        part: String,
        /// Its nodes, where several files have the path
        #[arg(long, value_name = "NODES")]
        nodes: Vec<String>,
        /// Show what this apply's version holds instead
        #[arg(long, value_name = "NUMBER")]
        apply: Option<u64>,
    },
    /// Give a file or slurm_conf back what it was with an earlier apply, in the design file
    RollBack {
        /// The design
        design: String,
        /// Absolute path on the nodes, or slurm_conf
        part: String,
        /// Number of the apply
        apply: u64,
        /// Its nodes, where several files have the path
        #[arg(long, value_name = "NODES")]
        nodes: Vec<String>,
    },
}

#[derive(Serialize)]
struct Listed<'a> {
    cluster: &'a str,
    files: &'a [EditedFile],
}

#[derive(Serialize)]
struct Shown<'a> {
    cluster: &'a str,
    path: &'a str,
    nodes: &'a [FileOnNode],
}

#[derive(Serialize)]
struct Changed<'a> {
    cluster: &'a str,
    design: &'a Path,
    changed: bool,
    diff: String,
}

#[derive(Serialize)]
struct Differing<'a> {
    cluster: &'a str,
    path: &'a str,
    nodes: Vec<Difference>,
}

#[derive(Serialize)]
struct Difference {
    node: String,
    diff: String,
}

#[derive(Serialize)]
struct Versions<'a> {
    cluster: &'a str,
    part: &'a str,
    versions: &'a [Version],
}

pub(crate) async fn run(context: &Context, arguments: &Arguments) -> Result<Ending, CommandError> {
    match &arguments.what {
        What::List { design } => list(context, design),
        What::Show { design, path, on } => show(context, design, path, on).await,
        What::Set { design, .. } => {
            let mut opened = design::open(Some(design))?;
            let file = wanted(&arguments.what, &opened)?;
            let before = opened.file.text().to_owned();
            opened
                .file
                .set_file(&file)
                .map_err(|error| design::refused(&opened.path, error))?;
            save(context, &opened, &before)
        }
        What::Remove { design, path, nodes } => {
            let mut opened = design::open(Some(design))?;
            let before = opened.file.text().to_owned();
            opened
                .file
                .remove_file(path, given(nodes))
                .map_err(|error| design::refused(&opened.path, error))?;
            save(context, &opened, &before)
        }
        What::Diff { design, path } => differences(context, design, path).await,
        What::Versions {
            name,
            part,
            nodes,
            apply,
        } => versions(context, name, part, nodes, *apply),
        What::RollBack {
            design,
            part,
            apply,
            nodes,
        } => roll_back(context, design, part, *apply, nodes),
    }
}

/// Words of an option that may be left out.
fn given(words: &[String]) -> Option<&[String]> {
    (!words.is_empty()).then_some(words)
}

fn list(context: &Context, word: &str) -> Result<Ending, CommandError> {
    let design = design::load(Some(word))?.design;
    let rows = design
        .files
        .iter()
        .map(|file| {
            vec![
                plain(&file.path),
                plain(file.nodes.join(", ")),
                plain(&file.mode),
                plain(&file.owner),
                plain(file.content.len().to_string()),
                plain(
                    file.reload
                        .iter()
                        .chain(&file.restart)
                        .cloned()
                        .collect::<Vec<_>>()
                        .join(", "),
                ),
            ]
        })
        .collect();
    let header = ["PATH", "NODES", "MODE", "OWNER", "BYTES", "READ BY"];
    context.output.table(&header, rows);
    context.output.document(&Listed {
        cluster: &design.name,
        files: &design.files,
    });
    Ok(Ending::Done)
}

async fn show(context: &Context, word: &str, path: &str, on: &[String]) -> Result<Ending, CommandError> {
    let name = design::name(word)?;
    let found = context
        .engine("files")?
        .read_file(&name, on, path, &Stop::new())
        .await?;
    // Nodes that hold the same are told once.
    let mut groups: Vec<(&Found, Vec<&str>)> = Vec::new();
    for one in &found {
        match groups.iter_mut().find(|(known, _)| *known == &one.found) {
            Some((_, nodes)) => nodes.push(&one.node),
            None => groups.push((&one.found, vec![&one.node])),
        }
    }
    for (found, nodes) in groups {
        let nodes = nodes.join(", ");
        context.output.text(&match found {
            Found::There { mode, owner, content } => format!("── {path} on {nodes} ({mode} {owner})\n{content}"),
            Found::Absent => format!("── {path} on {nodes}: absent"),
            Found::Failed(failure) => format!("── {path} on {nodes}: {}", failure.message),
        });
    }
    context.output.document(&Shown {
        cluster: &name,
        path,
        nodes: &found,
    });
    let failed = found.iter().any(|one| matches!(one.found, Found::Failed(_)));
    Ok(if failed { Ending::Failed } else { Ending::Done })
}

/// The file that `set` asks for: what isn't given is as it was.
fn wanted(what: &What, opened: &Opened) -> Result<EditedFile, CommandError> {
    let What::Set {
        path,
        from,
        nodes,
        mode,
        owner,
        reload,
        restart,
        ..
    } = what
    else {
        return Err(CommandError::bug("another command than set"));
    };
    let known = opened.file.design().file(path, given(nodes));
    let mut file = known.cloned().unwrap_or_else(|| EditedFile {
        path: path.clone(),
        nodes: vec!["all".to_owned()],
        mode: "0644".to_owned(),
        owner: "root:root".to_owned(),
        reload: Vec::new(),
        restart: Vec::new(),
        content: String::new(),
    });
    file.content = content(from)?;
    let lists = [
        (&mut file.nodes, nodes),
        (&mut file.reload, reload),
        (&mut file.restart, restart),
    ];
    for (list, words) in lists {
        if !words.is_empty() {
            list.clone_from(words);
        }
    }
    for (word, text) in [(&mut file.mode, mode), (&mut file.owner, owner)] {
        if let Some(text) = text {
            word.clone_from(text);
        }
    }
    Ok(file)
}

fn content(from: &Path) -> Result<String, CommandError> {
    let failed =
        |error: std::io::Error| CommandError::input(format!("{} can't be read", from.display())).because(&error);
    if from == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().lock().read_to_string(&mut text).map_err(failed)?;
        return Ok(text);
    }
    fs_err::read_to_string(from).map_err(failed)
}

/// Writes an edited design file, and shows what has changed in it.
fn save(context: &Context, opened: &Opened, before: &str) -> Result<Ending, CommandError> {
    let text = opened.file.text();
    let name = &opened.file.design().name;
    let difference = diff(before, text);
    if difference.is_empty() {
        context.output.text("The design says so already.");
    } else {
        crate::files::replace(&opened.path, text.as_bytes())?;
        context.output.text(difference.trim_end());
        context.output.note(&format!(
            "Wrote {}. Look at `clusterbook plan {name}`.",
            opened.path.display()
        ));
    }
    context.output.document(&Changed {
        cluster: name,
        design: &opened.path,
        changed: !difference.is_empty(),
        diff: difference,
    });
    Ok(Ending::Done)
}

async fn differences(context: &Context, word: &str, path: &str) -> Result<Ending, CommandError> {
    let design = design::load(Some(word))?.design;
    let files: Vec<&EditedFile> = design.files.iter().filter(|file| file.path == path).collect();
    if files.is_empty() {
        return Err(
            CommandError::input(format!("the design of {} has no file {path}", design.name)).hint(format!(
                "set it with `clusterbook files set {} {path} --from FILE`",
                design.name
            )),
        );
    }
    let engine = context.engine("files")?;
    let mut nodes = Vec::new();
    for file in files {
        for one in engine.read_file(&design.name, &file.nodes, path, &Stop::new()).await? {
            let found = match &one.found {
                Found::There { content, .. } => content.as_str(),
                Found::Absent => "",
                Found::Failed(failure) => {
                    return Err(EngineError::Failures {
                        cluster: design.name.clone(),
                        failures: vec![failure.clone()],
                    }
                    .into());
                }
            };
            let difference = diff(found, &file.content);
            if !difference.is_empty() {
                context.output.text(&format!("── {path} on {}\n{difference}", one.node));
            }
            nodes.push(Difference {
                node: one.node,
                diff: difference,
            });
        }
    }
    let same = nodes.iter().all(|node| node.diff.is_empty());
    if same {
        context
            .output
            .text(&format!("{path} is as designed on {}.", count(nodes.len(), "node")));
    }
    context.output.document(&Differing {
        cluster: &design.name,
        path,
        nodes,
    });
    Ok(if same { Ending::Done } else { Ending::Changes })
}

/// The part of a design that a word names.
fn part(word: &str, nodes: &[String]) -> Result<Part, CommandError> {
    match word {
        "slurm_conf" => Ok(Part::SlurmConf),
        path if path.starts_with('/') => Ok(Part::File {
            path: path.to_owned(),
            nodes: given(nodes).map(<[String]>::to_vec),
        }),
        other => Err(CommandError::input(format!("{other} is neither a path nor slurm_conf"))
            .hint("give the path on the nodes, such as /etc/motd")),
    }
}

fn versions(
    context: &Context,
    name: &str,
    word: &str,
    nodes: &[String],
    apply: Option<u64>,
) -> Result<Ending, CommandError> {
    let versions = context.engine("files")?.versions(name, &part(word, nodes)?)?;
    if let Some(number) = apply {
        let version = versions.iter().rev().find(|version| version.apply <= number);
        let text = version.and_then(|version| version.text.as_deref()).ok_or_else(|| {
            CommandError::input(format!("{word} had no version at apply {number}"))
                .hint(format!("see `clusterbook files versions {name} {word}`"))
        })?;
        context.output.text(text.strip_suffix('\n').unwrap_or(text));
    } else {
        let rows = versions
            .iter()
            .map(|version| {
                let tone = match version.outcome {
                    "done" => Tone::Good,
                    "failed" => Tone::Bad,
                    _ => Tone::Note,
                };
                let lines = |sign: char| {
                    let marks =
                        |line: &&str| line.starts_with(sign) && !line.starts_with(&format!("{sign}{sign}{sign}"));
                    version.diff.lines().filter(marks).count()
                };
                vec![
                    plain(version.apply.to_string()),
                    plain(format!("{:.0}", version.at)),
                    plain(&version.by),
                    (version.outcome.to_owned(), tone),
                    plain(format!("+{} -{}", lines('+'), lines('-'))),
                ]
            })
            .collect();
        context.output.table(&["APPLY", "WHEN", "WHO", "ENDED", "CHANGE"], rows);
    }
    context.output.document(&Versions {
        cluster: name,
        part: word,
        versions: &versions,
    });
    Ok(Ending::Done)
}

fn roll_back(
    context: &Context,
    word: &str,
    wanted: &str,
    apply: u64,
    nodes: &[String],
) -> Result<Ending, CommandError> {
    let mut opened = design::open(Some(word))?;
    let before = opened.file.text().to_owned();
    let earlier = context.engine("files")?.design_of(&opened.file.design().name, apply)?;
    let refused = |error| design::refused(&opened.path, error);
    match part(wanted, nodes)? {
        Part::SlurmConf => {
            let settings = serde_json::to_value(&earlier.slurm_conf)
                .map_err(|error| CommandError::bug("settings that are no JSON").because(&error))?;
            if earlier.slurm_conf != opened.file.design().slurm_conf {
                opened.file.set("slurm_conf", settings).map_err(refused)?;
            }
        }
        Part::File { path, nodes } => {
            restore(&mut opened.file, earlier.file(&path, nodes.as_deref()), &path, nodes).map_err(refused)?
        }
    }
    save(context, &opened, &before)
}

/// Puts a file of an earlier design, or its absence, into this one.
fn restore(
    file: &mut DesignFile,
    then: Option<&EditedFile>,
    path: &str,
    nodes: Option<Vec<String>>,
) -> Result<(), clusterbook_model::FileError> {
    let now = file.design().file(path, nodes.as_deref()).cloned();
    if let Some(now) = &now
        && then.is_none_or(|then| then.nodes != now.nodes)
    {
        file.remove_file(path, Some(&now.nodes))?;
    }
    match then {
        Some(then) => file.set_file(then),
        None => Ok(()),
    }
}
