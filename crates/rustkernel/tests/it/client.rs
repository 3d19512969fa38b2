//! A front end as small as can be: starts the kernel, sends cells, collects what comes back.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tempfile::TempDir;
use zeromq::{DealerSocket, Socket as _, SocketRecv as _, SocketSend as _, SubSocket, ZmqMessage};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_tmplrun-rust");
const KEY: &str = "the key of the tests";
/// A kernel that takes longer than this over anything is stuck.
const STUCK: Duration = Duration::from_secs(180);

/// A kernel and a connection to it.
pub(crate) struct Client {
    pub(crate) child: Child,
    pub(crate) folder: TempDir,
    shell: DealerSocket,
    control: DealerSocket,
    iopub: SubSocket,
}

/// What came of a cell.
#[derive(Debug, Default)]
pub(crate) struct Cell {
    pub(crate) input: Value,
    /// Name and text of each piece of output, in order.
    pub(crate) streams: Vec<(String, String)>,
    pub(crate) results: Vec<Value>,
    pub(crate) errors: Vec<Value>,
    pub(crate) reply: Value,
}

impl Cell {
    pub(crate) fn text(&self, name: &str) -> String {
        let of_name = self.streams.iter().filter(|piece| piece.0 == name);
        of_name.map(|piece| piece.1.as_str()).collect()
    }

    /// Name and value of the error, with the kind of the reply.
    pub(crate) fn error(&self) -> (&str, &str, &str) {
        let error = self.errors.first().expect("an error");
        (
            error["ename"].as_str().unwrap(),
            error["evalue"].as_str().unwrap(),
            self.reply["status"].as_str().unwrap(),
        )
    }

    pub(crate) fn traceback(&self) -> String {
        let lines = self
            .errors
            .iter()
            .flat_map(|error| error["traceback"].as_array().unwrap());
        lines.map(|line| line.as_str().unwrap().to_owned() + "\n").collect()
    }

    pub(crate) fn plain(&self) -> &str {
        assert!(self.errors.is_empty(), "{:?}", self.errors);
        self.results.first().expect("a result")["text/plain"].as_str().unwrap()
    }

    pub(crate) fn fine(self) -> Self {
        assert_eq!(
            self.reply["status"],
            "ok",
            "{}{}",
            self.traceback(),
            self.text("stderr")
        );
        self
    }
}

/// How the kernel is reached.
pub(crate) enum Transport {
    Ipc,
    Tcp,
}

impl Client {
    pub(crate) async fn start() -> Self {
        Self::start_with(&Transport::Ipc, &[]).await
    }

    pub(crate) async fn start_with(transport: &Transport, variables: &[(&str, &Path)]) -> Self {
        Self::start_program(&[PROGRAM.as_ref(), "-f".as_ref()], transport, variables).await
    }

