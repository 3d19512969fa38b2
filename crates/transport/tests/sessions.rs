//! Commands, connections and failures, against a server inside the test. What is asserted are counts and contents, never times.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod server;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clusterbook_transport::{
    Error, ErrorKind, HostKey, Identity, Output, Pool, PoolOptions, RemoteCommand, Stream, Target, generate_host_key,
};
use russh::keys::{Algorithm, EcdsaCurve};
use server::{Server, new_key};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

fn identity() -> Arc<Identity> {
    Arc::new(Identity::generate_ed25519("test").unwrap())
}

fn pool(identity: &Arc<Identity>) -> Pool {
    Pool::new(Arc::clone(identity), PoolOptions::default())
}

async fn run(pool: &Pool, target: &Target, line: &str) -> Result<Output, Error> {
    pool.run(
        target,
        &RemoteCommand::new(line),
        &mut |_, _| {},
        &CancellationToken::new(),
    )
    .await
}

/// Waits for something that another task will do.
async fn until(condition: impl Fn() -> bool) {
    for _ in 0..12_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it never happened");
}

#[tokio::test]
async fn commands_share_one_connection() {
    let identity = identity();
    let server = Server::start(&identity).await;
    let (pool, target) = (pool(&identity), server.target("c1"));
    let output = run(&pool, &target, "echo out; echo err >&2").await.unwrap();
    assert_eq!(
        (output.stdout_text().as_str(), output.stderr_text().as_str()),
        ("out\n", "err\n")
    );
    assert!(output.success());
    for code in [0, 1, 7, 127, 255] {
        assert_eq!(
            run(&pool, &target, &format!("exit {code}")).await.unwrap().code,
            Some(code)
        );
    }
    let killed = run(&pool, &target, "kill -9 $$").await.unwrap();
    assert_eq!((killed.code, killed.signal.as_deref()), (None, Some("KILL")));
    let statistics = pool.statistics();
    assert_eq!((statistics.connections, statistics.channels), (1, 7));
    assert_eq!(
        (server.seen.count(|s| &s.connections), server.seen.count(|s| &s.logins)),
        (1, 1)
    );
}

#[tokio::test]
async fn much_input_and_much_output_do_not_wait_for_each_other() {
    let identity = identity();
    let server = Server::start(&identity).await;
    let pool = pool(&identity);
    let bytes: Vec<u8> = (0..8 << 20)
        .map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let mut streamed = 0;
    let output = pool
        .run(
            &server.target("c1"),
            &RemoteCommand::new("cat").with_stdin(bytes.clone()),
            &mut |_, piece| streamed += piece.len(),
            &CancellationToken::new(),
        )
        .await
        .unwrap();
    assert_eq!(streamed, bytes.len());
    assert!(output.stdout == bytes);
}

#[tokio::test]
async fn input_that_nobody_reads_is_no_failure() {
    let identity = identity();
    let server = Server::start(&identity).await;
    let command = RemoteCommand::new("exit 3").with_stdin(vec![0; 8 << 20]);
    let output = pool(&identity)
        .run(
            &server.target("c1"),
            &command,
            &mut |_, _| {},
            &CancellationToken::new(),
        )
        .await
        .unwrap();
    assert_eq!(output.code, Some(3));
}

#[tokio::test]
async fn output_arrives_while_the_command_runs() {
    let identity = identity();
    let server = Server::start(&identity).await;
    let folder = tempfile::tempdir().unwrap();
    let seen = folder.path().join("seen");
    // The command ends only after we have seen its first line.
    let line = format!(
        "echo first; until [ -e {} ]; do sleep 0.01; done; echo second >&2",
        seen.display()
    );
    let mut pieces = Vec::new();
    let mut on_output = |stream: Stream, piece: &[u8]| {
        fs_err::write(&seen, "").unwrap();
        pieces.push((stream, String::from_utf8(piece.to_vec()).unwrap()));
    };
    let command = RemoteCommand::new(line);
    pool(&identity)
        .run(
            &server.target("c1"),
            &command,
            &mut on_output,
            &CancellationToken::new(),
        )
        .await
        .unwrap();
    assert_eq!(
        pieces,
        [
            (Stream::Stdout, "first\n".to_owned()),
            (Stream::Stderr, "second\n".to_owned())
        ]
    );
}

