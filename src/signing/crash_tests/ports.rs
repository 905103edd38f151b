//! The ports of the world: ledger, token and clock of one node, failing where chaos wants it.

use super::chaos::{Chaos, Fault, Seam};
use super::disk::{Disk, Holder};
use crate::ledger::{
    Batch, CommitError, Held, LaneLedger, LedgerError, LoadedTss, WithheldDevices,
};
use crate::sma::{Needs, Tss};
use crate::terms::{SerialNumber, SignatureCounter, TssId};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// The token of the world.
pub const TOKEN: &str = "token";

/// The second one, where there is one.
pub const OTHER_TOKEN: &str = "token-b";

/// Ways to break the engine on purpose, which the questions must notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A commit is confirmed before it is durable: answered too early.
    AnswersBeforeTheCommit,
    /// An unknown outcome is taken for success.
    TakesUnknownForKept,
    /// What was signed and not kept is not remembered.
    ForgetsUnfinished,
    /// What an earlier batch has loaded is used again after an unknown outcome.
    RemembersStaleState,
    /// Two nodes may work on one TSS at a time.
    SkipsTheLock,
    /// So they may, and what is written is not compared with what was expected.
    IgnoresTheCounter,
    /// Signatures of a batch change places.
    MixesSignaturesUp,
    /// A signed batch is committed again without a look at what has happened since.
    FinishesBlindly,
    /// A device whose key has signed for one TSS is given to another one.
    GivesUsedDevicesAway,
}

/// What all nodes share: the disk, and who watches.
pub struct Shared {
    pub disk: Mutex<Disk>,
    pub chaos: Mutex<Chaos>,
    /// Every digest that was ever signed, with how often.
    pub signed: Mutex<BTreeMap<Vec<u8>, u64>>,
    pub now: AtomicI64,
    pub mutant: Option<Mutant>,
    /// Whether tokens that hang do so.
    hanging: Mutex<bool>,
    released: Condvar,
    /// What another node does while a batch of this one is being signed.
    pub meanwhile: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    holders: AtomicU64,
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub fn new(disk: Disk, chaos: Chaos, mutant: Option<Mutant>) -> Arc<Self> {
        Arc::new(Self {
            disk: Mutex::new(disk),
            chaos: Mutex::new(chaos),
            signed: Mutex::default(),
            now: AtomicI64::new(1_800_000_000),
            mutant,
            hanging: Mutex::new(true),
            released: Condvar::new(),
            meanwhile: Mutex::default(),
            holders: AtomicU64::new(1),
        })
    }

    pub fn disk(&self) -> MutexGuard<'_, Disk> {
        lock(&self.disk)
    }

    pub fn signatures_made(&self) -> u64 {
        lock(&self.signed).values().sum()
    }

    pub fn wait_for_release(&self) {
        let hanging = lock(&self.hanging);
        let waited = self.released.wait_while(hanging, |hanging| *hanging);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Tokens that hang go on.
    pub fn release(&self) {
        *lock(&self.hanging) = false;
        self.released.notify_all();
    }
}

/// One process: once it is dead, nothing it does has an effect.
pub struct Process {
    pub shared: Arc<Shared>,
    pub number: u64,
    pub dead: AtomicBool,
    pub withheld: WithheldDevices,
}

impl Process {
    pub fn is_dead(&self) -> bool {
        self.dead.load(SeqCst)
    }

    fn die_if_dead(&self) {
        if self.is_dead() {
            fall();
        }
    }

    /// Counts a call, and falls at once if it is to fall before its effect.
    pub fn call(&self, seam: Seam) -> Option<Fault> {
        self.die_if_dead();
        let fault = lock(&self.shared.chaos).call(seam);
        match fault {
            Some(Fault::PanicEarly) => fall(),
            Some(Fault::DeathEarly) => {
                self.dead.store(true, SeqCst);
                fall()
            }
            other => other,
        }
    }

    /// Falls if it is to fall after its effect.
    pub fn after(&self, fault: Option<Fault>) {
        if fault == Some(Fault::DeathLate) {
            self.dead.store(true, SeqCst);
        }
        if matches!(fault, Some(Fault::PanicLate | Fault::DeathLate)) {
            fall();
        }
    }
}

/// A panic that prints nothing.
fn fall() -> ! {
    resume_unwind(Box::new("a fall that was asked for"))
}

/// The ledger as one lane of one process sees it.
pub struct FakeLedger {
    pub process: Arc<Process>,
    /// Only for [`Mutant::RemembersStaleState`].
    remembered: BTreeMap<TssId, Tss>,
    /// Only for [`Mutant::FinishesBlindly`]: what was loaded for the batch that failed.
    blind: BTreeMap<TssId, LoadedTss>,
}

impl FakeLedger {
    pub fn new(process: &Arc<Process>) -> Self {
        Self {
            process: Arc::clone(process),
            remembered: BTreeMap::new(),
            blind: BTreeMap::new(),
        }
    }

    fn falsify(&self, loaded: &mut BTreeMap<TssId, LoadedTss>) {
        for (id, found) in loaded {
            if let Some(tss) = self.remembered.get(id) {
                found.slice.tss = Some(tss.clone());
            }
            if let Some(before) = self.blind.get(id) {
                *found = before.clone();
            }
        }
    }
}

fn unavailable() -> LedgerError {
    LedgerError::Unavailable {
        action: "do what a test forbids",
        source: "chaos".into(),
    }
}

