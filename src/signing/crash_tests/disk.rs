//! The durable part of the world: what survives every crash. It keeps the contract of the ledger port
//! and remembers every attempt to break it.

use crate::csp::KeyPair;
use crate::ledger::{Batch, LoadedTss, SignedKind, TssBatch};
use crate::sma::{
    Client, Device, Needs, Slice, Transaction, TransactionRef, TransactionStep, Tss, TssChange,
};
use crate::terms::{ClientId, Revision, SerialNumber, SignatureCounter, TransactionNumber, TssId};
use std::collections::{BTreeMap, BTreeSet};

/// A prepared device and who has it.
#[derive(Clone, Debug)]
pub struct StoredDevice {
    pub device: Device,
    pub key: KeyPair,
    pub token: String,
    pub taken_by: Option<TssId>,
}

/// A kept message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub der: Vec<u8>,
    pub kind: SignedKind,
}

/// Which lane of which process holds a lock.
pub type Holder = u64;

#[derive(Default)]
pub struct Disk {
    pub tss: BTreeMap<TssId, Tss>,
    pub clients: BTreeMap<ClientId, (TssId, Client)>,
    pub transactions: BTreeMap<(TssId, TransactionNumber), Transaction>,
    pub steps: BTreeMap<(TssId, TransactionNumber, Revision), TransactionStep>,
    pub messages: BTreeMap<(TssId, SignatureCounter), Kept>,
    pub devices: Vec<StoredDevice>,
    locks: BTreeMap<TssId, Holder>,
    /// The right to make clients with these ids.
    client_locks: BTreeMap<ClientId, Holder>,
    reserved: BTreeMap<SerialNumber, Holder>,
    /// Commits that are still running: whoever wants their locks waits for them.
    late: Vec<Batch>,
    /// Commits that a broken ledger has confirmed too early; gone with the process.
    pub unwritten: Vec<(u64, Batch)>,
    /// Attempts to break the contract.
    pub attempts: Vec<String>,
    /// Broken on purpose: locks keep nobody out.
    pub ignores_locks: bool,
    /// Broken on purpose: whatever is written is taken.
    pub ignores_counters: bool,
    /// Batches that came too late for their device.
    pub devices_lost: usize,
    /// Devices that no TSS is made of any more.
    pub set_aside: BTreeSet<SerialNumber>,
    /// Rows that cannot be read.
    pub damaged: BTreeSet<TssId>,
}

/// Why a batch was not taken.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

impl Disk {
    /// Answers with those that somebody else holds, or whose new clients somebody else may make.
    pub fn lock(&mut self, needs: &BTreeMap<TssId, Needs>, holder: Holder) -> BTreeSet<TssId> {
        let clients: BTreeSet<ClientId> = needs
            .values()
            .flat_map(|needs| needs.client_ids_new.iter().copied())
            .collect();
        self.let_late_commits_end(|batch| {
            batch.entries.iter().any(|entry| {
                let made = &entry.slice.changed.clients;
                needs.contains_key(&entry.tss) || made.iter().any(|id| clients.contains(id))
            })
        });
        let is_held = |id: &TssId, needs: &Needs| {
            let mut made = needs.client_ids_new.iter();
            self.locks.contains_key(id) || made.any(|id| self.client_locks.contains_key(id))
        };
        let late: BTreeSet<TssId> = needs
            .iter()
            .filter(|(id, needs)| is_held(id, needs) && !self.ignores_locks)
            .map(|(id, _)| *id)
            .collect();
        let got = needs.iter().filter(|(id, _)| !late.contains(id));
        for (id, needs) in got {
            self.locks.insert(*id, holder);
            let clients = needs.client_ids_new.iter();
            self.client_locks.extend(clients.map(|id| (*id, holder)));
        }
        late
    }

    pub fn unlock(&mut self, holder: Holder) {
        self.locks.retain(|_, other| *other != holder);
        self.client_locks.retain(|_, other| *other != holder);
        self.reserved.retain(|_, other| *other != holder);
    }

    pub fn commit_later(&mut self, batch: &Batch, holder: Holder) -> Result<(), Refused> {
        self.check(batch, holder)?;
        self.late.push(batch.clone());
        Ok(())
    }

    pub fn let_late_commits_end(&mut self, which: impl Fn(&Batch) -> bool) {
        let (now, later) = std::mem::take(&mut self.late).into_iter().partition(which);
        self.late = later;
        let now: Vec<Batch> = now;
        now.iter().for_each(|batch| self.write(batch));
    }