#[tokio::test]
async fn a_script_gets_its_arguments_and_leaves_no_trace_in_the_command_line() {
    let identity = identity();
    let server = Server::start(&identity).await;
    let command = RemoteCommand::script("printf '%s|' \"$@\"; echo done", ["two words", "$HOME", "-x"]);
    let output = pool(&identity)
        .run(
            &server.target("c1"),
            &command,
            &mut |_, _| {},
            &CancellationToken::new(),
        )
        .await
        .unwrap();
    assert_eq!(output.stdout_text(), "two words|$HOME|-x|done\n");
    assert!(!server.seen.commands.lock().unwrap()[0].contains("printf"));
    assert!(!format!("{command:?}").contains("printf"));
}

#[tokio::test]
async fn a_wrong_host_key_ends_it_before_any_login() {
    let identity = identity();
    let server = Server::start(&identity).await;
    let other = generate_host_key("other").unwrap();
    let wrong = [
        HostKey::Keys(vec![other.public.clone()]),
        HostKey::Fingerprint(other.fingerprint.clone()),
    ];
    for host_key in wrong {
        let pool = pool(&identity);
        let target = Target {
            host_key,
            ..server.target("c1")
        };
        let error = run(&pool, &target, "true").await.unwrap_err();
        let Error::HostKeyMismatch {
            target: id,
            expected,
            offered,
            ..
        } = &error
        else {
            panic!("{error}")
        };
        assert_eq!(id, "c1");
        assert_eq!(expected, &[other.fingerprint.to_string()]);
        assert_eq!(offered, &server.host_key().fingerprints());
        assert!(error.hint().unwrap().contains("ssh-keygen -lf"));
        let waited = pool
            .wait_ready(&target, Duration::from_secs(600), &CancellationToken::new())
            .await;
        assert_eq!(waited.unwrap_err().kind(), ErrorKind::HostKeyMismatch);
        assert_eq!(pool.statistics().connections, 0);
    }
    assert_eq!(server.seen.count(|s| &s.logins), 0);
    assert!(server.seen.commands.lock().unwrap().is_empty());
}

#[tokio::test]
async fn any_of_a_machines_keys_may_be_the_known_one() {
    let identity = identity();
    let keys = vec![
        new_key(Algorithm::Ecdsa {
            curve: EcdsaCurve::NistP256,
        }),
        new_key(Algorithm::Ed25519),
    ];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server::start_on(listener, &identity, keys.clone());
    for key in keys {
        let public = HostKey::from_public_key(&key.public_key().to_openssh().unwrap()).unwrap();
        let fingerprint = HostKey::from_fingerprint(&public.fingerprints()[0]).unwrap();
        for host_key in [public, fingerprint] {
            let target = Target {
                host_key,
                ..server.target("c1")
            };
            assert!(run(&pool(&identity), &target, "true").await.unwrap().success());
        }
    }
}

