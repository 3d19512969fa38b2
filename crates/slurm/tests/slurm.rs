//! The calls, against recorded answers and against bad ones.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::VecDeque;
use std::sync::Mutex;

use async_trait::async_trait;
use clusterbook_slurm::{
    ErrorKind, History, JobFlag, JobId, JobPhase, Limit, Local, NodeBase, NodeFlag, NodeUpdate, Ran, Runner,
    RunnerError, Slurm, SubmitOptions,
};
use tokio_util::sync::CancellationToken;

/// Gives prepared answers one after the other, and remembers what was asked.
#[derive(Default)]
struct Script {
    answers: Mutex<VecDeque<Result<Ran, String>>>,
    asked: Mutex<Vec<(Vec<String>, Vec<u8>)>>,
}

impl Script {
    fn new(answers: impl IntoIterator<Item = Ran>) -> Script {
        Script {
            answers: Mutex::new(answers.into_iter().map(Ok).collect()),
            asked: Mutex::default(),
        }
    }

    fn asked(&self) -> Vec<String> {
        self.asked
            .lock()
            .unwrap()
            .iter()
            .map(|(argv, _)| argv.join(" "))
            .collect()
    }
}

#[async_trait]
impl Runner for Script {
    async fn run(&self, argv: &[&str], stdin: &[u8]) -> Result<Ran, RunnerError> {
        let words = argv.iter().map(|word| (*word).to_owned()).collect();
        self.asked.lock().unwrap().push((words, stdin.to_vec()));
        self.answers
            .lock()
            .unwrap()
            .pop_front()
            .expect("no answer left")
            .map_err(RunnerError::from)
    }
}

fn fixture(name: &str) -> Ran {
    let path = format!("{}/tests/fixtures/{name}.json", env!("CARGO_MANIFEST_DIR"));
    answer(fs_err::read(path).unwrap())
}

fn answer(stdout: impl Into<Vec<u8>>) -> Ran {
    Ran {
        code: Some(0),
        stdout: stdout.into(),
        stderr: Vec::new(),
    }
}

fn failure(code: u32, stderr: &str) -> Ran {
    Ran {
        code: Some(code),
        stdout: Vec::new(),
        stderr: stderr.as_bytes().to_vec(),
    }
}

const DEAD: &str = "slurm_load_node error: Unable to contact slurm controller (connect failure)\n";

#[tokio::test]
async fn recorded_nodes() {
    for name in ["idle", "allocated", "mixed", "drained", "down", "older-version"] {
        let slurm = Slurm::new(Script::new([fixture(&format!("nodes-{name}"))]));
        insta::assert_json_snapshot!(format!("nodes-{name}"), slurm.nodes().await.unwrap());
        assert_eq!(slurm.runner().asked(), ["scontrol show nodes --json"]);
    }
    let nodes = Slurm::new(Script::new([fixture("nodes-drained")]))
        .nodes()
        .await
        .unwrap();
    let drained = nodes.iter().find(|node| node.name == "c2").unwrap();
    assert_eq!(drained.state.base, NodeBase::Idle);
    assert_eq!(drained.state.flags, [NodeFlag::Drain]);
    assert!(drained.state.is_drained() && !drained.state.is_ready());
    assert_eq!(drained.reason.as_deref(), Some("disk is full"));
}

#[tokio::test]
async fn recorded_partitions_and_controllers() {
    let partitions = Slurm::new(Script::new([fixture("partitions")]))
        .partitions()
        .await
        .unwrap();
    insta::assert_json_snapshot!("partitions", partitions);
    assert_eq!(partitions[0].max_time_minutes, Some(Limit::Number(60)));
    let up = Slurm::new(Script::new([fixture("ping-up")])).ping().await.unwrap();
    assert!(up[0].up && up[0].hostname == "c1");
    let down = Slurm::new(Script::new([fixture("ping-down")])).ping().await.unwrap();
    assert!(!down[0].up);
}

