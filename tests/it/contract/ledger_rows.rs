//! What the ledger keeps beside signing: every row comes back as it went in, on SQLite and PostgreSQL.

use super::ledger::on_both;
use crate::support::ledger::{
    Place, commit_for, counter, create_tss, device, metadata, organization, time, tss_id,
};
use siegel::ledger::{
    ApiKey, ApiKeyStatus, CaCertificate, CaRole, ExportRow, ExportState, LedgerError,
    OrganizationRow, Selection, Session, Store, TokenSecret,
};
use siegel::sma::Rejection;
use siegel::terms::{
    Environment, ExportId, OrganizationId, SeTime, SerialNumber, SessionId, TssId,
};
use std::collections::BTreeSet;
use uuid::Uuid;

on_both! {
    organizations_and_api_keys_come_back,
    the_longest_living_session_is_found,
    token_secrets_come_back_newest_first,
    devices_and_their_keys_are_known,
    a_chain_ends_at_its_root,
    a_broken_chain_is_damage,
    exports_come_back_as_they_were,
    an_export_is_taken_up_once,
    metadata_of_an_export_is_merged,
    the_ledger_keeps_its_identifier,
}

fn exists(result: Result<(), LedgerError>) -> bool {
    matches!(result, Err(LedgerError::Exists(_)))
}

fn organizations_and_api_keys_come_back(place: &Place) {
    let store = place.open();
    let [old, new] = [("Älter", 1), ("Neu 'x'", 2)].map(|(name, made)| OrganizationRow {
        id: OrganizationId::new(Uuid::new_v4()),
        name: name.to_owned(),
        time_creation: time(made),
    });
    store.add_organization(&new).unwrap();
    store.add_organization(&old).unwrap();
    assert!(exists(store.add_organization(&old)));
    assert_eq!(store.organization(old.id).unwrap().as_ref(), Some(&old));
    let nobody = OrganizationId::new(Uuid::new_v4());
    assert_eq!(store.organization(nobody).unwrap(), None);
    assert_eq!(store.organizations().unwrap(), [old.clone(), new.clone()]);

    let [mut first, second] = [("key-b", 1), ("key-a", 1)].map(|(key, made)| ApiKey {
        key: key.to_owned(),
        organization: old.id,
        environment: Environment::Live,
        name: "Kasse".to_owned(),
        secret_sha256: [3; 32],
        status: ApiKeyStatus::Enabled,
        time_creation: time(made),
    });
    store.add_api_key(&first).unwrap();
    store.add_api_key(&second).unwrap();
    assert!(exists(store.add_api_key(&first)));
    assert_eq!(store.api_key("key-b").unwrap().as_ref(), Some(&first));
    assert_eq!(store.api_key("key-c").unwrap(), None);
    assert!(
        store
            .set_api_key_status("key-b", ApiKeyStatus::Revoked)
            .unwrap()
    );
    assert!(
        !store
            .set_api_key_status("key-c", ApiKeyStatus::Revoked)
            .unwrap()
    );
    first.status = ApiKeyStatus::Revoked;
    assert_eq!(store.api_keys(old.id).unwrap(), [second, first]);
    assert!(store.api_keys(new.id).unwrap().is_empty());
    assert!(
        store
            .add_api_key(&ApiKey {
                key: "of nobody".to_owned(),
                organization: nobody,
                ..store.api_key("key-a").unwrap().unwrap()
            })
            .is_err()
    );
}

