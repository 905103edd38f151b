//! Whatever callers do, in whatever order, these things hold.

use super::*;
use proptest::prelude::*;

fn any_schema() -> impl Strategy<Value = Option<Schema>> {
    prop_oneof![
        Just(None),
        Just(receipt("1.00")),
        Just(receipt("2.00")),
        Just(order()),
        Just(raw("Kassenbeleg-V1", "")),
    ]
}

fn any_input() -> impl Strategy<Value = TransactionInput> {
    let named = prop_oneof![
        (1..4_u128).prop_map(|number| TransactionRef::Id(TransactionId::new(id(number)))),
        (1..4_u64).prop_map(|number| TransactionRef::Number(TransactionNumber::new(number))),
    ];
    (named, 1..5_u64, 1..3_u128, any_schema()).prop_map(
        |(transaction, revision, client, schema)| TransactionInput {
            transaction,
            revision: Revision::new(revision),
            client: till(client),
            schema,
            metadata: MetadataPatch::new(),
        },
    )
}

fn any_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        8 => any_input().prop_map(Command::StartTransaction),
        4 => any_input().prop_map(Command::UpdateTransaction),
        6 => any_input().prop_map(|input| {
            Command::FinishTransaction(input, TransactionOutcome::Finished)
        }),
        3 => any_input().prop_map(|input| {
            Command::FinishTransaction(input, TransactionOutcome::Cancelled)
        }),
        1 => Just(assign()),
        1 => Just(take_over()),
        2 => Just(unblock(PUK)),
        1 => Just(unblock(WRONG)),
        2 => Just(log_in(PIN)),
        1 => Just(log_in(WRONG)),
        1 => Just(Command::LogOut),
        2 => Just(initialize()),
        3 => (1..3_u128).prop_map(|number| register(number, &format!("till-{number}"))),
        1 => (1..3_u128).prop_map(deregister),
        1 => Just(disable()),
    ]
}

fn is_wrong_credential(command: &Command) -> bool {
    matches!(command, Command::AuthenticateUser { pin } if *pin == WRONG)
        || matches!(command, Command::UnblockPin { puk, .. } if *puk == WRONG)
}

proptest! {
    #[test]
    fn counters_revisions_and_times_never_leave_a_gap_or_go_back(
        ready in any::<bool>(),
        asked in prop::collection::vec((any_command(), 2..4_u128, -2..20_i64), 1..60),
    ) {
        let mut world = if ready { World::ready() } else { World::empty() };
        for (command, session, later) in asked {
            world.now += later;
            let signed = world.messages.len();
            let told = world.ask_as(&caller(session), &command);
            let new = world.messages.len() - signed;
            match &told {
                Told::Refused(_) => prop_assert_eq!(new, 0),
                Told::Signed(_) => prop_assert!(is_wrong_credential(&command) && new == 1),
                Told::Answer(_) => {
                    // The same again at once signs nothing new, unless it is a log-in or a PIN.
                    let before = world.messages.len();
                    let again = world.ask_as(&caller(session), &command);
                    let repeatable = !matches!(
                        command,
                        Command::AuthenticateUser { .. } | Command::UnblockPin { .. }
                    );
                    if repeatable {
                        prop_assert_eq!(world.messages.len(), before, "{:?} {:?}", command, again);
                    }
                }
            }
        }
        check_invariants(&world)?;
    }
}

fn check_invariants(world: &World) -> Result<(), TestCaseError> {
    let headers: Vec<_> = world
        .messages
        .iter()
        .map(|message| &message.header)
        .collect();
    for pair in headers.windows(2) {
        prop_assert_eq!(
            pair[0].signature_counter.next(),
            Some(pair[1].signature_counter)
        );
        prop_assert!(pair[0].time <= pair[1].time);
    }
    let slice = &world.slice;
    let Some(tss) = &slice.tss else {
        prop_assert!(world.messages.is_empty());
        return Ok(());
    };
    let last = headers.last().map(|header| header.signature_counter);
    prop_assert_eq!(last, Some(tss.device.signature_counter));
    let numbers: Vec<_> = slice
        .transactions
        .keys()
        .map(|number| number.value())
        .collect();
    let counted: Vec<_> = (1..=tss.transaction_counter.value()).collect();
    prop_assert_eq!(numbers, counted);
    let open = slice
        .transactions
        .values()
        .filter(|transaction| transaction.state == TransactionState::Active)
        .count();
    prop_assert_eq!(u32::try_from(open).unwrap(), tss.transactions_open);
    for transaction in slice.transactions.values() {
        for revision in 1..=transaction.latest_revision.value() {
            let key = (transaction.number, Revision::new(revision));
            prop_assert!(slice.steps.contains_key(&key));
        }
    }
    let registered = slice
        .clients
        .values()
        .filter(|client| client.state == ClientState::Registered)
        .count();
    prop_assert_eq!(u32::try_from(registered).unwrap(), tss.clients_registered);
    Ok(())
}
