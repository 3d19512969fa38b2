//! Kernels that are forked, and started before they are needed: the same as others, and none is left.

use serde_json::Value;

use crate::lab::{Lab, code, signal, stream};

/// What a notebook can find out about its kernel, apart from what differs from one to the next.
const FACTS: &str = r#"
import atexit, builtins, ctypes, gc, json, locale, logging, os, random, resource, signal, site, sys, tempfile, threading, warnings
def fd(number):
    kind = os.readlink(f'/proc/self/fd/{number}').split(':')[0]
    return 'null' if kind == '/dev/null' else kind
def link(number):
    try:
        return os.readlink(f'/proc/self/fd/{number}')
    except OSError:
        return None
facts = {
    'argv': [word if 'tmplrun-' not in word else 'FILE' for word in sys.argv],
    'orig_argv': [word if 'tmplrun-' not in word else 'FILE' for word in sys.orig_argv],
    'path': sys.path, 'prefix': sys.prefix, 'executable': sys.executable, 'flags': str(sys.flags),
    'main': [__name__, sys.modules['__main__'].__dict__ is globals(), str(sys.modules['__main__'].__spec__)],
    'environ': {k: v for k, v in os.environ.items() if k not in ('JPY_PARENT_PID', 'TMPLRUN_KERNEL', 'TMPLRUN_RUN', 'TMPLRUN_MASK')},
    'set': sorted(k for k in os.environ if k.startswith(('TMPLRUN', 'JPY'))),
    'cwd': os.getcwd(), 'umask': os.umask(0o22), 'leader': [os.getsid(0) == os.getpid(), os.getpgrp() == os.getpid()],
    'streams': [fd(0), sys.stdin.isatty(), type(sys.stdout).__name__, type(sys.stderr).__name__],
    'originals': [sys.__stdin__.encoding, sys.__stdout__.encoding, sys.__stdout__.line_buffering, sys.__stderr__.errors],
    'limits': [str(resource.getrlimit(getattr(resource, name))) for name in dir(resource) if name.startswith('RLIMIT')],
    'signals': [[number, str(signal.getsignal(number))[:30]] for number in signal.valid_signals()
                if 'object at' not in str(signal.getsignal(number))],
    'masked': sorted(int(n) for n in signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    'threads': sorted(thread.name.split('-')[0] for thread in threading.enumerate()),
    'main thread': [threading.main_thread() is threading.current_thread(), threading.get_native_id() == os.getpid()],
    'tasks': len(os.listdir('/proc/self/task')),
    'debugpy': 'debugpy' in sys.modules, 'warnings': [str(each) for each in warnings.filters],
    'logging': [logging.getLogger().level, len(logging.getLogger().handlers)],
    'locale': locale.setlocale(locale.LC_ALL), 'gc': [gc.isenabled(), gc.get_threshold(), len(gc.callbacks)],
    'tempfile': tempfile.gettempdir(), 'history': len(In), 'count': get_ipython().execution_count,
    'names': sorted(name for name in globals() if not name.startswith('_') and name not in ('fd', 'link', 'facts')),
    'death': ctypes.CDLL(None).prctl(2, ctypes.byref(death := ctypes.c_int())) or death.value,
    'descriptors': sum('profile_default' not in str(link(number)) for number in os.listdir('/proc/self/fd')),
    'modules': sorted(name for name in sys.modules if not name.startswith('_')),
    'children': open('/proc/self/task/%d/children' % os.getpid()).read(),
}
print(json.dumps(facts))
"#;

const WHERE_FROM: &str =
    "import os, random\nprint(os.getppid(), os.getppid() == int(os.environ['JPY_PARENT_PID']), random.random())";

fn flow(lab: &Lab, cells: &[&[&str]]) {
    let mut file = "schema: 1\nflows:\n  main:\n    steps:\n".to_owned();
    for (index, cells) in cells.iter().enumerate() {
        let cells: Vec<Value> = cells.iter().map(|source| code(source)).collect();
        lab.notebook(&format!("f/{index:04}.ipynb"), &cells);
        file.push_str(&format!("      - {index:04}.ipynb\n"));
    }
    lab.write("f/flow.yaml", file);
}

fn facts(lab: &Lab, folder: &str, index: usize) -> Value {
    serde_json::from_str(&stream(&lab.read(&format!("{folder}/{index:04}.ipynb")), 0)).unwrap()
}

/// The parent's number and whether it is the runner.
fn parent(lab: &Lab, index: usize, cell: usize) -> (String, bool) {
    let text = stream(&lab.read(&format!("o/{index:04}.ipynb")), cell);
    let words: Vec<&str> = text.split_whitespace().collect();
    (words[0].to_owned(), words[1] == "True")
}

#[test]
fn a_forked_kernel_is_as_one_started_by_itself() {
    let lab = Lab::new();
    flow(
        &lab,
        &[&[FACTS, WHERE_FROM], &[FACTS, WHERE_FROM], &[FACTS, WHERE_FROM]],
    );
    lab.run(&["f", "cold", "--cold-kernels"]).expect(0);
    lab.run(&["f", "forked", "--no-prestart"]).expect(0);
    lab.run(&["f", "o"]).expect(0);
    let cold = facts(&lab, "cold", 0);
    assert!(cold["modules"].as_array().unwrap().len() > 300);
    for folder in ["cold", "forked", "o"] {
        for index in 0..3 {
            let found = facts(&lab, folder, index);
            for (name, value) in cold.as_object().unwrap() {
                if name == "descriptors" {
                    // ZeroMQ opens and closes some of its own at any time; those of a server with many children would be more.
                    let apart = found[name].as_i64().unwrap().abs_diff(value.as_i64().unwrap());
                    assert!(apart <= 3, "{name} in {folder}/{index:04}: {apart} apart");
                } else {
                    assert_eq!(&found[name], value, "{name} in {folder}/{index:04}");
                }
            }
        }
    }
    let parents: Vec<(String, bool)> = (0..3).map(|index| parent(&lab, index, 1)).collect();
    assert!(
        parents.iter().all(|parent| *parent == parents[0]) && !parents[0].1,
        "{parents:?}"
    );
    let random = |index: usize| stream(&lab.read(&format!("o/{index:04}.ipynb")), 1);
    assert_ne!(random(0).split(' ').next_back(), random(1).split(' ').next_back());
    lab.await_nothing();
}

#[test]
fn what_a_kernel_does_at_its_end_is_done_before_the_next_notebook() {
    let lab = Lab::new();
    // At its end IPython forgets what cells have named, in any order; the finalizer's function has with it what it needs.
    let ways = [
        "import atexit, time\natexit.register(lambda: (time.sleep(0.3), open('late', 'w').write('yes')))",
        "late = open('late', 'w')\nlate.write('yes')",
        "import threading, time\n\
         threading.Thread(target=lambda: (time.sleep(0.3), open('late', 'w').write('yes'))).start()",
        // It is deaf to the signals by which the kernel and the runner end it, and gone before they lose patience.
        "import subprocess\n\
         p = subprocess.Popen(['sh', '-c', 'trap \"\" TERM; echo; exec >&-; sleep 0.3; printf yes >late'],\n\
         \u{20}                    stdout=subprocess.PIPE)\np.stdout.read()\np.stdout.close()",
        "import weakref, time\nclass C: pass\nc = C()\n\
         weakref.finalize(c, lambda sleep=time.sleep: (sleep(0.3), open('late', 'w').write('yes')))",
    ];
    let look = "import os\nprint(open('late').read())\nos.remove('late')";
    let cells: Vec<[&str; 1]> = ways.iter().flat_map(|way| [[*way], [look]]).collect();
    flow(&lab, &cells.iter().map(|cells| &cells[..]).collect::<Vec<_>>());
    lab.run(&["f", "o"]).expect(0);
    for (index, way) in ways.iter().enumerate() {
        let seen = stream(&lab.read(&format!("o/{:04}.ipynb", 2 * index + 1)), 0);
        assert_eq!(seen, "yes\n", "{way}");
    }
    lab.await_nothing();
}

#[test]
fn what_an_earlier_notebook_installed_is_there() {
    let lab = Lab::new();
    lab.write("packages/known.py", "x = 1");
    let install = "open('../packages/added.py', 'w').write('x = 2')";
    flow(
        &lab,
        &[
            &[WHERE_FROM, install],
            &["import added", WHERE_FROM],
            &["import added", WHERE_FROM],
        ],
    );
    let mut command = lab.command(&["f", "o"]);
    command.env("PYTHONPATH", lab.path("packages"));
    crate::lab::Run::from(command.output().unwrap()).expect(0);
    assert!(!parent(&lab, 0, 0).1, "the first is forked");
    assert!(
        parent(&lab, 1, 1).1 && parent(&lab, 2, 1).1,
        "later ones are started by themselves"
    );
    lab.await_nothing();
}

#[test]
fn a_kernel_that_nobody_needed_is_ended() {
    let lab = Lab::new();
    let wait = "import os, time\nfor _ in range(500):\n    if open(f'/proc/{os.getppid()}/task/{os.getppid()}/children')\
                .read().count(' ') > 1: break\n    time.sleep(0.02)\nelse:\n    raise SystemExit('alone')\n1/0";
    flow(&lab, &[&[wait], &["1"], &["1"]]);
    lab.run(&["f", "o"]).expect(1).says("ZeroDivisionError");
    lab.await_nothing();
}

#[test]
fn only_the_plain_command_is_forked() {
    let lab = Lab::new();
    lab.write(
        "home/.local/share/jupyter/kernels/quiet/kernel.json",
        r#"{"argv": ["python", "-m", "ipykernel_launcher", "-f", "{connection_file}", "--HistoryManager.enabled=False"],
            "display_name": "Q", "language": "python"}"#,
    );
    flow(&lab, &[&[WHERE_FROM], &[WHERE_FROM]]);
    lab.run(&["f", "o", "-k", "quiet"]).expect(0);
    assert!(parent(&lab, 0, 0).1 && parent(&lab, 1, 0).1);
}

