//! The network: object stores through their crate, HTTP and GitHub through the client beneath it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::client::{HttpClient, HttpConnector};
use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt as _, RetryConfig, StaticCredentialProvider};
use reqwest::{Client, NoProxy, Proxy, RequestBuilder, StatusCode, Url};

use super::Remote;
use super::place::Kind;
use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};

const CONNECT: Duration = Duration::from_secs(10);
const READ: Duration = Duration::from_secs(60);
/// A store that does not answer is asked again for so long.
const RETRY: Duration = Duration::from_secs(20);
const RETRIES: usize = 4;
/// So much of a server's explanation is repeated.
const EXPLANATION: usize = 300;

const S3_HELP: &str = "credentials are taken from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN), or \
                       from the profile AWS_PROFILE in ~/.aws/credentials, or from the machine's role; AWS_REGION names \
                       the bucket's region, AWS_ENDPOINT_URL another store, AWS_SKIP_SIGNATURE=true reads a public bucket";
const GOOGLE_HELP: &str = "credentials are taken from the file that GOOGLE_APPLICATION_CREDENTIALS names, from \
                           GOOGLE_SERVICE_ACCOUNT_KEY, from `gcloud auth application-default login`, or from the machine's \
                           account; GOOGLE_SKIP_SIGNATURE=true reads a public bucket";
const AZURE_HELP: &str = "credentials are taken from AZURE_STORAGE_ACCOUNT_KEY, from AZURE_TENANT_ID, AZURE_CLIENT_ID and \
                          AZURE_CLIENT_SECRET, from a signature at the end of an abs:// address, or from the machine's \
                          identity; AZURE_STORAGE_ACCOUNT_NAME names the account";
const HTTP_HELP: &str = "give the address with who is asking (https://USER:PASSWORD@HOST/PATH) or a signed one";
const GITHUB_HELP: &str = "a private repository is read with the token in GITHUB_ACCESS_TOKEN or GITHUB_TOKEN; check the \
                           owner, the repository, the branch and the path";

/// The network with the caller's credentials.
#[derive(Debug)]
pub(super) struct Network {
    variables: Variables,
    client: OnceLock<Client>,
}

// Values may be secrets.
struct Variables(Vec<(String, String)>);

impl std::fmt::Debug for Variables {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} variables", self.0.len())
    }
}

impl Variables {
    fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name)?;
        Some(found.1.as_str()).filter(|value| !value.is_empty())
    }

    fn any(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.get(name))
    }

    fn starting(&self, prefix: &'static str) -> impl Iterator<Item = (String, &str)> {
        self.0
            .iter()
            .filter(move |(key, value)| key.starts_with(prefix) && !value.is_empty())
            .map(|(key, value)| (key.to_ascii_lowercase(), value.as_str()))
    }

    fn home(&self, below: &str) -> Option<PathBuf> {
        self.get("HOME").map(|home| Path::new(home).join(below))
    }
}

/// A proxy for one kind of address.
type MakeProxy = fn(&str) -> reqwest::Result<Proxy>;

/// Gives every store the one client.
#[derive(Debug)]
struct Shared(Client);

impl HttpConnector for Shared {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

impl Network {
    pub(super) fn new(environment: &Environment) -> Self {
        Self {
            variables: Variables(environment.variables.clone()),
            client: OnceLock::new(),
        }
    }

    pub(super) async fn read(&self, place: &Remote) -> Result<Vec<u8>> {
        match &place.kind {
            Kind::Http { url } => {
                let request = self.client()?.get(self.url(url, place)?);
                // What papermill asks for, and anything else: not every server has types.
                let request = request.header("Accept", "application/json, */*;q=0.8");
                answer(request, place, "read", HTTP_HELP).await
            }
            Kind::GitHub {
                owner,
                repository,
                reference,
                path,
            } => {
                let base = self.variables.get("GITHUB_API_URL").unwrap_or("https://api.github.com");
                let mut url = self.url(&format!("{base}/repos/{owner}/{repository}/contents/{path}"), place)?;
                if let Some(reference) = reference {
                    url.query_pairs_mut().append_pair("ref", reference);
                }
                let mut request = self
                    .client()?
                    .get(url)
                    .header("Accept", "application/vnd.github.raw+json");
                if let Some(token) = self.variables.any(&["GITHUB_ACCESS_TOKEN", "GITHUB_TOKEN"]) {
                    request = request.bearer_auth(token);
                }
                answer(request, place, "read", GITHUB_HELP).await
            }
            _ => {
                let (store, path, help) = self.store(place)?;
                let read = async { store.get(&path).await?.bytes().await };
                match read.await {
                    Ok(bytes) => Ok(bytes.to_vec()),
                    Err(error) => Err(refused(place, "read", help, &error)),
                }
            }
        }
    }

