//! Nodes with lanes, callers with commands, and the questions afterwards.

use super::chaos::{Chaos, Fault, Profile, Rng, Seam};
use super::disk::{Disk, StoredDevice};
use super::ports::{
    FakeClock, FakeCsp, FakeLedger, Mutant, OTHER_TOKEN, Process, Shared, TOKEN, lock, verifies,
};
use super::script::{self, Script};
use crate::asn1;
use crate::csp::{Csp, KeyId, KeyPair, PublicKey};
use crate::signing::job::{AnswerOnce, Job};
use crate::signing::lane::Lane;
use crate::signing::lanes::guarded;
use crate::signing::{LaneSettings, SigningError, Token};
use crate::sma::{self, Command, Device, Outcome, TransactionRef, TransactionStep};
use crate::terms::{
    Clock, Curve, Environment, Revision, SeTime, SerialNumber, SignatureAlgorithm,
    SignatureCounter, TransactionId, TssId,
};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

/// What a world is made of.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub seed: u64,
    pub nodes: usize,
    pub lanes: usize,
    pub tss: u128,
    /// Tills per TSS, and transactions per till.
    pub tills: u128,
    pub transactions: u128,
    /// How often the admin lets a client come and go.
    pub rounds: u32,
    pub profile: Profile,
    pub planned: Vec<(Seam, u64, Fault)>,
    pub mutant: Option<Mutant>,
    /// Clocks of nodes are wrong at times.
    pub clocks: bool,
    pub hsm_timeout_ms: Option<u64>,
    pub early_wait_ms: u64,
    /// Every other device is in a second token.
    pub second_token: bool,
    /// Nobody asks anything but what a test asks itself.
    pub callers_stay_away: bool,
    /// Devices beyond the one for each TSS.
    pub spare_devices: u128,
}

pub type Answer = Result<Outcome, SigningError>;

/// What a caller has heard: nothing, one answer, or (which must not be) several.
#[derive(Default)]
pub struct Mailbox {
    heard: Vec<Option<Answer>>,
}

/// One caller: does its commands one after the other, each until it is answered.
struct Caller {
    tss: TssId,
    script: Script,
    waiting: Option<Arc<Mutex<Mailbox>>>,
}

struct Node {
    process: Arc<Process>,
    clock: Arc<FakeClock>,
    csp: Arc<FakeCsp>,
    lanes: Vec<Arc<Mutex<Lane>>>,
}

/// A transaction step as a caller names it.
type StepName = (TssId, TransactionId, Revision);

pub struct World {
    plan: Plan,
    pub shared: Arc<Shared>,
    nodes: Vec<Node>,
    processes: u64,
    callers: Vec<Caller>,
    rng: Rng,
    /// Steps as they were answered first.
    answered: BTreeMap<StepName, (TransactionStep, Command)>,
    /// Facts that were told without a step of a transaction.
    facts: Vec<(TssId, script::Fact)>,
    complaints: Vec<String>,
    /// Whether a process ended between two batches.
    restarted: bool,
}

fn device(number: u128) -> StoredDevice {
    let mut point = vec![4];
    point.extend(Sha256::digest(number.to_be_bytes()));
    point.extend(Sha256::digest(format!("{number}")));
    let key = KeyPair {
        id: KeyId::new(number.to_be_bytes()),
        public_key: PublicKey {
            curve: Curve::Secp256r1,
            point: point.clone(),
        },
    };
    StoredDevice {
        device: Device {
            serial_number: SerialNumber::of_public_point(&point),
            algorithm: SignatureAlgorithm::from_name("ecdsa-plain-SHA256").unwrap(),
            public_point: point,
            signature_counter: SignatureCounter::new(1),
            certificate_not_after: SeTime::try_from(4_000_000_000).unwrap(),
        },
        key,
        token: TOKEN.to_owned(),
        taken_by: None,
    }
}

