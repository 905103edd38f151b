//! Which clients appear in transactions, and which were registered.

use super::message::bound;
use openssl::sha::sha256;
use std::collections::BTreeMap;

/// Clients of one key that are remembered of each kind; a device has far fewer.
const CLIENTS_MAX: usize = 1000;

/// The smallest signature counter with which something was said about a client, by the hash of its id:
/// ids can be long.
type Firsts = BTreeMap<[u8; 32], u64>;

/// The clients of one key; bounded. What is kept are the first ones in the order of their hashes, so that
/// it does not matter which thread meets which.
#[derive(Default)]
pub(super) struct Clients {
    active: Firsts,
    registered: Firsts,
}

/// Clients that were active without having been registered.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unregistered {
    /// How many.
    pub(super) clients: usize,
    /// Signature counter of the first of their messages.
    pub(super) counter_first: u64,
}

impl Clients {
    /// A transaction message names the client.
    pub(super) fn acts(&mut self, client_id: &str, counter: u64) {
        note_first(&mut self.active, sha256(client_id.as_bytes()), counter);
    }

    /// A message registers the client.
    pub(super) fn is_registered(&mut self, client_id: &str, counter: u64) {
        note_first(&mut self.registered, sha256(client_id.as_bytes()), counter);
    }

    /// Takes in what another thread has seen.
    pub(super) fn merge(&mut self, other: Self) {
        for (client, counter) in other.active {
            note_first(&mut self.active, client, counter);
        }
        for (client, counter) in other.registered {
            note_first(&mut self.registered, client, counter);
        }
    }

    /// Clients with a transaction message before that which registers them, or without one.
    pub(super) fn unregistered(&self) -> Option<Unregistered> {
        // Of what lies beyond a full list it is not known whether it was registered.
        let known_to = (self.registered.len() >= CLIENTS_MAX)
            .then(|| self.registered.last_key_value())
            .flatten();
        let counters: Vec<_> = self
            .active
            .iter()
            .filter(|(client, _)| known_to.is_none_or(|(last, _)| *client <= last))
            .filter(|(client, first)| {
                let registered = self.registered.get(*client);
                registered.is_none_or(|registered| registered > first)
            })
            .map(|(_, first)| *first)
            .collect();
        Some(Unregistered {
            clients: counters.len(),
            counter_first: counters.iter().copied().min()?,
        })
    }
}

fn note_first(firsts: &mut Firsts, client: [u8; 32], counter: u64) {
    let first = firsts.entry(client).or_insert(counter);
    *first = counter.min(*first);
    bound(firsts, CLIENTS_MAX);
}