    pub(super) async fn write(&self, place: &Remote, bytes: Vec<u8>) -> Result<()> {
        match &place.kind {
            Kind::Http { url } => {
                let request = self
                    .client()?
                    .put(self.url(url, place)?)
                    .header("Content-Type", "application/json")
                    .body(bytes);
                answer(request, place, "written", HTTP_HELP).await.map(drop)
            }
            Kind::GitHub { .. } => Err(Error::yours("GitHub is only read from here")
                .at(Path::new(place.shown()))
                .help("write the executed notebook elsewhere, and commit it")),
            _ => {
                let (store, path, help) = self.store(place)?;
                match store.put(&path, bytes.into()).await {
                    Ok(_) => Ok(()),
                    Err(error) => Err(refused(place, "written", help, &error)),
                }
            }
        }
    }

    fn url(&self, text: &str, place: &Remote) -> Result<Url> {
        Url::parse(text).map_err(|error| {
            Error::yours("this address cannot be read")
                .at(Path::new(place.shown()))
                .because(error)
        })
    }

    /// One client for everything, made when it is first needed.
    fn client(&self) -> Result<&Client> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let wrong = |error: String| Error::configuration("the network cannot be used").because(error);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(rustls_platform_verifier::BuilderVerifierExt::with_platform_verifier)
            .map_err(|error| wrong(error.to_string()))?
            .with_no_client_auth();
        // Left to itself, the client would look for proxies in the process's own variables.
        let mut builder = Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .user_agent(concat!("tmplrun/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .read_timeout(READ);
        let except = self
            .variables
            .any(&["no_proxy", "NO_PROXY"])
            .and_then(NoProxy::from_string);
        let proxies: [(&[&str], MakeProxy); 3] = [
            (&["http_proxy", "HTTP_PROXY"], |url| Proxy::http(url)),
            (&["https_proxy", "HTTPS_PROXY"], |url| Proxy::https(url)),
            (&["all_proxy", "ALL_PROXY"], |url| Proxy::all(url)),
        ];
        for (names, make) in proxies {
            if let Some(url) = self.variables.any(names) {
                let proxy = make(url).map_err(|error| {
                    wrong(error.without_url().to_string()).help(format!("correct the variable {}", names.join(" or ")))
                })?;
                builder = builder.proxy(proxy.no_proxy(except.clone()));
            }
        }
        let client = builder.build().map_err(|error| wrong(error.to_string()))?;
        Ok(self.client.get_or_init(|| client))
    }

    fn store(&self, place: &Remote) -> Result<(Box<dyn ObjectStore>, object_store::path::Path, &'static str)> {
        let connector = Shared(self.client()?.clone());
        let retry = RetryConfig {
            max_retries: RETRIES,
            retry_timeout: RETRY,
            ..RetryConfig::default()
        };
        let (store, key, help): (object_store::Result<Box<dyn ObjectStore>>, _, _) = match &place.kind {
            Kind::S3 { bucket, key } => {
                let builder = self.s3(place)?.with_bucket_name(bucket);
                let built = builder.with_retry(retry).with_http_connector(connector).build();
                (built.map(|store| Box::new(store) as _), key, S3_HELP)
            }
            Kind::Google { bucket, key } => {
                let builder = self.google().with_bucket_name(bucket);
                let built = builder.with_retry(retry).with_http_connector(connector).build();
                (built.map(|store| Box::new(store) as _), key, GOOGLE_HELP)
            }
            Kind::Azure {
                account,
                container,
                key,
                signature,
            } => {
                let mut builder = self.azure().with_container_name(container);
                if let Some(account) = account {
                    builder = builder.with_account(account);
                }
                if let Some(signature) = signature {
                    builder = builder.with_config(AzureConfigKey::SasKey, signature);
                }
                let built = builder.with_retry(retry).with_http_connector(connector).build();
                (built.map(|store| Box::new(store) as _), key, AZURE_HELP)
            }
            Kind::Http { .. } | Kind::GitHub { .. } => {
                return Err(Error::new(ErrorKind::Bug, "this address is not one of an object store")
                    .at(Path::new(place.shown())));
            }
        };
        let store = store.map_err(|error| refused(place, "reached", help, &error))?;
        let path = object_store::path::Path::parse(key).map_err(|error| {
            Error::yours("this is no name that a store takes")
                .at(Path::new(place.shown()))
                .because(error.to_string())
        })?;
        Ok((store, path, help))
    }

    fn s3(&self, place: &Remote) -> Result<AmazonS3Builder> {
        let variables = &self.variables;
        let mut builder = AmazonS3Builder::new();
        for (key, value) in variables.starting("AWS_") {
            if let Ok(key) = key.parse::<AmazonS3ConfigKey>() {
                builder = builder.with_config(key, value);
            }
        }
        let endpoint = variables.any(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "BOTO3_ENDPOINT_URL"]);
        let mut endpoint = endpoint.map(str::to_owned);
        let elsewhere = [
            "AWS_ACCESS_KEY_ID",
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "AWS_SKIP_SIGNATURE",
        ];
        if variables.get("AWS_PROFILE").is_some() || variables.any(&elsewhere).is_none() {
            let profile = Profile::find(variables);
            if let (Some(id), Some(secret)) = (profile.get("aws_access_key_id"), profile.get("aws_secret_access_key")) {
                builder = builder.with_access_key_id(id).with_secret_access_key(secret);
                if let Some(token) = profile.get("aws_session_token") {
                    builder = builder.with_token(token);
                }
            } else if variables.any(&elsewhere).is_none()
                && variables
                    .get("AWS_EC2_METADATA_DISABLED")
                    .is_some_and(|value| value.eq_ignore_ascii_case("true"))
            {
                return Err(Error::configuration("there are no credentials for S3")
                    .at(Path::new(place.shown()))
                    .help(S3_HELP));
            }
            if let Some(region) = profile
                .get("region")
                .filter(|_| variables.any(&["AWS_REGION", "AWS_DEFAULT_REGION"]).is_none())
            {
                builder = builder.with_region(region);
            }
            endpoint = endpoint.or_else(|| profile.get("endpoint_url").map(str::to_owned));
        }
        if let Some(endpoint) = endpoint {
            let plain = endpoint.starts_with("http://");
            builder = builder.with_endpoint(endpoint).with_allow_http(plain);
        }
        Ok(builder)
    }

