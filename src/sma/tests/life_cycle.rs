use super::*;
use std::path::Path;

#[test]
fn a_fresh_tss_testifies_to_its_whole_life_in_this_order() {
    let mut world = World::empty();
    world.must(assign());
    world.must(take_over());
    world.must(unblock(PUK));
    world.must(log_in(PIN));
    world.must(initialize());
    world.must(register(1, "till-1"));
    world.must(deregister(1));
    world.must(Command::LogOut);
    world.must(log_in(PIN));
    world.must(disable());
    assert_eq!(
        world.names(0),
        [
            "Sys_updateTime",
            "Sys_configureLogging",
            "Sys_startAudit",
            "Sys_unblockUser",
            "Sys_authenticateUser",
            "Sys_initialize",
            "Sys_registerClient",
            "Sys_deregisterClient",
            "Sys_logOut",
            "Sys_authenticateUser",
            "Sys_disableSecureElement",
        ]
    );
    // Signature 1 was the certificate request.
    let counters: Vec<_> = world
        .messages
        .iter()
        .map(|message| message.header.signature_counter.value())
        .collect();
    assert_eq!(counters, (2..=12).collect::<Vec<_>>());
    for message in &world.messages {
        to_be_signed(&message.header, &message.content).unwrap();
    }
}

/// A device of the field says the same words in its first life.
#[test]
fn every_event_of_a_freshly_initialised_device_of_the_field_is_one_of_ours() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/testdata/tse-exports");
    let name = "TSE_Export_e7d7835e-41c0-4aa2-a3c7-3c2bd62c9e9a_202109161500.tar";
    let Ok(file) = std::fs::File::open(folder.join(name)) else {
        let needed = std::env::var_os("SIEGEL_NEED_SHARED").is_some_and(|value| value == "1");
        assert!(!needed, "{} is missing", folder.display());
        println!("skipped: there is no {}", folder.display());
        return;
    };
    let mut world = World::empty();
    for command in [assign(), take_over(), unblock(PUK), log_in(PIN)] {
        world.must(command);
    }
    world.must(initialize());
    world.must(register(1, "till-1"));
    world.must(Command::LogOut);
    let ours = world.names(0);
    let mut archive = tar::Archive::new(file);
    let mut read = 0;
    for entry in archive.entries().unwrap() {
        let path = entry.unwrap().path().unwrap().display().to_string();
        let Some((_, kind)) = path.split_once("_Log-") else {
            continue;
        };
        read += 1;
        let kind = kind.trim_end_matches(".log").to_owned();
        // Its self-test and secure state belong to hardware that we are not.
        if !["Sys_selfTest", "Sys_enterSecureState"].contains(&kind.as_str()) {
            assert!(ours.contains(&kind), "{kind} is none of {ours:?}");
        }
    }
    println!("read {read} messages of 1 archive");
    assert_eq!(read, 10);
}

#[test]
fn the_puk_can_be_shown_again_until_the_tss_is_taken_over() {
    let mut world = World::empty();
    world.must(assign());
    assert_eq!(
        world.tss().admin.sealed_puk.as_deref(),
        Some(b"sealed".as_slice())
    );
    let signed = world.messages.len();
    world.must(assign());
    assert_eq!(world.messages.len(), signed, "the same call signs nothing");
    world.must(take_over());
    assert_eq!(world.tss().admin.sealed_puk, None);
    assert_eq!(world.refused(assign()), Rejection::TssConflict);
}

#[test]
fn nobody_else_can_see_or_take_a_tss() {
    let mut world = World::ready();
    let stranger = Caller {
        organization: OrganizationId::new(id(99)),
        ..caller(2)
    };
    let live = Caller {
        environment: Environment::Live,
        ..caller(2)
    };
    for other in [stranger, live] {
        let told = world.ask_as(&other, &disable());
        assert_eq!(told, Told::Refused(Rejection::TssNotFound));
        let told = world.ask_as(&other, &assign());
        assert_eq!(told, Told::Refused(Rejection::TssConflict));
    }
}

#[test]
fn without_a_prepared_device_nothing_is_assigned() {
    let mut world = World::empty();
    world.slice.free_device = None;
    assert_eq!(world.refused(assign()), Rejection::NoFreeDevice);
}

#[test]
fn each_state_allows_what_the_life_cycle_says_and_nothing_else() {
    let mut world = World::empty();
    world.must(assign());
    assert_eq!(world.refused(unblock(PUK)), Rejection::TssNotInitialized);
    assert_eq!(world.refused(log_in(PIN)), Rejection::TssNotInitialized);
    assert!(matches!(
        world.refused(initialize()),
        Rejection::IllegalStateChange { .. }
    ));
    world.must(take_over());
    assert_eq!(world.refused(initialize()), Rejection::UserNotAuthenticated);
    assert_eq!(world.refused(start(1, None)), Rejection::TssNotInitialized);
    world.must(unblock(PUK));
    world.must(log_in(PIN));
    world.must(register(1, "early"));
    world.must(initialize());
    assert!(matches!(
        world.refused(take_over()),
        Rejection::IllegalStateChange { .. }
    ));
    world.must(start(1, None));
    world.must(disable());
    assert_eq!(world.refused(start(2, None)), Rejection::TssDisabled);
    assert_eq!(
        world.refused(finish(1, 2, receipt("1.00"))),
        Rejection::TssDisabled
    );
    assert!(matches!(
        world.refused(initialize()),
        Rejection::IllegalStateChange { .. } | Rejection::TssDisabled
    ));
}

