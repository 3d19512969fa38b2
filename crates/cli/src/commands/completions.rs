//! `clusterbook completions`

use clap::CommandFactory as _;
use clap_complete::Shell;
use serde::Serialize;

use crate::context::Context;
use crate::error::{CommandError, Ending};

/// Print the script that completes this program's commands in a shell
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  clusterbook completions bash > ~/.local/share/bash-completion/completions/clusterbook
  clusterbook completions zsh > ~/.zfunc/_clusterbook
  clusterbook completions fish > ~/.config/fish/completions/clusterbook.fish")]
pub(crate) struct Arguments {
    /// The shell
    shell: Shell,
}

#[derive(Serialize)]
struct Script<'a> {
    shell: String,
    script: &'a str,
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<Ending, CommandError> {
    let mut bytes = Vec::new();
    clap_complete::generate(
        arguments.shell,
        &mut crate::Arguments::command(),
        "clusterbook",
        &mut bytes,
    );
    let script = String::from_utf8_lossy(&bytes);
    context.output.text(script.trim_end());
    context.output.document(&Script {
        shell: arguments.shell.to_string(),
        script: &script,
    });
    Ok(Ending::Done)
}
