//! Who comes in, who is sent away, and who goes first.

use super::*;
use crate::signing::job::AnswerOnce;
use crate::sma::{Caller, MetadataPatch, Outcome, TransactionInput, TransactionOutcome};
use crate::terms::{
    ClientId, Environment, OrganizationId, Revision, SessionId, TransactionId, TransactionNumber,
};
use std::collections::BTreeMap;
use uuid::Uuid;

type Answers = Arc<Mutex<Vec<Result<Outcome, SigningError>>>>;

fn input(transaction: TransactionRef, revision: u64) -> TransactionInput {
    TransactionInput {
        transaction,
        revision: Revision::new(revision),
        client: ClientId::new(Uuid::from_u128(7)),
        schema: None,
        metadata: MetadataPatch::default(),
    }
}

fn id(number: u128) -> TransactionRef {
    TransactionRef::Id(TransactionId::new(Uuid::from_u128(number)))
}

fn start(transaction: u128) -> Command {
    Command::StartTransaction(input(id(transaction), 1))
}

fn update(transaction: u128, revision: u64) -> Command {
    Command::UpdateTransaction(input(id(transaction), revision))
}

fn finish(transaction: TransactionRef, revision: u64) -> Command {
    Command::FinishTransaction(input(transaction, revision), TransactionOutcome::Finished)
}

/// A lane's way in, and what those that came in were told.
struct Stage {
    entrance: Entrance,
    exit: Exit,
    answers: Answers,
}

impl Stage {
    fn new(places: usize) -> Self {
        let (entrance, exit) = way_in(places, Arc::default());
        Self {
            entrance,
            exit,
            answers: Arc::default(),
        }
    }

    fn enter(&self, command: Command) {
        self.enter_at(1, command);
    }

    fn enter_at(&self, tss: u128, command: Command) {
        let caller = Caller {
            organization: OrganizationId::new(Uuid::nil()),
            environment: Environment::Test,
            session: SessionId::new(Uuid::nil()),
        };
        let answers = Arc::clone(&self.answers);
        let answer = AnswerOnce::new(Box::new(move |told| answers.lock().unwrap().push(told)));
        let tss = TssId::new(Uuid::from_u128(tss));
        self.entrance.enter(Job::new(tss, caller, command, answer));
    }

    /// Everything that waits, in the order in which a lane takes it.
    fn all(&self) -> Vec<Job> {
        std::iter::from_fn(|| self.exit.next()).collect()
    }

    /// How long each of those that were sent away shall wait, in seconds.
    fn sent_away(&self) -> Vec<u32> {
        let told = self.answers.lock().unwrap();
        let waits = told.iter().map(|told| match told {
            Err(SigningError::Unavailable { retry_after_s, .. }) => *retry_after_s,
            other => panic!("{other:?}"),
        });
        waits.collect()
    }
}

/// `S1` for the start of transaction 1, `U1` and `F1` for its later steps, `M` for management.
fn name(job: &Job) -> String {
    let letter = if job.command.revision().is_none() {
        "M"
    } else if is_new(&job.command) {
        "S"
    } else if matches!(&job.command, Command::UpdateTransaction(_)) {
        "U"
    } else {
        "F"
    };
    let number = match named_by(job) {
        Some((_, TransactionRef::Id(id))) => id.uuid().as_u128().to_string(),
        Some((_, TransactionRef::Number(number))) => format!("#{number}"),
        None => String::new(),
    };
    letter.to_owned() + &number
}

fn names(jobs: &[Job]) -> Vec<String> {
    jobs.iter().map(name).collect()
}

#[test]
fn steps_of_begun_transactions_go_before_starts_and_management() {
    let stage = Stage::new(100);
    stage.enter(start(1));
    stage.enter(Command::LogOut);
    stage.enter(update(2, 2));
    stage.enter(finish(id(3), 2));
    let number = TransactionRef::Number(TransactionNumber::new(9));
    stage.enter(finish(number, 3));
    assert!(stage.sent_away().is_empty());
    assert_eq!(names(&stage.all()), ["U2", "F3", "F#9", "S1", "M"]);
}

#[test]
fn the_steps_of_one_transaction_keep_their_order() {
    let stage = Stage::new(100);
    stage.enter(start(1));
    stage.enter(update(1, 2));
    stage.enter(finish(id(1), 3));
    stage.enter(finish(id(2), 2));
    // The same id at another TSS is another transaction.
    stage.enter_at(2, finish(id(1), 2));
    assert_eq!(names(&stage.all()), ["F2", "F1", "S1", "U1", "F1"]);
    // Nothing is ahead of it any more.
    stage.enter(start(4));
    stage.enter(finish(id(1), 3));
    assert_eq!(names(&stage.all()), ["F1", "S4"]);
}

