//! Notebooks elsewhere: against a server in this process that keeps what it is sent, as an HTTP server, an object store or
//! GitHub would.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use tmplrun::stores::Place;

use crate::lab::{Lab, Run, code, stream, tagged};

#[derive(Debug, Clone)]
struct Asked {
    method: String,
    target: String,
    headers: HashMap<String, String>,
}

#[derive(Default)]
struct State {
    files: HashMap<String, Vec<u8>>,
    asked: Vec<Asked>,
    /// Answers to the next writes; the last one goes on.
    writes: Vec<u16>,
}

pub(crate) struct Server {
    address: String,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                std::thread::spawn(move || while serve(&connection, &state).is_some() {});
            }
        });
        Self { address, state }
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn put(&self, path: &str, content: impl Into<Vec<u8>>) {
        let content = content.into();
        self.with(|state| state.files.insert(path.to_owned(), content));
    }

    pub(crate) fn file(&self, path: &str) -> Option<serde_json::Value> {
        self.with(|state| state.files.get(path).cloned())
            .map(|bytes| serde_json::from_slice(&bytes).unwrap())
    }

    fn asked(&self, method: &str) -> Vec<Asked> {
        self.with(|state| {
            state
                .asked
                .iter()
                .filter(|asked| asked.method == method)
                .cloned()
                .collect()
        })
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// Answers one request; nothing when the other side is done.
fn serve(connection: &TcpStream, state: &Mutex<State>) -> Option<()> {
    let mut reader = BufReader::new(connection);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.insert(name.to_lowercase(), value.to_owned()),
            None => break,
        };
    }
    let length = headers
        .get("content-length")
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    // Some stores write every mark so.
    let path = target.split('?').next()?.replace("%2E", ".").replace("%2e", ".");
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    state.asked.push(Asked {
        method: method.clone(),
        target: target.clone(),
        headers,
    });
    let (status, answer) = match method.as_str() {
        "GET" => match state.files.get(&path) {
            Some(content) => (200, content.clone()),
            None => (404, b"no such thing".to_vec()),
        },
        "PUT" => {
            let status = match state.writes.as_slice() {
                [] => 201,
                [last] => *last,
                _ => state.writes.remove(0),
            };
            if status < 300 {
                state.files.insert(path, body);
            }
            (status, Vec::new())
        }
        _ => (405, Vec::new()),
    };
    let head = format!(
        "HTTP/1.1 {status} Answer\r\nContent-Length: {}\r\nETag: \"tag\"\r\nLast-Modified: Tue, 03 Mar 2026 00:00:00 GMT\r\n\r\n",
        answer.len()
    );
    let mut writer = connection;
    writer.write_all(head.as_bytes()).ok()?;
    writer.write_all(&answer).ok()
}

fn with_variables(lab: &Lab, arguments: &[&str], variables: &[(&str, &str)]) -> Run {
    let mut command = lab.command(arguments);
    command.envs(variables.iter().copied());
    command.output().unwrap().into()
}

/// A notebook's text, and the server that has it at `path`.
fn server_with(lab: &Lab, path: &str) -> Server {
    lab.notebook(
        "n.ipynb",
        &[
            tagged("x = 1", &["parameters"]),
            code("print(x)"),
            code("open('ran', 'w').close()"),
        ],
    );
    let server = Server::start();
    server.put(path, lab.text("n.ipynb"));
    server
}

#[test]
fn a_notebook_is_read_and_written_over_http() {
    let lab = Lab::new();
    let server = server_with(&lab, "/in/n.ipynb");
    server.put("/p.yaml", "x: from the net\n");
    let input = server
        .url("/in/n.ipynb?sig=s3cr3t")
        .replace("http://", "http://user:passw0rd@");
    let run = lab
        .run(&[
            &input,
            &server.url("/out/{x}.ipynb"),
            "-f",
            &server.url("/p.yaml"),
            "-p",
            "x",
            "two",
        ])
        .expect(0);
    let all = server.file("/out/two.ipynb").unwrap();
    assert_eq!(stream(&all, 2), "two\n");
    let recorded = &all["metadata"]["papermill"];
    assert_eq!(recorded["input_path"], server.url("/in/n.ipynb"));
    assert_eq!(recorded["output_path"], server.url("/out/two.ipynb"));
    for text in [&all.to_string(), &run.stderr] {
        assert!(!text.contains("passw0rd") && !text.contains("s3cr3t"), "{text}");
    }
    assert!(run.stderr.contains(&server.url("/out/two.ipynb")), "{}", run.stderr);
    let read = &server.asked("GET")[1];
    assert_eq!(read.headers["authorization"], "Basic dXNlcjpwYXNzdzByZA==");
    assert!(read.target == "/in/n.ipynb?sig=s3cr3t" && read.headers["accept"].starts_with("application/json"));
    let writes = server.asked("PUT");
    // Before anything ran, and at the end; in between as the network allows.
    assert!(writes.len() >= 2, "{writes:?}");
    assert!(
        writes
            .iter()
            .all(|asked| asked.headers["content-type"] == "application/json")
    );
    lab.assert_clean();
}

