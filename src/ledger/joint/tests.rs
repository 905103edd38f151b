use super::*;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

type Words = Arc<Joint<&'static str, String>>;

fn doubled(words: Vec<&'static str>) -> Vec<String> {
    words.iter().map(|word| format!("{word}{word}")).collect()
}

fn wait_until_waiting(joint: &Words, count: usize) {
    while joint.state().waiting.len() < count {
        thread::yield_now();
    }
}

/// A thread that is at work by now, and goes on when it is told to.
fn at_work(joint: &Words, word: &'static str) -> (Sender<()>, JoinHandle<Option<String>>) {
    let (begun, has_begun) = channel();
    let (go, may_go) = channel();
    let joint = Arc::clone(joint);
    let thread = thread::spawn(move || {
        joint.join(word, |words| {
            begun.send(()).unwrap();
            may_go.recv_timeout(Duration::from_secs(60)).unwrap();
            doubled(words)
        })
    });
    has_begun.recv().unwrap();
    (go, thread)
}

#[test]
fn what_comes_while_one_is_at_work_is_done_together_and_each_gets_its_own() {
    let joint = Words::default();
    let (go, first) = at_work(&joint, "a");
    let (told, sizes) = channel();
    let others: Vec<_> = ["b", "c", "d"]
        .into_iter()
        .map(|word| {
            let (joint, told) = (Arc::clone(&joint), told.clone());
            thread::spawn(move || {
                let made = joint.join(word, |words| {
                    told.send(words.len()).unwrap();
                    doubled(words)
                });
                (word, made.unwrap())
            })
        })
        .collect();
    wait_until_waiting(&joint, 3);
    go.send(()).unwrap();
    assert_eq!(first.join().unwrap().as_deref(), Some("aa"));
    for other in others {
        let (word, made) = other.join().unwrap();
        assert_eq!(made, format!("{word}{word}"));
    }
    drop(told);
    assert_eq!(sizes.iter().collect::<Vec<_>>(), [3]);
}

#[test]
fn whoever_is_done_does_not_wait_for_those_who_came_later() {
    let joint = Words::default();
    // As if another one had done it and the next one were at work already.
    joint.state().results.insert(0, Some("aa".to_owned()));
    joint.state().next = 1;
    let (go, later) = at_work(&joint, "b");
    joint.state().next = 0;
    assert_eq!(joint.join("a", doubled).as_deref(), Some("aa"));
    joint.state().waiting.clear();
    go.send(()).unwrap();
    assert_eq!(later.join().unwrap().as_deref(), Some("bb"));
}

#[test]
fn a_panic_leaves_nobody_waiting_and_the_next_one_is_done() {
    let joint = Words::default();
    let (begun, has_begun) = channel();
    let leader = Arc::clone(&joint);
    let leader = thread::spawn(move || {
        leader.join("a", |_| {
            begun.send(()).unwrap();
            wait_until_waiting(&leader, 1);
            panic!("on purpose")
        })
    });
    has_begun.recv().unwrap();
    let next = Arc::clone(&joint);
    let next = thread::spawn(move || next.join("b", doubled));
    assert_eq!(leader.join().unwrap(), None);
    assert_eq!(next.join().unwrap().as_deref(), Some("bb"));
    assert_eq!(joint.join("c", doubled).as_deref(), Some("cc"));
}

#[test]
fn whoever_was_joined_with_work_that_broke_off_is_told_so() {
    let joint = Words::default();
    let (go, first) = at_work(&joint, "a");
    let both: Vec<_> = ["b", "c"]
        .into_iter()
        .map(|word| {
            let joint = Arc::clone(&joint);
            thread::spawn(move || joint.join(word, |_| panic!("on purpose")))
        })
        .collect();
    wait_until_waiting(&joint, 2);
    go.send(()).unwrap();
    assert!(first.join().unwrap().is_some());
    for one in both {
        assert_eq!(one.join().unwrap(), None);
    }
}