#[tokio::test]
async fn a_refused_login_says_who_was_refused() {
    let server = Server::start(&identity()).await;
    let stranger = identity();
    let pool = pool(&stranger);
    let error = run(&pool, &server.target("c1"), "true").await.unwrap_err();
    let Error::LoginRefused { target, user, key, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!((target.as_str(), user.as_str()), ("c1", "tester"));
    assert_eq!(*key, stranger.fingerprint().to_string());
    let waited = pool
        .wait_ready(
            &server.target("c1"),
            Duration::from_secs(600),
            &CancellationToken::new(),
        )
        .await;
    assert_eq!(waited.unwrap_err().kind(), ErrorKind::LoginRefused);
}

#[tokio::test]
async fn a_connection_lost_during_a_command_is_said_and_never_hidden_by_a_second_run() {
    let identity = identity();
    let server = Server::start(&identity).await;
    let (pool, target) = (pool(&identity), server.target("c1"));
    let seen = Arc::clone(&server.seen);
    let mut on_output = |_: Stream, _: &[u8]| seen.cut();
    let command = RemoteCommand::new("echo started; sleep 600");
    let error = pool
        .run(&target, &command, &mut on_output, &CancellationToken::new())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert!(error.started());
    assert!(error.to_string().contains("whether it finished is unknown"), "{error}");
    assert_eq!(server.seen.commands.lock().unwrap().len(), 1);
    // The next command simply gets a new connection.
    assert!(run(&pool, &target, "true").await.unwrap().success());
    assert_eq!(pool.statistics().connections, 2);
}

#[tokio::test]
async fn a_connection_lost_between_commands_is_replaced() {
    let identity = identity();
    let server = Server::start(&identity).await;
    let (pool, target) = (pool(&identity), server.target("c1"));
    for connections in 1..=4 {
        assert!(run(&pool, &target, "true").await.unwrap().success());
        assert_eq!(pool.statistics().connections, connections);
        server.seen.cut();
    }
    assert_eq!(server.seen.commands.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn callers_who_come_together_share_one_connection() {
    let identity = identity();
    let server = Server::start(&identity).await;
    let options = PoolOptions {
        max_sessions_per_target: 3,
        ..PoolOptions::default()
    };
    let (pool, target) = (Pool::new(Arc::clone(&identity), options), server.target("c1"));
    let results = futures::future::join_all((0..20).map(|_| run(&pool, &target, "sleep 0.05"))).await;
    assert!(results.iter().all(|result| result.as_ref().unwrap().success()));
    assert_eq!((pool.statistics().connections, pool.statistics().channels), (1, 20));
    assert!(server.seen.count(|s| &s.most_running) <= 3);
}

#[tokio::test]
async fn callers_who_come_together_share_one_failure() {
    let identity = identity();
    let server = Server::start(&identity).await;
    let host_key = HostKey::Keys(vec![generate_host_key("other").unwrap().public]);
    let target = Target {
        host_key,
        ..server.target("c1")
    };
    let pool = pool(&identity);
    let results = futures::future::join_all((0..20).map(|_| run(&pool, &target, "true"))).await;
    assert!(
        results
            .iter()
            .all(|result| result.as_ref().unwrap_err().kind() == ErrorKind::HostKeyMismatch)
    );
    assert_eq!(server.seen.count(|s| &s.connections), 1);
    // Whoever comes later causes a new attempt.
    run(&pool, &target, "true").await.unwrap_err();
    assert_eq!(server.seen.count(|s| &s.connections), 2);
}

#[tokio::test]
async fn a_jump_host_is_gone_through_once_for_all_behind_it() {
    let identity = identity();
    let jump = Server::start(&identity).await;
    let (inner, other) = (Server::start(&identity).await, Server::start(&identity).await);
    let gateway = Arc::new(jump.target("gateway"));
    let pool = pool(&identity);
    let targets = [
        inner.target("c1").through(Arc::clone(&gateway)),
        other.target("c2").through(Arc::clone(&gateway)),
    ];
    let results = pool
        .run_on(
            &targets,
            &RemoteCommand::new("echo here"),
            &|_, _, _| {},
            &CancellationToken::new(),
        )
        .await;
    assert!(
        results
            .iter()
            .all(|(_, result)| result.as_ref().unwrap().stdout_text() == "here\n")
    );
    assert_eq!(jump.seen.count(|s| &s.connections), 1);
    assert_eq!(jump.seen.count(|s| &s.forwarded), 2);
    assert_eq!(pool.statistics().connections, 3);
    // A machine that is down is told apart from a gateway that is down.
    let nobody = Target {
        port: 1,
        ..inner.target("c3").through(Arc::clone(&gateway))
    };
    let error = run(&pool, &nobody, "true").await.unwrap_err();
    assert_eq!((error.kind(), error.target()), (ErrorKind::Unreachable, Some("c3")));
    let lost = Arc::new(Target {
        port: 1,
        ..jump.target("gateway2")
    });
    let error = run(&pool, &inner.target("c1").through(lost), "true").await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unreachable), "{error}");
    // The keys of both are checked.
    let wrong = HostKey::Keys(vec![generate_host_key("x").unwrap().public]);
    let stranger = Target {
        host_key: wrong,
        ..inner.target("c1").through(gateway)
    };
    assert_eq!(
        run(&pool, &stranger, "true").await.unwrap_err().kind(),
        ErrorKind::HostKeyMismatch
    );
}

#[tokio::test]
async fn a_tunnel_carries_bytes_both_ways() {
    let identity = identity();
    let server = Server::start(&identity).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).await.unwrap();
        socket.write_all(text.to_uppercase().as_bytes()).await.unwrap();
    });
    let pool = pool(&identity);
    let cancel = CancellationToken::new();
    let mut tunnel = pool
        .open_tcp(&server.target("c1"), "127.0.0.1", port, &cancel)
        .await
        .unwrap();
    tunnel.write_all(b"through the tunnel").await.unwrap();
    tunnel.shutdown().await.unwrap();
    let mut answer = String::new();
    tunnel.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "THROUGH THE TUNNEL");
    let error = pool
        .open_tcp(&server.target("c1"), "127.0.0.1", 1, &cancel)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
}

