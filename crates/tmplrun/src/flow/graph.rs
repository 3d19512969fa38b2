//! Which step needs which.
//!
//! A step is known by its place in the list. The graph is checked once, when it is made; afterwards everybody may walk it.

use std::collections::BTreeSet;

use crate::error::{Error, Result};

/// Steps and what each needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    needs: Vec<Vec<usize>>,
    ancestors: Vec<BTreeSet<usize>>,
    order: Vec<usize>,
}

/// One line of [`Graph::picture`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The lines and dots.
    pub lines: String,
    /// The step whose dot is on this line, if there is one.
    pub step: Option<usize>,
}

impl Graph {
    /// A graph in which step `i` needs the steps `needs[i]`.
    ///
    /// # Errors
    /// When a step needs one that does not exist, or steps need each other in a circle; `names` are for the message.
    pub fn new(needs: Vec<Vec<usize>>, names: &[&str]) -> Result<Self> {
        let name = |step: usize| names.get(step).copied().unwrap_or("?");
        let mut order = Vec::new();
        let mut ancestors: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); needs.len()];
        if let Some(step) = (0..needs.len()).find(|step| needs[*step].iter().any(|need| *need >= needs.len())) {
            return Err(Error::yours(format!("{} needs a step that does not exist", name(step))));
        }
        let mut placed = vec![false; needs.len()];
        // The first in the list of those that can go: a plain list keeps its order.
        while let Some(step) =
            (0..needs.len()).find(|step| !placed[*step] && needs[*step].iter().all(|need| placed[*need]))
        {
            placed[step] = true;
            order.push(step);
            for need in &needs[step] {
                let mut above = ancestors[*need].clone();
                above.insert(*need);
                ancestors[step].append(&mut above);
            }
        }
        if let Some(start) = placed.iter().position(|placed| !placed) {
            let circle: Vec<&str> = circle(&needs, &placed, start).into_iter().map(name).collect();
            return Err(
                Error::yours(format!("steps need each other in a circle: {}", circle.join(" needs ")))
                    .help("take one of these needs out"),
            );
        }
        Ok(Self {
            needs,
            ancestors,
            order,
        })
    }

    /// How many steps there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.needs.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.needs.is_empty()
    }

    /// What `step` needs, as it was said.
    #[must_use]
    pub fn needs(&self, step: usize) -> &[usize] {
        self.needs.get(step).map_or(&[], Vec::as_slice)
    }

    /// Everything that must have ended before `step`: what it needs, what that needs, and so on.
    pub fn ancestors(&self, step: usize) -> impl DoubleEndedIterator<Item = usize> + '_ {
        self.ancestors.get(step).into_iter().flatten().copied()
    }

    /// Whether `first` must have ended before `then` starts.
    #[must_use]
    pub fn comes_before(&self, first: usize, then: usize) -> bool {
        self.ancestors.get(then).is_some_and(|above| above.contains(&first))
    }

    /// The steps in an order in which they could run one by one.
    #[must_use]
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// What `step` needs, without what those need already: the lines that a picture shows.
    #[must_use]
    pub fn edges(&self, step: usize) -> Vec<usize> {
        let needs = self.needs(step);
        let implied = |need: usize| needs.iter().any(|other| self.comes_before(need, *other));
        let edges: BTreeSet<usize> = needs.iter().copied().filter(|need| !implied(*need)).collect();
        edges.into_iter().collect()
    }

    /// How many steps lie on the longest way to `step`.
    #[must_use]
    pub fn rank(&self, step: usize) -> usize {
        self.edges(step)
            .into_iter()
            .map(|need| self.rank(need) + 1)
            .max()
            .unwrap_or(0)
    }

    /// The graph in characters, a dot for each step, the way version control draws history; `dot` says which.
    #[must_use]
    pub fn picture(&self, dot: &dyn Fn(usize) -> char) -> Vec<Row> {
        let mut followers: Vec<Vec<usize>> = vec![Vec::new(); self.len()];
        for step in &self.order {
            for need in self.edges(*step) {
                followers[need].push(*step);
            }
        }
        let mut rows = Vec::new();
        // Each lane leads to a step that is still to come.
        let mut lanes: Vec<Option<usize>> = Vec::new();
        for step in &self.order {
            let step = *step;
            let hits: Vec<usize> = (0..lanes.len()).filter(|lane| lanes[*lane] == Some(step)).collect();
            let at = match hits.first() {
                Some(first) => *first,
                None => free_lane(&mut lanes, 0),
            };
            if hits.len() > 1 {
                rows.push(joint(&lanes, at, &hits[1..], '┴', '╯'));
                hits[1..].iter().for_each(|lane| lanes[*lane] = None);
            }
            lanes[at] = Some(step);
            let line = |(lane, to): (usize, &Option<usize>)| match to {
                _ if lane == at => dot(step),
                Some(_) => '│',
                None => ' ',
            };
            let dots: Vec<String> = lanes.iter().enumerate().map(|each| line(each).to_string()).collect();
            rows.push(Row {
                lines: dots.join(" ").trim_end().to_owned(),
                step: Some(step),
            });
            lanes[at] = followers[step].first().copied();
            let mut opened = Vec::new();
            for follower in followers[step].iter().skip(1) {
                let lane = free_lane(&mut lanes, at + 1);
                lanes[lane] = Some(*follower);
                opened.push(lane);
            }
            if !opened.is_empty() {
                rows.push(joint(&lanes, at, &opened, '┬', '╮'));
            }
            while lanes.last() == Some(&None) {
                lanes.pop();
            }
        }
        rows
    }
}

