//! What a path on the command line stands for.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Where a notebook or a file of parameters is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A file on this machine.
    Local(PathBuf),
    /// `-`: standard input or output.
    Streams,
    /// Elsewhere.
    Remote(Remote),
}

/// A place on the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// The place as people may see it, without passwords and signatures.
    shown: String,
    pub(super) kind: Kind,
}

#[derive(Clone, PartialEq, Eq)]
pub(super) enum Kind {
    S3 {
        bucket: String,
        key: String,
    },
    Google {
        bucket: String,
        key: String,
    },
    Azure {
        /// Without one, the variables name it.
        account: Option<String>,
        container: String,
        key: String,
        signature: Option<String>,
    },
    Http {
        url: String,
    },
    GitHub {
        owner: String,
        repository: String,
        /// The default branch without one.
        reference: Option<String>,
        path: String,
    },
}

// An address may hold a password or a signature.
impl std::fmt::Debug for Kind {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::S3 { .. } => "S3",
            Self::Google { .. } => "Google",
            Self::Azure { .. } => "Azure",
            Self::Http { .. } => "Http",
            Self::GitHub { .. } => "GitHub",
        })
    }
}

/// The forms, for messages.
const FORMS: &str = "known are s3://BUCKET/KEY, gs://BUCKET/KEY, abs://ACCOUNT.blob.core.windows.net/CONTAINER/BLOB, \
                     abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH, https://HOST/PATH, \
                     https://github.com/OWNER/REPOSITORY/blob/REF/PATH and github://OWNER:REPOSITORY@REF/PATH";

impl Place {
    /// Reads a path or an address.
    ///
    /// # Errors
    /// When it is an address of a kind that is not known, or lacks a part.
    pub fn read(text: &str) -> Result<Self> {
        if text == "-" {
            return Ok(Self::Streams);
        }
        let Some((scheme, rest)) = text.split_once("://").filter(|(scheme, _)| is_scheme(scheme)) else {
            return Ok(Self::Local(PathBuf::from(text)));
        };
        let whole = |help: &str| {
            Error::yours("this address is not complete")
                .at(Path::new(&shown(text)))
                .help(help.to_owned())
        };
        let kind = match scheme.to_ascii_lowercase().as_str() {
            "file" => {
                let path = rest.strip_prefix("localhost").unwrap_or(rest);
                return Ok(Self::Local(PathBuf::from(path)));
            }
            "s3" | "s3a" | "s3n" => {
                let (bucket, key) = two(rest).ok_or_else(|| whole("write s3://BUCKET/KEY"))?;
                Kind::S3 { bucket, key }
            }
            "gs" | "gcs" => {
                let (bucket, key) = two(rest).ok_or_else(|| whole("write gs://BUCKET/KEY"))?;
                Kind::Google { bucket, key }
            }
            "abs" => azure_blob(rest).ok_or_else(|| {
                whole("write abs://ACCOUNT.blob.core.windows.net/CONTAINER/BLOB, with ?SIGNATURE if you have one")
            })?,
            "adl"
                if rest
                    .split('/')
                    .next()
                    .is_some_and(|host| host.ends_with(".azuredatalakestore.net")) =>
            {
                return Err(Error::yours("Azure Data Lake Storage Gen1 was shut down in 2024")
                    .at(Path::new(&shown(text)))
                    .help("its successor is written abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH"));
            }
            "az" | "adl" | "abfs" | "abfss" => {
                azure_file(rest).ok_or_else(|| whole("write abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH"))?
            }
            "http" | "https" => match rest.strip_prefix("github.com/") {
                Some(page) => {
                    github_page(page).ok_or_else(|| whole("write https://github.com/OWNER/REPOSITORY/blob/REF/PATH"))?
                }
                None if rest.starts_with(['/', '?']) || rest.is_empty() => {
                    return Err(whole("write https://HOST/PATH"));
                }
                None => Kind::Http { url: text.to_owned() },
            },
            "github" => github(rest).ok_or_else(|| whole("write github://OWNER:REPOSITORY@REF/PATH"))?,
            other => {
                let help = match other {
                    "hdfs" => "copy it with `hdfs dfs -get` and `-put`, or give the address that WebHDFS has over HTTP",
                    _ => FORMS,
                };
                return Err(
                    Error::yours(format!("`{other}://` is no kind of address that is known here"))
                        .at(Path::new(&shown(text)))
                        .help(help),
                );
            }
        };
        Ok(Self::Remote(Remote {
            shown: shown(text),
            kind,
        }))
    }