    fn google(&self) -> GoogleCloudStorageBuilder {
        let variables = &self.variables;
        let mut builder = GoogleCloudStorageBuilder::new();
        for (key, value) in variables.starting("GOOGLE_") {
            if let Ok(key) = key.parse::<GoogleConfigKey>() {
                builder = builder.with_config(key, value);
            }
        }
        if let Some(base) = variables.get("STORAGE_EMULATOR_HOST") {
            let base = if base.contains("://") {
                base.to_owned()
            } else {
                format!("http://{base}")
            };
            builder = builder
                .with_config(GoogleConfigKey::BaseUrl, base)
                // An emulator wants none, but only reading goes without: writing looks for some whatever it is told.
                .with_credentials(Arc::new(StaticCredentialProvider::new(GcpCredential {
                    bearer: String::new(),
                })))
                .with_client_options(ClientOptions::new().with_allow_http(true));
        }
        let usual = match variables.get("CLOUDSDK_CONFIG") {
            Some(folder) => Some(PathBuf::from(folder)),
            None => variables.home(".config/gcloud"),
        };
        let usual = usual.map(|folder| folder.join("application_default_credentials.json"));
        let named = [
            "GOOGLE_APPLICATION_CREDENTIALS",
            "GOOGLE_SERVICE_ACCOUNT",
            "GOOGLE_SERVICE_ACCOUNT_PATH",
            "GOOGLE_SERVICE_ACCOUNT_KEY",
        ];
        match usual.filter(|path| variables.any(&named).is_none() && path.is_file()) {
            Some(path) => builder.with_application_credentials(path.display().to_string()),
            None => builder,
        }
    }

