//! A small SSH server inside the test, which runs each command with `/bin/sh`, counts what it is asked, and can be told to misbehave.

#![allow(unreachable_pub)]

use std::collections::HashMap;
use std::net::{Shutdown, SocketAddr};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use clusterbook_transport::{HostKey, Identity, Target};
use russh::keys::{Algorithm, PrivateKey};
use russh::server::{self, Auth, ChannelOpenHandle, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelMsg};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What the server saw.
#[derive(Default)]
pub struct Seen {
    /// TCP connections.
    pub connections: AtomicUsize,
    /// Logins that got as far as a signature.
    pub logins: AtomicUsize,
    /// Commands that were started.
    pub commands: Mutex<Vec<String>>,
    /// Signals that were asked for.
    pub signals: Mutex<Vec<String>>,
    /// Connections made for others.
    pub forwarded: AtomicUsize,
    running: AtomicUsize,
    /// The most commands that ran at the same time.
    pub most_running: AtomicUsize,
    sockets: Mutex<Vec<std::net::TcpStream>>,
}

impl Seen {
    pub fn count(&self, of: impl Fn(&Seen) -> &AtomicUsize) -> usize {
        of(self).load(Ordering::SeqCst)
    }

    /// Cuts all connections as a power failure would.
    pub fn cut(&self) {
        for socket in self.sockets.lock().unwrap().drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

pub struct Server {
    pub address: SocketAddr,
    pub keys: Vec<PrivateKey>,
    pub seen: Arc<Seen>,
    accept: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accept.abort();
        self.seen.cut();
    }
}

pub fn new_key(algorithm: Algorithm) -> PrivateKey {
    PrivateKey::random(&mut russh::keys::key::safe_rng(), algorithm).unwrap()
}

impl Server {
    /// A server that lets `identity` in.
    pub async fn start(identity: &Identity) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Server::start_on(listener, identity, vec![new_key(Algorithm::Ed25519)])
    }

    pub fn start_on(listener: TcpListener, identity: &Identity, keys: Vec<PrivateKey>) -> Server {
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let config = Arc::new(server::Config {
            keys: keys.clone(),
            auth_rejection_time: std::time::Duration::ZERO,
            nodelay: true,
            ..server::Config::default()
        });
        let allowed = identity.fingerprint().to_string();
        let accept = tokio::spawn({
            let seen = Arc::clone(&seen);
            async move {
                while let Ok((socket, _)) = listener.accept().await {
                    seen.connections.fetch_add(1, Ordering::SeqCst);
                    // A second handle on the socket, to cut it from outside.
                    let socket = socket.into_std().unwrap();
                    seen.sockets.lock().unwrap().push(socket.try_clone().unwrap());
                    let socket = TcpStream::from_std(socket).unwrap();
                    socket.set_nodelay(true).unwrap();
                    let handler = Handler {
                        seen: Arc::clone(&seen),
                        allowed: allowed.clone(),
                        channels: HashMap::new(),
                    };
                    let config = Arc::clone(&config);
                    tokio::spawn(async move {
                        if let Ok(session) = server::run_stream(config, socket, handler).await {
                            let _ = session.await;
                        }
                    });
                }
            }
        });
        Server {
            address,
            keys,
            seen,
            accept,
        }
    }

    pub fn host_key(&self) -> HostKey {
        HostKey::from_public_key(&self.keys[0].public_key().to_openssh().unwrap()).unwrap()
    }

    pub fn target(&self, id: &str) -> Target {
        Target::new(
            id,
            self.address.ip().to_string(),
            self.address.port(),
            "tester",
            self.host_key(),
        )
    }
}

struct Handler {
    seen: Arc<Seen>,
    allowed: String,
    channels: HashMap<ChannelId, Channel<Msg>>,
}

impl server::Handler for Handler {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, _user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, russh::Error> {
        self.seen.logins.fetch_add(1, Ordering::SeqCst);
        let fingerprint = key.public_key.fingerprint(russh::keys::HashAlg::Sha256).to_string();
        Ok(if fingerprint == self.allowed {
            Auth::Accept
        } else {
            Auth::reject()
        })
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.channels.insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        match TcpStream::connect((host, port as u16)).await {
            Ok(mut socket) => {
                self.seen.forwarded.fetch_add(1, Ordering::SeqCst);
                reply.accept().await;
                tokio::spawn(async move {
                    let mut stream = channel.into_stream();
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut socket).await;
                });
            }
            Err(_) => reply.reject(russh::ChannelOpenFailure::ConnectFailed).await,
        }
        Ok(())
    }

    async fn exec_request(&mut self, id: ChannelId, line: &[u8], session: &mut Session) -> Result<(), russh::Error> {
        let line = String::from_utf8(line.to_vec()).unwrap();
        let Some(channel) = self.channels.remove(&id) else {
            return Ok(());
        };
        if line == "declined" {
            session.channel_failure(id)?;
            return Ok(());
        }
        session.channel_success(id)?;
        self.seen.commands.lock().unwrap().push(line.clone());
        tokio::spawn(serve(Arc::clone(&self.seen), session.handle(), channel, line));
        Ok(())
    }
}

async fn serve(seen: Arc<Seen>, handle: server::Handle, channel: Channel<Msg>, line: String) {
    let running = seen.running.fetch_add(1, Ordering::SeqCst) + 1;
    seen.most_running.fetch_max(running, Ordering::SeqCst);
    let mut child = tokio::process::Command::new("/bin/sh")
        .args(["-c", &line])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let id = channel.id();
    // The channel is always emptied at once: a server that stops reading while it writes would block the whole connection.
    let (to_stdin, mut pieces) = tokio::sync::mpsc::unbounded_channel::<bytes::Bytes>();
    let mut stdin = child.stdin.take().unwrap();
    tokio::spawn(async move {
        while let Some(piece) = pieces.recv().await {
            if stdin.write_all(&piece).await.is_err() {
                break;
            }
        }
    });
    let mut to_stdin = Some(to_stdin);
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let (mut read, write) = channel.split();
    let gone = tokio_util::sync::CancellationToken::new();
    let input = tokio::spawn({
        let (seen, gone) = (Arc::clone(&seen), gone.clone());
        async move {
            while let Some(message) = read.wait().await {
                match message {
                    ChannelMsg::Data { data } => {
                        if let Some(to_stdin) = &to_stdin {
                            let _ = to_stdin.send(data);
                        }
                    }
                    ChannelMsg::Eof => to_stdin = None,
                    ChannelMsg::Signal { signal } => {
                        seen.signals.lock().unwrap().push(format!("{signal:?}"));
                        gone.cancel();
                    }
                    _ => {}
                }
            }
            gone.cancel();
        }
    });
    let output = async {
        let to_stdout = async {
            let mut writer = write.make_writer();
            let _ = tokio::io::copy(&mut stdout, &mut writer).await;
        };
        let to_stderr = async {
            let mut buffer = Vec::new();
            let _ = stderr.read_to_end(&mut buffer).await;
            let _ = write.extended_data_bytes(1, buffer).await;
        };
        tokio::join!(to_stdout, to_stderr);
        child.wait().await.unwrap()
    };
    tokio::select! {
        status = output => match status.code() {
            Some(code) => { let _ = write.exit_status(code as u32).await; }
            None => {
                let _ = handle.exit_signal_request(id, russh::Sig::KILL, false, String::new(), String::new()).await;
            }
        },
        () = gone.cancelled() => {}
    }
    seen.running.fetch_sub(1, Ordering::SeqCst);
    let _ = write.eof().await;
    let _ = write.close().await;
    input.abort();
}