    /// Starts any kernel by the words of its command, to which the connection file is added.
    pub(crate) async fn start_program(words: &[&OsStr], transport: &Transport, variables: &[(&str, &Path)]) -> Self {
        let folder = tempfile::Builder::new().prefix("k").tempdir().unwrap();
        let (ip, ports) = match transport {
            Transport::Ipc => (folder.path().join("k").display().to_string(), [1, 2, 3, 4, 5]),
            Transport::Tcp => ("127.0.0.1".to_owned(), free_ports()),
        };
        let kind = match transport {
            Transport::Ipc => "ipc",
            Transport::Tcp => "tcp",
        };
        let [shell_port, iopub_port, stdin_port, control_port, hb_port] = ports;
        let file = folder.path().join("connection.json");
        let connection = json!({
            "transport": kind, "ip": ip, "key": KEY, "signature_scheme": "hmac-sha256", "shell_port": shell_port,
            "iopub_port": iopub_port, "stdin_port": stdin_port, "control_port": control_port, "hb_port": hb_port,
        });
        std::fs::write(&file, connection.to_string()).unwrap();
        let temporary = folder.path().join("t");
        std::fs::create_dir(&temporary).unwrap();
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .arg(&file)
            .current_dir(folder.path())
            .env_remove("EVCXR_TMPDIR")
            // What runs these tests has set it to what the kernel must find by itself.
            .env_remove("LD_LIBRARY_PATH")
            .env("EVCXR_CONFIG_DIR", folder.path())
            .env("TMPDIR", &temporary)
            .env("JPY_PARENT_PID", std::process::id().to_string())
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        let child = command.spawn().unwrap();
        let address = |port: u16| match transport {
            Transport::Ipc => format!("ipc://{ip}-{port}"),
            Transport::Tcp => format!("tcp://{ip}:{port}"),
        };
        let (mut shell, mut control, mut iopub) = (DealerSocket::new(), DealerSocket::new(), SubSocket::new());
        for attempt in 0.. {
            let connected = async {
                shell.connect(&address(shell_port)).await?;
                control.connect(&address(control_port)).await?;
                iopub.connect(&address(iopub_port)).await
            };
            match connected.await {
                Ok(()) => break,
                Err(error) => assert!(attempt < 500, "the kernel does not listen: {error}"),
            }
            (shell, control, iopub) = (DealerSocket::new(), DealerSocket::new(), SubSocket::new());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        iopub.subscribe("").await.unwrap();
        let mut client = Self {
            child,
            folder,
            shell,
            control,
            iopub,
        };
        // A subscription takes effect some time after it is made.
        while tokio::time::timeout(
            Duration::from_millis(200),
            client.shell_request("kernel_info_request", json!({})),
        )
        .await
        .is_err()
        {}
        client
    }

    /// The private folder of the kernel, if it is there.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.folder.path().join("t")
    }

    pub(crate) async fn run(&mut self, code: &str) -> Cell {
        let id = self.begin(code).await;
        self.finish(&id, |_| false).await
    }

    /// Sends a cell without waiting for it.
    pub(crate) async fn begin(&mut self, code: &str) -> String {
        let content = json!({"code": code, "silent": false, "store_history": true, "stop_on_error": false});
        let (id, message) = request("execute_request", &content, KEY);
        self.shell.send(message).await.unwrap();
        id
    }

    /// Collects a cell's messages until it is done, or `enough`.
    pub(crate) async fn finish(&mut self, id: &str, enough: impl Fn(&Cell) -> bool) -> Cell {
        let mut cell = Cell::default();
        let mut idle = false;
        let done = async {
            while (!idle || cell.reply.is_null()) && !enough(&cell) {
                let (on_iopub, message) = tokio::select! {
                    message = self.iopub.recv() => (true, message.unwrap()),
                    message = self.shell.recv() => (false, message.unwrap()),
                };
                let (kind, parent, content) = parts(message);
                if parent != *id {
                    continue;
                }
                match kind.as_str() {
                    "execute_reply" if !on_iopub => cell.reply = content,
                    "execute_input" => cell.input = content,
                    "execute_result" => cell.results.push(content["data"].clone()),
                    "error" => cell.errors.push(content),
                    "status" => idle = content["execution_state"] == "idle",
                    "stream" => cell.streams.push((
                        content["name"].as_str().unwrap().to_owned(),
                        content["text"].as_str().unwrap().to_owned(),
                    )),
                    other => panic!("unexpected: {other}"),
                }
            }
        };
        tokio::time::timeout(STUCK, done)
            .await
            .expect("the cell never came to an end");
        cell
    }

    pub(crate) async fn shell_request(&mut self, kind: &str, content: Value) -> Value {
        let (id, message) = request(kind, &content, KEY);
        self.shell.send(message).await.unwrap();
        let (mut reply, mut idle) = (None, false);
        while reply.is_none() || !idle {
            tokio::select! {
                message = self.iopub.recv() => {
                    let (kind, parent, content) = parts(message.unwrap());
                    idle |= parent == id && kind == "status" && content["execution_state"] == "idle";
                }
                message = self.shell.recv() => {
                    let (_, parent, content) = parts(message.unwrap());
                    if parent == id {
                        reply = Some(content);
                    }
                }
            }
        }
        reply.unwrap()
    }