fn the_longest_living_session_is_found(place: &Place) {
    let store = place.open();
    let organization = organization(&store);
    let key = |key: &str| ApiKey {
        key: key.to_owned(),
        organization,
        environment: Environment::Test,
        name: String::new(),
        secret_sha256: [0; 32],
        status: ApiKeyStatus::Enabled,
        time_creation: time(0),
    };
    store.add_api_key(&key("key")).unwrap();
    store.add_api_key(&key("other")).unwrap();
    let session = |access: i64, refresh: i64| Session {
        id: SessionId::new(Uuid::new_v4()),
        api_key: "key".to_owned(),
        time_issued: time(1),
        access_expires: time(access),
        refresh_expires: time(refresh),
        secret_id: "secret".to_owned(),
    };
    let (mut short, long) = (session(10, 100), session(20, 50));
    store.put_session(&short).unwrap();
    store.put_session(&long).unwrap();
    let live = |at| store.live_session("key", time(at)).unwrap();
    assert_eq!(live(0).as_ref(), Some(&long));
    assert_eq!(live(20), None, "at its end it is over");
    assert_eq!(store.live_session("other", time(0)).unwrap(), None);
    short.access_expires = time(30);
    store.put_session(&short).unwrap();
    assert_eq!(live(0).as_ref(), Some(&short), "replaced by id");
    assert_eq!(store.session(short.id).unwrap().as_ref(), Some(&short));
    assert_eq!(store.forget_expired_sessions(time(50)).unwrap(), 0);
    assert_eq!(store.forget_expired_sessions(time(51)).unwrap(), 1);
    assert_eq!(store.session(long.id).unwrap(), None);
    assert!(store.session(short.id).unwrap().is_some());
}

fn token_secrets_come_back_newest_first(place: &Place) {
    let store = place.open();
    let secret = |id: &str, made: i64| TokenSecret {
        id: id.to_owned(),
        sealed: vec![0, 255, 1],
        time_creation: time(made),
    };
    let (old, new) = (secret("old", 1), secret("new", 2));
    store.add_token_secret(&old).unwrap();
    store.add_token_secret(&new).unwrap();
    let other_bytes = TokenSecret {
        sealed: vec![9],
        ..old.clone()
    };
    store.add_token_secret(&other_bytes).unwrap();
    assert_eq!(store.token_secrets().unwrap(), [new, old]);
}

fn ca(name: &str, issuer: &str, role: CaRole) -> CaCertificate {
    let key = device(name, Environment::Test, 0).key;
    CaCertificate {
        serial_number: SerialNumber::of_public_point(name.as_bytes()),
        environment: Environment::Test,
        role,
        issuer: SerialNumber::of_public_point(issuer.as_bytes()),
        key: (role == CaRole::Issuing).then(|| ("token".to_owned(), key)),
        certificate: name.as_bytes().to_vec(),
    }
}

fn devices_and_their_keys_are_known(place: &Place) {
    let store = place.open();
    let owner = organization(&store);
    let mine = device("token", Environment::Test, 1);
    let others = device("other", Environment::Live, 2);
    store.add_device(&mine).unwrap();
    store.add_device(&others).unwrap();
    assert!(exists(store.add_device(&mine)));
    let issuing = ca("CA", "root", CaRole::Issuing);
    store.add_ca(&issuing).unwrap();
    let known: BTreeSet<_> = store.known_keys("token").unwrap().into_iter().collect();
    let of_ca = issuing.key.unwrap().1.id;
    assert_eq!(known, BTreeSet::from([mine.key.id, of_ca]));
    assert_eq!(store.free_devices(Environment::Test).unwrap(), 1);
    assert_eq!(store.free_devices(Environment::Live).unwrap(), 1);
    let mut lane = store.lane().unwrap();
    let id = create_tss(&store, lane.as_mut(), owner);
    assert_eq!(store.free_devices(Environment::Test).unwrap(), 1);
    assert_eq!(store.token_of(id).unwrap().as_deref(), Some("token"));
    assert_eq!(store.token_of(tss_id()).unwrap(), None);
    assert_eq!(store.tss(tss_id()).unwrap(), None);
    let row = store.tss(id).unwrap().unwrap();
    // The oldest one was taken, which `create_tss` had made for it.
    assert_ne!(row.tss.device.serial_number, mine.serial_number);
    assert_eq!(row.certificate, row.tss.device.public_point);
    assert_eq!(row.tss.organization, owner);
}