#[tokio::test]
async fn the_configuration_is_read_from_text() {
    let said = "Configuration data as of 2026-11-21T17:40:20\nAccountingStorageBackupHost = (null)\n\
        MaxJobCount             = 20000\nSlurmctldHost[0]        = master(10.0.0.2)\nTopologyParam           = \n\n\
        Slurmctld(primary) at master is UP\n";
    let slurm = Slurm::new(Script::new([answer(said)]));
    let settings = slurm.configuration().await.unwrap();
    let pairs: Vec<(&str, &str)> = settings
        .iter()
        .map(|setting| (setting.key.as_str(), setting.value.as_str()))
        .collect();
    assert_eq!(
        pairs,
        [
            ("AccountingStorageBackupHost", "(null)"),
            ("MaxJobCount", "20000"),
            ("SlurmctldHost[0]", "master(10.0.0.2)"),
            ("TopologyParam", ""),
        ]
    );
    assert_eq!(slurm.runner().asked(), ["scontrol show config"]);
}

#[tokio::test]
async fn recorded_jobs() {
    for name in ["squeue-empty", "squeue-running-and-pending", "squeue-array"] {
        let slurm = Slurm::new(Script::new([fixture(name)]));
        insta::assert_json_snapshot!(name, slurm.jobs().await.unwrap());
    }
    let job = async |name: &str| {
        let slurm = Slurm::new(Script::new([fixture(name)]));
        slurm.job(JobId(1)).await.unwrap()
    };
    let running = job("job-running").await.unwrap();
    assert_eq!((running.state.phase, running.exit_code), (JobPhase::Running, None));
    assert_eq!(
        (running.node_count, running.tasks, running.nodes.as_str()),
        (2, 4, "c1,c2")
    );
    assert_eq!(job("job-pending").await.unwrap().state.phase, JobPhase::Pending);
    let completed = job("job-completed").await.unwrap();
    assert!(completed.state.is_finished() && completed.succeeded());
    let failed = job("job-failed").await.unwrap();
    assert_eq!((&failed.state.phase, failed.exit_code), (&JobPhase::Failed, Some(7)));
    assert!(failed.state.is_finished() && !failed.succeeded());
    let signalled = job("job-signalled").await.unwrap();
    assert_eq!((&signalled.state.phase, signalled.signal), (&JobPhase::Failed, Some(9)));
    let cancelled = job("job-array-cancelled").await.unwrap();
    assert_eq!(cancelled.state.phase, JobPhase::Cancelled);
    assert!(cancelled.array.is_some());
    assert_eq!(job("job-unknown").await, None);
}

#[tokio::test]
async fn accounting_is_optional() {
    let none = failure(1, "Slurm accounting storage is disabled\n");
    assert_eq!(
        Slurm::new(Script::new([none])).accounting(JobId(12)).await.unwrap(),
        None
    );
    let records = Slurm::new(Script::new([fixture("sacct")]))
        .accounting(JobId(12))
        .await
        .unwrap()
        .unwrap();
    insta::assert_json_snapshot!("sacct", records);
}

#[tokio::test]
async fn accounts_limits_and_shares() {
    let slurm = Slurm::new(Script::new([
        fixture("associations"),
        fixture("shares"),
        fixture("sacct"),
        failure(
            1,
            "You are not running a supported accounting_storage plugin\n(accounting_storage/slurmdbd).\n",
        ),
        failure(1, "sacctmgr: error: Sending PersistInit msg: Connection refused\n"),
    ]));
    insta::assert_json_snapshot!("associations", slurm.associations().await.unwrap());
    insta::assert_json_snapshot!("shares", slurm.fair_share().await.unwrap());
    let wanted = History {
        account: Some("physics".to_owned()),
        since: Some("now-7days".to_owned()),
        ..History::default()
    };
    assert_eq!(slurm.history(&wanted).await.unwrap().unwrap().len(), 1);
    assert_eq!(slurm.fair_share().await.unwrap(), None, "a cluster without books");
    assert_eq!(slurm.associations().await.unwrap_err().kind(), ErrorKind::NotAnswering);
    assert_eq!(
        slurm.runner().asked()[..3],
        [
            "sacctmgr --json show associations",
            "sshare --all --json",
            "sacct --json --allusers --accounts=physics --starttime=now-7days",
        ]
    );
}

