//! Reading that was held back by a slow log, over a wire that takes its time: what has waited at the
//! other end is still to come when reading goes on, and is lost with the connection.

mod harness;

use std::sync::atomic::Ordering;
use std::time::Duration;

use bowerbird_sim::x::{Config, Ending, Step};
use harness::streamed::Bed;
use jiff::Timestamp;
use tokio::time::sleep;

const MINUTE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Ends {
    Reset,
    Said,
    Stopped,
    Killed,
}

#[tokio::test(start_paused = true)]
async fn who_has_not_caught_up_yet_has_a_gap_from_where_he_was() {
    for ends in [Ends::Reset, Ends::Said, Ends::Stopped, Ends::Killed] {
        // It ends five seconds after the log is back.
        let lasts = MINUTE + MINUTE / 2 + Duration::from_secs(5);
        let script = match ends {
            Ends::Reset => vec![Step::Last { lasts, ending: Ending::Reset }],
            Ends::Said => vec![Step::Last { lasts, ending: Ending::OperationalDisconnect }],
            Ends::Stopped | Ends::Killed => Vec::new(),
        };
        let mut bed = Bed::new(Config { script, live: true, rate: 5.0, ..Config::default() });
        bed.x.wire = Some(Duration::from_millis(100));
        bed.config.outbox.max_in_flight_bytes = 16 << 10;
        let mut client = bed.start();
        sleep(MINUTE).await;
        bed.log.closed.store(true, Ordering::Relaxed);
        sleep(MINUTE / 2).await;
        let back = bed.x.sim.now();
        bed.log.closed.store(false, Ordering::Relaxed);
        sleep(Duration::from_secs(5)).await;
        match ends {
            Ends::Reset | Ends::Said => {}
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
        let behind = back.duration_since(from).as_secs_f64();
        // It has read more than it would have without the hold in so short a time.
        assert!((10.0..30.0).contains(&behind), "{ends:?}: {behind} s, {gap}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_caught_up_has_no_gap_but_for_what_follows() {
    let lasts = 4 * MINUTE;
    let script = vec![Step::Last { lasts, ending: Ending::Reset }];
    let mut bed = Bed::new(Config { script, live: true, rate: 5.0, ..Config::default() });
    bed.x.wire = Some(Duration::from_millis(100));
    bed.config.outbox.max_in_flight_bytes = 16 << 10;
    let client = bed.start();
    sleep(MINUTE).await;
    bed.log.closed.store(true, Ordering::Relaxed);
    sleep(MINUTE / 2).await;
    bed.log.closed.store(false, Ordering::Relaxed);
    sleep(3 * MINUTE).await;
    client.stop().await;
    let gap = &bed.log.journal("stream.gap")[0];
    let time = |name: &str| -> Timestamp { gap[name].as_str().unwrap().parse().unwrap() };
    assert!(time("to").duration_since(time("from")).as_secs() < 2, "{gap}");
    assert_eq!(gap["cause"], "network", "{gap}");
}