    /// Sends a request that is signed with another key.
    pub(crate) async fn forge(&mut self, kind: &str, content: Value) {
        let (_, message) = request(kind, &content, "another key");
        self.shell.send(message).await.unwrap();
    }

    pub(crate) async fn control_request(&mut self, kind: &str) -> Value {
        let (id, message) = request(kind, &json!({}), KEY);
        self.control.send(message).await.unwrap();
        loop {
            let (_, parent, content) = parts(self.control.recv().await.unwrap());
            if parent == id {
                return content;
            }
        }
    }

    /// Ends the kernel and shows that nothing of it is left.
    pub(crate) async fn shut_down(mut self) {
        let family = below(self.child.id());
        let reply = self.control_request("shutdown_request").await;
        assert_eq!(reply["status"], "ok");
        let status = wait(&mut self.child).await;
        assert!(status.success(), "{status}");
        self.nothing_left(&family).await;
    }

    /// Waits until all of `family` has ended, and then looks for files.
    pub(crate) async fn nothing_left(&self, family: &[u32]) {
        let gone = async {
            while family.iter().any(|pid| Path::new(&format!("/proc/{pid}/exe")).exists()) || self.left().is_some() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(10), gone).await.is_err() {
            panic!(
                "of the processes {family:?} some are left, or a file: {:?}",
                self.left()
            );
        }
    }

    fn left(&self) -> Option<PathBuf> {
        std::fs::read_dir(self.temporary())
            .unwrap()
            .next()
            .map(|entry| entry.unwrap().path())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) async fn wait(child: &mut Child) -> std::process::ExitStatus {
    let ended = async {
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ended)
        .await
        .expect("the kernel does not end")
}

/// The numbers of all processes below this one.
pub(crate) fn below(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let Some((_, rest)) = stat.rsplit_once(')') else {
            continue;
        };
        let fields: Vec<&str> = rest.split_whitespace().collect();
        if fields[0] != "Z" && fields[1] == pid.to_string() {
            let child: u32 = entry.file_name().to_str().unwrap().parse().unwrap();
            found.push(child);
            found.extend(below(child));
        }
    }
    found
}

fn free_ports() -> [u16; 5] {
    let listeners: Vec<_> = (0..5)
        .map(|_| std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap())
        .collect();
    std::array::from_fn(|at| listeners[at].local_addr().unwrap().port())
}

fn request(kind: &str, content: &Value, key: &str) -> (String, ZmqMessage) {
    let id = uuid::Uuid::new_v4().to_string();
    let header =
        json!({"msg_id": id, "msg_type": kind, "session": "tests", "username": "", "date": "", "version": "5.3"});
    let parts = [
        header.to_string(),
        "{}".to_owned(),
        "{}".to_owned(),
        content.to_string(),
    ];
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    parts.iter().for_each(|part| mac.update(part.as_bytes()));
    let tag: String = mac
        .finalize()
        .into_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let mut frames = vec![Bytes::from_static(b"<IDS|MSG>"), Bytes::from(tag)];
    frames.extend(parts.into_iter().map(Bytes::from));
    (id, ZmqMessage::try_from(frames).unwrap())
}

/// Type, parent's id and content of a message, whose signature is checked.
fn parts(message: ZmqMessage) -> (String, String, Value) {
    let frames = message.into_vec();
    let start = frames.iter().position(|frame| frame.as_ref() == b"<IDS|MSG>").unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(KEY.as_bytes()).unwrap();
    frames[start + 2..start + 6].iter().for_each(|part| mac.update(part));
    let tag: String = mac
        .finalize()
        .into_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(frames[start + 1], tag.as_bytes(), "the signature");
    let read = |at: usize| serde_json::from_slice::<Value>(&frames[start + at]).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    (text(&read(2)["msg_type"]), text(&read(3)["msg_id"]), read(5))
}
