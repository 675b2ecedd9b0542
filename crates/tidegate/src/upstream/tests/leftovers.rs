//! Streams that run on for nobody (`resets`), and what they leave to calls.

use super::*;

/// What a backend is told of: each call that it has begun, and that it holds.
type Begun = mpsc::Receiver<()>;

/// A backend that takes `streams` at once and holds each; how many connections it has.
async fn holding(streams: u32) -> (Arc<Cluster>, Begun, Arc<AtomicUsize>) {
    let mut builder = usual();
    builder.max_concurrent_streams(streams);
    let (told, begun) = mpsc::channel(100);
    let (address, connections) = backend(builder, move |(request, mut respond): Incoming| {
        let told = told.clone();
        async move {
            told.send(()).await.unwrap();
            let _reset = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
            drop(request);
        }
    })
    .await;
    (cluster(&[address]), begun, connections)
}

/// Begins `count` calls, each with the half that sends, and waits until the backend has them.
async fn uploads(cluster: &Cluster, begun: &mut Begun, count: usize) -> Vec<(Call, CallSender)> {
    let mut all = Vec::new();
    for _ in 0..count {
        let caller = Caller::Gateway(WorkerId::new(WORKER));
        let opening = cluster.call(caller, head(), framed(b"part"), false, CallDeadline::None);
        let mut call = soon(opening).await.unwrap();
        let sender = call.take_sender().unwrap();
        all.push((call, sender));
        soon(begun.recv()).await.unwrap();
    }
    all
}

/// As many calls as `cluster` takes, begun together: one after the other they could wait for the turns of the leftovers.
fn forty(cluster: &Arc<Cluster>) -> Vec<tokio::task::JoinHandle<Result<Call, CallError>>> {
    let one = |_| {
        let cluster = Arc::clone(cluster);
        tokio::spawn(async move { call(&cluster, CallDeadline::None).await })
    };
    (0..40).map(one).collect()
}

#[tokio::test]
async fn leftovers_take_no_more_than_their_share_and_give_way_to_calls() {
    for calls_are_there_first in [false, true] {
        let (cluster, mut begun, connections) = holding(40).await;
        let mut left = Vec::new();
        for call in forty(&cluster) {
            left.push(soon(call).await.unwrap().unwrap());
            soon(begun.recv()).await.unwrap();
        }
        let early = calls_are_there_first.then(|| forty(&cluster));
        drop(left);
        let leftovers = cluster.endpoints()[0].in_flight;
        assert!((1..=20).contains(&leftovers), "{leftovers} of 40");
        let mut live = Vec::new();
        for call in early.unwrap_or_else(|| forty(&cluster)) {
            live.push(soon(call).await.unwrap().unwrap());
            soon(begun.recv()).await.unwrap();
        }
        assert_eq!(cluster.endpoints()[0].in_flight, 40, "no leftover is left");
        assert_eq!(connections.load(Ordering::Relaxed), 1);
    }
}

#[tokio::test]
async fn a_cancelled_upload_counts_as_one_reset() {
    for sender_first in [false, true] {
        let (cluster, mut begun, _) = holding(100).await;
        // As many as are reset at once.
        for (call, sender) in uploads(&cluster, &mut begun, 10).await {
            if sender_first {
                drop(sender);
                drop(call);
            } else {
                drop(call);
                drop(sender);
            }
        }
        assert_eq!(cluster.endpoints()[0].in_flight, 0, "sender first: {sender_first}");
        // These are more: each keeps one place, and is gone in its turn.
        drop(uploads(&cluster, &mut begun, 20).await);
        let leftovers = cluster.endpoints()[0].in_flight;
        assert!((1..=20).contains(&leftovers), "{leftovers}");
        soon(async {
            while cluster.endpoints()[0].in_flight > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}
