//! What a connection that signs has read and written, so that it need not read it again.
//!
//! Invariant: what is taken from here is what is stored. Each TSS is known at a version, and only that version is
//! taken, once the TSS is locked. On SQLite it is that of the database, which changes as soon as another
//! connection writes anything. On PostgreSQL it is the transaction that has written the row of the TSS (`xmin`):
//! whatever changes one of its clients or transactions writes that row, too. All is forgotten with its connection,
//! and before a commit what it changes; one that has gone well brings that back as it is since.
//!
//! Only what tills use again and again is kept: TSSs, clients, and open transactions with their latest step. Which
//! token signs is never taken from here on PostgreSQL, because a switch writes another row.

use super::lane::{Batch, LoadedTss, TssBatch};
use super::row_versions::RowVersions;
use crate::sma::{
    Client, Metadata, Needs, Slice, Transaction, TransactionRef, TransactionState, TransactionStep,
    Tss,
};
use crate::terms::{ClientId, TransactionId, TransactionNumber, TssId};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What all of it may take in memory, about, in bytes; when it is more, it begins anew.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// What a TSS, a client or a transaction takes beside its texts, about, in bytes.
const BYTES_WITHOUT_TEXTS: usize = 1024;

/// See the module comment.
#[derive(Default)]
pub(super) struct Known {
    tss: HashMap<TssId, KnownTss>,
    bytes: usize,
}

/// At which version TSSs stand that are locked.
pub(super) enum Versions {
    /// That of the database, for all of them.
    OfAll(i64),
    /// Those of the rows. One that is not named is read.
    OfEach(RowVersions),
}

impl Versions {
    fn of(&self, tss: &TssId) -> Option<i64> {
        match self {
            Self::OfAll(version) => Some(*version),
            Self::OfEach(versions) => versions.get(tss).copied(),
        }
    }
}

/// One TSS.
struct KnownTss {
    version: i64,
    /// What all of this takes.
    bytes: usize,
    /// Without clients, transactions and steps.
    base: LoadedTss,
    clients: BTreeMap<ClientId, Client>,
    /// Open ones.
    transactions: BTreeMap<TransactionNumber, OpenTransaction>,
    numbers: HashMap<TransactionId, TransactionNumber>,
}

/// With its latest step.
type OpenTransaction = (Transaction, TransactionStep);

/// What is there already, and what has to be read.
pub(super) struct Split {
    pub loaded: BTreeMap<TssId, LoadedTss>,
    pub missing: BTreeMap<TssId, Needs>,
}

impl Split {
    /// Nothing has to be read of transactions that are not there, of TSSs that stand as they are known.
    pub fn without(mut self, absent: &BTreeSet<(TssId, TransactionId)>) -> Self {
        let loaded = &self.loaded;
        self.missing.retain(|tss, needs| {
            // One that is not known at all is read, whatever is needed of it.
            if !loaded.contains_key(tss) {
                return true;
            }
            let is_absent = |named: &TransactionRef| match named {
                TransactionRef::Id(id) => absent.contains(&(*tss, *id)),
                TransactionRef::Number(_) => false,
            };
            needs.transactions.retain(|named| !is_absent(named));
            needs.revisions.retain(|(named, _)| !is_absent(named));
            *needs != Needs::default()
        });
        self
    }
}

impl Known {
    /// Transactions that are named by their ids and not known, of TSSs that are.
    pub fn unheard_of(&self, needs: &BTreeMap<TssId, Needs>) -> Vec<(TssId, TransactionId)> {
        let mut unheard_of = Vec::new();
        for (tss, needs) in needs {
            let Some(known) = self.tss.get(tss) else {
                continue;
            };
            let new = needs.transactions.iter().filter_map(|named| match named {
                TransactionRef::Id(id) => (!known.numbers.contains_key(id)).then_some((*tss, *id)),
                TransactionRef::Number(_) => None,
            });
            unheard_of.extend(new);
        }
        unheard_of
    }