#[test]
fn what_the_server_refuses_is_found_before_anything_runs() {
    let lab = Lab::new();
    let server = server_with(&lab, "/n.ipynb");
    lab.run(&[&server.url("/absent.ipynb"), "o.ipynb"])
        .expect(2)
        .says("/absent.ipynb: this cannot be read: the server answers 404")
        .says("no such thing");
    server.with(|state| state.writes = vec![403]);
    lab.run(&["n.ipynb", &server.url("/o.ipynb")])
        .expect(2)
        .says("this cannot be written: the server answers 403")
        .says("USER:PASSWORD@HOST");
    server.with(|state| state.writes = vec![405]);
    lab.run(&["n.ipynb", &server.url("/o.ipynb")])
        .expect(2)
        .says("the server must take PUT");
    lab.run(&["n.ipynb", "http://127.0.0.1:1/o.ipynb"])
        .expect(2)
        .says("check the address and the network");
    assert!(!lab.path("ran").exists());
    lab.assert_clean();
}

#[test]
fn a_notebook_that_cannot_be_sent_at_the_end_is_kept() {
    let lab = Lab::new();
    let server = server_with(&lab, "/n.ipynb");
    server.with(|state| state.writes = vec![201, 500]);
    let run = lab
        .run(&["n.ipynb", &server.url("/o.ipynb")])
        .expect(2)
        .says("the server answers 500")
        .says("the executed notebook is kept in ");
    let (_, rest) = run.stderr.split_once("is kept in ").unwrap();
    let kept = rest.split(';').next().unwrap().lines().next().unwrap();
    let all: serde_json::Value = serde_json::from_slice(&std::fs::read(kept).unwrap()).unwrap();
    assert_eq!(stream(&all, 1), "1\n");
}

#[test]
fn a_failed_notebook_is_sent_too() {
    let lab = Lab::new();
    let server = Server::start();
    lab.notebook(
        "n.ipynb",
        &[code("print('before')"), code("1/0"), code("print('never')")],
    );
    lab.run(&["n.ipynb", &server.url("/o.ipynb")])
        .expect(1)
        .says("ZeroDivisionError");
    let all = server.file("/o.ipynb").unwrap();
    assert_eq!(all["metadata"]["papermill"]["exception"], true);
    assert_eq!(all["cells"][0]["metadata"]["tags"][0], "papermill-error-cell-tag");
}

#[test]
fn s3_is_read_and_written_with_credentials_from_where_they_are_kept() {
    let lab = Lab::new();
    let server = server_with(&lab, "/bucket/deep/n.ipynb");
    let endpoint = server.url("");
    let arguments = [
        "s3://bucket/deep/n.ipynb",
        "s3://bucket/out/{x}.ipynb",
        "--prepare-only",
        "-p",
        "x",
        "5",
    ];
    with_variables(
        &lab,
        &arguments,
        &[
            ("AWS_ENDPOINT_URL", &endpoint),
            ("AWS_ACCESS_KEY_ID", "AKIDVARIABLE"),
            ("AWS_SECRET_ACCESS_KEY", "s3cr3t"),
            ("AWS_REGION", "eu-west-1"),
        ],
    )
    .expect(0);
    let all = server.file("/bucket/out/5.ipynb").unwrap();
    assert_eq!(all["metadata"]["papermill"]["output_path"], "s3://bucket/out/5.ipynb");
    let signed = |asked: &Asked| asked.headers.get("authorization").cloned().unwrap_or_default();
    let sent = server.asked("PUT").iter().map(signed).collect::<Vec<_>>();
    assert!(
        sent.iter()
            .all(|text| text.contains("AKIDVARIABLE/") && text.contains("/eu-west-1/s3/")),
        "{sent:?}"
    );
    // A profile, as the AWS tools keep it.
    lab.write(
        "home/.aws/credentials",
        "[default]\naws_access_key_id = WRONG\n\n[work]\naws_access_key_id=AKIDPROFILE\naws_secret_access_key=s3cr3t\n",
    );
    lab.write(
        "home/.aws/config",
        format!("[profile work]\nregion = ap-northeast-1\nendpoint_url = {endpoint}\n"),
    );
    with_variables(&lab, &arguments, &[("AWS_PROFILE", "work")]).expect(0);
    let last = signed(server.asked("PUT").last().unwrap());
    assert!(
        last.contains("AKIDPROFILE/") && last.contains("/ap-northeast-1/s3/"),
        "{last}"
    );
    // Public ones need none.
    let public = [("AWS_ENDPOINT_URL", endpoint.as_str()), ("AWS_SKIP_SIGNATURE", "true")];
    with_variables(&lab, &arguments, &public).expect(0);
    assert!(
        !server
            .asked("GET")
            .last()
            .unwrap()
            .headers
            .contains_key("authorization")
    );
    with_variables(&lab, &["s3://bucket/absent.ipynb", "-", "--prepare-only"], &public)
        .expect(2)
        .says("s3://bucket/absent.ipynb: this cannot be read: it is not there");
    server.with(|state| state.writes = vec![403]);
    with_variables(&lab, &arguments, &public)
        .expect(2)
        .says("this cannot be written: the store refuses")
        .says("AWS_ACCESS_KEY_ID");
}