#[test]
fn the_debugger_is_there_when_asked_for() {
    let lab = Lab::new();
    let source = "import sys\nprint('debugpy' in sys.modules, get_ipython().kernel.debugger is not None)";
    flow(&lab, &[&[source], &[source]]);
    lab.run(&["f", "o", "--debugger"]).expect(0);
    assert_eq!(stream(&lab.read("o/0001.ipynb"), 0), "True True\n");
    lab.run(&["f", "o", "--debugger", "--cold-kernels"]).expect(0);
    assert_eq!(stream(&lab.read("o/0001.ipynb"), 0), "True True\n");
    // Left out, it can still be imported.
    let source = "import sys\nprint('debugpy' in sys.modules)\nimport debugpy\nprint(debugpy.__name__)";
    flow(&lab, &[&[source], &[source]]);
    lab.run(&["f", "o"]).expect(0);
    assert_eq!(stream(&lab.read("o/0001.ipynb"), 0), "False\ndebugpy\n");
}

#[test]
fn a_killed_server_takes_its_kernel_along_and_is_noticed() {
    let lab = Lab::new();
    flow(
        &lab,
        &[
            &["1"],
            &["import os, time\nos.kill(os.getppid(), 9)\ntime.sleep(1000)"],
            &["1"],
        ],
    );
    lab.run(&["f", "o"])
        .expect(138)
        .says("the kernel's process ended while this cell ran");
    lab.await_nothing();
}

