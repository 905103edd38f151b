//! What must not happen to a ledger, whoever tries: changed messages, two users of a file, settings
//! under which nothing is durable, lost connections.

use super::ledger::on_both;
use crate::support::ledger::{
    self as sample, Place, Work, commit_for, counter, create_tss, load, lock_only, organization,
    stored,
};
use crate::support::token::TestEntropy;
use siegel::ledger::{
    CommitError, LaneLedger, LedgerError, ListOrder, Page, SignedKind, Store, StoreConfig,
    TssFilter,
};
use siegel::sma::TransactionState;
use siegel::terms::{Environment, TransactionNumber, TssId};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

on_both! {
    nobody_changes_or_deletes_a_message,
    a_step_is_signed_once,
    a_message_is_not_there_before_its_commit,
    a_store_without_its_folder_or_server_says_so,
}

/// A store with one TSS and a finished transaction: messages 2, 3 and 4.
pub(super) fn with_messages(place: &Place) -> (Store, Box<dyn LaneLedger>, TssId) {
    let store = place.open();
    let owner = organization(&store);
    let mut lane = store.lane().unwrap();
    let id = create_tss(&store, lane.as_mut(), owner);
    commit_for(lane.as_mut(), id, |work| {
        let client = work.client("KASSE-1");
        let started = work.step(None, &client, TransactionState::Active).0;
        work.step(Some(&started), &client, TransactionState::Finished);
    })
    .unwrap();
    (store, lane, id)
}

const COLUMNS: &str = "tss_id, signature_counter, kind, log_time, transaction_number, revision, \
    client_id, client_serial, file_name, der";

fn nobody_changes_or_deletes_a_message(place: &Place) {
    let (_store, mut lane, id) = with_messages(place);
    let kept = |lane: &mut dyn LaneLedger| {
        [2, 3, 4].map(|value| stored(lane, id, counter(value)).unwrap())
    };
    let before = kept(lane.as_mut());
    // Other bytes, under a key that exists.
    let again = |columns: &str, other: &str| {
        format!("INTO log_message ({columns}) SELECT {other} FROM log_message")
    };
    let same_counter = again(COLUMNS, &COLUMNS.replace("file_name", "'x'"));
    let mut tries = vec![
        "UPDATE log_message SET der = file_name".to_owned(),
        "UPDATE log_message SET log_time = 0 WHERE signature_counter = 3".to_owned(),
        "DELETE FROM log_message".to_owned(),
        "DELETE FROM log_message WHERE signature_counter = 4".to_owned(),
        format!("INSERT {same_counter}"),
    ];
    if place.is_sqlite() {
        let columns = format!("rowid, {COLUMNS}");
        let same_row = again(
            &columns,
            &columns
                .replace("signature_counter", "signature_counter + 100")
                .replace("revision", "revision + 100"),
        );
        tries.extend([
            format!("REPLACE {same_counter}"),
            format!("REPLACE {same_row}"),
            format!("INSERT {same_counter} WHERE true ON CONFLICT DO UPDATE SET der = x'00'"),
            "DELETE FROM tss".to_owned(),
        ]);
    } else {
        tries.extend([
            "TRUNCATE log_message".to_owned(),
            "TRUNCATE tss CASCADE".to_owned(),
            format!(
                "INSERT {same_counter} ON CONFLICT (tss_id, signature_counter) \
                 DO UPDATE SET der = '\\x00'"
            ),
            "DELETE FROM tss".to_owned(),
            "TRUNCATE tss_transaction CASCADE".to_owned(),
            "DELETE FROM tss_transaction".to_owned(),
            "DELETE FROM transaction_step".to_owned(),
        ]);
    }
    for sql in tries {
        // Foreign keys guard the rest, but in SQLite each connection may switch them off.
        let result = place.execute(&format!(
            "{}{sql}",
            if place.is_sqlite() {
                "PRAGMA foreign_keys = ON; "
            } else {
                ""
            }
        ));
        assert!(result.is_err(), "accepted: {sql}");
        assert_eq!(kept(lane.as_mut()), before, "{sql}");
    }
}

fn a_step_is_signed_once(place: &Place) {
    let (store, mut lane, id) = with_messages(place);
    let before = store.tss(id).unwrap().unwrap();
    // Somebody set the transaction back, so that only the step itself stands in the way.
    let again = commit_for(lane.as_mut(), id, |work| {
        let client = work.client("KASSE-2");
        let mut transaction = work.step(None, &client, TransactionState::Active).0;
        transaction.number = TransactionNumber::new(1);
        work.step(Some(&transaction), &client, TransactionState::Finished);
    });
    assert!(matches!(again, Err(CommitError::RolledBack { .. })));
    assert_eq!(store.tss(id).unwrap().unwrap(), before);
}

