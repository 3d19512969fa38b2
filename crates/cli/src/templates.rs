//! Templates in a folder that replace built-in ones: `slurm/slurm.conf.j2`, or `slurm/slurm.conf`, is the template
//! `slurm/slurm.conf`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clusterbook_model::Renderer;

use crate::error::CommandError;

/// Every template below `folder`, by name. One that can't be parsed, or that replaces nothing, is refused at once.
pub(crate) fn read(folder: &Path) -> Result<BTreeMap<String, String>, CommandError> {
    let mut sources = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        let unreadable = |error: std::io::Error| {
            CommandError::input(format!("the templates in {} can't be read", folder.display())).because(&error)
        };
        for entry in fs_err::read_dir(&next).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if is_hidden(&path) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let source = fs_err::read_to_string(&path).map_err(unreadable)?;
            let name = name(folder, &path);
            if sources.insert(name.clone(), source).is_some() {
                return Err(CommandError::input(format!(
                    "{} holds the template {name} twice, with and without .j2",
                    folder.display()
                ))
                .hint("remove one of the two"));
            }
        }
    }
    Renderer::new(sources.clone()).map_err(clusterbook_engine::Error::from)?;
    Ok(sources)
}

/// An editor's or a version control's own files.
fn is_hidden(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn name(folder: &Path, path: &Path) -> String {
    let below: PathBuf = path.strip_prefix(folder).unwrap_or(path).to_owned();
    let name = below.to_string_lossy();
    name.strip_suffix(".j2").unwrap_or(&name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_named_by_its_path_without_ending() {
        let folder = Path::new("/etc/mine");
        for file in ["slurm/slurm.conf.j2", "slurm/slurm.conf"] {
            assert_eq!(name(folder, &folder.join(file)), "slurm/slurm.conf");
        }
    }
}
