//! Any frames are answered, signed or not.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tmplrun::kernel::read_frames;

fuzz_target!(|input: (bool, Vec<Vec<u8>>)| {
    let (sign, frames) = input;
    if let Some((_, content)) = read_frames(frames, sign) {
        // What is kept of a message is written into notebooks.
        let text = content.to_compact();
        assert!(tmplrun::json::parse(&text).is_ok(), "{text}");
    }
});