    pub fn commit(&mut self, batch: &Batch, holder: Holder) -> Result<(), Refused> {
        self.check(batch, holder)?;
        self.write(batch);
        Ok(())
    }

    fn check(&mut self, batch: &Batch, holder: Holder) -> Result<(), Refused> {
        let checked = batch.entries.iter().try_for_each(|entry| {
            self.check_lock(entry, holder)?;
            self.check_counters(entry)?;
            self.check_device(entry)
        });
        let refused = match checked {
            Ok(()) => return Ok(()),
            // The only way to learn that another node has taken a device is to try.
            Err(refused) if refused.0.starts_with("device") => {
                self.devices_lost += 1;
                return Err(refused);
            }
            Err(refused) => refused,
        };
        self.attempts.push(refused.0.clone());
        if self.ignores_counters {
            Ok(())
        } else {
            Err(refused)
        }
    }

    fn check_lock(&self, entry: &TssBatch, holder: Holder) -> Result<(), Refused> {
        if self.locks.get(&entry.tss) == Some(&holder) || self.ignores_locks {
            return Ok(());
        }
        Err(Refused(format!(
            "TSS {} is written without its lock",
            entry.tss
        )))
    }

    fn check_counters(&self, entry: &TssBatch) -> Result<(), Refused> {
        let tss = entry.tss;
        let complain = |text: &str| Err(Refused(format!("TSS {tss}: {text}")));
        let stored = self.tss.get(&tss).map(|tss| tss.device.signature_counter);
        if stored != entry.expected_counter {
            return complain("its counter is not the expected one");
        }
        let Some(state) = &entry.slice.tss else {
            return complain("the batch has no TSS");
        };
        let mut last = stored.or_else(|| {
            let device = self
                .devices
                .iter()
                .find(|device| device.device.serial_number == state.device.serial_number)?;
            Some(device.device.signature_counter)
        });
        for message in &entry.messages {
            if last.and_then(SignatureCounter::next) != Some(message.signature_counter) {
                return complain("its messages leave a gap");
            }
            last = Some(message.signature_counter);
            if self
                .messages
                .contains_key(&(tss, message.signature_counter))
            {
                return complain("a message would be replaced");
            }
        }
        if last != Some(state.device.signature_counter) {
            return complain("its messages and its counter differ");
        }
        let written = |(number, revision): &&(TransactionNumber, Revision)| {
            self.steps.contains_key(&(tss, *number, *revision))
        };
        if entry.slice.changed.steps.iter().any(|key| written(&key)) {
            return complain("a step would be replaced");
        }
        let foreign = |id: &ClientId| self.clients.get(id).is_some_and(|(owner, _)| *owner != tss);
        if entry.slice.changed.clients.iter().any(foreign) {
            return complain("a client of another TSS would be replaced");
        }
        Ok(())
    }

    fn check_device(&self, entry: &TssBatch) -> Result<(), Refused> {
        let Some(tss) = entry
            .slice
            .tss
            .as_ref()
            .filter(|_| entry.expected_counter.is_none())
        else {
            return Ok(());
        };
        let is_free = self.devices.iter().any(|device| {
            device.device.serial_number == tss.device.serial_number && device.taken_by.is_none()
        });
        if is_free {
            Ok(())
        } else {
            Err(Refused("device taken by another TSS".to_owned()))
        }
    }

    /// Forgets what a batch has not said to have changed.
    fn write_tss(&mut self, state: Tss, how: TssChange) {
        let counted = |stored: &Tss| Tss {
            device: state.device.clone(),
            transaction_counter: state.transaction_counter,
            last_se_time: state.last_se_time,
            transactions_open: state.transactions_open,
            ..stored.clone()
        };
        let written = match (how, self.tss.get(&state.id)) {
            (TssChange::Counters, Some(stored)) => counted(stored),
            _ => state,
        };
        self.tss.insert(written.id, written);
    }

    pub fn write(&mut self, batch: &Batch) {
        for entry in &batch.entries {
            let tss = entry.tss;
            let slice = &entry.slice;
            let state = slice.tss.clone().unwrap();
            for device in &mut self.devices {
                if device.device.serial_number == state.device.serial_number {
                    device.taken_by = Some(tss);
                }
            }
            self.write_tss(state, slice.changed.tss);
            for id in &slice.changed.clients {
                self.clients.insert(*id, (tss, slice.clients[id].clone()));
            }
            for number in &slice.changed.transactions {
                let transaction = slice.transactions[number].clone();
                self.transactions.insert((tss, *number), transaction);
            }
            for (number, revision) in &slice.changed.steps {
                let step = slice.steps[&(*number, *revision)].clone();
                self.steps.insert((tss, *number, *revision), step);
            }
            for message in &entry.messages {
                let (der, kind) = (message.der.clone(), message.kind.clone());
                self.messages
                    .insert((tss, message.signature_counter), Kept { der, kind });
            }
        }
    }

