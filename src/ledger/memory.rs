//! What is known of a connection's database, and since when: to be looked into while the connection is in use.

use super::known::{Known, Split, Versions};
use super::lane::{Batch, LoadedTss};
use super::row_versions::RowVersions;
use crate::sma::Needs;
use crate::terms::{TransactionId, TssId};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Where a SQLite database stands, as its lanes' connection sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// Which connection: versions are numbers of its own.
    pub connection: u64,
    /// Another one as soon as another connection has written, be it of this process or not.
    pub version: i64,
    /// Turns to write that others than lanes have had in this process, from before the version was asked for.
    pub turns_of_others: u64,
    /// Whether the database was not asked at that moment: what a stranger has written before may be unseen.
    pub is_recalled: bool,
}

impl Moment {
    /// Whether what was loaded then may be gone on from now: nobody has written since, or somebody of this process,
    /// who keeps away from what a lane has locked.
    pub fn may_become(&self, now: &Self) -> bool {
        let is_explained = !self.is_recalled && self.turns_of_others != now.turns_of_others;
        self.connection == now.connection && (self.version == now.version || is_explained)
    }
}

/// Shared by all lanes on one connection.
#[derive(Default)]
pub(super) struct Memory(Mutex<Contents>);

#[derive(Default)]
struct Contents {
    known: Known,
    /// The last one that was seen; none on PostgreSQL, and on a connection that has just been opened.
    moment: Option<Moment>,
    /// How often all was forgotten.
    forgotten: u64,
}

/// What is not known for as long as a batch is on its way.
pub(super) struct Taken {
    known: Known,
    forgotten: u64,
}

impl Memory {
    /// Takes what is known of these needs.
    pub fn split(&self, needs: &BTreeMap<TssId, Needs>, versions: &Versions) -> Split {
        self.contents().known.split(needs, versions)
    }

    /// Transactions that are named by their ids and not known, of TSSs that are.
    pub fn unheard_of(&self, needs: &BTreeMap<TssId, Needs>) -> Vec<(TssId, TransactionId)> {
        self.contents().known.unheard_of(needs)
    }

    /// What was read at these versions, beside what was taken from here.
    pub fn learn(&self, loaded: &BTreeMap<TssId, LoadedTss>, versions: &Versions) {
        self.contents().known.learn(loaded, versions);
    }

    /// The database stands here now.
    pub fn is_at(&self, moment: Moment) {
        self.contents().moment = Some(moment);
    }

    /// What is known of these needs without asking the database, if nobody but lanes has written in this process since
    /// it was last asked. Whether another process has, the commit finds out.
    pub fn recall(
        &self,
        needs: &BTreeMap<TssId, Needs>,
        turns_of_others: u64,
    ) -> Option<(Split, Moment)> {
        let contents = self.contents();
        let is_current = |moment: &Moment| moment.turns_of_others == turns_of_others;
        let moment = contents.moment.filter(is_current)?;
        let split = contents
            .known
            .split(needs, &Versions::OfAll(moment.version));
        let moment = Moment {
            is_recalled: true,
            ..moment
        };
        Some((split, moment))
    }

    /// What was read beside the connection after this moment was recalled.
    pub fn learn_aside(&self, loaded: &BTreeMap<TssId, LoadedTss>, recalled: Moment) {
        let mut contents = self.contents();
        let asked = Moment {
            is_recalled: false,
            ..recalled
        };
        if contents.moment == Some(asked) {
            let versions = Versions::OfAll(recalled.version);
            contents.known.learn(loaded, &versions);
        }
    }

    /// A stranger has written: the database has to be asked before anything is recalled again.
    pub fn doubt(&self) {
        self.contents().moment = None;
    }

    /// What this batch changes is not known until it is written.
    pub fn take_out(&self, batch: &Batch) -> Taken {
        let mut contents = self.contents();
        Taken {
            known: contents.known.take_out(batch),
            forgotten: contents.forgotten,
        }
    }

    /// The batch was committed, and its rows have these versions since.
    pub fn wrote(&self, taken: Taken, batch: &Batch, versions: Option<&RowVersions>) {
        let known = taken.known.wrote(batch, versions);
        let mut contents = self.contents();
        // Versions of another connection are other numbers.
        if contents.forgotten == taken.forgotten {
            contents.known.bring_back(known);
        }
    }

    /// Nothing is known any more.
    pub fn forget(&self) {
        let mut contents = self.contents();
        *contents = Contents {
            forgotten: contents.forgotten.saturating_add(1),
            ..Contents::default()
        };
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
