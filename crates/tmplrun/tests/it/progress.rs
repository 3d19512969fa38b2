//! What is shown while notebooks run: live lines on a terminal, plain ones elsewhere.

use std::collections::BTreeSet;

use crate::lab::{COLUMNS, Lab, code, text};

/// What a terminal shows, as far as a progress line needs it.
#[derive(Default)]
struct Screen {
    lines: Vec<Vec<char>>,
    row: usize,
    column: usize,
}

impl Screen {
    /// Takes what was written, and gives every picture that differs from the one before.
    fn show(written: &str) -> Vec<String> {
        let mut screen = Self::default();
        let mut pictures = vec![String::new()];
        let mut rest = written.chars();
        while let Some(c) = rest.next() {
            match c {
                '\r' => screen.column = 0,
                '\n' => screen.row += 1,
                '\x1b' => {
                    assert_eq!(rest.next(), Some('['));
                    let mut count = String::new();
                    let last = rest.by_ref().find(|c| {
                        count.extend(Some(*c).filter(char::is_ascii_digit));
                        c.is_ascii_alphabetic()
                    });
                    screen.command(last.unwrap(), count.parse().unwrap_or(1));
                }
                c => screen.put(c),
            }
            // A line that is written over is empty in between.
            if c != '\x1b' && screen.picture() != pictures[pictures.len() - 1] {
                pictures.push(screen.picture());
            }
        }
        pictures
    }

    fn line(&mut self) -> &mut Vec<char> {
        if self.lines.len() <= self.row {
            self.lines.resize(self.row + 1, Vec::new());
        }
        &mut self.lines[self.row]
    }

    fn command(&mut self, command: char, count: usize) {
        let column = self.column;
        match command {
            'A' => self.row = self.row.saturating_sub(count),
            'B' => self.row += count,
            'K' if count == 2 => self.line().clear(),
            'K' => self.line().truncate(column),
            // Colours, and the cursor's looks.
            'm' | 'h' | 'l' => {}
            other => panic!("the terminal does not know ESC [ {count} {other}"),
        }
    }

    fn put(&mut self, c: char) {
        // A full line is left when something more is to be shown, and not before.
        if self.column == usize::from(COLUMNS) {
            self.column = 0;
            self.row += 1;
        }
        let column = self.column;
        let line = self.line();
        if line.len() <= column {
            line.resize(column + 1, ' ');
        }
        line[column] = c;
        self.column += 1;
    }

    fn picture(&self) -> String {
        let lines: Vec<String> = self.lines.iter().map(|line| line.iter().collect()).collect();
        lines
            .iter()
            .map(|line| line.trim_end())
            .collect::<Vec<_>>()
            .join("\n")
            .trim_end()
            .to_owned()
    }
}

fn slow(lab: &Lab) {
    slow_after(lab, "");
}

/// The last cell does something first.
fn slow_after(lab: &Lab, first: &str) {
    lab.notebook(
        "n.ipynb",
        &[
            text("# First part"),
            code("1"),
            text("## Second part"),
            code(&format!(
                "import os, time\n{first}print('one\\n\\x1b[1mtwo\\x1b[0m')\ntime.sleep(1.5)"
            )),
        ],
    );
}

#[test]
fn a_terminal_shows_cell_heading_output_and_time_in_a_line_that_goes() {
    let lab = Lab::new();
    slow(&lab);
    let run = lab.run_with_errors_on_a_terminal(&["n.ipynb", "o.ipynb"]);
    let pictures = Screen::show(&run.stderr);
    let run = run.expect(0);
    let shown = |line: &str| {
        pictures
            .iter()
            .any(|picture| picture.lines().any(|each| each.ends_with(line)))
    };
    assert!(shown("s n.ipynb · starting the kernel"), "{:?}", run.stderr);
    let running = "s n.ipynb · cell 2/2 Second part · two";
    let times: BTreeSet<&str> = pictures
        .iter()
        .flat_map(|picture| picture.lines())
        .filter_map(|line| line.strip_suffix(running)?.split_whitespace().last())
        .collect();
    assert!(times.len() > 1, "its time stands still: {:?}", run.stderr);
    // Only what stays is there at the end.
    let lines: Vec<&str> = pictures[pictures.len() - 1].lines().collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[0].starts_with("n.ipynb  completed ") && lines[1].starts_with("n.ipynb: completed in "));
    assert_eq!(lines[2], "  notebook: o.ipynb");
}

#[test]
fn a_terminal_shows_a_line_for_each_notebook_that_runs() {
    let lab = Lab::new();
    // Each of the two waits for the other.
    slow_after(
        &lab,
        "open(f'begun-{os.getpid()}', 'w').close()\n\
         for _ in range(6000):\n    if sum(name.startswith('begun-') for name in os.listdir()) == 2: break\n    \
         time.sleep(0.01)\n",
    );
    std::fs::create_dir(lab.path("f")).unwrap();
    std::fs::rename(lab.path("n.ipynb"), lab.path("f/n.ipynb")).unwrap();
    lab.write(
        "f/flow.yaml",
        "schema: 1\nflows:\n  main:\n    steps: [n.ipynb, {notebook: n.ipynb, name: m, needs: []}]\n",
    );
    let run = lab.run_with_errors_on_a_terminal(&["f", "o", "-j", "2", "--log-output"]);
    let pictures = Screen::show(&run.stderr);
    let run = run.expect(0);
    let both = |picture: &&String| {
        let running = |name: &str| {
            picture
                .lines()
                .any(|line| line.contains(&format!("] {name} · cell 2/2")))
        };
        running("n.ipynb") && running("m.ipynb")
    };
    assert!(pictures.iter().any(|picture| both(&picture)), "{:?}", run.stderr);
    let last = &pictures[pictures.len() - 1];
    assert!(
        !last.contains(" · ") && last.contains("[2/2] m.ipynb  completed"),
        "{last}"
    );
    // Output that is shown whole stays above the live lines.
    assert!(last.contains("m.ipynb │ one\nm.ipynb │ two"), "{last}");
}

#[test]
fn without_a_terminal_each_cell_has_a_plain_line() {
    let lab = Lab::new();
    slow(&lab);
    for options in [&[] as &[&str], &["--progress-bar"], &["--no-progress-bar"]] {
        let run = lab.run(&[&["n.ipynb", "o.ipynb"], options].concat()).expect(0);
        assert!(
            run.stderr.contains("\n  cell 2/2  Second part  completed ") && !run.stderr.contains('\r'),
            "{options:?}: {:?}",
            run.stderr
        );
    }
    let run = lab.run_with_errors_on_a_terminal(&["n.ipynb", "o.ipynb", "--progress-bar", "--no-progress-bar"]);
    let pictures = Screen::show(&run.stderr);
    let last = &pictures[pictures.len() - 1];
    assert!(
        last.contains("\n  cell 2/2  Second part  completed ") && !run.stderr.contains("\x1b[2K"),
        "{last}"
    );
}
