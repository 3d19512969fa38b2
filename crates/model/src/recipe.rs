//! Image recipes: what a node's image holds, apart from how a provider makes it.
//!
//! A recipe's tag is a hash of everything in it and of what it starts from, so an image is rebuilt exactly when something in it changed,
//! and two people with the same recipes have the same tags.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::nearest;
use crate::templates::{IMAGE_FILES, IMAGES};
use crate::{Architecture, Container};

/// What a recipe starts from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Base {
    /// A bare distribution, for example `debian-13`.
    Distribution(String),
    /// Another recipe, by its [`Recipe::tag`].
    Recipe(String),
}

/// One image: base, repositories, packages, files and a POSIX script, in that order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipe {
    /// Short name such as `compute`.
    pub name: String,
    /// What it starts from.
    pub base: Base,
    /// Instruction set of what it holds.
    pub architecture: Architecture,
    /// POSIX shell run first, as root, with `set -eu`: where packages come from. Empty when the distribution's are enough.
    pub before: String,
    /// Packages of the distribution.
    pub packages: Vec<String>,
    /// Files placed after the packages.
    pub files: Vec<RecipeFile>,
    /// POSIX shell run last, as root, with `set -eu`.
    pub script: String,
}

/// A file that a recipe places.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipeFile {
    /// Absolute path.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// Content.
    pub content: String,
}

/// A recipe that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RecipeError {
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: String,
}

/// The distributions that there are recipes for.
pub const DISTRIBUTIONS: [&str; 2] = ["debian-13", "rocky-9"];

impl Recipe {
    /// The recipe's name, its architecture, and twelve hexadecimal digits of a hash over its content and its base, for example
    /// `compute-x86_64-0123456789ab`.
    pub fn tag(&self) -> String {
        let mut hash = Sha256::new();
        // Lengths go in front, so that moving a byte from one field to the next is a change as well.
        let mut add = |text: &str| {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        };
        add(&self.name);
        match &self.base {
            Base::Distribution(name) => {
                add("distribution");
                add(name);
            }
            Base::Recipe(tag) => {
                add("recipe");
                add(tag);
            }
        }
        add(self.architecture.name());
        add(&self.before);
        add(&self.packages.len().to_string());
        for package in &self.packages {
            add(package);
        }
        for file in &self.files {
            add(&file.path);
            add(&file.mode.to_string());
            add(&file.content);
        }
        add(&self.script);
        let digest = hash.finalize();
        let hexadecimal: String = digest[..6].iter().map(|byte| format!("{byte:02x}")).collect();
        match self.architecture {
            Architecture::Native => format!("{}-{hexadecimal}", self.name),
            known => format!("{}-{known}-{hexadecimal}", self.name),
        }
    }
}

/// The recipes for nodes on `image` (a distribution, for example `debian-13`) that can run `containers`, in build order: each after the
/// one that it starts from.
///
/// A recipe may belong to one of the [`Container`]s. Where the design leaves that out the recipe isn't built, and what starts from it
/// starts from what lies below it, so that nobody's image holds what nobody asked for.
pub fn recipes(image: &str, architecture: Architecture, containers: &[Container]) -> Result<Vec<Recipe>, RecipeError> {
    let Some((_, written)) = IMAGES.iter().find(|(distribution, _)| *distribution == image) else {
        return Err(RecipeError {
            message: format!("there is no image recipe for '{image}'"),
            help: match nearest(image, DISTRIBUTIONS) {
                Some(name) => format!("did you mean '{name}'?"),
                None => format!("there are recipes for {}", DISTRIBUTIONS.join(", ")),
            },
        });
    };
    let mut tags: BTreeMap<String, String> = BTreeMap::new();
    let mut built = Vec::with_capacity(written.len());
    for (name, text) in *written {
        let (recipe, container) = parse(name, text, image, architecture, &tags)?;
        if container.is_some_and(|container| !containers.contains(&container)) {
            let Base::Recipe(below) = recipe.base else {
                return Err(RecipeError {
                    message: format!("image recipe {name}: it may be left out, and nothing lies below it"),
                    help: "correct the recipe".to_owned(),
                });
            };
            tags.insert(recipe.name, below);
            continue;
        }
        tags.insert(recipe.name.clone(), recipe.tag());
        built.push(recipe);
    }
    Ok(built)
}

/// A recipe as its file writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// Name of the recipe that it starts from; the distribution when there is none.
    from: Option<String>,
    /// What it is for, when it is built only for designs that ask for that.
    containers: Option<Container>,
    before: Option<Sources>,
    #[serde(default)]
    packages: Vec<String>,
    #[serde(default)]
    files: Vec<WrittenFile>,
    script: Option<Sources>,
}

/// Names of embedded files; several stand one after the other, so that recipes share what they have in common.
#[derive(Deserialize)]
#[serde(untagged)]
enum Sources {
    One(String),
    Several(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenFile {
    path: String,
    /// Octal digits, as `chmod` takes them.
    mode: String,
    source: Sources,
}

fn parse(
    name: &str,
    text: &str,
    image: &str,
    architecture: Architecture,
    tags: &BTreeMap<String, String>,
) -> Result<(Recipe, Option<Container>), RecipeError> {
    let wrong = |message: String| RecipeError {
        message: format!("image recipe {name}: {message}"),
        help: "correct the recipe".to_owned(),
    };
    let written: Written = serde_saphyr::from_str(text).map_err(|error| wrong(error.to_string()))?;
    let base = match &written.from {
        None => Base::Distribution(image.to_owned()),
        Some(parent) => Base::Recipe(
            tags.get(parent)
                .ok_or_else(|| wrong(format!("it starts from '{parent}', which is not built before it")))?
                .clone(),
        ),
    };
    let content = |sources: &Sources| {
        let names = match sources {
            Sources::One(name) => std::slice::from_ref(name),
            Sources::Several(names) => names,
        };
        names
            .iter()
            .map(|name| {
                IMAGE_FILES
                    .iter()
                    .find(|(known, _)| known == name)
                    .map(|(_, content)| *content)
                    .ok_or_else(|| wrong(format!("there is no file '{name}'")))
            })
            .collect::<Result<String, RecipeError>>()
    };
    let files = written
        .files
        .iter()
        .map(|file| {
            Ok(RecipeFile {
                path: file.path.clone(),
                mode: u32::from_str_radix(&file.mode, 8)
                    .map_err(|_| wrong(format!("'{}' is not an octal mode", file.mode)))?,
                content: content(&file.source)?,
            })
        })
        .collect::<Result<_, RecipeError>>()?;
    let recipe = Recipe {
        name: name.to_owned(),
        base,
        architecture,
        before: written.before.as_ref().map(content).transpose()?.unwrap_or_default(),
        packages: written.packages,
        files,
        script: written.script.as_ref().map(content).transpose()?.unwrap_or_default(),
    };
    Ok((recipe, written.containers))
}
