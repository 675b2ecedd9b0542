use tokio::task::coop::{consume_budget, has_budget_remaining};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_body_earns_time_by_its_bytes() {
    let timeouts = Timeouts::default();
    let left = |waited, bytes| {
        let mut patience = Patience::default();
        patience.took(bytes);
        patience.waited(waited);
        patience.left(&timeouts)
    };
    let cases = [
        (Duration::ZERO, 0, 5 * SECOND),
        (4 * SECOND, 0, SECOND),
        (6 * SECOND, 0, Duration::ZERO),
        (6 * SECOND, 2048, SECOND),
        // Between two pieces never more than the idle time, however much has come.
        (Duration::ZERO, 1_000_000, 15 * SECOND),
        (970 * SECOND, 1_000_000, 11 * SECOND),
    ];
    for (waited, bytes, expected) in cases {
        assert_eq!(left(waited, bytes), expected, "{waited:?}, {bytes} bytes");
    }
}

/// Moves the clock of one client through its states; each deadline is in seconds after the start.
#[tokio::test(start_paused = true)]
async fn deadlines_follow_the_state() {
    let begun = now();
    let timeouts = Timeouts::default();
    let mut clock = Clock::new(begun + 10 * SECOND, begun + 3600 * SECOND);
    let deadline =
        |clock: &mut Clock, place| clock.read_deadline(&timeouts, place).saturating_duration_since(begun).as_secs();
    assert_eq!(deadline(&mut clock, Place::Between), 10, "the first head");
    clock.heard(5);
    assert_eq!(deadline(&mut clock, Place::Head), 10, "is a deadline in total");
    clock.heard(50);
    clock.head_done(false);
    clock.owes_nothing();
    tokio::time::advance(20 * SECOND).await;
    assert_eq!(deadline(&mut clock, Place::Between), 80, "idle");
    tokio::time::advance(5 * SECOND).await;
    assert_eq!(deadline(&mut clock, Place::Between), 80, "still");
    clock.heard(1);
    assert_eq!(deadline(&mut clock, Place::Head), 35, "the next head, from its first byte");
    clock.heard(1);
    tokio::time::advance(5 * SECOND).await;
    assert_eq!(deadline(&mut clock, Place::Head), 35);
    clock.heard(100);
    clock.head_done(false);
    assert_eq!(deadline(&mut clock, Place::Body), 35, "five seconds for the body");
    tokio::time::advance(2 * SECOND).await;
    clock.heard(3000);
    assert_eq!(deadline(&mut clock, Place::Body), 37, "two used up, two earned");
}

#[tokio::test(start_paused = true)]
async fn the_timer_is_moved_only_when_it_must_be() {
    let begun = now();
    let mut clock = Clock::new(begun + 10 * SECOND, begun + 3600 * SECOND);
    std::future::poll_fn(|cx| {
        assert!(clock.poll(begun + 10 * SECOND, cx).is_pending());
        assert!(clock.poll(begun + 60 * SECOND, cx).is_pending());
        assert_eq!(clock.sleep.deadline().into_std(), begun + 10 * SECOND, "a later deadline waits until it fires");
        assert!(clock.poll(begun + 5 * SECOND, cx).is_pending());
        assert_eq!(clock.sleep.deadline().into_std(), begun + 5 * SECOND, "a nearer one does not");
        Poll::Ready(())
    })
    .await;
    std::future::poll_fn(|cx| clock.poll(begun + 60 * SECOND, cx)).await;
    assert_eq!(now(), begun + 60 * SECOND);
}

/// Nobody asks the timer again before it fires, so it must have been left a waker although tokio's budget for this turn
/// was used up, as it is after much reading and writing.
#[tokio::test(start_paused = true)]
async fn a_deadline_wakes_a_task_that_had_no_budget_left() {
    let begun = now();
    let waiting = tokio::spawn(async move {
        let mut clock = Clock::new(begun + 10 * SECOND, begun + 3600 * SECOND);
        std::future::poll_fn(|cx| {
            while has_budget_remaining() {
                assert!(pin!(consume_budget()).poll(cx).is_ready());
            }
            clock.poll(begun + 30 * SECOND, cx)
        })
        .await;
    });
    tokio::time::timeout(60 * SECOND, waiting).await.expect("the task is woken").unwrap();
    assert_eq!(now(), begun + 30 * SECOND);
}
