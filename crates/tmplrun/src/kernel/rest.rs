//! Whether a kernel may end a moment later than its notebook.
//!
//! An interpreter's end takes longer than many a notebook, and the next notebook could use that time. It must not notice,
//! though: a file that is written at the end, a port or a device that is given back, a thread that still computes. So the
//! kernel is compared with what it was when it was ready: what it has open, whether it is alone in its session, how much
//! memory it holds, what it has registered to be done at its end, and which threads would be waited for. The last two it
//! says itself, in the same answer that ends the last cell.

use super::table::Open;
use super::wire::Message;
use crate::json::{Json, Object};

/// The name that the question has in a request.
const NAME: &str = "tmplrun";
/// What is to be done when the interpreter ends: by `atexit`, by finalizers of objects, by and of threads. Of finalizers it is how many
/// were ever made: some of those that there were may be gone by now, and a new one would make up for them.
const EXPRESSION: &str = "(__import__('atexit')._ncallbacks(), repr(__import__('weakref').finalize._index_iter), \
                          len(__import__('threading')._threading_atexits), \
                          sum(not t.daemon for t in __import__('threading').enumerate()))";
/// A kernel that holds so much more than at its start gives it back before others need it.
const MOST_MEMORY: u64 = 256 << 20;

/// A kernel when it was ready, and after its last cell.
#[derive(Debug, Default)]
pub(super) struct Rest {
    first: Answer,
    last: Answer,
    open: Option<Open>,
    memory: u64,
}

#[derive(Debug, Default)]
struct Answer {
    asked: String,
    told: Option<String>,
}

/// The question, as a request carries it.
pub(super) fn expressions() -> Object {
    Object::new().with(NAME, EXPRESSION)
}

impl Rest {
    /// The kernel is ready, has this open, and is `asked`.
    pub(super) fn begin(&mut self, asked: String, open: Option<Open>, memory: u64) {
        self.first = Answer { asked, told: None };
        (self.open, self.memory) = (open, memory);
    }

    /// The last cell runs, and the kernel is `asked` once more.
    pub(super) fn ask_again(&mut self, asked: String) {
        self.last = Answer { asked, told: None };
    }

    /// A reply came.
    pub(super) fn hear(&mut self, message: &Message) {
        let answer = match &message.parent {
            parent if *parent == self.first.asked => &mut self.first,
            parent if *parent == self.last.asked => &mut self.last,
            _ => return,
        };
        let expression = message.content.get("user_expressions").and_then(|all| all.get(NAME));
        let data = expression.and_then(|found| found.get("data"));
        answer.told = data
            .and_then(|data| data.get("text/plain"))
            .and_then(Json::joined)
            .map(|text| text.into_owned());
    }

    /// Whether a kernel that has this open now is as it was.
    pub(super) fn is_unchanged(&self, open: Option<Open>, memory: u64) -> bool {
        let before_and_now = self.open.as_ref().zip(open);
        self.first.told.is_some()
            && self.first.told == self.last.told
            && before_and_now.is_some_and(|(before, now)| now.is_within(before))
            && memory < self.memory.saturating_add(MOST_MEMORY)
    }
}