impl World {
    pub fn new(plan: Plan) -> Self {
        let mut disk = Disk::default();
        let unlocked = [Some(Mutant::SkipsTheLock), Some(Mutant::IgnoresTheCounter)];
        disk.ignores_locks = unlocked.contains(&plan.mutant);
        disk.ignores_counters = plan.mutant == Some(Mutant::IgnoresTheCounter);
        disk.devices = (0..plan.tss + plan.spare_devices).map(device).collect();
        if plan.second_token {
            let others = disk.devices.iter_mut().skip(1).step_by(2);
            others.for_each(|device| device.token = OTHER_TOKEN.to_owned());
        }
        let mut chaos = Chaos::new(plan.profile.clone(), plan.seed);
        chaos.planned = plan.planned.clone().into();
        let mut world = Self {
            shared: Shared::new(disk, chaos, plan.mutant),
            nodes: Vec::new(),
            processes: 0,
            callers: Vec::new(),
            rng: Rng::new(plan.seed ^ 0x5EED),
            answered: BTreeMap::new(),
            facts: Vec::new(),
            complaints: Vec::new(),
            restarted: false,
            plan,
        };
        for _ in 0..world.plan.nodes {
            let node = world.start();
            world.nodes.push(node);
        }
        let callers = if world.plan.callers_stay_away {
            0
        } else {
            world.plan.tss
        };
        for tss in 0..callers {
            world.add_caller(tss, Script::admin(tss, world.plan.tills, world.plan.rounds));
            for till in 0..world.plan.tills {
                let script = Script::till(tss, till, world.plan.transactions);
                world.add_caller(tss, script);
            }
        }
        world
    }

    fn add_caller(&mut self, tss: u128, script: Script) {
        self.callers.push(Caller {
            tss: script::tss(tss),
            script,
            waiting: None,
        });
    }

    /// Starts a process: nothing but the disk is known to it.
    fn start(&mut self) -> Node {
        self.processes += 1;
        let process = Arc::new(Process {
            shared: Arc::clone(&self.shared),
            number: self.processes,
            dead: AtomicBool::new(false),
        });
        let clock = Arc::new(FakeClock::new(&process));
        let csp = Arc::new(FakeCsp::new(&process, TOKEN));
        let other = Arc::new(FakeCsp::new(&process, OTHER_TOKEN));
        let mut tokens = BTreeMap::new();
        for csp in [&csp, &other]
            .into_iter()
            .take(1 + usize::from(self.plan.second_token))
        {
            let port: Arc<dyn Csp> = Arc::<FakeCsp>::clone(csp);
            let token = Token::start(port, Environment::Test, 1).unwrap();
            tokens.insert(csp.label.clone(), token);
        }
        let tokens = Arc::new(tokens);
        let settings = LaneSettings {
            hsm_timeout_ms: self.plan.hsm_timeout_ms.unwrap_or(60_000),
            early_wait_ms: self.plan.early_wait_ms,
            ..LaneSettings::default()
        };
        let lane = |_| {
            let clock: Arc<dyn Clock> = Arc::<FakeClock>::clone(&clock);
            Arc::new(Mutex::new(Lane::new(
                Box::new(FakeLedger::new(&process)),
                Arc::clone(&tokens),
                clock,
                Arc::new(sma::Settings::default()),
                settings,
            )))
        };
        let lanes = (0..self.plan.lanes).map(lane).collect();
        Node {
            process,
            clock,
            csp,
            lanes,
        }
    }

    /// The token as this node sees it.
    pub fn csp(&self, node: usize) -> &FakeCsp {
        &self.nodes[node].csp
    }

    pub fn clock(&self, node: usize) -> &FakeClock {
        &self.nodes[node].clock
    }

    fn lane_of(&self, tss: TssId) -> usize {
        let number = usize::try_from(tss.uuid().as_u128()).unwrap();
        number % self.plan.lanes
    }

    /// A job for this node; whoever is dead when it answers is not heard.
    fn job(
        &self,
        node: usize,
        tss: TssId,
        command: &Command,
        session: u128,
    ) -> (Job, Arc<Mutex<Mailbox>>) {
        let mailbox = Arc::new(Mutex::new(Mailbox::default()));
        let (heard, process) = (Arc::clone(&mailbox), Arc::clone(&self.nodes[node].process));
        let answer = AnswerOnce::new(Box::new(move |answer| {
            let answer = (!process.is_dead()).then_some(answer);
            lock(&heard).heard.push(answer);
        }));
        let job = Job::new(tss, script::caller(session), command.clone(), answer);
        (job, mailbox)
    }