#[test]
fn a_run_killed_at_any_moment_leaves_nothing() {
    let lab = Lab::new();
    let busy = "import subprocess, time\nsubprocess.Popen(['sleep', '1000'])\ntime.sleep(0.02)";
    flow(&lab, &[&[busy], &[busy], &[busy], &["import time\ntime.sleep(1000)"]]);
    for moment in [5, 30, 80, 200, 300, 400, 500, 700, 1100] {
        let mut child = lab.start(&["f", "o"]);
        std::thread::sleep(std::time::Duration::from_millis(moment));
        signal(child.id(), "KILL");
        child.wait().unwrap();
        lab.await_nothing();
    }
}

#[test]
fn many_notebooks_leave_nothing() {
    let lab = Lab::new();
    // A thousand in the nightly run.
    let count: usize = std::env::var("TMPLRUN_TEST_MANY").map_or(25, |count| count.parse().unwrap());
    flow(&lab, &vec![&["print(1)"][..]; count]);
    for more in [&[][..], &["--cold-kernels"]] {
        lab.run(&[&["f", "o"], more].concat()).expect(0);
        lab.await_nothing();
        if count > 100 {
            break;
        }
    }
    // The report and the run's record lie beside the notebooks.
    assert_eq!(std::fs::read_dir(lab.path("o")).unwrap().count(), count + 2);
}

#[test]
fn what_a_cell_used_is_recorded() {
    let lab = Lab::new();
    let spin = "import time\nbegan = time.process_time()\nwhile time.process_time() - began < 0.5: pass";
    let child = "import subprocess, sys\nsubprocess.run([sys.executable, '-c', \"\"\"import time\n\
                 while time.process_time() < 0.5: pass\"\"\"])";
    lab.notebook(
        "n.ipynb",
        &[
            code("1"),
            code("big = b'x' * 80_000_000"),
            code(spin),
            code(child),
            code("del big"),
        ],
    );
    let run = lab.run(&["n.ipynb", "o.ipynb", "--json"]).expect(0);
    let result: Value = serde_json::from_str(&run.stdout).unwrap();
    let cell = |index: usize, name: &str| result["steps"][0]["cells"][index][name].as_f64().unwrap();
    assert!(cell(1, "memory_growth") > 70e6 && cell(4, "memory_growth") < -70e6);
    assert!(cell(1, "memory") > 100e6);
    for index in [2, 3] {
        assert!(
            cell(index, "processor_seconds") >= 0.4,
            "{}",
            cell(index, "processor_seconds")
        );
    }
    // The notebook's own metadata is papermill's alone.
    assert!(!lab.text("o.ipynb").contains("processor_seconds"));
}
