//! Rounds of a world: who asks, which lane works, what happens meanwhile, what is heard.

use super::chaos::Profile;
use super::ports::lock;
use super::script;
use super::world::World;
use crate::signing::SigningError;
use crate::signing::job::Job;
use crate::sma::{Command, Outcome, TransactionRef, TransactionStep};
use crate::terms::TssId;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

impl World {
    /// One round: some callers ask, a lane works, perhaps another node does so meanwhile.
    fn round(&mut self) {
        let elapsed_s = i64::try_from(self.rng.below(3)).unwrap();
        self.shared.now.fetch_add(elapsed_s, SeqCst);
        let node = self.any_node();
        if self.plan.clocks {
            self.disturb_clock(node);
        }
        let lane = self.rng.index(self.plan.lanes);
        let jobs = self.jobs_for(node, lane);
        let lane = Arc::clone(&self.nodes[node].lanes[lane]);
        let other = (node + 1) % self.nodes.len();
        if other != node && self.rng.percent(50) {
            let at = self.rng.index(self.plan.lanes);
            let theirs = self.jobs_for(other, at);
            let their_lane = Arc::clone(&self.nodes[other].lanes[at]);
            let mutant = self.plan.mutant;
            let work: Box<dyn FnOnce() + Send> =
                Box::new(move || Self::turn(&their_lane, theirs, mutant));
            *lock(&self.shared.meanwhile) = Some(work);
        }
        Self::turn(&lane, jobs, self.plan.mutant);
        let not_yet = lock(&self.shared.meanwhile).take();
        if let Some(work) = not_yet {
            work();
        }
        if self.plan.profile.deaths && self.rng.percent(2) {
            self.restart(node);
        }
        self.restart_the_dead();
        self.collect();
    }

    pub fn any_node(&mut self) -> usize {
        self.rng.index(self.nodes.len())
    }

    fn disturb_clock(&mut self, node: usize) {
        let clock = Arc::clone(&self.nodes[node].clock);
        match self.rng.below(40) {
            0 => clock.offset_s.store(-5, SeqCst),
            1 => clock.offset_s.store(0, SeqCst),
            2 => clock.correct(7),
            3 => clock.correct(-3),
            _ => {}
        }
    }

    fn jobs_for(&mut self, node: usize, lane: usize) -> Vec<Job> {
        let mut jobs = Vec::new();
        for at in 0..self.callers.len() {
            let caller = &self.callers[at];
            let is_idle = caller.waiting.is_none() && self.lane_of(caller.tss) == lane;
            let Some(command) = caller.script.next().filter(|_| is_idle).cloned() else {
                continue;
            };
            if self.rng.percent(30) {
                continue;
            }
            let (job, mailbox) = self.job(node, caller.tss, &command, caller.script.session);
            self.callers[at].waiting = Some(mailbox);
            jobs.push(job);
        }
        jobs
    }

    /// Callers read what they were told.
    fn collect(&mut self) {
        for at in 0..self.callers.len() {
            let Some(mailbox) = self.callers[at].waiting.clone() else {
                continue;
            };
            if lock(&mailbox).heard.is_empty() {
                continue;
            }
            self.callers[at].waiting = None;
            let Some(answer) = self.hear(&mailbox) else {
                continue;
            };
            let tss = self.callers[at].tss;
            let Some(command) = self.callers[at].script.next().cloned() else {
                continue;
            };
            if let Ok(Outcome::Transaction(outcome)) = &answer {
                self.note_step(tss, &command, &outcome.2);
            }
            if answer.is_ok() {
                let facts = script::facts(&command).into_iter().map(|fact| (tss, fact));
                self.facts.extend(facts);
            }
            if let Err(SigningError::Broken { reason }) = &answer {
                self.complaints
                    .push(format!("TSS {tss} is broken: {reason}"));
            }
            let complaint = self.callers[at].script.hear(&answer);
            self.complaints
                .extend(complaint.map(|text| format!("TSS {tss}: {text}")));
        }
    }

    /// The same step is never told in two ways.
    fn note_step(&mut self, tss: TssId, command: &Command, step: &TransactionStep) {
        let Some((TransactionRef::Id(id), revision)) = script::step_name(command) else {
            return;
        };
        let told = self
            .answered
            .entry((tss, id, revision))
            .or_insert_with(|| (step.clone(), command.clone()));
        if told.0 != *step {
            self.complaints
                .push(format!("TSS {tss}: {id} {revision} was told in two ways"));
        }
    }

    /// Rounds with faults, then calm until everybody is done.
    pub fn run(&mut self) {
        for _ in 0..200 {
            self.round();
            if self
                .callers
                .iter()
                .all(|caller| caller.script.next().is_none())
            {
                break;
            }
        }
        self.calm_down();
        for _ in 0..400 {
            self.round();
            if self
                .callers
                .iter()
                .all(|caller| caller.script.next().is_none())
            {
                break;
            }
        }
        for caller in &self.callers {
            if let Some(command) = caller.script.next() {
                let tss = caller.tss;
                self.complaints
                    .push(format!("TSS {tss}: {command:?} does not come to an end"));
            }
        }
        self.settle();
    }

    pub fn calm_down(&mut self) {
        lock(&self.shared.chaos).calm();
        self.shared.release();
        self.plan.clocks = false;
        self.plan.profile = Profile::default();
        for node in &self.nodes {
            node.clock.offset_s.store(0, SeqCst);
        }
        // No time that a wrong clock has brought into a message lies ahead any more.
        self.shared.now.fetch_add(1000, SeqCst);
    }

    /// Lets lanes without work finish what they have begun.
    pub fn settle(&mut self) {
        for node in &self.nodes {
            for lane in &node.lanes {
                Self::turn(lane, Vec::new(), self.plan.mutant);
                let left = lock(lane).unfinished.len();
                if left > 0 {
                    self.complaints
                        .push(format!("{left} batches are not finished in calm"));
                }
            }
        }
        self.shared.disk().let_late_commits_end(|_| true);
    }
}