fn a_message_is_not_there_before_its_commit(place: &Place) {
    let (store, mut lane, id) = with_messages(place);
    let mut held = lane.lock(&lock_only(&[id])).unwrap();
    let mut work = Work::on(id, held.take_loaded().remove(&id).unwrap());
    let last = work.message(SignedKind::System);
    assert_eq!(store.message(id, last).unwrap(), None);
    held.commit(&work.into_batch()).unwrap();
    assert!(store.message(id, last).unwrap().is_some());
}

#[test]
fn a_ledger_that_is_moved_away_while_it_is_in_use_loses_nothing() {
    let place = sample::sqlite();
    let (store, mut lane, id) = with_messages(&place);
    let StoreConfig::Sqlite { path } = place.config() else {
        unreachable!("it was made so");
    };
    let kept = stored(lane.as_mut(), id, counter(4)).unwrap();
    let aside = path.with_extension("aside");
    std::fs::rename(&path, &aside).unwrap();
    for _ in 0..3 {
        // Each of them wants a connection, of the pool or one of its own.
        assert!(store.check_health().is_err());
        assert!(store.survey().is_err());
        assert!(lane.lock(&lock_only(&[id])).is_err());
    }
    assert!(!path.exists(), "nobody has made another file in its place");
    std::fs::rename(&aside, &path).unwrap();
    drop((lane, store));
    let store = place.open();
    assert_eq!(store.message(id, counter(4)).unwrap().unwrap().der, kept);
}

#[test]
fn whoever_opens_a_ledger_just_when_another_one_closes_it_is_let_in() {
    let place = sample::sqlite();
    drop(with_messages(&place));
    let config = place.config();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    // Closing the last connection cleans up, for which SQLite keeps everybody out.
                    drop(Store::open_beside(&config).unwrap());
                }
            });
        }
    });
}

#[test]
fn the_path_of_a_ledger_may_have_characters_that_mean_something_in_a_uri() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("50% of #1? yes.db");
    let config = StoreConfig::Sqlite { path: path.clone() };
    let store = Store::open(&config, &TestEntropy).unwrap();
    organization(&store);
    drop(store);
    let names: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with(".lock"))
        .collect();
    assert_eq!(names, ["50% of #1? yes.db"]);
}

fn a_store_without_its_folder_or_server_says_so(place: &Place) {
    let config = match place.config() {
        StoreConfig::Sqlite { path } => StoreConfig::Sqlite {
            path: path.join("nowhere").join("ledger.db"),
        },
        StoreConfig::Postgres {
            connections_max,
            lock_timeout_ms,
            standstill_ms,
            ..
        } => StoreConfig::Postgres {
            url: "postgresql://siegel@127.0.0.1:1/nowhere".to_owned(),
            connections_max,
            lock_timeout_ms,
            standstill_ms,
        },
    };
    let error = Store::open(&config, &TestEntropy).unwrap_err();
    match error {
        LedgerError::Unsafe(text) => assert!(text.contains("does not exist"), "{text}"),
        LedgerError::Unavailable { action, .. } => assert_eq!(action, "connect"),
        LedgerError::Damaged(_) | LedgerError::Exists(_) => panic!("{error:?}"),
    }
}

// Only on SQLite.

fn path_of(place: &Place) -> std::path::PathBuf {
    match place.config() {
        StoreConfig::Sqlite { path } => path,
        StoreConfig::Postgres { .. } => panic!("a test of SQLite"),
    }
}

fn in_use(path: &Path) -> bool {
    let config = StoreConfig::Sqlite {
        path: path.to_owned(),
    };
    match Store::open(&config, &TestEntropy) {
        Ok(_) => false,
        Err(LedgerError::Unsafe(text)) => text.contains("in use by another process"),
        Err(error) => panic!("{error:?}"),
    }
}