#[tokio::test]
async fn a_script_is_submitted_over_standard_input() {
    let slurm = Slurm::new(Script::new([answer("17\n"), answer("18;demo\n"), answer("what?\n")]));
    let options = SubmitOptions {
        ntasks: Some(4),
        nodes: Some(2),
        ..SubmitOptions::new("#!/bin/sh\nhostname\n")
    };
    assert_eq!(slurm.submit(&options).await.unwrap(), JobId(17));
    assert_eq!(slurm.submit(&options).await.unwrap(), JobId(18));
    assert_eq!(slurm.submit(&options).await.unwrap_err().kind(), ErrorKind::Unreadable);
    let asked = slurm.runner().asked.lock().unwrap();
    assert_eq!(asked[0].0, ["sbatch", "--parsable", "--ntasks=4", "--nodes=2"]);
    assert_eq!(asked[0].1, b"#!/bin/sh\nhostname\n");
}

#[tokio::test]
async fn a_refusal_keeps_slurms_words() {
    let words = "sbatch: error: Batch job submission failed: Requested node configuration is not available\n";
    let error = Slurm::new(Script::new([failure(1, words)]))
        .submit(&SubmitOptions::new("#!/bin/sh"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_eq!(
        error.to_string(),
        "sbatch --parsable failed (exit status 1): sbatch: error: Batch job submission failed: Requested node configuration is not available"
    );
}

#[tokio::test]
async fn slurm_not_answering_is_told_apart_from_a_refusal() {
    let error = Slurm::new(Script::new([failure(1, DEAD)])).nodes().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotAnswering);
    assert!(error.to_string().contains("exit status 1"), "{error}");
    assert!(error.to_string().contains("connect failure"), "{error}");
    assert!(error.hint().unwrap().contains("slurmctld"));
    let missing = failure(127, "sh: 1: scontrol: not found\n");
    let error = Slurm::new(Script::new([missing])).nodes().await.unwrap_err();
    assert!(error.hint().unwrap().contains("not installed"));
}

#[tokio::test]
async fn truncated_and_foreign_answers_are_errors_that_show_their_beginning() {
    let whole = fixture("nodes-idle").stdout;
    for length in [0, 1, 10, 100, whole.len() / 2, whole.len() - 3] {
        let error = Slurm::new(Script::new([answer(&whole[..length])]))
            .nodes()
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreadable, "{length} bytes: {error}");
    }
    let foreign: [(&[u8], &str); 5] = [
        (b"hello", "expected"),
        (b"{}", "no list named `nodes`"),
        (b"{\"nodes\": null}", "no list named `nodes`"),
        (b"{\"nodes\": [{}]}", "nodes[0]: missing field `name`"),
        (b"\xff\xfe\x00", "expected"),
    ];
    for (bytes, reason) in foreign {
        let error = Slurm::new(Script::new([answer(bytes)])).nodes().await.unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[tokio::test]
async fn unknown_states_survive() {
    let json = br#"{"nodes": [{"name": "c1", "state": ["QUANTUM", "DRAIN"]}, {"name": "c2", "state": 5}]}"#;
    let nodes = Slurm::new(Script::new([answer(&json[..])])).nodes().await.unwrap();
    assert_eq!(nodes[0].state.base, NodeBase::Other("QUANTUM".to_owned()));
    assert_eq!(serde_json::to_value(&nodes[0]).unwrap()["state"], "QUANTUM+DRAIN");
    assert_eq!(nodes[1].state.base, NodeBase::Unknown);
    let json = br#"{"jobs": [{"job_id": 5, "job_state": ["LEVITATING"], "exit_code": 256}]}"#;
    let jobs = Slurm::new(Script::new([answer(&json[..])])).jobs().await.unwrap();
    assert_eq!(jobs[0].state.phase, JobPhase::Other("LEVITATING".to_owned()));
    assert_eq!(jobs[0].exit_code, Some(1));
}

fn job_in(state: &str) -> Ran {
    answer(format!(r#"{{"jobs": [{{"job_id": 7, "job_state": {state}}}]}}"#))
}

#[tokio::test(start_paused = true)]
async fn waiting_reports_each_change_once() {
    let slurm = Slurm::new(Script::new([
        job_in(r#"["PENDING"]"#),
        job_in(r#"["PENDING"]"#),
        job_in(r#"["RUNNING"]"#),
        failure(1, DEAD),
        job_in(r#"["RUNNING"]"#),
        job_in(r#"["COMPLETED", "COMPLETING"]"#),
        job_in(r#"["COMPLETED"]"#),
    ]));
    let mut states = Vec::new();
    let job = slurm
        .wait(
            JobId(7),
            &mut |job| states.push(job.state.to_string()),
            &CancellationToken::new(),
        )
        .await
        .unwrap();
    assert_eq!(states, ["PENDING", "RUNNING", "COMPLETED+COMPLETING", "COMPLETED"]);
    assert!(job.succeeded() && !job.state.has(&JobFlag::Completing));
    assert!(
        slurm
            .runner()
            .asked()
            .iter()
            .all(|asked| asked == "scontrol show job 7 --json")
    );
}

#[tokio::test]
async fn many_jobs_are_looked_at_in_one_question() {
    let forgotten = failure(1, "slurm_load_jobs error: Invalid job id specified\n");
    let slurm = Slurm::new(Script::new([
        fixture("squeue-running-and-pending"),
        forgotten,
        failure(1, DEAD),
    ]));
    assert_eq!(slurm.jobs_among(&[]).await.unwrap(), []);
    assert_eq!(slurm.jobs_among(&[JobId(3), JobId(4)]).await.unwrap().len(), 2);
    assert_eq!(slurm.jobs_among(&[JobId(9)]).await.unwrap(), []);
    let error = slurm.jobs_among(&[JobId(9)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotAnswering);
    assert_eq!(
        slurm.runner().asked(),
        [
            "squeue --states=all --jobs=3,4 --json",
            "squeue --states=all --jobs=9 --json",
            "squeue --states=all --jobs=9 --json"
        ]
    );
}

#[tokio::test]
async fn a_script_is_signalled_alone() {
    let ended = failure(
        1,
        "scancel: error: Kill job error on job id 7: Job/step already completing or completed\n",
    );
    let unknown = failure(
        1,
        "scancel: error: Kill job error on job id 7: Invalid job id specified\n",
    );
    let slurm = Slurm::new(Script::new([answer(""), ended, unknown]));
    slurm.signal_script(JobId(7), "USR2").await.unwrap();
    slurm.signal_script(JobId(7), "USR2").await.unwrap();
    let error = slurm.signal_script(JobId(7), "USR2").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownJob);
    assert_eq!(slurm.runner().asked()[0], "scancel --batch --signal=USR2 7");
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_when_slurm_stays_away_or_forgets_the_job() {
    let wait = async |answers: Vec<Ran>| {
        let slurm = Slurm::new(Script::new(answers));
        slurm
            .wait(JobId(7), &mut |_| {}, &CancellationToken::new())
            .await
            .unwrap_err()
    };
    assert_eq!(wait(vec![failure(1, DEAD); 5]).await.kind(), ErrorKind::NotAnswering);
    assert_eq!(wait(vec![fixture("job-unknown")]).await.kind(), ErrorKind::UnknownJob);
    let invalid = failure(1, "slurm_load_jobs error: Invalid job id specified\n");
    assert_eq!(wait(vec![invalid]).await.kind(), ErrorKind::UnknownJob);
}

#[tokio::test(start_paused = true)]
async fn an_array_is_waited_for_as_a_whole() {
    let array = |one: &str, other: &str| {
        answer(format!(
            r#"{{"jobs": [{{"job_id": 8, "array_job_id": 7, "job_state": "{one}"}}, {{"job_id": 7, "array_job_id": 7, "job_state": "{other}"}}]}}"#
        ))
    };
    let slurm = Slurm::new(Script::new([
        array("COMPLETED", "RUNNING"),
        array("COMPLETED", "FAILED"),
        array("RUNNING", "PENDING"),
    ]));
    let mut states = Vec::new();
    let mut on_state = |job: &clusterbook_slurm::Job| states.push(format!("{} {}", job.id, job.state));
    let job = slurm
        .wait(JobId(7), &mut on_state, &CancellationToken::new())
        .await
        .unwrap();
    assert_eq!(states, ["8 COMPLETED", "7 RUNNING", "7 FAILED"]);
    assert_eq!((job.id, job.succeeded()), (JobId(7), false));
    assert_eq!(
        slurm.job(JobId(7)).await.unwrap().unwrap().state.phase,
        JobPhase::Pending
    );
}

#[tokio::test(start_paused = true)]
async fn waiting_can_be_cancelled_and_leaves_the_job_alone() {
    let slurm = Slurm::new(Script::new([job_in(r#"["RUNNING"]"#)]));
    let cancel = CancellationToken::new();
    let error = slurm
        .wait(JobId(7), &mut |_| cancel.cancel(), &cancel)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert_eq!(slurm.runner().asked(), ["scontrol show job 7 --json"]);
}

#[tokio::test]
async fn nodes_are_drained_and_resumed() {
    let slurm = Slurm::new(Script::new([answer(""), answer(""), answer(""), answer("")]));
    slurm
        .update_node(
            "c[1-2]",
            &NodeUpdate::Drain {
                reason: "disk is full".to_owned(),
            },
        )
        .await
        .unwrap();
    slurm.update_node("c1", &NodeUpdate::Resume).await.unwrap();
    slurm.reconfigure().await.unwrap();
    slurm.cancel(JobId(7)).await.unwrap();
    let asked: Vec<Vec<String>> = slurm
        .runner()
        .asked
        .lock()
        .unwrap()
        .iter()
        .map(|(argv, _)| argv.clone())
        .collect();
    assert_eq!(
        asked[0],
        [
            "scontrol",
            "update",
            "NodeName=c[1-2]",
            "State=DRAIN",
            "Reason=disk is full"
        ]
    );
    assert_eq!(asked[1], ["scontrol", "update", "NodeName=c1", "State=RESUME"]);
    assert_eq!(asked[2], ["scontrol", "reconfigure"]);
    assert_eq!(asked[3], ["scancel", "7"]);
    let error = Slurm::new(Script::new([failure(
        1,
        "slurm_update error: Invalid node name specified\n",
    )]))
    .update_node("nope", &NodeUpdate::Resume)
    .await
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
}

#[tokio::test]
async fn cancelling_what_has_ended_is_fine() {
    let ended = failure(
        1,
        "scancel: error: Kill job error on job id 7: Job/step already completing or completed\n",
    );
    Slurm::new(Script::new([ended])).cancel(JobId(7)).await.unwrap();
    let unknown = failure(
        1,
        "scancel: error: Kill job error on job id 7: Invalid job id specified\n",
    );
    assert_eq!(
        Slurm::new(Script::new([unknown]))
            .cancel(JobId(7))
            .await
            .unwrap_err()
            .kind(),
        ErrorKind::UnknownJob
    );
}

#[tokio::test]
async fn a_runner_that_fails_is_the_source() {
    let script = Script::default();
    script
        .answers
        .lock()
        .unwrap()
        .push_back(Err("the login node is asleep".to_owned()));
    let error = Slurm::new(script).jobs().await.unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (ErrorKind::Runner, "squeue --json could not be run")
    );
    assert_eq!(
        std::error::Error::source(&error).unwrap().to_string(),
        "the login node is asleep"
    );
}

#[tokio::test]
async fn the_local_runner_passes_words_and_input_as_they_are() {
    let script = "printf '%s|' \"$@\"; cat; echo oops >&2; exit 3";
    let ran = Local
        .run(&["sh", "-c", script, "sh", "two words", "$HOME", "it's"], b"input")
        .await
        .unwrap();
    assert_eq!(ran.code, Some(3));
    assert_eq!(String::from_utf8(ran.stdout).unwrap(), "two words|$HOME|it's|input");
    assert_eq!(ran.stderr, b"oops\n");
    // Input that nobody reads, and more of it than fits into a pipe.
    assert_eq!(Local.run(&["true"], &vec![0; 1 << 20]).await.unwrap().code, Some(0));
    assert!(
        Local
            .run(&["no-such-program-here"], b"")
            .await
            .unwrap_err()
            .to_string()
            .contains("no-such-program-here")
    );
}
