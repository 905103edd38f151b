//! PostgreSQL by `pg_basebackup`: with the log archived since nothing is lost, without it that is noticed.

use super::cluster::Cluster;
use super::failover::{cluster, insist, open};
use super::shop::{Shop, messages, notes};
use crate::http::client::{Till, new_id, wait_for};

/// A till that has signed before and after the base backup, when the backup has been put back.
struct Restored {
    shop: Shop,
    till: Till,
    /// Begun after the backup, and open.
    open: String,
    /// All that it had signed.
    archive: Vec<u8>,
    /// Outlives the server.
    _cluster: Cluster,
}

impl Restored {
    fn new(with_archive: bool) -> Option<Self> {
        let cluster = cluster()?;
        cluster.archive();
        let shop = open(&cluster);
        let till = Till::new_by(&shop.api());
        till.sell();
        cluster.base_backup();
        till.sell();
        let open = till.start();
        let archive = shop.export(&till);
        cluster.wait_until_it_is_archived();
        cluster.put_back(with_archive);
        Some(Self {
            shop,
            till,
            open,
            archive,
            _cluster: cluster,
        })
    }

    /// Nothing is missing any more, and the till goes on where it was.
    fn goes_on(&self) {
        let Self { shop, till, .. } = self;
        assert_eq!(messages(&shop.export(till)), messages(&self.archive));
        assert_eq!(insist(till, &self.open, 2, "FINISHED")["number"], 3);
        assert_eq!(insist(till, &new_id(), 1, "ACTIVE")["number"], 4);
        shop.told(0, &["check"]);
        shop.inspect(0);
        notes(&shop.export(till));
    }
}

#[test]
fn a_base_backup_with_the_log_up_to_the_last_commit_lacks_nothing() {
    let Some(restored) = Restored::new(true) else {
        return;
    };
    restored.shop.told(0, &["check"]);
    restored.goes_on();
}

#[test]
fn a_base_backup_without_the_log_is_noticed_and_what_it_lacks_comes_back() {
    let Some(restored) = Restored::new(false) else {
        return;
    };
    let Restored { shop, till, .. } = &restored;
    // What is there is whole; it is only old.
    shop.told(0, &["check"]);
    let refused = wait_for("an answer", || {
        let answer = till.try_step(&new_id(), 1, "ACTIVE", None)?;
        (answer.status != 503).then_some(answer)
    });
    refused.refused_without_code(500);
    let seen = shop.inspect(1);
    assert_eq!(seen["stopped"][0]["tss"], till.tss.as_str(), "{seen}");
    let file = shop.path("node.witness");
    let from = ["restore", "--yes-i-understand", "--from"];
    shop.told(0, &[&from[..], &[file.to_str().unwrap()]].concat());
    restored.goes_on();
}