fn a_chain_ends_at_its_root(place: &Place) {
    let store = place.open();
    let owner = organization(&store);
    let mut lane = store.lane().unwrap();
    let id = create_tss(&store, lane.as_mut(), owner);
    let issuing = ca("CA", "root", CaRole::Issuing);
    let root = ca("root", "root", CaRole::Root);
    let live = CaCertificate {
        environment: Environment::Live,
        ..ca("live", "live", CaRole::Root)
    };
    for certificate in [&issuing, &root, &live] {
        store.add_ca(certificate).unwrap();
    }
    assert!(exists(store.add_ca(&root)));
    assert_eq!(store.cas(Environment::Live).unwrap(), [live]);
    assert_eq!(store.cas(Environment::Test).unwrap().len(), 2);
    assert!(store.cas(Environment::Test).unwrap().contains(&issuing));
    let row = store.tss(id).unwrap().unwrap();
    assert_eq!(
        store.chain(id).unwrap(),
        [
            (row.tss.device.serial_number, row.certificate),
            (issuing.serial_number, issuing.certificate),
            (root.serial_number, root.certificate),
        ]
    );
    assert!(store.chain(tss_id()).unwrap().is_empty());
}

fn a_broken_chain_is_damage(place: &Place) {
    let store = place.open();
    let owner = organization(&store);
    let mut lane = store.lane().unwrap();
    let id = create_tss(&store, lane.as_mut(), owner);
    assert!(matches!(store.chain(id), Err(LedgerError::Damaged(_))));
    // A circle is no chain either.
    store.add_ca(&ca("CA", "x", CaRole::Issuing)).unwrap();
    store.add_ca(&ca("x", "CA", CaRole::Issuing)).unwrap();
    assert!(matches!(store.chain(id), Err(LedgerError::Damaged(_))));
    place.execute("UPDATE tss SET state = 'ASLEEP'").unwrap();
    assert!(matches!(store.tss(id), Err(LedgerError::Damaged(_))));
}

/// A pending export.
fn export(tss: TssId, requested: i64) -> ExportRow {
    ExportRow {
        tss,
        id: ExportId::new(Uuid::new_v4()),
        state: ExportState::Pending,
        filter: "all".to_owned(),
        selection: None,
        messages: None,
        messages_max: 1_000_000,
        counter_at_request: counter(2),
        time_request: time(requested),
        info_csv: b"\"a\",\"b\"\n".to_vec(),
        certificates: vec![("x_X509.cer".to_owned(), vec![0x30, 0, 255])],
        time_start: None,
        time_end: None,
        time_expiration: None,
        time_error: None,
        exception: None,
        metadata: metadata(&[]),
    }
}

fn with_tss(place: &Place) -> (Store, TssId) {
    let store = place.open();
    let owner = organization(&store);
    let mut lane = store.lane().unwrap();
    let id = create_tss(&store, lane.as_mut(), owner);
    (store, id)
}

fn exports_come_back_as_they_were(place: &Place) {
    let (store, tss) = with_tss(place);
    let pending = export(tss, 1);
    store.add_export(&pending).unwrap();
    assert!(exists(store.add_export(&pending)));
    assert_eq!(
        store.export(tss, pending.id).unwrap(),
        Some(pending.clone())
    );
    assert_eq!(store.export(tss_id(), pending.id).unwrap(), None);
    let full = ExportRow {
        state: ExportState::Completed,
        selection: Some(Selection {
            counters: 1..=5,
            client: Some(siegel::terms::ClientId::new(Uuid::new_v4())),
            transactions: Some(2..=3),
            times: Some(-1..=7),
        }),
        messages: Some(4),
        time_start: Some(time(2)),
        time_end: Some(time(3)),
        time_expiration: Some(time(4)),
        time_error: Some(time(5)),
        exception: Some("E_TOO_MANY_RECORDS".to_owned()),
        ..pending.clone()
    };
    assert!(!store.update_export(ExportState::Working, &full).unwrap());
    assert!(store.update_export(ExportState::Pending, &full).unwrap());
    assert_eq!(store.export(tss, full.id).unwrap(), Some(full.clone()));
    // And back: what is not there any more is not kept from before.
    assert!(
        store
            .update_export(ExportState::Completed, &pending)
            .unwrap()
    );
    assert_eq!(store.export(tss, full.id).unwrap(), Some(pending));
}

