//! The real client of the stream against the simulator, in one process and on paused time: what
//! hours and weeks bring. Each scenario follows from its seed, and is judged by what the server knows
//! that it did. BOWERBIRD_TEST_SCENARIOS takes more of them than the forty of every run, and
//! BOWERBIRD_TEST_SEED is the first of them.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod harness;

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowerbird_ingest::Renewal;
use bowerbird_ingest::x::{Clock, Limits, OutboxConfig, XConfig, usage};
use bowerbird_sim::x::{Config, Ending, Faults, LineFeed, Step};
use bowerbird_stream::status::State;
use bowerbird_stream::topic;
use bowerbird_testbed::random::Random;
use harness::memory::MemoryLog;
use harness::streamed::{Bed, Client, id};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::time::{sleep, timeout};

/// The seed of the week: few of its faults come by the minute.
const WEEK: u64 = 1_000;
const MINUTE: Duration = Duration::from_secs(60);

fn scenario(random: &mut Random) -> Config {
    let line_feed = random.pick(&[LineFeed::CrLf, LineFeed::Lf, LineFeed::Mixed]);
    Config {
        seed: random.below(1 << 40),
        rate: random.pick(&[0.02, 0.05, 0.1]),
        live: true,
        line_feed,
        connections: random.percent(70).then_some(1),
        attempts: random.percent(50).then_some(50),
        linger: Duration::from_secs(random.pick(&[0, 20, 200])),
        notices_percent: 5,
        faults: Some(Faults {
            every: Duration::from_secs(random.pick(&[60, 300, 900])),
            refusals_percent: u8::try_from(random.below(40)).unwrap(),
        }),
        ..Config::default()
    }
}

/// Hours of one scenario: the server's faults, an event log that is out of reach now and then, and
/// a client that is stopped, killed and started again.
async fn history(seed: u64, hours: u64) -> Bed {
    let mut random = Random::new(seed);
    let mut bed = Bed::new(scenario(&mut random));
    bed.config.take_over = random.percent(50);
    bed.config.backfill_minutes = u8::try_from(random.pick(&[0, 0, 5])).unwrap();
    if random.percent(30) {
        // So little that a log out of reach soon holds reading back.
        let outbox = OutboxConfig { max_in_flight_bytes: 6 << 10, ..OutboxConfig::default() };
        bed.config.outbox = outbox;
    }
    let mut client = bed.start();
    let mut left = Duration::from_secs(hours * 3_600);
    while !left.is_zero() {
        let time = Duration::from_secs(random.between(60, 1_800)).min(left);
        left -= time;
        sleep(time).await;
        match random.below(6) {
            0 => client = restart(&bed, client, true, &mut random).await,
            1 => client = restart(&bed, client, false, &mut random).await,
            2 => {
                bed.log.closed.store(true, Ordering::Relaxed);
                sleep(Duration::from_secs(random.between(1, 600))).await;
                if random.percent(50) {
                    bed.log.half.store(true, Ordering::Relaxed);
                    bed.log.closed.store(false, Ordering::Relaxed);
                    sleep(Duration::from_secs(random.between(1, 60))).await;
                }
                // Killed while what it holds is in no log.
                if random.percent(30) {
                    client = restart(&bed, client, true, &mut random).await;
                }
                bed.log.closed.store(false, Ordering::Relaxed);
                bed.log.half.store(false, Ordering::Relaxed);
            }
            _ => {}
        }
    }
    sleep(10 * MINUTE).await;
    assert!(client.stop().await.drained, "seed {seed}");
    bed
}

async fn restart(bed: &Bed, client: Client, kills: bool, random: &mut Random) -> Client {
    match kills {
        true => client.kill().await,
        false => drop(client.stop().await),
    }
    sleep(Duration::from_secs(random.below(300))).await;
    bed.start()
}

