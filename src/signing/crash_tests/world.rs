//! Nodes with lanes, callers with commands, and the questions afterwards.

use super::chaos::{Chaos, Fault, Profile, Rng, Seam};
use super::disk::{Disk, StoredDevice};
use super::ports::{FakeLedger, Mutant, OTHER_TOKEN, Process, Shared, TOKEN, lock};
use super::script::{self, Script};
use super::token::{FakeClock, FakeCsp};
use crate::csp::{Csp, KeyId, KeyPair, PublicKey};
use crate::signing::job::{AnswerOnce, Job};
use crate::signing::lane::Lane;
use crate::signing::lanes::guarded;
use crate::signing::{LaneSettings, Member, SigningError, Token, TokenPair};
use crate::sma::{self, Command, Device, Outcome, TransactionStep};
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
    pub lock_wait_ms: u64,
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
    pub heard: Vec<Option<Answer>>,
}

/// One caller: does its commands one after the other, each until it is answered.
pub struct Caller {
    pub tss: TssId,
    pub script: Script,
    pub waiting: Option<Arc<Mutex<Mailbox>>>,
}

pub struct Node {
    pub process: Arc<Process>,
    pub clock: Arc<FakeClock>,
    pub csp: Arc<FakeCsp>,
    pub lanes: Vec<Arc<Mutex<Lane>>>,
}

/// A transaction step as a caller names it.
pub type StepName = (TssId, TransactionId, Revision);

pub struct World {
    pub plan: Plan,
    pub shared: Arc<Shared>,
    pub nodes: Vec<Node>,
    pub processes: u64,
    pub callers: Vec<Caller>,
    pub rng: Rng,
    /// Steps as they were answered first.
    pub answered: BTreeMap<StepName, (TransactionStep, Command)>,
    /// Facts that were told without a step of a transaction.
    pub facts: Vec<(TssId, script::Fact)>,
    pub complaints: Vec<String>,
    /// Whether a process ended between two batches.
    pub restarted: bool,
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
            withheld: Default::default(),
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
            let time: Arc<dyn Clock> = Arc::<FakeClock>::clone(&clock);
            let token = Token::start(port, Environment::Test, &time, 1).unwrap();
            let name = csp.label.clone();
            let pair = TokenPair::alone(Member { name, token });
            tokens.insert(csp.label.clone(), pair);
        }
        let tokens = Arc::new(tokens);
        let settings = LaneSettings {
            hsm_timeout_ms: self.plan.hsm_timeout_ms.unwrap_or(60_000),
            early_wait_ms: self.plan.early_wait_ms,
            lock_wait_ms: self.plan.lock_wait_ms,
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

    pub fn lane_of(&self, tss: TssId) -> usize {
        let number = usize::try_from(tss.uuid().as_u128()).unwrap();
        number % self.plan.lanes
    }

    /// A job for this node; whoever is dead when it answers is not heard.
    pub fn job(
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
    pub fn turn(lane: &Mutex<Lane>, jobs: Vec<Job>, mutant: Option<Mutant>) {
        let mut lane = lock(lane);
        let mut batch: Vec<Job> = lane.decided_anew.drain(..).collect();
        let clock = Arc::clone(&lane.clock);
        batch.extend(lane.locked_out.take_due(clock.as_ref()));
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

    pub fn hear(&mut self, mailbox: &Mutex<Mailbox>) -> Option<Answer> {
        let mut heard = std::mem::take(&mut lock(mailbox).heard);
        if heard.len() != 1 {
            self.complaints
                .push(format!("a caller was answered {} times", heard.len()));
        }
        heard.pop().flatten()
    }

    pub fn restart_the_dead(&mut self) {
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

    /// What went wrong, for the reader.
    pub fn story(&self) -> String {
        format!("{:?} {:?}", self.plan, lock(&self.shared.chaos).happened)
    }

    /// How often each port was called.
    pub fn counts(&self) -> BTreeMap<Seam, u64> {
        lock(&self.shared.chaos).counts.clone()
    }
}