    fn azure(&self) -> MicrosoftAzureBuilder {
        let mut builder = MicrosoftAzureBuilder::new();
        for (key, value) in self.variables.starting("AZURE_") {
            if let Ok(key) = key.parse::<AzureConfigKey>() {
                builder = builder.with_config(key, value);
            }
        }
        let endpoint = self.variables.any(&["AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"]);
        if endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")) {
            builder = builder.with_allow_http(true);
        }
        builder
    }
}

/// A profile of the AWS tools' two files.
#[derive(Default)]
struct Profile(Vec<(String, String)>);

impl Profile {
    /// Keys of the credentials' file win.
    fn find(variables: &Variables) -> Self {
        let name = variables.get("AWS_PROFILE").unwrap_or("default");
        let file = |variable: &str, usual: &str| {
            variables
                .get(variable)
                .map(PathBuf::from)
                .or_else(|| variables.home(usual))
        };
        let mut found = Vec::new();
        let sources = [
            (file("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials"), name.to_owned()),
            (file("AWS_CONFIG_FILE", ".aws/config"), format!("profile {name}")),
            (file("AWS_CONFIG_FILE", ".aws/config"), name.to_owned()),
        ];
        for (path, section) in sources {
            // A file that is not there holds nothing.
            let text = path
                .and_then(|path| fs_err::read_to_string(path).ok())
                .unwrap_or_default();
            let mut inside = false;
            for line in text.lines().map(str::trim) {
                if let Some(title) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
                    inside = title.trim() == section;
                } else if let Some((key, value)) =
                    line.split_once('=').filter(|_| inside && !line.starts_with(['#', ';']))
                {
                    found.push((key.trim().to_ascii_lowercase(), value.trim().to_owned()));
                }
            }
        }
        Self(found)
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }
}

fn refused(place: &Remote, done: &str, help: &str, error: &object_store::Error) -> Box<Error> {
    let at = Path::new(place.shown());
    match error {
        object_store::Error::NotFound { .. } => Error::yours(format!("this cannot be {done}: it is not there"))
            .at(at)
            .help("check the bucket or container, and the name in it"),
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
            Error::configuration(format!("this cannot be {done}: the store refuses"))
                .at(at)
                .help(help)
        }
        error => Error::configuration(format!("this cannot be {done}"))
            .at(at)
            .because(error.to_string())
            .help(help),
    }
}

async fn answer(request: RequestBuilder, place: &Remote, done: &str, help: &str) -> Result<Vec<u8>> {
    let at = Path::new(place.shown());
    // The address of such an error may hold a password.
    let broken = |error: reqwest::Error| {
        Error::configuration(format!("this cannot be {done}"))
            .at(at)
            .because(error.without_url())
            .help("check the address and the network; proxies are taken from https_proxy, http_proxy and no_proxy")
    };
    let response = request.send().await.map_err(broken)?;
    let status = response.status();
    let bytes = response.bytes().await.map_err(broken)?;
    if status.is_success() {
        return Ok(bytes.to_vec());
    }
    let error = Error::configuration(format!("this cannot be {done}: the server answers {status}")).at(at);
    let text: String = String::from_utf8_lossy(&bytes)
        .trim()
        .chars()
        .take(EXPLANATION)
        .collect();
    let error = if text.is_empty() { error } else { error.because(text) };
    Err(match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => error.help(help),
        StatusCode::NOT_FOUND if help == GITHUB_HELP => error.help(help),
        StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
            error.help("the server must take PUT; write the notebook elsewhere if it does not")
        }
        _ => error,
    })
}