    /// Takes what is known of these needs.
    pub fn split(&self, needs: &BTreeMap<TssId, Needs>, versions: &Versions) -> Split {
        let mut split = Split {
            loaded: BTreeMap::new(),
            missing: BTreeMap::new(),
        };
        for (id, needs) in needs {
            let is_common = needs.free_device.is_none()
                && needs.client_ids_new.is_empty()
                && needs.serials.is_empty();
            let is_usable = |known: &&KnownTss| is_common && Some(known.version) == versions.of(id);
            let Some(known) = self.tss.get(id).filter(is_usable) else {
                split.missing.insert(*id, needs.clone());
                continue;
            };
            let (loaded, missing) = known.take(needs);
            split.loaded.insert(*id, loaded);
            if missing != Needs::default() {
                split.missing.insert(*id, missing);
            }
        }
        split
    }

    /// What was read at these versions, beside what was taken from here.
    pub fn learn(&mut self, loaded: &BTreeMap<TssId, LoadedTss>, versions: &Versions) {
        for (id, loaded) in loaded {
            let version = versions.of(id).filter(|_| loaded.slice.tss.is_some());
            if self.tss.get(id).map(|known| known.version) != version {
                // Nothing of it may be taken for the version that a commit is about to make.
                self.forget(*id);
            }
            let Some(version) = version else {
                continue;
            };
            let known = self.tss.entry(*id);
            let known = known.or_insert_with(|| KnownTss::new(loaded, version));
            let slice = &loaded.slice;
            let (clients, transactions) = (slice.clients.keys(), slice.transactions.keys());
            self.bytes = self.bytes.saturating_sub(known.bytes);
            known.keep(slice, clients, transactions);
            self.bytes = self.bytes.saturating_add(known.bytes);
        }
        self.begin_anew_when_full();
    }

    /// Takes out what is known of the TSSs that a batch is about to change.
    pub fn take_out(&mut self, batch: &Batch) -> Self {
        let mut taken = Self::default();
        for entry in &batch.entries {
            if let Some(known) = self.tss.remove(&entry.tss) {
                self.bytes = self.bytes.saturating_sub(known.bytes);
                taken.put(entry.tss, known);
            }
        }
        taken
    }

    /// What was committed on this connection, and the versions of its rows since. The version of the database is
    /// the same as before.
    pub fn wrote(mut self, batch: &Batch, versions: Option<&RowVersions>) -> Self {
        for entry in &batch.entries {
            match versions.map(|versions| versions.get(&entry.tss)) {
                Some(None) => self.forget(entry.tss),
                Some(Some(version)) => self.wrote_tss(entry, Some(*version)),
                None => self.wrote_tss(entry, None),
            }
        }
        self
    }

    /// Brings back what was taken out.
    pub fn bring_back(&mut self, taken: Self) {
        for (id, known) in taken.tss {
            self.forget(id);
            self.put(id, known);
        }
        self.begin_anew_when_full();
    }

    fn put(&mut self, tss: TssId, known: KnownTss) {
        self.bytes = self.bytes.saturating_add(known.bytes);
        self.tss.insert(tss, known);
    }

    fn wrote_tss(&mut self, entry: &TssBatch, version: Option<i64>) {
        // One that has just come into being is read with its key the first time it is needed.
        let Some(known) = self.tss.get_mut(&entry.tss) else {
            return;
        };
        known.version = version.unwrap_or(known.version);
        let slice = &entry.slice;
        let changed = &slice.changed;
        self.bytes = self.bytes.saturating_sub(known.bytes);
        known.keep(slice, &changed.clients, &changed.transactions);
        self.bytes = self.bytes.saturating_add(known.bytes);
    }

    fn forget(&mut self, tss: TssId) {
        if let Some(known) = self.tss.remove(&tss) {
            self.bytes = self.bytes.saturating_sub(known.bytes);
        }
    }

    fn begin_anew_when_full(&mut self) {
        if self.bytes > BYTES_MAX {
            *self = Self::default();
        }
    }
}

impl KnownTss {
    /// Without anything that [`Self::keep`] adds.
    fn new(loaded: &LoadedTss, version: i64) -> Self {
        Self {
            version,
            bytes: 0,
            base: LoadedTss {
                slice: Slice {
                    tss_id: loaded.slice.tss_id,
                    ..Slice::default()
                },
                key: loaded.key.clone(),
                token: loaded.token.clone(),
                is_held: loaded.is_held,
                active: loaded.active.clone(),
            },
            clients: BTreeMap::new(),
            transactions: BTreeMap::new(),
            numbers: HashMap::new(),
        }
    }

