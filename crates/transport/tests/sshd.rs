//! The same against OpenSSH's own server, where the machine has one. It is started without privileges, on a port of its own, from a
//! configuration in a temporary folder, and ended with the test.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use clusterbook_transport::{
    ErrorKind, HostKey, Identity, Pool, PoolOptions, RemoteCommand, Target, generate_host_key,
};
use tokio_util::sync::CancellationToken;

struct Sshd(Child);

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn write(path: &Path, text: &str) {
    fs_err::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn command_output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn the_real_server_agrees() {
    let program = "/usr/sbin/sshd";
    if !Path::new(program).exists() {
        return;
    }
    // Run by root, sshd wants this folder; packages make it only when the service starts.
    if command_output("id", &["-u"]) == "0" {
        fs_err::create_dir_all("/run/sshd").unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let identity = Arc::new(Identity::generate_ed25519("test").unwrap());
    let host = generate_host_key("c1").unwrap();
    write(&folder.path().join("host_key"), host.private_openssh.reveal());
    write(&folder.path().join("authorized_keys"), identity.public_openssh());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let place = folder.path().display();
    write(
        &folder.path().join("sshd_config"),
        &format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {place}/host_key\nAuthorizedKeysFile {place}/authorized_keys\n\
             PidFile {place}/sshd.pid\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n\
             PermitRootLogin prohibit-password\nMaxStartups 200\nAllowTcpForwarding yes\n"
        ),
    );
    let sshd = Command::new(program)
        .args(["-D", "-e", "-f"])
        .arg(folder.path().join("sshd_config"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _sshd = Sshd(sshd);

    let user = command_output("id", &["-un"]);
    let target = Target::new("c1", "127.0.0.1", port, &user, HostKey::Keys(vec![host.public.clone()]));
    let pool = Pool::new(Arc::clone(&identity), PoolOptions::default());
    let cancel = CancellationToken::new();
    pool.wait_ready(&target, Duration::from_secs(60), &cancel)
        .await
        .unwrap();

    let run = async |line: &str| {
        pool.run(&target, &RemoteCommand::new(line), &mut |_, _| {}, &cancel)
            .await
    };
    let output = run("echo out; echo err >&2; exit 7").await.unwrap();
    assert_eq!(
        (
            output.stdout_text().as_str(),
            output.stderr_text().as_str(),
            output.code
        ),
        ("out\n", "err\n", Some(7))
    );
    assert_eq!(run("kill -9 $$").await.unwrap().signal.as_deref(), Some("KILL"));

    let bytes = vec![b'x'; 8 << 20];
    let echo = RemoteCommand::new("cat").with_stdin(bytes.clone());
    assert!(pool.run(&target, &echo, &mut |_, _| {}, &cancel).await.unwrap().stdout == bytes);

    let path = folder.path().join("a file");
    pool.upload(&target, path.to_str().unwrap(), 0o640, "hello", &cancel)
        .await
        .unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
    assert_eq!(
        &pool.download(&target, path.to_str().unwrap(), &cancel).await.unwrap()[..],
        b"hello"
    );

    // Twenty at once stay below the server's limit of ten sessions on one connection.
    let many = futures::future::join_all((0..20).map(|_| run("true"))).await;
    assert!(many.iter().all(|result| result.as_ref().unwrap().success()));
    assert_eq!(pool.statistics().connections, 1);

    // A cancelled command ends on the machine: by the signal or, where sshd declines to pass one on (it does when root logs
    // in), at its next line of output.
    let trace = folder.path().join("terminated");
    let trap = format!(
        "trap 'touch {}; exit' TERM PIPE; while :; do echo still here; sleep 0.05; done",
        trace.display()
    );
    let stop = CancellationToken::new();
    let error = pool
        .run(&target, &RemoteCommand::new(trap), &mut |_, _| stop.cancel(), &stop)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    for _ in 0..12_000 {
        if trace.exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(trace.exists(), "the command went on");

    // Through itself as a jump host.
    let behind = Target {
        id: "c2".to_owned(),
        ..target.clone()
    }
    .through(Arc::new(target.clone()));
    let output = pool
        .run(&behind, &RemoteCommand::new("echo behind"), &mut |_, _| {}, &cancel)
        .await
        .unwrap();
    assert_eq!(output.stdout_text(), "behind\n");
    assert!(pool.run(&behind, &echo, &mut |_, _| {}, &cancel).await.unwrap().stdout == bytes);

    let other = generate_host_key("other").unwrap();
    let stranger = Target {
        host_key: HostKey::Fingerprint(other.fingerprint),
        ..target.clone()
    };
    let error = pool
        .run(&stranger, &RemoteCommand::new("true"), &mut |_, _| {}, &cancel)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::HostKeyMismatch);
    let unknown = Pool::new(
        Arc::new(Identity::generate_ed25519("unknown").unwrap()),
        PoolOptions::default(),
    );
    let error = unknown
        .run(&target, &RemoteCommand::new("true"), &mut |_, _| {}, &cancel)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LoginRefused);
    pool.close().await;
}