    /// The place as people may see it, and as notebooks record it.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::Local(path) => path.display().to_string(),
            Self::Streams => "-".to_owned(),
            Self::Remote(remote) => remote.shown.clone(),
        }
    }
}

impl Remote {
    /// The place as people may see it, without passwords and signatures.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// The last part of its path.
    #[must_use]
    pub fn file_name(&self) -> &str {
        let path = self.shown.split_once("://").map_or("", |(_, rest)| rest);
        match path.rsplit_once('/') {
            Some((_, name)) if !name.is_empty() => name,
            _ => "notebook.ipynb",
        }
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "+.-".contains(c))
}

/// Without what a URL says about who is asking.
fn shown(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let keyed = matches!(scheme, "s3" | "s3a" | "s3n" | "gs" | "gcs" | "github");
    let rest = if keyed {
        rest
    } else {
        rest.split(['?', '#']).next().unwrap_or(rest)
    };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = match (scheme, host.rsplit_once('@')) {
        ("http" | "https", Some((_, host))) => host,
        _ => host,
    };
    format!("{scheme}://{host}{path}")
}

/// A first part and a path, neither empty.
fn two(text: &str) -> Option<(String, String)> {
    let (first, rest) = text.split_once('/')?;
    (!first.is_empty() && !rest.is_empty() && !rest.ends_with('/')).then(|| (first.to_owned(), rest.to_owned()))
}

fn azure_blob(rest: &str) -> Option<Kind> {
    let (path, signature) = match rest.split_once('?') {
        Some((path, signature)) => (path, Some(signature.to_owned())),
        None => (rest, None),
    };
    let (host, path) = path.split_once('/')?;
    let account = host.strip_suffix(".blob.core.windows.net")?;
    let (container, key) = two(path)?;
    Some(Kind::Azure {
        account: Some(account.to_owned()),
        container,
        key,
        signature: signature.filter(|text| !text.is_empty()),
    })
}

/// `CONTAINER@ACCOUNT.dfs.core.windows.net/PATH`, or `CONTAINER/PATH` of the account that the variables name.
fn azure_file(rest: &str) -> Option<Kind> {
    let (first, key) = two(rest)?;
    let (container, account) = match first.split_once('@') {
        Some((container, host)) => (container.to_owned(), Some(host.split('.').next()?.to_owned())),
        None => (first, None),
    };
    Some(Kind::Azure {
        account,
        container,
        key,
        signature: None,
    })
}

/// `OWNER/REPOSITORY/blob/REF/PATH`, as the page's address has it.
fn github_page(page: &str) -> Option<Kind> {
    let page = page.split(['?', '#']).next()?;
    let mut parts = page.splitn(5, '/');
    let (owner, repository, _, reference) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let path = parts.next().filter(|path| !path.is_empty())?;
    Some(Kind::GitHub {
        owner: owner.to_owned(),
        repository: repository.to_owned(),
        // A branch's slash is written so in an address.
        reference: Some(reference.replace("%2F", "/").replace("%2f", "/")),
        path: path.to_owned(),
    })
}

/// `OWNER:REPOSITORY@REF/PATH`; the reference may be left out.
fn github(rest: &str) -> Option<Kind> {
    let (first, path) = two(rest)?;
    let (owner, rest) = first.split_once(':')?;
    let (repository, reference) = match rest.split_once('@') {
        Some((repository, reference)) => (repository, Some(reference.to_owned())),
        None => (rest, None),
    };
    (!owner.is_empty() && !repository.is_empty()).then(|| Kind::GitHub {
        owner: owner.to_owned(),
        repository: repository.to_owned(),
        reference,
        path: path.replace('%', "%25").replace('?', "%3F").replace('#', "%23"),
    })
}