#[test]
fn without_credentials_the_variables_are_named() {
    let lab = Lab::new();
    lab.notebook("n.ipynb", &[code("open('ran', 'w').close()")]);
    with_variables(
        &lab,
        &["n.ipynb", "s3://bucket/o.ipynb"],
        &[("AWS_EC2_METADATA_DISABLED", "true")],
    )
    .expect(2)
    .says("s3://bucket/o.ipynb: there are no credentials for S3")
    .says("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY");
    lab.run(&["n.ipynb", "az://container/o.ipynb"])
        .expect(2)
        .says("AZURE_STORAGE_ACCOUNT_NAME");
    with_variables(
        &lab,
        &["n.ipynb", "gs://bucket/o.ipynb"],
        &[("GOOGLE_APPLICATION_CREDENTIALS", "absent.json")],
    )
    .expect(2)
    .says("GOOGLE_APPLICATION_CREDENTIALS");
    assert!(!lab.path("ran").exists());
}

#[test]
fn google_and_azure_are_read_and_written() {
    let lab = Lab::new();
    let server = server_with(&lab, "/bucket/n.ipynb");
    let host = server.address.as_str();
    with_variables(
        &lab,
        &["gs://bucket/n.ipynb", "gs://bucket/o.ipynb", "--prepare-only"],
        &[("STORAGE_EMULATOR_HOST", host)],
    )
    .expect(0);
    assert!(server.file("/bucket/o.ipynb").is_some());
    server.put("/container/n.ipynb", lab.text("n.ipynb"));
    let endpoint = server.url("");
    let azure = [
        ("AZURE_STORAGE_ENDPOINT", endpoint.as_str()),
        ("AZURE_STORAGE_ACCOUNT_KEY", "a2V5"),
        ("AZURE_STORAGE_ACCOUNT_NAME", "account"),
    ];
    with_variables(
        &lab,
        &[
            "az://container/n.ipynb",
            "abfss://container@account.dfs.core.windows.net/o.ipynb",
            "--prepare-only",
        ],
        &azure,
    )
    .expect(0);
    assert!(server.file("/container/o.ipynb").is_some());
    let sent = server.asked("PUT").last().unwrap().clone();
    assert!(
        sent.headers["authorization"].starts_with("SharedKey account:"),
        "{sent:?}"
    );
    let signed = "abs://account.blob.core.windows.net/container/o2.ipynb?sv=2024&sig=s1gnature";
    let run = with_variables(&lab, &["n.ipynb", signed, "--prepare-only"], &azure[..1]).expect(0);
    let all = server.file("/container/o2.ipynb").unwrap();
    assert_eq!(
        all["metadata"]["papermill"]["output_path"],
        "abs://account.blob.core.windows.net/container/o2.ipynb"
    );
    assert!(!run.stderr.contains("s1gnature") && !all.to_string().contains("s1gnature"));
    assert!(server.asked("PUT").last().unwrap().target.contains("sig=s1gnature"));
}

