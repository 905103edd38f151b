use super::*;

#[test]
fn a_wrong_pin_signs_exactly_its_message_and_counts() {
    let mut world = World::with_admin();
    world.must(Command::LogOut);
    for remaining in (0..5).rev() {
        let signed = world.messages.len();
        let told = world.ask(log_in(WRONG));
        assert_eq!(told, Told::Signed(SeError::IncorrectPin { remaining }));
        assert_eq!(world.names(signed), ["Sys_authenticateUser"]);
        assert_eq!(world.tss().admin.pin_retries, remaining);
    }
    // Blocked: not even the right one is looked at, and nothing is signed.
    assert_eq!(world.refused(log_in(PIN)), Rejection::PinBlocked);
    world.must(unblock(PUK));
    world.must(log_in(PIN));
    assert_eq!(world.tss().admin.pin_retries, 5);
}

#[test]
fn a_pin_that_was_never_set_is_blocked() {
    let mut world = World::empty();
    world.must(assign());
    world.must(take_over());
    assert_eq!(world.refused(log_in(PIN)), Rejection::PinBlocked);
}

#[test]
fn a_right_pin_gives_all_tries_back() {
    let mut world = World::with_admin();
    world.ask(log_in(WRONG));
    assert_eq!(world.tss().admin.pin_retries, 4);
    world.must(log_in(PIN));
    assert_eq!(world.tss().admin.pin_retries, 5);
}

#[test]
fn a_wrong_puk_delays_growingly_and_never_blocks_for_good() {
    let mut world = World::with_admin();
    let mut delays = Vec::new();
    for _ in 0..8 {
        let signed = world.messages.len();
        assert_eq!(
            world.ask(unblock(WRONG)),
            Told::Signed(SeError::IncorrectPuk)
        );
        assert_eq!(world.names(signed), ["Sys_unblockUser"]);
        let until = world.tss().admin.puk_blocked_until.unix_seconds();
        let delay = (until - world.now).max(0);
        if delay > 0 {
            let waiting = Rejection::PukTemporarilyBlocked {
                retry_after_s: delay,
            };
            // Not even the right one is looked at before.
            assert_eq!(world.refused(unblock(PUK)), waiting);
        }
        delays.push(delay);
        world.now += delay;
    }
    assert_eq!(delays, [0, 0, 0, 1, 2, 4, 8, 16]);
    world.must(unblock(PUK));
    assert_eq!(world.tss().admin.puk_failures, 0);
}

#[test]
fn the_longest_delay_is_an_hour() {
    assert_eq!(puk_delay_s(1_000), 3600);
    assert_eq!(puk_delay_s(u32::MAX), 3600);
}

#[test]
fn only_the_session_that_logged_in_is_admin() {
    let mut world = World::with_admin();
    let other = caller(3);
    assert_eq!(
        world.ask_as(&other, &initialize()),
        Told::Refused(Rejection::UserNotAuthenticated)
    );
    // Somebody else's log-out is harmless.
    let signed = world.messages.len();
    assert_eq!(
        world.ask_as(&other, &Command::LogOut),
        Told::Answer(Outcome::Done)
    );
    assert_eq!(world.messages.len(), signed);
    world.must(initialize());
    world.must(Command::LogOut);
    assert_eq!(
        world.refused(register(1, "till-1")),
        Rejection::UserNotAuthenticated
    );
}

#[test]
fn a_new_pin_ends_the_login_of_every_session() {
    for who in [2, 3] {
        let mut world = World::with_admin();
        let signed = world.messages.len();
        let told = world.ask_as(&caller(who), &unblock(PUK));
        assert_eq!(told, Told::Answer(Outcome::Done));
        // No cause of a log-out fits, so it is not logged.
        assert_eq!(world.names(signed), ["Sys_unblockUser"]);
        assert_eq!(world.tss().admin.session, None);
        for session in [2, 3] {
            let told = world.ask_as(&caller(session), &initialize());
            assert_eq!(told, Told::Refused(Rejection::UserNotAuthenticated));
        }
        world.must(log_in(PIN));
        world.must(initialize());
    }
}

#[test]
fn a_wrong_puk_ends_no_login() {
    let mut world = World::with_admin();
    world.ask_as(&caller(3), &unblock(WRONG));
    world.must(initialize());
}

#[test]
fn credentials_do_not_print() {
    assert_eq!(format!("{PIN:?}"), "CredentialDigest(..)");
}