#[tokio::test]
async fn cancelling_ends_the_command_on_the_machine() {
    let identity = identity();
    let server = Server::start(&identity).await;
    let (pool, target) = (pool(&identity), server.target("c1"));
    let cancel = CancellationToken::new();
    let mut on_output = |_: Stream, _: &[u8]| cancel.cancel();
    let command = RemoteCommand::new("echo started; sleep 600");
    let error = pool.run(&target, &command, &mut on_output, &cancel).await.unwrap_err();
    assert!(matches!(error, Error::Cancelled { started: true, .. }), "{error}");
    until(|| server.seen.signals.lock().unwrap().as_slice() == ["TERM"]).await;
    // A token that was cancelled before starts nothing.
    let error = pool.run(&target, &command, &mut |_, _| {}, &cancel).await.unwrap_err();
    assert!(matches!(error, Error::Cancelled { started: false, .. }), "{error}");
    assert_eq!(server.seen.commands.lock().unwrap().len(), 1);
    // The connection is as good as before.
    assert!(run(&pool, &target, "true").await.unwrap().success());
    assert_eq!(pool.statistics().connections, 1);
}

#[tokio::test]
async fn dropping_the_future_ends_the_command_too() {
    let identity = identity();
    let server = Server::start(&identity).await;
    let (pool, target) = (pool(&identity), server.target("c1"));
    let task = tokio::spawn({
        let (pool, target) = (pool.clone(), target.clone());
        async move { run(&pool, &target, "sleep 600").await }
    });
    until(|| server.seen.commands.lock().unwrap().len() == 1).await;
    task.abort();
    until(|| server.seen.signals.lock().unwrap().as_slice() == ["TERM"]).await;
}

#[tokio::test]
async fn a_declined_command_is_not_a_lost_connection() {
    let identity = identity();
    let server = Server::start(&identity).await;
    let pool = pool(&identity);
    assert_eq!(
        run(&pool, &server.target("c1"), "declined").await.unwrap_err().kind(),
        ErrorKind::Declined
    );
    assert!(run(&pool, &server.target("c1"), "true").await.unwrap().success());
}

#[tokio::test]
async fn a_starting_machine_is_waited_for() {
    let identity = identity();
    // A port that refuses until the server takes it.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let key = new_key(Algorithm::Ed25519);
    let host_key = HostKey::from_public_key(&key.public_key().to_openssh().unwrap()).unwrap();
    let target = Target::new("c1", "127.0.0.1", address.port(), "tester", host_key);
    let pool = pool(&identity);
    assert_eq!(
        run(&pool, &target, "true").await.unwrap_err().kind(),
        ErrorKind::Unreachable
    );
    let waiting = tokio::spawn({
        let (pool, target) = (pool.clone(), target.clone());
        async move {
            pool.wait_ready(&target, Duration::from_secs(60), &CancellationToken::new())
                .await
        }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let listener = TcpListener::bind(address).await.unwrap();
    let _server = Server::start_on(listener, &identity, vec![key]);
    waiting.await.unwrap().unwrap();
    // The connection that was waited for is the one that is used.
    assert!(run(&pool, &target, "true").await.unwrap().success());
    assert_eq!(pool.statistics().connections, 1);
}

#[tokio::test]
async fn waiting_has_an_end_and_tells_the_last_failure() {
    let identity = identity();
    let server = Server::start(&identity).await;
    let nobody = Target {
        port: 1,
        ..server.target("c1")
    };
    let pool = pool(&identity);
    let error = pool
        .wait_ready(&nobody, Duration::from_secs(1), &CancellationToken::new())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let source = std::error::Error::source(&error).expect("a last failure").to_string();
    assert_eq!(source, "c1 cannot be reached at 127.0.0.1:1");
    assert!(
        !error.to_string().contains(&source),
        "an error does not repeat its source"
    );
    let cancel = CancellationToken::new();
    cancel.cancel();
    let error = pool
        .wait_ready(&nobody, Duration::from_secs(600), &cancel)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
}

#[tokio::test]
async fn a_machine_that_accepts_and_stays_silent_is_given_up_and_let_go() {
    let identity = identity();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host_key = HostKey::Keys(vec![generate_host_key("c1").unwrap().public]);
    let target = Target::new(
        "c1",
        "127.0.0.1",
        listener.local_addr().unwrap().port(),
        "tester",
        host_key,
    );
    let options = PoolOptions {
        connect_timeout: Duration::from_millis(100),
        ..PoolOptions::default()
    };
    let pool = Pool::new(identity, options);
    assert_eq!(
        run(&pool, &target, "true").await.unwrap_err().kind(),
        ErrorKind::Timeout
    );
    // Our side of the connection is gone: reading comes to an end.
    let (mut socket, _) = listener.accept().await.unwrap();
    let mut greeting = Vec::new();
    let _ = socket.read_to_end(&mut greeting).await;
    assert!(greeting.starts_with(b"SSH-2.0-clusterbook_"));
}

#[tokio::test]
async fn something_that_is_not_ssh_is_recognised() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket
                .write_all(b"HTTP/1.1 400 Bad Request\r\nServer: web\r\n\r\n")
                .await;
        }
    });
    let host_key = HostKey::Keys(vec![generate_host_key("c1").unwrap().public]);
    let target = Target::new("c1", "127.0.0.1", port, "tester", host_key);
    let error = run(&pool(&identity()), &target, "true").await.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Protocol | ErrorKind::Unreachable),
        "{error:?}"
    );
}