    /// Lets one lane of one node do a batch.
    fn turn(lane: &Mutex<Lane>, jobs: Vec<Job>, mutant: Option<Mutant>) {
        let mut lane = lock(lane);
        let mut batch: Vec<Job> = lane.decided_anew.drain(..).collect();
        batch.extend(lane.take_due_early());
        batch.extend(jobs);
        guarded(&mut lane, |lane| lane.process(batch));
        if mutant == Some(Mutant::ForgetsUnfinished) {
            lane.unfinished.clear();
        }
    }

    /// Asks one thing and waits for the answer, a few turns if need be.
    pub fn ask(&mut self, node: usize, tss: TssId, command: &Command) -> Option<Answer> {
        let (job, mailbox) = self.job(node, tss, command, script::SESSION);
        let lane = Arc::clone(&self.nodes[node].lanes[self.lane_of(tss)]);
        Self::turn(&lane, vec![job], self.plan.mutant);
        Self::turn(&lane, Vec::new(), self.plan.mutant);
        self.restart_the_dead();
        self.hear(&mailbox)
    }

    /// Hands several things to the first lane of a node in one batch; their answers may come later.
    pub fn post(&mut self, node: usize, posted: &[(TssId, Command)]) -> Vec<Arc<Mutex<Mailbox>>> {
        let (jobs, mailboxes): (Vec<_>, Vec<_>) = posted
            .iter()
            .map(|(tss, command)| self.job(node, *tss, command, script::SESSION))
            .unzip();
        Self::turn(&self.nodes[node].lanes[0], jobs, self.plan.mutant);
        mailboxes
    }

    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// The lane that gets everything posted to this node.
    pub fn first_lane(&self, node: usize) -> Arc<Mutex<Lane>> {
        Arc::clone(&self.nodes[node].lanes[0])
    }

    /// What has come back so far.
    pub fn heard(mailbox: &Mutex<Mailbox>) -> Option<Answer> {
        let mut heard = std::mem::take(&mut lock(mailbox).heard);
        assert!(
            heard.len() < 2,
            "a caller was answered {} times",
            heard.len()
        );
        heard.pop().flatten()
    }

    /// Asks several things in one batch of the first lane of a node, and hands it one turn more.
    pub fn ask_all(&mut self, node: usize, asked: &[(TssId, Command)]) -> Vec<Option<Answer>> {
        let (jobs, mailboxes): (Vec<_>, Vec<_>) = asked
            .iter()
            .map(|(tss, command)| self.job(node, *tss, command, script::SESSION))
            .unzip();
        let lane = Arc::clone(&self.nodes[node].lanes[0]);
        Self::turn(&lane, jobs, self.plan.mutant);
        Self::turn(&lane, Vec::new(), self.plan.mutant);
        self.restart_the_dead();
        mailboxes.iter().map(|mailbox| self.hear(mailbox)).collect()
    }

    fn hear(&mut self, mailbox: &Mutex<Mailbox>) -> Option<Answer> {
        let mut heard = std::mem::take(&mut lock(mailbox).heard);
        if heard.len() != 1 {
            self.complaints
                .push(format!("a caller was answered {} times", heard.len()));
        }
        heard.pop().flatten()
    }

    fn restart_the_dead(&mut self) {
        for node in 0..self.nodes.len() {
            if self.nodes[node].process.is_dead() {
                self.restart(node);
            }
        }
    }

    /// Ends a process without a farewell and starts another one.
    pub fn restart(&mut self, node: usize) {
        self.restarted = true;
        let dead = self.nodes[node].process.number;
        self.nodes[node].process.dead.store(true, SeqCst);
        self.shared.disk().unwritten.retain(|(by, _)| *by != dead);
        let offset_s = self.nodes[node].clock.offset_s.load(SeqCst);
        self.nodes[node] = self.start();
        self.nodes[node].clock.offset_s.store(offset_s, SeqCst);
    }