    pub fn load(
        &mut self,
        needs: &BTreeMap<TssId, Needs>,
        holder: Holder,
        withheld: &BTreeSet<SerialNumber>,
    ) -> BTreeMap<TssId, LoadedTss> {
        let mut owners: BTreeMap<ClientId, TssId> = self
            .clients
            .iter()
            .map(|(id, (owner, _))| (*id, *owner))
            .collect();
        let mut loaded = BTreeMap::new();
        for (tss, needs) in needs {
            let mut slice = Slice {
                tss_id: Some(*tss),
                tss: self.tss.get(tss).cloned(),
                ..Slice::default()
            };
            let device = match &slice.tss {
                Some(known) => self.device(known.device.serial_number).cloned(),
                None if needs.free_device.is_some() => self.reserve(holder, withheld),
                None => None,
            };
            if slice.tss.is_none() {
                slice.free_device = device.as_ref().map(|device| device.device.clone());
            }
            for id in &needs.client_ids_new {
                if *owners.entry(*id).or_insert(*tss) != *tss {
                    slice.clients_elsewhere.insert(*id);
                }
            }
            self.load_clients(*tss, needs, &mut slice);
            self.load_transactions(*tss, needs, &mut slice);
            let found = LoadedTss {
                is_held: false,
                slice,
                key: device.as_ref().map(|device| device.key.clone()),
                token: device.map(|device| device.token),
                active: None,
            };
            loaded.insert(*tss, found);
        }
        loaded
    }

    pub fn device(&self, serial: SerialNumber) -> Option<&StoredDevice> {
        self.devices
            .iter()
            .find(|device| device.device.serial_number == serial)
    }

    /// The oldest free device that nobody else is about to take.
    fn reserve(
        &mut self,
        holder: Holder,
        withheld: &BTreeSet<SerialNumber>,
    ) -> Option<StoredDevice> {
        let late: BTreeSet<SerialNumber> = self
            .late
            .iter()
            .flat_map(|batch| &batch.entries)
            .filter_map(|entry| Some(entry.slice.tss.as_ref()?.device.serial_number))
            .collect();
        let free = self.devices.iter().find(|device| {
            let serial = device.device.serial_number;
            device.taken_by.is_none()
                && !late.contains(&serial)
                && !withheld.contains(&serial)
                && !self.set_aside.contains(&serial)
                && !self.reserved.contains_key(&serial)
        });
        let free = free.cloned()?;
        self.reserved.insert(free.device.serial_number, holder);
        Some(free)
    }

    fn load_clients(&self, tss: TssId, needs: &Needs, slice: &mut Slice) {
        for (id, (owner, client)) in &self.clients {
            if *owner == tss && needs.clients.contains(id) {
                slice.clients.insert(*id, client.clone());
            }
            if *owner == tss && needs.serials.contains(&client.serial) {
                slice.serials.insert(client.serial.clone(), *id);
            }
        }
    }

    fn load_transactions(&self, tss: TssId, needs: &Needs, slice: &mut Slice) {
        let named = |wanted: &TransactionRef, found: &Transaction| match wanted {
            TransactionRef::Id(id) => *id == found.id,
            TransactionRef::Number(number) => *number == found.number,
        };
        let own = self
            .transactions
            .iter()
            .filter(|((owner, _), _)| *owner == tss);
        for ((_, number), transaction) in own {
            if !needs
                .transactions
                .iter()
                .any(|wanted| named(wanted, transaction))
            {
                continue;
            }
            slice.transactions.insert(*number, transaction.clone());
            slice.transaction_ids.insert(transaction.id, *number);
            let asked = needs.revisions.iter();
            let asked = asked.filter(|(wanted, _)| named(wanted, transaction));
            let revisions = asked.map(|(_, revision)| *revision);
            for revision in revisions.chain([transaction.latest_revision]) {
                if let Some(step) = self.steps.get(&(tss, *number, revision)) {
                    slice.steps.insert((*number, revision), step.clone());
                }
            }
        }
    }
}
