//! Which step may start, which must be passed over, and which come next.
//!
//! Kept apart from running: it knows states only, so every order can be tried without a kernel.

use crate::flow::Graph;

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Start this step; it counts as running now.
    Start(usize),
    /// Pass this step over; it counts as ended now.
    PassOver(usize),
    /// Wait until a running step ends.
    Wait,
    /// Nothing is left.
    Done,
}

/// What is known about a step before the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// It is to run.
    pub wanted: bool,
    /// It runs also when a step that it needs failed.
    pub always: bool,
    /// An earlier run completed it.
    pub done: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Running,
    Ended {
        /// It, and all that it needs, went as wanted.
        good: bool,
    },
}

/// The states of a run's steps.
#[derive(Debug)]
pub struct Schedule<'a> {
    graph: &'a Graph,
    standing: Vec<Standing>,
    states: Vec<State>,
    jobs: usize,
    stopped: bool,
}

impl<'a> Schedule<'a> {
    /// A schedule that runs at most `jobs` steps at once.
    #[must_use]
    pub fn new(graph: &'a Graph, standing: Vec<Standing>, jobs: usize) -> Self {
        let state = |standing: &Standing| match standing.done {
            true => State::Ended { good: true },
            false => State::Waiting,
        };
        Self {
            graph,
            states: standing.iter().map(state).collect(),
            standing,
            jobs: jobs.max(1),
            stopped: false,
        }
    }

    /// What to do now. Steps earlier in the list go first.
    pub fn next_step(&mut self) -> Next {
        let running = self.states.iter().filter(|state| **state == State::Running).count();
        for step in 0..self.states.len() {
            if self.states[step] != State::Waiting || !self.needs_ended(step) {
                continue;
            }
            let good = self.needs_good(step);
            let Standing { wanted, always, .. } = self.standing[step];
            if !wanted || self.stopped || !(good || always) {
                // A step that nobody asked for is no reason not to run those that need it.
                self.states[step] = State::Ended { good: good && !wanted };
                return Next::PassOver(step);
            }
            if running < self.jobs {
                self.states[step] = State::Running;
                return Next::Start(step);
            }
        }
        if running > 0 { Next::Wait } else { Next::Done }
    }

    /// Says how a running step ended.
    pub fn ended(&mut self, step: usize, good: bool) {
        self.states[step] = State::Ended {
            good: good && self.needs_good(step),
        };
    }

    /// Lets nothing start any more.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// The steps that are likely to start next, the likeliest first: they wait only for a free place or for steps that run
    /// now. Their kernels may be started ahead.
    #[must_use]
    pub fn coming(&self) -> Vec<usize> {
        let waits_for = |step: usize| {
            let needs = self.graph.needs(step).iter();
            needs.filter(|need| self.states[**need] == State::Running).count()
        };
        let could = |step: &usize| {
            self.states[*step] == State::Waiting
                && self.standing[*step].wanted
                && self.graph.needs(*step).iter().all(|need| match self.states[*need] {
                    State::Waiting => false,
                    State::Running => true,
                    State::Ended { good } => good || self.standing[*step].always,
                })
        };
        if self.stopped {
            return Vec::new();
        }
        let mut coming: Vec<usize> = (0..self.states.len()).filter(could).collect();
        coming.sort_by_key(|step| waits_for(*step));
        coming
    }

    fn needs_ended(&self, step: usize) -> bool {
        let mut needs = self.graph.needs(step).iter();
        needs.all(|need| matches!(self.states[*need], State::Ended { .. }))
    }

    fn needs_good(&self, step: usize) -> bool {
        let mut needs = self.graph.needs(step).iter();
        needs.all(|need| self.states[*need] == State::Ended { good: true })
    }
}

#[cfg(test)]
mod tests {
    use super::{Next, Schedule, Standing};
    use crate::flow::Graph;

    const WANTED: Standing = Standing {
        wanted: true,
        always: false,
        done: false,
    };

    fn graph(needs: &[&[usize]]) -> Graph {
        Graph::new(needs.iter().map(|needs| needs.to_vec()).collect(), &[]).unwrap()
    }

    #[test]
    fn branches_start_together_and_the_join_waits() {
        let graph = graph(&[&[], &[0], &[0], &[1, 2]]);
        let mut schedule = Schedule::new(&graph, vec![WANTED; 4], 8);
        assert_eq!(schedule.next_step(), Next::Start(0));
        assert_eq!(schedule.next_step(), Next::Wait);
        assert_eq!(schedule.coming(), [1, 2]);
        schedule.ended(0, true);
        assert_eq!(schedule.next_step(), Next::Start(1));
        assert_eq!(schedule.next_step(), Next::Start(2));
        assert_eq!(schedule.next_step(), Next::Wait);
        schedule.ended(2, true);
        assert_eq!(schedule.next_step(), Next::Wait);
        schedule.ended(1, true);
        assert_eq!(schedule.next_step(), Next::Start(3));
        schedule.ended(3, true);
        assert_eq!(schedule.next_step(), Next::Done);
    }

    #[test]
    fn no_more_run_at_once_than_allowed() {
        let graph = graph(&[&[], &[], &[]]);
        let mut schedule = Schedule::new(&graph, vec![WANTED; 3], 2);
        assert_eq!(
            [schedule.next_step(), schedule.next_step(), schedule.next_step()],
            [Next::Start(0), Next::Start(1), Next::Wait]
        );
        assert_eq!(schedule.coming(), [2]);
        schedule.ended(1, false);
        assert_eq!(schedule.next_step(), Next::Start(2));
    }

    #[test]
    fn a_failure_passes_over_what_needs_it_and_nothing_else() {
        // 1 and 2 need 0; 3 needs nothing; 4 cleans up after 1; 5 needs 4.
        let graph = graph(&[&[], &[0], &[0], &[], &[1], &[4]]);
        let mut standing = vec![WANTED; 6];
        standing[4].always = true;
        let mut schedule = Schedule::new(&graph, standing, 1);
        assert_eq!(schedule.next_step(), Next::Start(0));
        schedule.ended(0, false);
        assert_eq!(schedule.next_step(), Next::PassOver(1));
        assert_eq!(schedule.next_step(), Next::PassOver(2));
        assert_eq!(schedule.next_step(), Next::Start(3));
        assert_eq!(schedule.coming(), [4]);
        schedule.ended(3, true);
        assert_eq!(schedule.next_step(), Next::Start(4));
        schedule.ended(4, true);
        // Its clean-up went well, and what it cleaned up after did not.
        assert_eq!(schedule.next_step(), Next::PassOver(5));
        assert_eq!(schedule.next_step(), Next::Done);
    }

    #[test]
    fn steps_that_are_not_wanted_or_done_hold_nothing_up() {
        let graph = graph(&[&[], &[0], &[1], &[2]]);
        let mut standing = vec![WANTED; 4];
        standing[0].done = true;
        standing[1].wanted = false;
        let mut schedule = Schedule::new(&graph, standing, 1);
        assert_eq!(schedule.next_step(), Next::PassOver(1));
        assert_eq!(schedule.next_step(), Next::Start(2));
        schedule.stop();
        assert_eq!(schedule.coming(), [] as [usize; 0]);
        schedule.ended(2, true);
        assert_eq!(schedule.next_step(), Next::PassOver(3));
        assert_eq!(schedule.next_step(), Next::Done);
    }
}
