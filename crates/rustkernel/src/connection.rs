//! The connection file, and the five sockets that it describes.

use std::path::Path;

use serde_json::Value;
use zeromq::{PubSocket, RepSocket, RouterSocket, Socket, ZmqError};

use crate::problem::{Problem, Result};

/// What a connection file says.
#[derive(Debug)]
pub(crate) struct Connection {
    transport: String,
    ip: String,
    ports: [u16; 5],
    pub(crate) key: String,
}

/// The sockets, bound.
pub(crate) struct Sockets {
    pub(crate) shell: RouterSocket,
    pub(crate) control: RouterSocket,
    pub(crate) iopub: PubSocket,
    pub(crate) heartbeat: RepSocket,
    /// Nobody is asked for input, but front ends want to reach the socket.
    pub(crate) stdin: RouterSocket,
}

const PORTS: [&str; 5] = ["shell_port", "iopub_port", "stdin_port", "control_port", "hb_port"];

impl Connection {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs_err::read_to_string(path).map_err(|error| {
            Problem::new("the connection file cannot be read")
                .because(&error)
                .hint("tmplrun and JupyterLab write one; this program isn't meant to be started by hand")
        })?;
        let file: Value = serde_json::from_str(&text).map_err(|error| {
            Problem::new(format!("{}: the connection file is not JSON", path.display())).because(&error)
        })?;
        let missing = |name: &str| {
            Problem::new(format!(
                "{}: `{name}` is missing in the connection file",
                path.display()
            ))
        };
        let text = |name: &str| file[name].as_str().map(str::to_owned);
        let mut ports = [0; 5];
        for (port, name) in ports.iter_mut().zip(PORTS) {
            *port = file[name]
                .as_u64()
                .and_then(|port| u16::try_from(port).ok())
                .ok_or_else(|| missing(name))?;
        }
        let scheme = text("signature_scheme").unwrap_or_default();
        if !matches!(scheme.as_str(), "" | "hmac-sha256") {
            return Err(Problem::new(format!("messages signed with {scheme} are not supported"))
                .hint("the connection file's `signature_scheme` must be hmac-sha256"));
        }
        Ok(Self {
            transport: text("transport").unwrap_or_else(|| "tcp".to_owned()),
            ip: text("ip").ok_or_else(|| missing("ip"))?,
            ports,
            key: text("key").unwrap_or_default(),
        })
    }

    fn address(&self, port: u16) -> String {
        match self.transport.as_str() {
            "ipc" => format!("ipc://{}-{port}", self.ip),
            transport => format!("{transport}://{}:{port}", self.ip),
        }
    }

    pub(crate) async fn bind(&self) -> Result<Sockets> {
        let [shell, iopub, stdin, control, heartbeat] = self.ports.map(|port| self.address(port));
        let bound = async {
            Ok::<_, (String, ZmqError)>(Sockets {
                shell: bind(shell).await?,
                control: bind(control).await?,
                iopub: bind(iopub).await?,
                heartbeat: bind(heartbeat).await?,
                stdin: bind(stdin).await?,
            })
        };
        bound.await.map_err(|(address, error)| {
            Problem::new(format!("{address} cannot be listened on"))
                .because(&error)
                .hint("another program may use the port; start the kernel again")
        })
    }
}

async fn bind<S: Socket>(address: String) -> std::result::Result<S, (String, ZmqError)> {
    let mut socket = S::new();
    match socket.bind(&address).await {
        Ok(_) => Ok(socket),
        Err(error) => Err((address, error)),
    }
}
