//! Between buckets, killed or stopped under way: the next run completes it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::buckets::{production, staged};
use crate::place::{ends, outcomes, tree};
use crate::server::{AWS, Fault, Server};

/// A server that goes away at the request of this number that changes production: before it is
/// done or after; and whether that came.
fn vanishing(buckets: &Path, at: usize, before: bool) -> (Server, Arc<AtomicBool>) {
    let (came, count) = (Arc::new(AtomicBool::new(false)), AtomicUsize::new(0));
    let gone = Arc::clone(&came);
    let server = Server::faulty(buckets, AWS, move |_, seen| {
        if gone.load(Ordering::SeqCst) {
            return Fault::Reset;
        }
        let changes = matches!(&*seen.method, "PUT" | "POST" | "DELETE");
        let production = seen.uri.starts_with("/production/q");
        if production && changes && count.fetch_add(1, Ordering::SeqCst) == at {
            gone.store(true, Ordering::SeqCst);
            return if before { Fault::Reset } else { Fault::Lost };
        }
        Fault::None
    });
    (server, came)
}

#[test]
fn whenever_it_is_killed_the_next_run_completes_it() {
    let mut killed = 0;
    for at in 0..19 {
        let (place, dist) = staged();
        let (server, came) = vanishing(&place.buckets(), at, at % 4 == 3);
        let run = place.between(&server, &["-j", "1"]).start();
        let mut waited = 0;
        while !came.load(Ordering::SeqCst) && waited < 2000 {
            std::thread::sleep(Duration::from_millis(5));
            waited += 1;
        }
        assert!(came.load(Ordering::SeqCst), "request {at} never came");
        run.signal(Signal::SIGKILL);
        killed += i32::from(run.wait().code == 137);
        let whole = tree(dist.path());
        for (key, bytes) in production(&place) {
            assert_eq!(Some(&bytes), whole.get(&key), "{at}: {key}");
        }
        let server = Server::start(&place.buckets(), AWS);
        ends(place.between(&server, &[]).run(), 0);
        assert_eq!(production(&place), whole, "{at}");
        place.is_clean();
    }
    assert!(killed >= 15, "only {killed} runs were killed under way");
}

#[test]
fn ctrl_c_stops_it_and_says_how_to_go_on() {
    let (place, dist) = staged();
    let (server, came) = vanishing(&place.buckets(), 4, false);
    let run = place.between(&server, &["-j", "1", "--json"]).start();
    while !came.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(5));
    }
    run.signal(Signal::SIGINT);
    let ran = ends(run.wait(), 130);
    assert!(
        ran.err.contains("hint: run the same command again"),
        "{}",
        ran.err
    );
    let stopped = outcomes(&ran);
    assert!(
        stopped.values().any(|it| it["outcome"] == "stopped"),
        "{}",
        ran.out
    );
    ends(
        place
            .between(&Server::start(&place.buckets(), AWS), &[])
            .run(),
        0,
    );
    assert_eq!(production(&place), tree(dist.path()));
    place.is_clean();
}