impl LaneLedger for FakeLedger {
    fn lock(&mut self, needs: &BTreeMap<TssId, Needs>) -> Result<Box<dyn Held + '_>, LedgerError> {
        let fault = self.process.call(Seam::Lock);
        if fault == Some(Fault::Refused) {
            return Err(unavailable());
        }
        let shared = Arc::clone(&self.process.shared);
        let holder = shared.holders.fetch_add(1, SeqCst);
        let number = self.process.number;
        let mut needs = needs.clone();
        let (mut loaded, late) = {
            let mut disk = shared.disk();
            let (own, other): (Vec<_>, Vec<_>) = std::mem::take(&mut disk.unwritten)
                .into_iter()
                .partition(|(by, _)| *by == number);
            disk.unwritten = other;
            for (_, batch) in own {
                disk.write(&batch);
            }
            let late = disk.lock(&needs, holder);
            needs.retain(|id, _| !late.contains(id));
            let withheld = match shared.mutant {
                Some(Mutant::GivesUsedDevicesAway) => BTreeSet::new(),
                _ => self.process.withheld.all(),
            };
            (disk.load(&needs, holder, &withheld), late)
        };
        // From here on the locks end with this value, whatever happens.
        let mut held = FakeHeld {
            ledger: self,
            holder,
            loaded: BTreeMap::new(),
            late,
        };
        if let Some(damaged) = shared
            .disk()
            .damaged
            .iter()
            .find(|id| needs.contains_key(id))
        {
            return Err(LedgerError::Damaged(format!("TSS {damaged}")));
        }
        held.ledger.process.after(fault);
        if fault == Some(Fault::AnswerLost) {
            return Err(unavailable());
        }
        held.ledger.falsify(&mut loaded);
        held.loaded = loaded;
        Ok(Box::new(held))
    }

    fn is_device_taken(&mut self, device: SerialNumber) -> Result<bool, LedgerError> {
        if self.process.call(Seam::Message).is_some() {
            return Err(unavailable());
        }
        let disk = self.process.shared.disk();
        Ok(disk
            .device(device)
            .is_some_and(|found| found.taken_by.is_some()))
    }

    fn set_device_aside(&mut self, device: SerialNumber, _: &str) -> Result<(), LedgerError> {
        if self.process.call(Seam::Message).is_some() {
            return Err(unavailable());
        }
        self.process.shared.disk().set_aside.insert(device);
        Ok(())
    }

    fn withheld(&self) -> WithheldDevices {
        self.process.withheld.clone()
    }
}

struct FakeHeld<'a> {
    ledger: &'a mut FakeLedger,
    holder: Holder,
    loaded: BTreeMap<TssId, LoadedTss>,
    late: BTreeSet<TssId>,
}

impl Held for FakeHeld<'_> {
    fn take_loaded(&mut self) -> BTreeMap<TssId, LoadedTss> {
        if self.ledger.process.shared.mutant == Some(Mutant::FinishesBlindly) {
            self.ledger.blind = self.loaded.clone();
        }
        std::mem::take(&mut self.loaded)
    }

    fn late(&self) -> &BTreeSet<TssId> {
        &self.late
    }

    fn message(
        &mut self,
        tss: TssId,
        counter: SignatureCounter,
    ) -> Result<Option<Vec<u8>>, LedgerError> {
        if self.ledger.process.call(Seam::Message).is_some() {
            return Err(unavailable());
        }
        let disk = self.ledger.process.shared.disk();
        Ok(disk
            .messages
            .get(&(tss, counter))
            .map(|kept| kept.der.clone()))
    }

    fn commit(mut self: Box<Self>, batch: &Batch) -> Result<(), CommitError> {
        let fault = self.ledger.process.call(Seam::Commit);
        let committed = self.commit_with(fault, batch);
        self.ledger.process.after(fault);
        let mutant = self.ledger.process.shared.mutant;
        let committed = match (mutant, committed) {
            (Some(Mutant::TakesUnknownForKept), Err(CommitError::Unknown { .. })) => Ok(()),
            (_, committed) => committed,
        };
        let ledger = &mut self.ledger;
        if committed.is_ok() {
            ledger.blind.clear();
        }
        if committed.is_ok() && mutant == Some(Mutant::RemembersStaleState) {
            let states = batch.entries.iter();
            let states = states.map(|entry| (entry.tss, entry.slice.tss.clone().unwrap()));
            ledger.remembered.extend(states);
        }
        committed
    }
}

impl FakeHeld<'_> {
    fn commit_with(&self, fault: Option<Fault>, batch: &Batch) -> Result<(), CommitError> {
        let shared = &self.ledger.process.shared;
        let unknown = || CommitError::Unknown {
            source: "chaos".into(),
        };
        let refused = |source: super::disk::Refused| CommitError::RolledBack {
            source: source.into(),
        };
        let mut disk = shared.disk();
        match fault {
            Some(Fault::RolledBack) => Err(CommitError::RolledBack {
                source: "chaos".into(),
            }),
            Some(Fault::UnknownLost) => Err(unknown()),
            Some(Fault::UnknownLate) => {
                disk.commit_later(batch, self.holder).map_err(refused)?;
                Err(unknown())
            }
            Some(Fault::UnknownKept) => {
                disk.commit(batch, self.holder).map_err(refused)?;
                Err(unknown())
            }
            _ if shared.mutant == Some(Mutant::AnswersBeforeTheCommit) => {
                let by = self.ledger.process.number;
                disk.unwritten.push((by, batch.clone()));
                Ok(())
            }
            _ => disk.commit(batch, self.holder).map_err(refused),
        }
    }
}

impl Drop for FakeHeld<'_> {
    fn drop(&mut self) {
        self.ledger.process.shared.disk().unlock(self.holder);
    }
}
