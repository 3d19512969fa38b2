//! Any bytes are answered, and what is written is read and written the same again.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use tmplrun::notebook::Notebook;

fuzz_target!(|data: &[u8]| {
    let path = Path::new("n.ipynb");
    let Ok(notebook) = Notebook::read(data, path) else {
        return;
    };
    let once = notebook.write();
    let again = Notebook::read(once.as_bytes(), path).expect("what was written is read");
    assert_eq!(again.write(), once);
    let _ = notebook.typed();
});