#[test]
fn github_is_read_at_a_reference() {
    let lab = Lab::new();
    let server = server_with(&lab, "/repos/owner/repository/contents/deep/n.ipynb");
    let api = server.url("");
    let token = [("GITHUB_API_URL", api.as_str()), ("GITHUB_ACCESS_TOKEN", "t0ken")];
    for (address, reference) in [
        (
            "https://github.com/owner/repository/blob/main/deep/n.ipynb",
            "?ref=main",
        ),
        (
            "https://github.com/owner/repository/blob/fix%2Fit/deep/n.ipynb",
            "?ref=fix%2Fit",
        ),
        ("github://owner:repository@v1.0/deep/n.ipynb", "?ref=v1.0"),
        ("github://owner:repository/deep/n.ipynb", ""),
    ] {
        with_variables(&lab, &[address, "o.ipynb", "--prepare-only"], &token).expect(0);
        assert_eq!(lab.read("o.ipynb")["metadata"]["papermill"]["input_path"], address);
        let asked = server.asked("GET").last().unwrap().clone();
        assert_eq!(
            asked.target,
            format!("/repos/owner/repository/contents/deep/n.ipynb{reference}")
        );
        assert_eq!(asked.headers["authorization"], "Bearer t0ken");
        assert_eq!(asked.headers["accept"], "application/vnd.github.raw+json");
    }
    with_variables(&lab, &["github://owner:other@main/n.ipynb", "-"], &token[..1])
        .expect(2)
        .says("the server answers 404")
        .says("GITHUB_ACCESS_TOKEN");
    lab.run(&["n.ipynb", "github://owner:repository@main/o.ipynb"])
        .expect(2)
        .says("GitHub is only read from here");
}

#[test]
fn proxies_are_those_of_the_variables() {
    let lab = Lab::new();
    let server = Server::start();
    lab.notebook("n.ipynb", &[code("1")]);
    server.put("http://notebooks.invalid/n.ipynb", lab.text("n.ipynb"));
    let proxy = server.url("");
    let address = "http://notebooks.invalid/n.ipynb";
    with_variables(&lab, &[address, "o.ipynb", "--prepare-only"], &[("http_proxy", &proxy)]).expect(0);
    let except = [("http_proxy", proxy.as_str()), ("no_proxy", "notebooks.invalid")];
    with_variables(&lab, &[address, "o.ipynb", "--prepare-only"], &except)
        .expect(2)
        .says("check the address and the network");
    assert_eq!(server.asked("GET").len(), 1);
}

#[test]
fn a_flow_stays_on_this_machine() {
    let lab = Lab::new();
    lab.notebook("f/1.ipynb", &[code("1")]);
    lab.write("f/flow.yaml", "schema: 1\nflows:\n  main:\n    steps: [1.ipynb]\n");
    lab.run(&["f", "s3://bucket/out"])
        .expect(2)
        .says("s3://bucket/out: a flow's output is a folder on this machine");
}

#[test]
fn addresses_have_known_forms() {
    let shown = |text: &str| match Place::read(text).unwrap() {
        Place::Local(path) => format!("local {}", path.display()),
        Place::Streams => "streams".to_owned(),
        Place::Remote(remote) => format!("remote {} {}", remote.shown(), remote.file_name()),
    };
    for (text, expected) in [
        ("-", "streams"),
        ("a/b.ipynb", "local a/b.ipynb"),
        ("-x.ipynb", "local -x.ipynb"),
        ("c:/odd/name", "local c:/odd/name"),
        ("file:///a/b.ipynb", "local /a/b.ipynb"),
        ("s3://b/k/n.ipynb", "remote s3://b/k/n.ipynb n.ipynb"),
        (
            "s3://b/odd?name#.ipynb",
            "remote s3://b/odd?name#.ipynb odd?name#.ipynb",
        ),
        ("gs://b/k.ipynb", "remote gs://b/k.ipynb k.ipynb"),
        ("https://u:p@h:8/n.ipynb?a=b#c", "remote https://h:8/n.ipynb n.ipynb"),
        ("https://h/", "remote https://h/ notebook.ipynb"),
    ] {
        assert_eq!(shown(text), expected, "{text:?}");
    }
    for (text, expected) in [
        ("s3://bucket", "not complete"),
        ("s3:///key", "not complete"),
        ("s3://bucket/folder/", "not complete"),
        ("abs://account/container/blob", "not complete"),
        ("https://github.com/owner/repository", "not complete"),
        ("github://owner/path", "not complete"),
        ("https://", "not complete"),
        ("ftp://host/n.ipynb", "`ftp://` is no kind of address"),
        ("hdfs://host/n.ipynb", "`hdfs://` is no kind of address"),
        ("adl://store.azuredatalakestore.net/n.ipynb", "Gen1 was shut down"),
    ] {
        let error = Place::read(text).unwrap_err();
        assert!(
            error.to_string().contains(expected) && error.help_text().is_some(),
            "{text}: {error}"
        );
    }
    let secret = Place::read("abs://u:passw0rd@x/y?sig=s1gnature").unwrap_err();
    assert!(!secret.to_string().contains("s1gnature"), "{secret}");
    let hidden = format!(
        "{:?}",
        Place::read("https://u:passw0rd@h/n.ipynb?sig=s1gnature").unwrap()
    );
    assert!(
        !hidden.contains("passw0rd") && !hidden.contains("s1gnature"),
        "{hidden}"
    );
}