fn free_lane(lanes: &mut Vec<Option<usize>>, from: usize) -> usize {
    if let Some(lane) = (from..lanes.len()).find(|lane| lanes[*lane].is_none()) {
        return lane;
    }
    lanes.push(None);
    lanes.len() - 1
}

/// A row in which lanes leave the one at `at`, or run into it.
fn joint(lanes: &[Option<usize>], at: usize, ends: &[usize], middle: char, last: char) -> Row {
    let furthest = ends.iter().copied().max().unwrap_or(at);
    let mut lines = String::new();
    for (lane, to) in lanes.iter().enumerate() {
        let inside = lane > at && lane < furthest;
        lines.push(match to {
            _ if lane == at => '├',
            _ if lane == furthest => last,
            _ if ends.contains(&lane) => middle,
            Some(_) if inside => '┼',
            None if inside => '─',
            Some(_) => '│',
            None => ' ',
        });
        lines.push(if lane >= at && lane < furthest { '─' } else { ' ' });
    }
    Row {
        lines: lines.trim_end().to_owned(),
        step: None,
    }
}

/// Steps that need each other, the first one again at the end.
fn circle(needs: &[Vec<usize>], placed: &[bool], start: usize) -> Vec<usize> {
    let mut way = vec![start];
    loop {
        let here = way[way.len() - 1];
        // What could not be placed needs something else that could not be placed.
        let Some(next) = needs[here].iter().copied().find(|need| !placed[*need]) else {
            return way;
        };
        if let Some(first) = way.iter().position(|step| *step == next) {
            way.push(next);
            return way.split_off(first);
        }
        way.push(next);
    }
}

#[cfg(test)]
mod tests {
    use super::Graph;

    fn graph(needs: &[&[usize]]) -> Graph {
        Graph::new(needs.iter().map(|needs| needs.to_vec()).collect(), &[]).unwrap()
    }

    #[test]
    fn pictures_show_branches_and_joins() {
        let cases: [(&[&[usize]], &str); 4] = [
            (&[&[], &[0], &[0, 1]], "0\n1\n2"),
            (&[&[], &[0], &[0], &[1, 2]], "0\n├─╮\n1 │\n│ 2\n├─╯\n3"),
            (&[&[], &[]], "0\n1"),
            (
                &[&[], &[0], &[0], &[0], &[1, 3], &[2]],
                "0\n├─┬─╮\n1 │ │\n│ 2 │\n│ │ 3\n├─┼─╯\n4 │\n  5",
            ),
        ];
        for (needs, expected) in cases {
            let rows = graph(needs).picture(&|step| char::from(b'0' + step as u8));
            let lines: Vec<String> = rows.into_iter().map(|row| row.lines).collect();
            assert_eq!(lines.join("\n"), expected, "{needs:?}");
        }
    }

    #[test]
    fn circles_are_named() {
        let error = Graph::new(vec![vec![], vec![0, 3], vec![1], vec![2]], &["a", "b", "c", "d"]).unwrap_err();
        assert!(error.to_string().ends_with("b needs d needs c needs b"), "{error}");
        assert!(
            Graph::new(vec![vec![0]], &["a"])
                .unwrap_err()
                .to_string()
                .ends_with("a needs a")
        );
    }

    #[test]
    fn implied_needs_are_not_drawn() {
        let graph = graph(&[&[], &[0], &[0, 1], &[]]);
        assert_eq!(graph.edges(2), [1]);
        assert_eq!(graph.rank(2), 2);
        assert_eq!(graph.ancestors(2).collect::<Vec<_>>(), [0, 1]);
        assert!(graph.comes_before(0, 2) && !graph.comes_before(3, 2));
    }
}