    /// Keeps the TSS and these as they are in the slice.
    fn keep<'a>(
        &mut self,
        slice: &Slice,
        clients: impl IntoIterator<Item = &'a ClientId>,
        transactions: impl IntoIterator<Item = &'a TransactionNumber>,
    ) {
        let old = std::mem::replace(&mut self.base.slice.tss, slice.tss.clone());
        self.count(old.map(|old| of_tss(&old)), slice.tss.as_ref().map(of_tss));
        for id in clients {
            if let Some(client) = slice.clients.get(id) {
                let old = self.clients.insert(*id, client.clone());
                self.count(old.map(|old| of_client(&old)), Some(of_client(client)));
            }
        }
        for number in transactions {
            let old = self.transactions.remove(number);
            if let Some((transaction, _)) = &old {
                self.numbers.remove(&transaction.id);
            }
            let new = open_transaction(slice, *number);
            self.count(
                old.as_ref().map(of_transaction),
                new.as_ref().map(of_transaction),
            );
            if let Some(open) = new {
                self.numbers.insert(open.0.id, *number);
                self.transactions.insert(*number, open);
            }
        }
    }

    fn count(&mut self, old: Option<usize>, new: Option<usize>) {
        let without = self.bytes.saturating_sub(old.unwrap_or_default());
        self.bytes = without.saturating_add(new.unwrap_or_default());
    }

    fn take(&self, needs: &Needs) -> (LoadedTss, Needs) {
        let (mut loaded, mut missing) = (self.base.clone(), Needs::default());
        let slice = &mut loaded.slice;
        for id in &needs.clients {
            match self.clients.get(id) {
                Some(client) => drop(slice.clients.insert(*id, client.clone())),
                None => drop(missing.clients.insert(*id)),
            }
        }
        let revisions = needs.revisions.iter().map(|(named, _)| named);
        for named in needs.transactions.iter().chain(revisions) {
            match self.transaction(named) {
                Some((transaction, step)) => {
                    let number = transaction.number;
                    slice.transaction_ids.insert(transaction.id, number);
                    slice.transactions.insert(number, transaction.clone());
                    slice.steps.insert((number, step.revision), step.clone());
                }
                None => drop(missing.transactions.insert(*named)),
            }
        }
        for (named, revision) in &needs.revisions {
            let latest = self.transaction(named).map(|(_, step)| step.revision);
            // Behind the latest there are none.
            if latest.is_none_or(|latest| *revision < latest) {
                missing.revisions.insert((*named, *revision));
            }
        }
        (loaded, missing)
    }

    fn transaction(&self, named: &TransactionRef) -> Option<&OpenTransaction> {
        let number = match named {
            TransactionRef::Id(id) => self.numbers.get(id)?,
            TransactionRef::Number(number) => number,
        };
        self.transactions.get(number)
    }
}

/// With its latest step; `None` when it has ended.
fn open_transaction(slice: &Slice, number: TransactionNumber) -> Option<OpenTransaction> {
    let transaction = slice.transactions.get(&number)?;
    let step = slice.steps.get(&(number, transaction.latest_revision))?;
    let is_open = transaction.state == TransactionState::Active;
    is_open.then(|| (transaction.clone(), step.clone()))
}

fn of_tss(tss: &Tss) -> usize {
    BYTES_WITHOUT_TEXTS + tss.description.len() + of_metadata(&tss.metadata)
}

fn of_client(client: &Client) -> usize {
    BYTES_WITHOUT_TEXTS + of_metadata(&client.metadata)
}

fn of_transaction((transaction, step): &OpenTransaction) -> usize {
    let schema = step.schema.as_ref();
    let of_schema = schema.map_or(0, |one| one.process_data.as_bytes().len() + one.echo.len());
    let of_step = step.process_data.as_bytes().len() + of_schema;
    BYTES_WITHOUT_TEXTS + of_metadata(&transaction.metadata) + of_step
}

fn of_metadata(metadata: &Metadata) -> usize {
    let pairs = metadata.pairs().iter();
    pairs.map(|(key, value)| key.len() + value.len()).sum()
}
