//! The order in which operations are carried out: the order of the request, except that an
//! operation waits for those that it refers to. Pure functions, linear in the number of references.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

/// An operation, as far as the order is concerned.
#[derive(Debug, Clone, Default)]
pub struct PlanNode {
    /// The positions of the operations that must be carried out before.
    pub needs: BTreeSet<usize>,
    /// Whether it can be carried out in two parts, the first one without its references.
    pub divisible: bool,
}

/// One step, for the operation at this position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanStep {
    /// Carry it out.
    Run(usize),
    /// Create its resource without the references of a cycle.
    Begin(usize),
    /// Add those references.
    Finish(usize),
    /// Refuse it: it is part of a cycle that cannot be resolved.
    Refuse(usize),
}

impl PlanStep {
    /// The position of the operation.
    pub fn position(self) -> usize {
        match self {
            Self::Run(at) | Self::Begin(at) | Self::Finish(at) | Self::Refuse(at) => at,
        }
    }
}

/// The steps that carry out all operations.
pub fn plan_steps(nodes: &[PlanNode]) -> Vec<PlanStep> {
    ScimBulkPlanner::new(nodes).into_steps()
}

struct ScimBulkPlanner<'a> {
    nodes: &'a [PlanNode],
    /// The operations that need each operation.
    needed_by: Vec<Vec<usize>>,
    /// How many of its needs are not yet met.
    unmet: Vec<usize>,
    /// Whether others may refer to it: it was carried out, begun or refused.
    settled: Vec<bool>,
    begun: Vec<bool>,
    ready: BinaryHeap<Reverse<usize>>,
    steps: Vec<PlanStep>,
}

impl<'a> ScimBulkPlanner<'a> {
    fn new(nodes: &'a [PlanNode]) -> Self {
        let mut needed_by = vec![Vec::new(); nodes.len()];
        for (at, node) in nodes.iter().enumerate() {
            for &need in &node.needs {
                needed_by[need].push(at);
            }
        }
        let unmet: Vec<usize> = nodes.iter().map(|node| node.needs.len()).collect();
        let ready = (0..nodes.len()).filter(|&at| unmet[at] == 0).map(Reverse).collect();
        let (settled, begun) = (vec![false; nodes.len()], vec![false; nodes.len()]);
        Self { nodes, needed_by, unmet, settled, begun, ready, steps: Vec::new() }
    }

    fn into_steps(mut self) -> Vec<PlanStep> {
        // The needs of each operation that may be unmet. A need that is met stays met, so it is
        // dropped.
        let mut needs: Vec<_> =
            self.nodes.iter().map(|node| node.needs.iter().copied().peekable()).collect();
        let mut first = 0;
        loop {
            while let Some(Reverse(at)) = self.ready.pop() {
                if self.begun[at] {
                    self.steps.push(PlanStep::Finish(at));
                } else if !self.settled[at] {
                    self.push_step(at, PlanStep::Run(at));
                }
            }
            // All remaining operations wait for a cycle.
            while first < self.nodes.len() && self.settled[first] {
                first += 1;
            }
            if first == self.nodes.len() {
                return self.steps;
            }
            let circle = self.find_cycle(first, &mut needs);
            match circle.iter().copied().filter(|&at| self.nodes[at].divisible).min() {
                Some(at) => {
                    self.begun[at] = true;
                    self.push_step(at, PlanStep::Begin(at));
                }
                None => circle.into_iter().for_each(|at| self.push_step(at, PlanStep::Refuse(at))),
            }
        }
    }

    fn push_step(&mut self, at: usize, step: PlanStep) {
        self.steps.push(step);
        self.settled[at] = true;
        for index in 0..self.needed_by[at].len() {
            let waiting = self.needed_by[at][index];
            self.unmet[waiting] -= 1;
            if self.unmet[waiting] == 0 {
                self.ready.push(Reverse(waiting));
            }
        }
    }