#[tokio::test]
async fn files_go_there_and_come_back() {
    let identity = identity();
    let server = Server::start(&identity).await;
    let (pool, target) = (pool(&identity), server.target("c1"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("it's a \"file\" $x");
    let path = path.to_str().unwrap();
    let cancel = CancellationToken::new();
    let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    pool.upload(&target, path, 0o600, bytes.clone(), &cancel).await.unwrap();
    assert!(pool.download(&target, path, &cancel).await.unwrap() == bytes);
    pool.upload(&target, path, 0o600, "", &cancel).await.unwrap();
    assert!(pool.download(&target, path, &cancel).await.unwrap().is_empty());
    let error = pool
        .upload(&target, "/nonexistent/folder/file", 0o600, "x", &cancel)
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("c1: writing /nonexistent/folder/file failed"),
        "{error}"
    );
    let error = pool.download(&target, "/nonexistent", &cancel).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transfer);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    assert_eq!(pool.statistics().connections, 1);
}

#[tokio::test]
async fn one_machines_failure_hides_no_other() {
    let identity = identity();
    let mut servers = Vec::new();
    let mut targets = Vec::new();
    for n in 0..6 {
        let server = Server::start(&identity).await;
        targets.push(server.target(&format!("c{n}")));
        servers.push(server);
    }
    targets[2].port = 1;
    targets[4].host_key = HostKey::Keys(vec![generate_host_key("x").unwrap().public]);
    let heard = std::sync::Mutex::new(Vec::new());
    let on_output = |target: &Target, _: Stream, piece: &[u8]| {
        heard
            .lock()
            .unwrap()
            .push(format!("{}: {}", target.id, String::from_utf8_lossy(piece)));
    };
    let pool = pool(&identity);
    let results = pool
        .run_on(
            &targets,
            &RemoteCommand::new("echo hi"),
            &on_output,
            &CancellationToken::new(),
        )
        .await;
    let kinds: Vec<_> = results
        .iter()
        .map(|(target, r)| (target.id.as_str(), r.as_ref().err().map(Error::kind)))
        .collect();
    assert_eq!(
        kinds,
        [
            ("c0", None),
            ("c1", None),
            ("c2", Some(ErrorKind::Unreachable)),
            ("c3", None),
            ("c4", Some(ErrorKind::HostKeyMismatch)),
            ("c5", None)
        ]
    );
    heard.lock().unwrap().sort();
    assert_eq!(*heard.lock().unwrap(), ["c0: hi\n", "c1: hi\n", "c3: hi\n", "c5: hi\n"]);
    assert_eq!(pool.statistics().connections, 4);
}

#[tokio::test]
async fn closing_ends_connections_and_leaves_the_pool_usable() {
    let identity = identity();
    let server = Server::start(&identity).await;
    let (pool, target) = (pool(&identity), server.target("c1"));
    run(&pool, &target, "true").await.unwrap();
    pool.close().await;
    run(&pool, &target, "true").await.unwrap();
    pool.forget(&target).await;
    run(&pool, &target, "true").await.unwrap();
    assert_eq!(pool.statistics().connections, 3);
    assert_eq!(server.seen.connections.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn many_commands_leave_nothing_behind() {
    let identity = identity();
    let server = Server::start(&identity).await;
    let (pool, target) = (pool(&identity), server.target("c1"));
    for n in 0..60 {
        assert_eq!(
            run(&pool, &target, &format!("echo {n}")).await.unwrap().stdout_text(),
            format!("{n}\n")
        );
    }
    assert_eq!((pool.statistics().connections, pool.statistics().channels), (1, 60));
}
