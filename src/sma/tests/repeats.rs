//! Metadata of steps that are sent again.

use super::*;

type Pairs<'a> = &'a [(&'a str, Option<&'a str>)];

fn patch(pairs: Pairs<'_>) -> MetadataPatch {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned)))
        .collect()
}

fn start_with(pairs: Pairs<'_>) -> Command {
    Command::StartTransaction(TransactionInput {
        metadata: patch(pairs),
        ..step_of(1, 1, None)
    })
}

fn finish_with(pairs: Pairs<'_>) -> Command {
    let input = TransactionInput {
        metadata: patch(pairs),
        ..step_of(1, 2, receipt("1.00"))
    };
    Command::FinishTransaction(input, TransactionOutcome::Finished)
}

fn merge(pairs: Pairs<'_>) -> Command {
    let transaction = TransactionRef::Id(TransactionId::new(id(1)));
    Command::MergeMetadata {
        target: MetadataTarget::Transaction(transaction),
        patch: patch(pairs),
    }
}

impl World {
    fn metadata(&self) -> Vec<(&str, &str)> {
        let transaction = &self.slice.transactions[&TransactionNumber::new(1)];
        let pairs = transaction.metadata.pairs().iter();
        pairs
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect()
    }

    /// A repeat signs nothing, and answers with the step that it repeats.
    #[track_caller]
    fn repeats(&mut self, command: Command, revision: u64) {
        let signed = self.messages.len();
        let Outcome::Transaction(answer) = self.must(command) else {
            panic!("no transaction");
        };
        assert_eq!(answer.2.revision, Revision::new(revision));
        assert_eq!(self.messages.len(), signed);
    }
}

#[test]
fn a_repeat_merges_its_metadata() {
    let mut world = World::ready();
    world.must(start_with(&[]));
    world.repeats(start_with(&[("a", Some("1")), ("b", Some("2"))]), 1);
    world.repeats(start_with(&[("a", None), ("c", Some("3"))]), 1);
    assert_eq!(world.metadata(), [("b", "2"), ("c", "3")]);
    world.must(finish_with(&[("d", Some("4"))]));
    world.repeats(finish_with(&[("d", Some("5"))]), 2);
    assert_eq!(world.metadata(), [("b", "2"), ("c", "3"), ("d", "5")]);
}

#[test]
fn the_very_same_request_takes_nothing_from_those_who_came_after_it() {
    let mut world = World::ready();
    let first = || start_with(&[("a", Some("1")), ("b", Some("1"))]);
    world.must(first());
    world.must(merge(&[("a", Some("2")), ("b", None)]));
    world.repeats(first(), 1);
    assert_eq!(world.metadata(), [("a", "2")]);
}

#[test]
fn a_late_repeat_of_an_earlier_step_adds_and_never_replaces() {
    let mut world = World::ready();
    world.must(start_with(&[("a", Some("1"))]));
    world.must(finish_with(&[("a", Some("2")), ("b", Some("2"))]));
    let late = [("a", Some("1")), ("b", None), ("c", Some("1"))];
    world.repeats(start_with(&late), 1);
    assert_eq!(world.metadata(), [("a", "2"), ("b", "2"), ("c", "1")]);
}

#[test]
fn a_step_from_before_its_metadata_was_remembered_is_repeated_with_care() {
    let mut world = World::ready();
    world.must(start_with(&[("a", Some("1"))]));
    for step in world.slice.steps.values_mut() {
        step.metadata_digest = None;
    }
    world.must(merge(&[("a", Some("2"))]));
    world.repeats(start_with(&[("a", Some("1")), ("b", Some("1"))]), 1);
    assert_eq!(world.metadata(), [("a", "2"), ("b", "1")]);
}

#[test]
fn a_repeat_has_the_same_limits() {
    let mut world = World::ready();
    let many: Vec<String> = (0..METADATA_PAIRS_MAX).map(|n| n.to_string()).collect();
    let many: Vec<_> = many.iter().map(|key| (key.as_str(), Some("x"))).collect();
    world.must(start_with(&many));
    let one_more = || start_with(&[("one", Some("more"))]);
    assert_eq!(world.refused(one_more()), Rejection::TooManyMetadataPairs);
    assert_eq!(world.metadata().len(), METADATA_PAIRS_MAX);
    world.must(finish_with(&[]));
    assert_eq!(world.refused(one_more()), Rejection::TooManyMetadataPairs);
    world.repeats(start_with(&many), 1);
}

#[test]
fn a_defective_tss_repeats_its_answers_and_takes_no_metadata() {
    let mut world = World::ready();
    world.must(start_with(&[("a", Some("1"))]));
    world.must(Command::DeclareDefective);
    world.repeats(start_with(&[("a", Some("1"))]), 1);
    world.repeats(start_with(&[]), 1);
    let other = start_with(&[("a", Some("2"))]);
    assert_eq!(world.refused(other), Rejection::TssDefective);
}

#[test]
fn a_repeat_with_metadata_is_still_told_that_the_certificate_had_expired() {
    let mut world = World::ready();
    world.now = 4_000_000_001;
    let told = Told::Signed(SeError::CertificateExpired);
    assert_eq!(world.ask(start_with(&[])), told);
    assert_eq!(world.ask(start_with(&[("a", Some("1"))])), told);
    assert_eq!(world.metadata(), [("a", "1")]);
}