    /// One round: some callers ask, a lane works, perhaps another node does so meanwhile.
    fn round(&mut self) {
        let elapsed_s = i64::try_from(self.rng.below(3)).unwrap();
        self.shared.now.fetch_add(elapsed_s, SeqCst);
        let node = self.any_node();
        if self.plan.clocks {
            self.disturb_clock(node);
        }
        let lane = usize::try_from(self.rng.below(self.plan.lanes as u64)).unwrap();
        let jobs = self.jobs_for(node, lane);
        let lane = Arc::clone(&self.nodes[node].lanes[lane]);
        let other = (node + 1) % self.nodes.len();
        if other != node && self.rng.percent(50) {
            let at = usize::try_from(self.rng.below(self.plan.lanes as u64)).unwrap();
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

    fn any_node(&mut self) -> usize {
        usize::try_from(self.rng.below(self.nodes.len() as u64)).unwrap()
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

    /// Asks for everything again that was answered: the same answers, and no signature.
    fn ask_again(&mut self) {
        let before = self.shared.signatures_made();
        for ((tss, id, revision), (step, command)) in self.answered.clone() {
            let node = self.any_node();
            match self.ask(node, tss, &command) {
                Some(Ok(Outcome::Transaction(outcome))) if outcome.2 == step => {}
                other => self.complaints.push(format!(
                    "TSS {tss}: {id} {revision} asked again is answered {other:?}"
                )),
            }
        }
        for tss in 0..self.plan.tss {
            for refused in script::refused(tss) {
                let node = self.any_node();
                let answer = self.ask(node, script::tss(tss), &refused);
                if !matches!(answer, Some(Err(SigningError::Rejected(_)))) {
                    self.complaints
                        .push(format!("{refused:?} is answered {answer:?}"));
                }
            }
        }
        if self.shared.signatures_made() != before {
            self.complaints
                .push("a repeat or a refusal was signed".to_owned());
        }
    }

    /// Everything that is not as it must be.
    pub fn complaints(&mut self) -> Vec<String> {
        self.ask_again();
        let mut complaints = std::mem::take(&mut self.complaints);
        let disk = self.shared.disk();
        complaints.extend(disk.complaints(verifies));
        for ((tss, id, revision), (step, _)) in &self.answered {
            let mut complain = |text| complaints.push(format!("TSS {tss}: {id} {revision} {text}"));
            let stored = disk.steps.get(&(*tss, step.number, step.revision));
            if stored != Some(step) {
                complain("was answered and is not there, or is another");
            }
            let message = disk.messages.get(&(*tss, step.signature_counter));
            let read = message.and_then(|kept| asn1::read(&kept.der).ok());
            if read.is_none_or(|read| read.signature != step.signature) {
                complain("was answered with a signature that is not kept");
            }
        }
        for (tss, fact) in &self.facts {
            if !fact.holds(*tss, &disk) {
                complaints.push(format!("TSS {tss}: {fact:?} was answered and is not so"));
            }
        }
        let wasted = self.wasted(&disk);
        if wasted > 0 && self.must_waste_nothing() {
            complaints.push(format!("{wasted} signatures were made and not kept"));
        }
        complaints
    }

    /// Signatures that are in no message.
    pub fn wasted(&self, disk: &Disk) -> usize {
        let mut signed = lock(&self.shared.signed).clone();
        for kept in disk.messages.values() {
            if let Ok(message) = asn1::read(&kept.der) {
                signed.remove(Sha256::digest(&kept.der[message.signed_range]).as_slice());
            }
        }
        signed.len()
    }

    /// A signature may be lost with its process, by a panic, or because another one of its TSS failed;
    /// with several nodes or lanes also when one went on (with the TSS, or with the device of one that
    /// was to be created) while the other could not commit. Else every signature is kept.
    fn must_waste_nothing(&self) -> bool {
        let chaos = lock(&self.shared.chaos);
        let is_alone = self.nodes.len() == 1 && self.plan.lanes == 1;
        let harmless = |fault: &Fault| {
            matches!(
                fault,
                Fault::RolledBack | Fault::UnknownLost | Fault::UnknownKept | Fault::UnknownLate
            ) && is_alone
        };
        let mut happened = chaos.happened.iter();
        !self.restarted
            && happened.all(|(seam, _, fault)| match seam {
                Seam::Sign => false,
                Seam::Lock | Seam::Message => {
                    *fault == Fault::Refused || *fault == Fault::AnswerLost
                }
                Seam::Clock => false,
                Seam::Commit => harmless(fault),
            })
    }

    /// What went wrong, for the reader.
    pub fn story(&self) -> String {
        format!("{:?} {:?}", self.plan, lock(&self.shared.chaos).happened)
    }

    /// How often each port was called.
    pub fn counts(&self) -> BTreeMap<Seam, u64> {
        lock(&self.shared.chaos).counts.clone()
    }
}
