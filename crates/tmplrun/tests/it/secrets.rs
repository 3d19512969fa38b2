//! Secrets in whole runs: nothing that is written or shown holds one.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;

use crate::lab::{Lab, code, stream, tagged};

const GIVEN: &str = "Zq7'v\\Xk \"9wé&TT";
const REGISTERED: &str = "reg-istered-Value-42";
const FROM_VARIABLE: &str = "v4riable-Secret-77";

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// How the secrets would look, whole or as a telling part.
fn traces() -> Vec<Vec<u8>> {
    let mut traces = Vec::new();
    for secret in [GIVEN, REGISTERED, FROM_VARIABLE] {
        traces.push(secret.as_bytes().to_vec());
        let base64 = base64::engine::general_purpose::STANDARD;
        for before in ["", "x", "xx"] {
            let encoded = base64.encode(format!("{before}{secret}"));
            traces.push(encoded.as_bytes()[4..encoded.len() - 4].to_vec());
        }
    }
    for part in [
        "Zq7",
        "9wé&TT",
        "9w\\xe9",
        "9w\\u00e9",
        "istered-Value",
        "riable-Secret",
    ] {
        traces.push(part.as_bytes().to_vec());
    }
    traces
}

#[test]
fn no_file_and_no_line_holds_a_secret() {
    let lab = Lab::new();
    let path = lab.write("token", format!("{GIVEN}\n"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let read = "import base64, json, os, socket, sys, time\nassert token.startswith('file:/'), token\n\
                secret = open(token[5:], encoding='utf-8').read().strip()\nother = os.environ[key.removeprefix('env:')]";
    let register = "s = socket.socket(socket.AF_UNIX)\ns.connect(os.environ['TMPLRUN_MASK'])\nf = s.makefile('rw')\n\
                    late = 'reg-istered' + '-Value-42'\nf.write(json.dumps({'mask': late}) + '\\n'); f.flush()\n\
                    assert f.readline() == 'ok\\n'\nf.write('nonsense\\n'); f.flush()\nassert f.readline().startswith('error')";
    let show = "for s in (secret, late, other):\n    print(s); print(s, file=sys.stderr)\n    print(repr(s), ascii(s), \
                s.encode(), json.dumps(s))\n    print(base64.b64encode(s.encode()).decode(), \
                base64.b64encode(('x' + s).encode()).decode())";
    let pieces = "for s in (secret, late, other):\n    for c in s:\n        sys.stdout.write(c); sys.stdout.flush()\n    print()\n\
                  for c in late:\n    sys.stdout.write(c); sys.stdout.flush(); time.sleep(0.01)\nprint('after')";
    lab.notebook(
        "f/1.ipynb",
        &[
            tagged("token = ''\nkey = ''", &["parameters"]),
            code(read),
            code(register),
            code(show),
            code(pieces),
            code("from IPython.display import HTML, display\ndisplay(HTML('<b>' + secret + '</b>')); display({'s': secret})\nlate"),
            code("display({'application/vnd.tmplrun.result+json': {'leak': secret}}, raw=True)"),
            tagged("raise ValueError(late)", &["raises-exception"]),
            code("def f(password):\n    raise RuntimeError(f'bad password {password}')\nf(secret)"),
        ],
    );
    lab.notebook(
        "f/2.ipynb",
        &[tagged("leak = ''", &["parameters"]), code("print(leak)")],
    );
    lab.write(
        "f/flow.yaml",
        "schema: 1\nflows:\n  main:\n    steps: [1.ipynb, {notebook: 2.ipynb, always: true}]\n",
    );
    let mut command = lab.command(&[
        "f",
        "o",
        "--secret",
        "token=file:token",
        "--secret",
        "key=env:KEY",
        "--json",
        "--junit",
        "j.xml",
        "--events",
        "e.jsonl",
        "--report",
        "r.html",
        "--log-output",
    ]);
    command.env("KEY", FROM_VARIABLE);
    let run = crate::lab::Run::from(command.output().unwrap())
        .expect(1)
        .says("bad password ••••••");
    let executed = lab.read("o/1.ipynb");
    assert!(stream(&executed, 6).ends_with("after\n"), "{executed:#}");
    assert!(lab.text("o/1.ipynb").contains("file:"), "the reference is missing");
    assert!(stream(&lab.read("o/2.ipynb"), 2).contains("••••••"));
    let mut written = Vec::new();
    files(&lab.path(""), &mut written);
    written.retain(|path| {
        !path.ends_with("token") && !path.starts_with(lab.path("f")) && !path.starts_with(lab.path("home"))
    });
    assert!(written.len() == 6, "{written:?}");
    let mut texts: Vec<(String, Vec<u8>)> = written
        .iter()
        .map(|path| (path.display().to_string(), std::fs::read(path).unwrap()))
        .collect();
    texts.push(("standard output".to_owned(), run.stdout.into_bytes()));
    texts.push(("standard error".to_owned(), run.stderr.into_bytes()));
    for (name, bytes) in texts {
        for trace in traces() {
            let found = bytes.windows(trace.len()).position(|window| window == trace);
            if let Some(at) = found {
                let around = &bytes[at.saturating_sub(80)..(at + 80).min(bytes.len())];
                panic!(
                    "{name} holds {}: {}",
                    String::from_utf8_lossy(&trace),
                    String::from_utf8_lossy(around)
                );
            }
        }
    }
    lab.assert_clean();
}

#[test]
fn keys_and_numbers_hold_no_secret_either() {
    let lab = Lab::new();
    let secret = "90817263";
    let path = lab.write("pin", secret);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let show = "s = open(pin[5:]).read()\nn = int(s)\nleak = {s: 1, 'a' + s: {'n': n}, 'list': [n, n / 10]}\n\
                display({'application/json': leak, s: 'x'}, raw=True, metadata={s: n})\n\
                display({'application/vnd.tmplrun.result+json': {'found': leak, 'x' + s: n}}, raw=True)";
    let cells = [tagged("pin = ''", &["parameters"]), code(show)];
    lab.notebook("f/1.ipynb", &cells);
    lab.notebook(
        "f/2.ipynb",
        &[
            tagged("found = {}", &["parameters"]),
            code("assert found['list'][0].startswith('•')\nfound"),
        ],
    );
    // The journal is looked at while the notebook runs.
    lab.notebook(
        "f/3.ipynb",
        &[
            cells[0].clone(),
            cells[1].clone(),
            code("import glob\nprint(open(glob.glob('../o/.3.*')[0]).read())"),
        ],
    );
    lab.write(
        "f/flow.yaml",
        "schema: 1\nflows:\n  main:\n    steps: [1.ipynb, 2.ipynb, 3.ipynb]\n",
    );
    let given = ["-y", "{found: {x90817263: 90817263}}"];
    for arguments in [
        &[
            "f",
            "o",
            "--json",
            "--events",
            "e",
            "--report",
            "r",
            "--junit",
            "j",
            "--log-output",
        ][..],
        &["f", "--dry-run", given[0], given[1]],
        &["f", "--dry-run", "--json", given[0], given[1]],
    ] {
        let run = lab.run(&[arguments, &["--secret", "pin=file:pin"]].concat()).expect(0);
        assert!(run.stdout.contains("••••••"), "{}", run.stdout);
        if arguments.contains(&"--events") {
            let said = "2.ipynb gets `found` from 1.ipynb masked, as {\"••••••\": 1, ";
            assert!(run.stderr.contains(&format!("warning: {said}")), "{}", run.stderr);
            let events = lab.text("e");
            let told = events
                .lines()
                .find(|line| line.contains("from 1.ipynb masked"))
                .unwrap();
            assert!(
                told.contains("\"warning\"") && told.contains("\"name\":\"2.ipynb\""),
                "{told}"
            );
        }
        for text in [run.stdout, run.stderr] {
            assert!(!text.contains(secret), "{text}");
        }
    }
    let mut written = Vec::new();
    files(&lab.path("o"), &mut written);
    written.extend(["e", "r", "j"].map(|name| lab.path(name)));
    assert!(written.len() == 7, "{written:?}");
    for path in written {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains(secret), "{}: {text}", path.display());
    }
    let shown = &lab.read("o/1.ipynb")["cells"][2]["outputs"];
    assert_eq!(shown[0]["data"]["application/json"]["••••••"], 1);
    assert_eq!(shown[0]["data"]["application/json"]["list"][0], "••••••");
    assert_eq!(shown[0]["metadata"]["••••••"], "••••••");
    let journal = stream(&lab.read("o/3.ipynb"), 3);
    assert!(
        journal.contains("application/json") && journal.contains("••••••"),
        "{journal}"
    );
}