#[test]
fn the_state_it_has_already_is_no_error_and_signs_nothing() {
    let mut world = World::ready();
    let signed = world.messages.len();
    let since = world.tss().time_init;
    world.now += 10;
    world.must(initialize());
    assert_eq!(world.messages.len(), signed);
    assert_eq!(world.tss().time_init, since);
}

#[test]
fn a_defective_tss_writes_nothing_any_more() {
    let mut world = World::ready();
    world.must(start(1, None));
    world.must(Command::DeclareDefective);
    for command in [
        start(2, None),
        finish(1, 2, receipt("1.00")),
        register(2, "till-2"),
        log_in(PIN),
        unblock(PUK),
        disable(),
        initialize(),
    ] {
        assert_eq!(world.refused(command), Rejection::TssDefective);
    }
}

#[test]
fn clients_are_unique_and_limited() {
    let mut world = World::ready();
    let signed = world.messages.len();
    world.must(register(1, "till-1"));
    assert_eq!(world.messages.len(), signed, "the same call signs nothing");
    assert_eq!(
        world.refused(register(1, "other")),
        Rejection::ClientConflict
    );
    assert_eq!(
        world.refused(register(2, "till-1")),
        Rejection::ClientConflict
    );
    world.slice.clients_elsewhere.insert(till(3));
    assert_eq!(
        world.refused(register(3, "till-3")),
        Rejection::ClientConflict
    );
    world.settings.clients_registered_max = 2;
    world.must(register(4, "till-4"));
    let full = Rejection::ClientLimitReached { max: 2 };
    assert_eq!(world.refused(register(5, "till-5")), full);
    world.must(deregister(4));
    world.must(register(5, "till-5"));
    let again = Command::ReregisterClient {
        id: till(4),
        metadata: MetadataPatch::new(),
    };
    assert_eq!(world.refused(again), full);
    assert_eq!(world.tss().clients_registered, 2);
}

#[test]
fn an_expired_certificate_is_told_after_the_message_is_signed() {
    let mut world = World::ready();
    world.now = 4_000_000_001;
    let signed = world.messages.len();
    let told = world.ask(start(1, None));
    assert_eq!(told, Told::Signed(SeError::CertificateExpired));
    // The same call again is told the same and signs nothing.
    let told = world.ask(start(1, None));
    assert_eq!(told, Told::Signed(SeError::CertificateExpired));
    assert_eq!(world.messages.len(), signed + 1);
    // What ends a TSS must stay possible.
    world.must(disable());
}

#[test]
fn numbers_at_their_end_are_never_given_again() {
    let mut world = World::ready();
    let tss = world.slice.tss.as_mut().unwrap();
    tss.device.signature_counter = SignatureCounter::new(0xFFFF_FFFF);
    assert_eq!(
        world.refused(start(1, None)),
        Rejection::SignatureCounterExhausted
    );
    let tss = world.slice.tss.as_mut().unwrap();
    tss.device.signature_counter = SignatureCounter::new(100);
    tss.transaction_counter = TransactionNumber::new(0xFFFF_FFFF);
    assert_eq!(
        world.refused(start(1, None)),
        Rejection::TransactionCounterExhausted
    );
}

#[test]
fn the_operator_disables_without_a_login_and_is_named_in_the_message() {
    for format in [LogFormat::V2, LogFormat::V3] {
        let mut world = World::ready();
        world.slice.tss.as_mut().unwrap().format = format;
        let signed = world.messages.len();
        let operator = caller(77);
        let told = world.ask_as(&operator, &Command::DisableCentrally);
        assert!(matches!(told, Told::Answer(Outcome::Tss(_))), "{told:?}");
        assert_eq!(world.tss().state, TssState::Disabled);
        assert_eq!(world.tss().admin.session, None);
        assert_eq!(world.names(signed), ["Sys_disableSecureElement"]);
        let message = world.messages.last().unwrap();
        let bytes = to_be_signed(&message.header, &message.content).unwrap();
        let times = |word: &[u8]| bytes.windows(word.len()).filter(|at| *at == word).count();
        // Version 2 has room for neither origin nor user.
        let expected = if format == LogFormat::V3 { 2 } else { 0 };
        assert_eq!(times(b"centraloperator"), expected);
        // Again: nothing is signed.
        world.ask_as(&operator, &Command::DisableCentrally);
        assert_eq!(world.messages.len(), signed + 1);
    }
}

#[test]
fn the_operator_cannot_disable_what_was_never_taken_over_or_is_defective() {
    let mut world = World::empty();
    assert_eq!(
        world.refused(Command::DisableCentrally),
        Rejection::TssNotFound
    );
    world.must(assign());
    assert!(matches!(
        world.refused(Command::DisableCentrally),
        Rejection::IllegalStateChange { .. }
    ));
    world.must(take_over());
    world.must(Command::DisableCentrally);
    let mut world = World::ready();
    world.must(Command::DeclareDefective);
    assert_eq!(
        world.refused(Command::DisableCentrally),
        Rejection::TssDefective
    );
    // An expired certificate does not keep a TSS alive.
    let mut world = World::ready();
    world.now = 4_000_000_001;
    world.must(Command::DisableCentrally);
}