fn an_export_is_taken_up_once(place: &Place) {
    let (store, tss) = with_tss(place);
    let wanted: Vec<ExportRow> = (0..6).map(|made| export(tss, 10 - made)).collect();
    for row in &wanted {
        store.add_export(row).unwrap();
    }
    let oldest = store.take_pending_export(time(20)).unwrap().unwrap();
    assert_eq!(oldest.id, wanted[5].id);
    assert_eq!(oldest.state, ExportState::Working);
    assert_eq!(oldest.time_start, Some(time(20)));
    assert_eq!(store.export(tss, oldest.id).unwrap(), Some(oldest));
    let taken: Vec<ExportId> = std::thread::scope(|scope| {
        let take = || store.take_pending_export(time(21)).unwrap();
        let workers: Vec<_> = (0..8).map(|_| scope.spawn(take)).collect();
        workers
            .into_iter()
            .filter_map(|worker| worker.join().unwrap())
            .map(|row| row.id)
            .collect()
    });
    let different: BTreeSet<_> = taken.iter().collect();
    assert_eq!((taken.len(), different.len()), (5, 5));
    assert_eq!(store.running_exports(tss).unwrap().len(), 6);
    assert_eq!(store.requeue_exports(time(21)).unwrap(), 1, "the first one");
    assert_eq!(store.requeue_exports(time(22)).unwrap(), 5);
    let again = store.take_pending_export(time(30)).unwrap().unwrap();
    assert_eq!(again.time_start, Some(time(30)));
    let cancelled = ExportRow {
        state: ExportState::Cancelled,
        ..again
    };
    assert!(
        store
            .update_export(ExportState::Working, &cancelled)
            .unwrap()
    );
    let running = store.running_exports(tss).unwrap();
    let times: Vec<SeTime> = running.iter().map(|row| row.time_request).collect();
    assert_eq!(times, [6, 7, 8, 9, 10].map(time));
}

fn metadata_of_an_export_is_merged(place: &Place) {
    let (store, tss) = with_tss(place);
    let row = export(tss, 1);
    store.add_export(&row).unwrap();
    let merge = |key: &str, value: Option<&str>| {
        let patch = [(key.to_owned(), value.map(str::to_owned))].into();
        store.merge_export_metadata(tss, row.id, &patch).unwrap()
    };
    std::thread::scope(|scope| {
        let merge = &merge;
        for number in 0..8 {
            scope.spawn(move || merge(&format!("key {number}"), Some("ä")).unwrap().unwrap());
        }
    });
    let merged = merge("key 0", None).unwrap().unwrap();
    assert_eq!(merged.pairs().len(), 7, "none was lost");
    assert_eq!(store.export(tss, row.id).unwrap().unwrap().metadata, merged);
    // The worker's own changes leave it alone.
    assert!(store.update_export(ExportState::Pending, &row).unwrap());
    assert_eq!(store.export(tss, row.id).unwrap().unwrap().metadata, merged);
    for number in 8..41 {
        assert!(merge(&format!("key {number}"), Some("")).unwrap().is_ok());
    }
    assert_eq!(
        merge("one too many", Some("")),
        Some(Err(Rejection::TooManyMetadataPairs))
    );
    let nothing = store.merge_export_metadata(tss_id(), row.id, &[].into());
    assert_eq!(nothing.unwrap(), None);
}

fn the_ledger_keeps_its_identifier(place: &Place) {
    let store = place.open();
    store.check_health().unwrap();
    let id = store.ledger_id().to_owned();
    let same = store.clone();
    drop(store);
    assert_eq!(same.ledger_id(), id);
    drop(same);
    let store = place.open();
    assert_eq!(store.ledger_id(), id);
    let owner = organization(&store);
    let mut lane = store.lane().unwrap();
    let tss = create_tss(&store, lane.as_mut(), owner);
    commit_for(lane.as_mut(), tss, |work| {
        work.client("KASSE-1");
    })
    .unwrap();
}