#[test]
fn starts_are_slowed_down_but_not_starved() {
    let stage = Stage::new(1000);
    for number in 0..10 {
        stage.enter(start(number));
    }
    let mut order = Vec::new();
    // Each step that is taken is followed by another one: these alone fill the lane for ever.
    for number in 100..180 {
        stage.enter(finish(id(number), 2));
        stage.enter(finish(id(number + 1000), 2));
        order.push(name(&stage.exit.next().unwrap()));
    }
    let starts: Vec<_> = (0..order.len())
        .filter(|at| order[*at].starts_with('S'))
        .collect();
    assert_eq!(starts, [7, 15, 23, 31, 39, 47, 55, 63, 71, 79]);
    assert_eq!(order[7], "S0");
}

#[test]
fn when_places_get_scarce_starts_are_refused_first() {
    const PLACES: usize = 20;
    let stage = Stage::new(PLACES);
    for number in 0..20 {
        stage.enter(start(number));
    }
    stage.enter(Command::LogOut);
    let reserve = PLACES / RESERVE_SHARE;
    assert_eq!(stage.sent_away(), vec![2; reserve + 1]);
    // The reserve is for those who have begun.
    for number in 100..107 {
        stage.enter(finish(id(number), 2));
    }
    assert_eq!(
        stage.sent_away(),
        [vec![2; reserve + 1], vec![1; 2]].concat()
    );
    assert_eq!(stage.entrance.depth(), PLACES);
    assert_eq!(stage.entrance.meter().refused.get(), 8);
    let inside = stage.all();
    assert_eq!(inside.len(), PLACES);
    // A command at work holds its place until it is answered.
    stage.enter(start(30));
    assert_eq!(stage.sent_away().len(), 9);
    drop(inside);
    assert_eq!(stage.entrance.depth(), 0);
    stage.enter(start(31));
    assert_eq!(names(&stage.all()), ["S31"]);
}

#[test]
fn the_only_place_of_a_lane_is_for_everybody() {
    let stage = Stage::new(1);
    stage.enter(start(1));
    assert!(stage.sent_away().is_empty());
}

#[test]
fn what_is_in_goes_out_after_the_entrance_was_closed() {
    let stage = Stage::new(10);
    stage.enter(start(1));
    stage.entrance.close();
    stage.enter(start(2));
    assert_eq!(stage.sent_away(), [5]);
    assert_eq!(names(&stage.all()), ["S1"]);
    assert!(matches!(stage.exit.wait(Duration::ZERO), Taken::Closed));
}

#[test]
fn a_lane_that_ends_leaves_nobody_without_an_answer() {
    let stage = Stage::new(10);
    stage.enter(start(1));
    stage.enter(finish(id(2), 2));
    let Stage {
        entrance,
        exit,
        answers,
    } = stage;
    drop(exit);
    assert_eq!(answers.lock().unwrap().len(), 2);
    assert_eq!(entrance.depth(), 0);
}

/// Whatever comes in whatever order: nothing is lost or doubled, and each transaction keeps its order.
#[test]
fn any_mixture_keeps_the_order_of_each_transaction() {
    use proptest::prelude::*;
    let inputs = proptest::collection::vec((0_u128..4, 0_u8..3, any::<bool>()), 0..200);
    proptest!(|(inputs in inputs)| {
        let stage = Stage::new(10_000);
        let mut came: BTreeMap<u128, Vec<u64>> = BTreeMap::new();
        let mut went: BTreeMap<u128, Vec<u64>> = BTreeMap::new();
        let went_out = |job: &Job, went: &mut BTreeMap<u128, Vec<u64>>| {
            let name = name(job);
            let number = name.trim_start_matches(|c: char| c.is_alphabetic()).parse().unwrap();
            went.entry(number).or_default().push(job.command.revision().unwrap().value());
        };
        for (at, (transaction, kind, takes_one)) in (0_u64..).zip(inputs) {
            // The revision serves as a running number here.
            let command = match kind {
                0 => Command::StartTransaction(input(id(transaction), at)),
                1 => update(transaction, at),
                _ => finish(id(transaction), at),
            };
            // A start that comes after later steps is a repeat: it may go after them.
            if kind != 0 {
                came.entry(transaction).or_default().push(at);
            }
            stage.enter(command);
            if takes_one && let Some(job) = stage.exit.next() {
                went_out(&job, &mut went);
            }
        }
        for job in stage.all() {
            went_out(&job, &mut went);
        }
        for (transaction, order) in &came {
            let went: Vec<u64> = went[transaction].iter().copied().filter(|at| order.contains(at)).collect();
            prop_assert_eq!(&went, order);
        }
    });
}