    /// The cycle that is reached from `start` by following the unmet needs.
    fn find_cycle(
        &self,
        start: usize,
        needs: &mut [std::iter::Peekable<impl Iterator<Item = usize>>],
    ) -> Vec<usize> {
        let mut seen = vec![None; self.nodes.len()];
        let mut path = Vec::new();
        let mut at = start;
        loop {
            if let Some(begin) = seen[at] {
                return path.split_off(begin);
            }
            seen[at] = Some(path.len());
            path.push(at);
            while needs[at].next_if(|&need| self.settled[need]).is_some() {}
            match needs[at].peek() {
                Some(&need) => at = need,
                // Not reached: an operation that waits for nothing would have been ready.
                None => return path.split_off(path.len() - 1),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::PlanStep::{Begin, Finish, Refuse, Run};
    use super::*;

    fn nodes(needs: &[&[usize]], divisible: &[usize]) -> Vec<PlanNode> {
        let node = |(at, needs): (usize, &&[usize])| PlanNode {
            needs: needs.iter().copied().collect(),
            divisible: divisible.contains(&at),
        };
        needs.iter().enumerate().map(node).collect()
    }

    #[test]
    fn without_references_the_order_is_that_of_the_request() {
        assert_eq!(plan_steps(&nodes(&[&[], &[], &[]], &[0, 1, 2])), [Run(0), Run(1), Run(2)]);
        assert_eq!(plan_steps(&nodes(&[&[], &[0], &[0, 1]], &[])), [Run(0), Run(1), Run(2)]);
        assert_eq!(plan_steps(&[]), []);
    }

    #[test]
    fn an_operation_waits_for_what_comes_later_and_then_is_next() {
        assert_eq!(
            plan_steps(&nodes(&[&[2], &[], &[], &[]], &[])),
            [Run(1), Run(2), Run(0), Run(3)]
        );
        // A chain, written backwards.
        assert_eq!(
            plan_steps(&nodes(&[&[1], &[2], &[3], &[]], &[])),
            [Run(3), Run(2), Run(1), Run(0)]
        );
    }

    #[test]
    fn a_circle_is_entered_at_its_first_operation_that_can_be_done_in_two_parts() {
        assert_eq!(plan_steps(&nodes(&[&[1], &[0]], &[0, 1])), [Begin(0), Run(1), Finish(0)]);
        assert_eq!(
            plan_steps(&nodes(&[&[1], &[2], &[0]], &[1])),
            [Begin(1), Run(0), Run(2), Finish(1)]
        );
        // A user that refers to itself.
        assert_eq!(plan_steps(&nodes(&[&[0]], &[0])), [Begin(0), Finish(0)]);
        // An operation that only leads to a cycle is not divided.
        assert_eq!(
            plan_steps(&nodes(&[&[1], &[2], &[1]], &[0, 1, 2])),
            [Begin(1), Run(0), Run(2), Finish(1)]
        );
    }

    #[test]
    fn two_circles_through_one_operation_are_both_resolved() {
        let steps = plan_steps(&nodes(&[&[1, 2], &[0], &[0]], &[0, 1, 2]));
        assert_eq!(steps, [Begin(0), Run(1), Run(2), Finish(0)]);
    }

    #[test]
    fn a_circle_that_cannot_be_divided_is_refused_and_the_rest_goes_on() {
        assert_eq!(
            plan_steps(&nodes(&[&[1], &[0], &[1], &[]], &[2])),
            [Run(3), Refuse(0), Refuse(1), Run(2)]
        );
        assert_eq!(plan_steps(&nodes(&[&[0]], &[])), [Refuse(0)]);
    }

    #[test]
    fn a_thousand_operations_that_all_refer_to_each_other_are_planned_at_once() {
        let all: Vec<usize> = (0..1_000).collect();
        let needs: Vec<&[usize]> = all.iter().map(|_| all.as_slice()).collect();
        let started = std::time::Instant::now();
        let steps = plan_steps(&nodes(&needs, &all));
        assert_eq!(steps.iter().filter(|step| matches!(step, Begin(_))).count(), 1_000);
        assert_eq!(steps.iter().filter(|step| matches!(step, Finish(_))).count(), 1_000);
        assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
    }
}