#[test]
fn a_sqlite_file_has_one_user_whatever_it_is_called() {
    let place = sample::sqlite();
    let path = path_of(&place);
    let (store, lane, id) = with_messages(&place);
    let link = path.with_file_name("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(in_use(&path));
    assert!(in_use(&link));
    // The one who has it is not disturbed by that.
    drop(lane);
    let mut lane = store.lane().unwrap();
    commit_for(lane.as_mut(), id, |work| {
        work.message(SignedKind::System);
    })
    .unwrap();
    drop((lane, store));
    assert!(!in_use(&link));
}

/// Names the file to the process that this test starts: this very test again.
const FILE: &str = "SIEGEL_TEST_LEDGER_FILE";

#[test]
fn a_killed_process_leaves_all_it_acknowledged_and_the_file_free() {
    if let Ok(path) = std::env::var(FILE) {
        return sign_until_killed(Path::new(&path));
    }
    let place = sample::sqlite();
    let path = path_of(&place);
    let (store, lane, id) = with_messages(&place);
    drop((store, lane));
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("contract::ledger_safety::a_killed_process_leaves_all_it_acknowledged_and_the_file_free")
        .env(FILE, &path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acknowledged = || -> u64 {
        let mut all = said.by_ref().map(Result::unwrap);
        let line = all.find_map(|line| Some(line.split_once("acknowledged ")?.1.to_owned()));
        line.unwrap().trim().parse().unwrap()
    };
    let first = acknowledged();
    assert!(in_use(&path), "while the other process has it");
    while acknowledged() < first + 20 {}
    child.kill().unwrap();
    child.wait().unwrap();
    let last = said
        .filter_map(|line| {
            line.ok()?
                .split_once("acknowledged ")?
                .1
                .trim()
                .parse()
                .ok()
        })
        .max()
        .unwrap_or(first + 20);
    let store = place.open();
    let stored = store.tss(id).unwrap().unwrap().tss.device.signature_counter;
    assert!(stored.value() >= last, "{stored} of {last}");
    for value in 2..=stored.value() {
        assert!(store.message(id, counter(value)).unwrap().is_some());
    }
    assert_eq!(store.message(id, stored.next().unwrap()).unwrap(), None);
}

fn sign_until_killed(path: &Path) {
    let config = StoreConfig::Sqlite {
        path: path.to_owned(),
    };
    let store = Store::open(&config, &TestEntropy).unwrap();
    let owner = store.organizations().unwrap()[0].id;
    let page = Page {
        limit: 1,
        offset: 0,
        order_by: "time_creation",
        order: ListOrder::Ascending,
    };
    let owned = (owner, Environment::Test);
    let row = store.tss_list(owned, &TssFilter::default(), &page).unwrap();
    let id = row[0].tss.id;
    let mut lane = store.lane().unwrap();
    // Far more than the parent waits for, so that an orphan ends by itself.
    for _ in 0..100_000 {
        let mut last = counter(0);
        commit_for(lane.as_mut(), id, |work| {
            last = work.message(SignedKind::System);
        })
        .unwrap();
        println!("acknowledged {last}");
    }
}

#[test]
fn the_files_of_a_ledger_are_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = sample::sqlite();
    let (_store, _lane, _) = with_messages(&place);
    let folder = path_of(&place);
    for entry in std::fs::read_dir(folder.parent().unwrap()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", entry.path().display());
    }
}

// Only on PostgreSQL.

#[test]
fn a_killed_connection_commits_nothing_and_the_next_lock_works() {
    let Some(place) = sample::postgres() else {
        return;
    };
    let (store, mut lane, id) = with_messages(&place);
    let mut held = lane.lock(&lock_only(&[id])).unwrap();
    let mut work = Work::on(id, held.take_loaded().remove(&id).unwrap());
    let last = work.message(SignedKind::System);
    let batch = work.into_batch();
    place.kill_connections(true);
    assert!(matches!(
        held.commit(&batch),
        Err(CommitError::RolledBack { .. })
    ));
    assert_eq!(stored(lane.as_mut(), id, last), None);
    // The same bytes again, as signing does it.
    let held = lane.lock(&lock_only(&[id])).unwrap();
    held.commit(&batch).unwrap();
    let kept = stored(lane.as_mut(), id, last);
    assert_eq!(kept.as_ref(), Some(&batch.entries[0].messages[0].der));
    assert_eq!(store.message(id, last).unwrap().unwrap().der, kept.unwrap());
}

#[test]
fn connections_that_were_lost_while_idle_are_opened_anew() {
    let Some(place) = sample::postgres() else {
        return;
    };
    let (store, mut lane, id) = with_messages(&place);
    place.kill_connections(false);
    load(lane.as_mut(), id);
    store.check_health().unwrap();
    place.kill_connections(false);
    assert!(stored(lane.as_mut(), id, counter(2)).is_some());
    assert!(store.tss(id).unwrap().is_some());
}

#[test]
fn postgres_must_be_durable_by_its_own_settings() {
    let Some(place) = sample::postgres() else {
        return;
    };
    for setting in ["off", "local", "remote_write"] {
        place.set_for_database(&format!("synchronous_commit = {setting}"));
        match Store::open(&place.config(), &TestEntropy) {
            Err(LedgerError::Unsafe(text)) => {
                assert!(text.contains(&format!("synchronous_commit = {setting}")));
            }
            other => panic!("{setting}: {other:?}"),
        }
    }
    place.set_for_database("synchronous_commit = remote_apply");
    let (store, mut lane, id) = with_messages(&place);
    // A running lane stays as durable as it began, and a new connection is refused.
    place.set_for_database("synchronous_commit = off");
    load(lane.as_mut(), id);
    assert!(matches!(store.lane(), Err(LedgerError::Unsafe(_))));
}

#[test]
fn many_nodes_may_open_a_new_ledger_at_once() {
    let Some(place) = sample::postgres() else {
        return;
    };
    let ids: Vec<String> = std::thread::scope(|scope| {
        let open = || place.open().ledger_id().to_owned();
        let nodes: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
        nodes.into_iter().map(|node| node.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}
