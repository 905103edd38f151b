//! The budget of bytes, however many threads there are.

use super::{BATCH_BYTES_MAX, Budget, HELD_BYTES_MAX, MESSAGE_BYTES_MAX, examine_within};
use crate::verify::message::Keys;
use crate::verify::tests::maker::tar::{Header, Tar};
use std::io::Cursor;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

#[test]
fn no_more_is_held_than_the_budget_has() {
    let (budget, held, most) = (Budget::new(100), AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for bytes in [10, 30, 60, 100, 1, 45, 55, 70] {
            let (budget, held, most) = (&budget, &held, &most);
            scope.spawn(move || {
                for _ in 0..500 {
                    let share = budget.take(bytes);
                    let now = held.fetch_add(bytes, Ordering::SeqCst) + bytes;
                    most.fetch_max(now, Ordering::SeqCst);
                    thread::yield_now();
                    held.fetch_sub(bytes, Ordering::SeqCst);
                    drop(share);
                }
            });
        }
    });
    let most = most.into_inner();
    assert!(most <= 100, "{most} bytes were held");
    assert_eq!(*budget.free.lock().unwrap(), 100, "all of it came back");
}

#[test]
fn a_small_budget_holds_many_threads_up_but_not_for_ever() {
    let mut tar = Tar::default();
    let large = usize::try_from(BATCH_BYTES_MAX).unwrap();
    for number in 0..300_u64 {
        let name = format!("Unixt_1_Sig-{number}_Log-Aud.log");
        let size = if number % 10 == 0 { large } else { 1000 };
        tar.add(&Header::file(&name, size), &vec![0; size]);
    }
    let bytes = tar.end();
    for threads in [1, 2, 16] {
        // As little as one file with its name and the batch before it need.
        let whole = 2 * BATCH_BYTES_MAX;
        let budget = Budget::new(whole);
        let threads = NonZeroUsize::new(threads).unwrap();
        let examined = examine_within(Cursor::new(&bytes), &Keys::new(), threads, &budget);
        let findings = examined.unwrap().findings;
        assert_eq!(findings.entries().len(), 300, "each was looked at");
        assert_eq!(*budget.free.lock().unwrap(), whole);
    }
}

#[test]
fn the_budget_has_room_for_the_largest_message_beside_a_batch() {
    let name_bytes_max = 2 * 65_536;
    assert!(HELD_BYTES_MAX >= MESSAGE_BYTES_MAX + BATCH_BYTES_MAX + name_bytes_max);
}
