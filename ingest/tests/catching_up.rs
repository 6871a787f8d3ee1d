//! Reading that was held back by a slow log, over a wire that takes its time: what has waited at the
//! other end is still to come when reading goes on, and is lost with the connection.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod harness;

use std::sync::atomic::Ordering;
use std::time::Duration;

use bowerbird_ingest::x::Exchange as _;
use bowerbird_sim::x::{Config, Ending, Step};
use bowerbird_stream::topic;
use harness::streamed::{Bed, Client};
use jiff::Timestamp;
use reqwest::Method;
use tokio::time::{sleep, timeout};

const MINUTE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
enum Ends {
    Disconnected,
    Stopped,
    Killed,
}

/// A bed with a wire, over which twice as much comes as is made, and a client that was held back for
/// half a minute and reads again: since when that was.
async fn held_back(bed: &mut Bed) -> (Client, Timestamp) {
    bed.x.wire = Some(Duration::from_millis(100));
    bed.config.outbox.max_in_flight_bytes = 16 << 10;
    let client = bed.start();
    sleep(MINUTE).await;
    let held = bed.x.sim.now();
    bed.log.closed.store(true, Ordering::Relaxed);
    sleep(MINUTE / 2).await;
    let before = bed.log.records(topic::POSTS).len();
    bed.log.closed.store(false, Ordering::Relaxed);
    // When it is tried again is left to chance.
    let reads = async {
        while bed.log.records(topic::POSTS).len() == before {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(MINUTE, reads).await.unwrap();
    (client, held)
}

#[tokio::test(start_paused = true)]
async fn who_has_not_caught_up_yet_has_a_gap_from_where_he_was() {
    for ends in [Ends::Disconnected, Ends::Stopped, Ends::Killed] {
        let mut bed = Bed::new(Config { live: true, rate: 5.0, ..Config::default() });
        let (mut client, held) = held_back(&mut bed).await;
        sleep(Duration::from_secs(5)).await;
        let ended = bed.x.sim.now();
        match ends {
            Ends::Disconnected => {
                let all = "http://x.test/2/connections/all".to_owned();
                let reply = bed.x.ask(Method::DELETE, all, "token".to_owned().into()).await;
                assert_eq!(reply.map(|reply| reply.status), Ok(200));
            }
            Ends::Stopped => {
                client.stop().await;
                client = bed.start();
            }
            Ends::Killed => {
                client.kill().await;
                client = bed.start();
            }
        }
        sleep(MINUTE).await;
        client.stop().await;
        assert_eq!(bed.wrongs().await, [] as [String; 0], "{ends:?}");
        let gap = &bed.log.journal("stream.gap")[0];
        let from: Timestamp = gap["from"].as_str().unwrap().parse().unwrap();
        // It went on reading for a while, and has read then what was made in ten seconds in five.
        let since = from.duration_since(held).as_secs_f64();
        let behind = ended.duration_since(from).as_secs_f64();
        assert!((5.0..15.0).contains(&since) && behind > 15.0, "{ends:?}: {since} {behind} {gap}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_caught_up_has_no_gap_but_for_what_follows() {
    let script = vec![Step::Last { lasts: 6 * MINUTE, ending: Ending::Reset }];
    let mut bed = Bed::new(Config { script, live: true, rate: 5.0, ..Config::default() });
    let (client, _) = held_back(&mut bed).await;
    sleep(6 * MINUTE).await;
    client.stop().await;
    let gap = &bed.log.journal("stream.gap")[0];
    let time = |name: &str| -> Timestamp { gap[name].as_str().unwrap().parse().unwrap() };
    assert!(time("to").duration_since(time("from")).as_secs() < 2, "{gap}");
    assert_eq!(gap["cause"], "network", "{gap}");
}