#[tokio::test(start_paused = true)]
async fn no_post_is_missing_but_within_a_gap() {
    let set = |name: &str| std::env::var(name).ok().map(|some| some.parse::<u64>().unwrap());
    let first = set("BOWERBIRD_TEST_SEED").unwrap_or_default();
    let count = set("BOWERBIRD_TEST_SCENARIOS").unwrap_or(40);
    for seed in first..first + count {
        let bed = history(seed, 1).await;
        let wrongs = bed.wrongs().await;
        assert!(wrongs.is_empty(), "seed {seed}: {} wrongs: {:#?}", wrongs.len(), &wrongs[..1]);
        counted(&bed, seed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_week_of_faults_leaves_no_hole_untold() {
    let bed = history(WEEK, 7 * 24).await;
    let wrongs = bed.wrongs().await;
    assert!(wrongs.is_empty(), "{} wrongs: {:#?}", wrongs.len(), &wrongs[..1]);
    assert!(bed.x.sim.history().len() > 50);
    counted(&bed, WEEK).await;
}

/// The meter, which was killed and started again as its client was, counts what is in the log: no
/// less, and no more than was lost with what a killed client held.
async fn counted(bed: &Bed, seed: u64) {
    let mut by_day = BTreeSet::new();
    for record in bed.log.records(topic::POSTS) {
        let time: Timestamp = record.headers.text("ce_time").unwrap().parse().unwrap();
        by_day.insert((time.to_string()[..10].to_owned(), id(&record)));
    }
    let begun = bed.x.sim.history().first().map_or_else(|| bed.x.sim.now(), |first| first.from);
    let mut months = BTreeSet::new();
    for at in [begun, bed.x.sim.now()] {
        months.insert(bowerbird_ingest::x::Usage::of_month(at).month);
    }
    let mut posts = 0;
    for month in months {
        posts += usage(&bed.log, month).await.unwrap().posts();
    }
    let there = by_day.len() as u64;
    assert!(posts >= there, "seed {seed}: {posts} counted, {there} in the log");
    let sent: u64 = bed.x.sim.history().iter().map(|heard| heard.posts).sum();
    assert!(posts <= sent, "seed {seed}: {posts} counted, {sent} sent");
}

#[tokio::test(start_paused = true)]
async fn waits_as_x_asks_however_it_ends() {
    let refuse = |status| Step::Refuse { status, headers: Vec::new(), body: String::new() };
    let last = |ending| Step::Last { lasts: MINUTE, ending };
    // Taken, and refused in what follows: as X's documentation lists it, and as the stream has it.
    let taken = |name: &str, value: &str, body: &str| Step::Refuse {
        status: 200,
        headers: vec![(name.to_owned(), value.to_owned())],
        body: body.to_owned(),
    };
    let too_many = r#"{"title":"ConnectionException","detail":"at the limit",
        "connection_issue":"TooManyConnections",
        "type":"https://api.x.com/2/problems/streaming-connection"}"#
        .replace('\n', "");
    let listed = format!(r#"{{"errors":[{too_many}]}}"#);
    let refused = |body: &str| taken("content-type", "application/json", body);
    let page = taken("content-type", "text/html; charset=utf-8", "<html>\n<p>Sign in</p>\n");
    let packed = taken("content-encoding", "deflate", "x\n");
    let odd = refused("Sign in\n");
    for (steps, waits) in [
        (vec![refuse(503), refuse(503), refuse(503)], vec![5, 10, 20]),
        (vec![refuse(429), refuse(429)], vec![60, 120]),
        (vec![refuse(401), refuse(403)], vec![30, 30]),
        (vec![refuse(409), refuse(409)], vec![30, 30]),
        (vec![last(Ending::Close), last(Ending::OperationalDisconnect)], vec![60, 60]),
        (vec![refused(&too_many), refused(&listed), refused(&too_many)], vec![60, 120, 240]),
        (vec![page, packed, odd], vec![5, 10, 20]),
        // Dead after 30 s of silence, and at once again.
        (vec![last(Ending::Stall), last(Ending::Reset)], vec![60 + 30 - 15, 60]),
    ] {
        let count = steps.len();
        let bed = Bed::new(Config { script: steps, rate: 0.0, live: true, ..Config::default() });
        let begun = bed.x.sim.now();
        let client = bed.start();
        let well = |bed: &Bed| !bed.log.journal("stream.connected").is_empty();
        let back = async {
            while bed.x.sim.attempts() <= count as u64 || !well(&bed) {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(60 * MINUTE, back).await.unwrap_or_else(|_| panic!("never back: {waits:?}"));
        let took = bed.x.sim.now().duration_since(begun).as_secs_f64();
        let expected: u64 = waits.iter().sum();
        assert!((expected as f64..expected as f64 + 30.0).contains(&took), "{waits:?}: {took}");
        client.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn another_connection_is_waited_for_or_taken_over() {
    for take_over in [false, true] {
        let config = Config { connections: Some(1), live: true, rate: 1.0, ..Config::default() };
        let mut bed = Bed::new(config);
        bed.config.take_over = take_over;
        let config = XConfig { take_over: false, ..bed.config.clone() };
        let other = Bed { x: bed.x.clone(), log: MemoryLog::new(bed.x.clock()), config };
        let first = other.start();
        sleep(MINUTE).await;
        let second = bed.start();
        sleep(Duration::from_secs(10)).await;
        let posts = bed.log.records(topic::POSTS).len();
        if take_over {
            assert!(posts > 0);
            let taken = bed.log.journal("stream.taken-over");
            assert_eq!(taken[0]["answer"]["data"]["successful_kills"], 1, "{taken:?}");
            let reason = first.reason();
            assert!(reason.contains("another connection is open"), "{reason}");
            let ends = other.log.journal("stream.disconnected");
            assert!(ends[0]["reason"].as_str().unwrap().contains("on request"), "{ends:?}");
        } else {
            let reason = second.reason();
            assert!(posts == 0 && reason.contains("--take-over"), "{reason}");
            first.stop().await;
            sleep(2 * MINUTE).await;
            assert!(!bed.log.records(topic::POSTS).is_empty());
            assert_eq!(second.status.get(), State::Running);
            second.stop().await;
            continue;
        }
        second.stop().await;
        first.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_months_cap_pauses_and_says_so_and_the_next_month_goes_on() {
    let mut bed = Bed::new(Config { live: true, rate: 0.2, ..Config::default() });
    bed.config.limits = Limits { monthly_cap_posts: Some(100), ..Limits::default() };
    let mut client = bed.start();
    sleep(10 * MINUTE).await;
    let reason = client.reason();
    assert!(reason.contains("x.monthly_cap_posts") && reason.contains("going on at"), "{reason}");
    assert!(client.status.note().unwrap().contains("100 of 100 this month"));
    assert_eq!(bed.log.records(topic::POSTS).len(), 100);
    // Killed or not, it knows.
    client.kill().await;
    client = bed.start();
    sleep(3 * MINUTE).await;
    assert!(client.reason().contains("x.monthly_cap_posts"));
    let told = |kind: &str| bed.log.journal(kind).len();
    assert_eq!((told("usage.warning"), told("usage.capped")), (1, 1));
    assert_eq!(bed.log.journal("stream.disconnected")[0]["cause"], "cap");
    assert_eq!(bed.log.records(topic::POSTS).len(), 100);
    sleep(32 * 24 * 60 * MINUTE).await;
    assert_eq!(told("usage.uncapped"), 1);
    assert!(bed.log.records(topic::POSTS).len() >= 200);
    assert_eq!(bed.log.journal("stream.gap")[0]["cause"], "cap");
    client.stop().await;
    assert_eq!(bed.wrongs().await, [] as [String; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_cap_that_was_raised_lets_it_go_on_and_is_warned_of_anew() {
    let mut bed = Bed::new(Config { live: true, rate: 1.0, ..Config::default() });
    let with = |cap| Limits { monthly_cap_posts: Some(cap), ..Limits::default() };
    for (cap, warnings, caps) in [(100, 1, 1), (100, 1, 1), (200, 2, 2)] {
        bed.config.limits = with(cap);
        let client = bed.start();
        sleep(5 * MINUTE).await;
        client.kill().await;
        let told = |kind: &str| bed.log.journal(kind).len();
        assert_eq!((told("usage.warning"), told("usage.capped")), (warnings, caps), "{cap}");
        assert_eq!(bed.log.records(topic::POSTS).len(), cap as usize);
    }
    assert_eq!(bed.log.journal("usage.uncapped").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_log_out_of_reach_holds_reading_back_and_x_may_lose_patience() {
    let mut bed = Bed::new(Config { live: true, rate: 5.0, ..Config::default() });
    bed.config.outbox.max_in_flight_bytes = 16 << 10;
    let client = bed.start();
    sleep(MINUTE).await;
    bed.log.closed.store(true, Ordering::Relaxed);
    sleep(MINUTE / 2).await;
    let reason = client.reason();
    assert!(reason.contains("reading waits"), "{reason}");
    // Back in time: nothing is lost, and it says so no more.
    bed.log.closed.store(false, Ordering::Relaxed);
    sleep(MINUTE).await;
    assert_eq!(client.status.get(), State::Running);
    assert_eq!(bed.log.journal("stream.disconnected").len(), 0);
    bed.log.closed.store(true, Ordering::Relaxed);
    sleep(5 * MINUTE).await;
    bed.log.closed.store(false, Ordering::Relaxed);
    sleep(2 * MINUTE).await;
    let gaps = bed.log.journal("stream.gap");
    assert_eq!(gaps[0]["cause"], "slow-reader", "{gaps:?}");
    assert!(gaps[0]["reason"].as_str().unwrap().contains("too slowly"), "{gaps:?}");
    client.stop().await;
    assert_eq!(bed.wrongs().await, [] as [String; 0]);
}

#[tokio::test(start_paused = true)]
async fn what_was_missed_is_filled_in_where_the_plan_has_that() {
    let script = vec![
        Step::Last { lasts: MINUTE, ending: Ending::Reset },
        Step::Refuse { status: 429, headers: Vec::new(), body: String::new() },
        Step::Refuse { status: 429, headers: Vec::new(), body: String::new() },
        // It breaks before it has filled in all of it.
        Step::Serve { posts: 10, ending: Ending::Reset },
    ];
    let mut bed = Bed::new(Config { live: true, rate: 1.0, script, ..Config::default() });
    bed.config.backfill_minutes = 5;
    let begun = bed.x.sim.now();
    let client = bed.start();
    sleep(5 * MINUTE).await;
    let summary = client.stop().await;
    let there: BTreeSet<u64> = bed.log.records(topic::POSTS).iter().map(id).collect();
    let made = bed.x.sim.live(begun, bed.x.sim.now());
    assert!(made.len() > 290);
    for (at, id) in &made[..made.len() - 1] {
        assert!(there.contains(id), "{at}");
    }
    // What came twice is billed once.
    assert!(summary.posts > there.len() as u64);
    let month = bowerbird_ingest::x::Usage::of_month(bed.x.sim.now()).month;
    let counted = usage(&bed.log, month).await.unwrap();
    assert_eq!(counted.posts(), there.len() as u64);
    let deliveries: u64 = counted.days().map(|(_, day)| day.deliveries).sum();
    assert_eq!(deliveries, summary.posts);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_exchanged_is_taken_as_soon_as_the_old_one_is_refused() {
    let bearer = Some("new".to_owned().into());
    let mut bed = Bed::new(Config { bearer, live: true, rate: 1.0, ..Config::default() });
    let now = Arc::new(Mutex::new("token".to_owned()));
    let file = Arc::clone(&now);
    bed.config.renewal = Some(Renewal::new(move || Some(file.lock().unwrap().clone().into())));
    let client = bed.start();
    sleep(10 * MINUTE).await;
    let reason = client.reason();
    assert!(reason.contains("refused") && reason.contains("x.bearer_token_file"), "{reason}");
    let attempts = bed.x.sim.attempts();
    *now.lock().unwrap() = "new".to_owned();
    sleep(Duration::from_secs(6)).await;
    assert_eq!(client.status.get(), State::Running);
    assert_eq!(bed.x.sim.attempts(), attempts + 1);
    client.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_harvest_that_is_not_let_in_has_a_gap_from_its_very_beginning() {
    for kills in [None, Some(false), Some(true)] {
        let refuse = Step::Refuse { status: 503, headers: Vec::new(), body: String::new() };
        let script = vec![refuse; 3];
        let bed = Bed::new(Config { script, live: true, rate: 1.0, ..Config::default() });
        let begun = bed.x.sim.now();
        let client = bed.start();
        sleep(Duration::from_secs(7)).await;
        let client = match kills {
            None => client,
            Some(true) => {
                client.kill().await;
                bed.start()
            }
            Some(false) => {
                client.stop().await;
                bed.start()
            }
        };
        sleep(MINUTE).await;
        let gap = &bed.log.journal("stream.gap")[0];
        let from: Timestamp = gap["from"].as_str().unwrap().parse().unwrap();
        assert!(from.duration_since(begun).as_secs() == 0, "{gap}");
        assert_eq!(
            (&gap["cause"], &gap["reason"]),
            (&Value::from("http"), &gap["last_failure"]),
            "{gap}"
        );
        // Who is killed has not told how often it was tried since the reason was another.
        let failed = if kills == Some(true) { 2 } else { 3 };
        assert_eq!(gap["failed"], failed, "{gap}");
        let told = bed.log.journal("stream.refused");
        assert_eq!(told[0]["unheard"]["reason"], "the server answered 503", "{told:?}");
        assert_eq!(bed.log.journal("stream.begun").len(), 1);
        client.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_was_set_back_hides_no_gap() {
    let mut bed = Bed::new(Config { live: true, rate: 1.0, ..Config::default() });
    let client = bed.start();
    sleep(MINUTE).await;
    client.stop().await;
    // An hour earlier by its clock, which then goes on.
    let clock = bed.x.clock();
    let hour = SignedDuration::from_hours(1);
    bed.config.clock = Clock::new(move || clock.now() - hour);
    let client = bed.start();
    sleep(MINUTE).await;
    client.kill().await;
    let killed = bed.config.clock.now();
    sleep(MINUTE).await;
    let client = bed.start();
    sleep(MINUTE).await;
    client.stop().await;
    let gaps = bed.log.journal("stream.gap");
    let gap = gaps.last().unwrap();
    let time = |name: &str| -> Timestamp { gap[name].as_str().unwrap().parse().unwrap() };
    assert!(
        time("from") <= killed && time("to") >= killed + SignedDuration::from_secs(60),
        "{gap}"
    );
    assert_eq!(gap["cause"], "killed");
}
