//! The client against a WFS with odd manners, over real HTTP: what it says of its number, its
//! order, its axes and its address. What is not whole is never called so, and nothing vanishes by
//! it.

mod harness;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bowerbird_ingest::Renewal;
use bowerbird_ingest::aurin::{AurinConfig, Outcome, Schedule, run};
use bowerbird_sim::wfs::{Config, Fault, Hits, serve};
use bowerbird_stream::status::{State, status};
use bowerbird_stream::{EventLog as _, EventType, journal, topic};
use harness::wfs::{config, poll};
use harness::{TestLog, until};
use jiff::Timestamp;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const FEATURES: u32 = 1_000;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_says_and_gives_decides_whether_a_poll_is_whole() {
    let plain = || Config { features: FEATURES, ..Config::default() };
    for (sim, outcome, published, part) in [
        (Config { hits: Hits::Unknown, ..plain() }, Outcome::Complete, 1_000, ""),
        // Its number is wrong, so nothing proves that the pages were all; but all are read.
        (
            Config { hits: Hits::Capped(200), ..plain() },
            Outcome::Incomplete,
            1_000,
            "says 200 features and gives",
        ),
        (Config { hits: Hits::Growing, ..plain() }, Outcome::Incomplete, 1_000, "data changed"),
        (Config { latitude_first: true, ..plain() }, Outcome::Complete, 1_000, ""),
        (Config { pages: false, ..plain() }, Outcome::Incomplete, 300, "does not page"),
        (
            Config { pages: false, hits: Hits::Unknown, ..plain() },
            Outcome::Incomplete,
            300,
            "does not page",
        ),
        // It sorts not, and without an order it gives the first page only.
        (Config { sorts: false, ..plain() }, Outcome::Failed, 300, "natural order"),
    ] {
        let test = TestLog::new().await;
        let whole = serve(Config { features: FEATURES + 10, ..Config::default() }).await.unwrap();
        let manners = format!("{sim:?}");
        let sim = serve(sim).await.unwrap();
        let summary = poll(&test, config(&sim.url())).await;
        assert_eq!(summary.published, published, "{manners}");
        for report in summary.polls.values() {
            assert_eq!(report.outcome, outcome, "{manners}: {report:?}");
            let reason = report.reason.clone().unwrap_or_default();
            assert!(reason.contains(part), "{manners}: {reason}");
            assert_eq!(outcome == Outcome::Complete, reason.is_empty(), "{manners}");
        }
        for event in test.events(topic::FEATURES).await {
            let feature: Value = serde_json::from_slice(&event.value.unwrap()).unwrap();
            let corner = &feature["geometry"]["coordinates"][0][0][0];
            assert!(corner[0].as_f64().unwrap() > 100.0, "{manners}: {corner}");
        }
        // What only a whole poll has had is not taken for vanished by another.
        poll(&test, config(&whole.url())).await;
        let summary = poll(&test, config(&sim.url())).await;
        let vanished: u64 = summary.polls.values().map(|poll| poll.vanished).sum();
        assert_eq!(vanished, if outcome == Outcome::Complete { 10 } else { 0 }, "{manners}");
        let events = test.events(topic::FEATURES).await;
        let told = events.iter().filter(|event| event.kind == EventType::FeatureVanished).count();
        assert_eq!(told as u64, vanished);
        sim.shutdown().await;
        whole.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_page_of_refused_features_is_no_repetition() {
    // Of 700 and 300 features: the last page alone, a part of it, and the last two and a half.
    for keyless in [100, 2, 250] {
        let test = TestLog::new().await;
        let sim = Config { features: FEATURES, keyless, ..Config::default() };
        let sim = serve(sim).await.unwrap();
        let config = AurinConfig { page_size: 100, ..config(&sim.url()) };
        let summary = poll(&test, config).await;
        for report in summary.polls.values() {
            assert_eq!(report.outcome, Outcome::Complete, "{keyless}: {report:?}");
            assert_eq!(report.dead_letters, keyless as u64, "{report:?}");
            assert_eq!(Some(report.received), report.matched);
        }
        assert_eq!(test.records(topic::DEAD_LETTERS).await.len(), 2 * keyless);
        sim.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_gives_all_at_once_need_not_page() {
    let test = TestLog::new().await;
    let by = |url: &str, page_size| AurinConfig { page_size, ..config(url) };
    for (features, keyless, hits, outcome, published, vanished) in [
        (FEATURES, 0, Hits::Right, Outcome::Complete, 1_000, 0),
        // What it does not give has vanished, as with any other.
        (FEATURES - 10, 0, Hits::Right, Outcome::Complete, 0, 10),
        (FEATURES - 10, 3, Hits::Right, Outcome::Complete, 0, 0),
        // Its number does not agree with what it gives, or it names none.
        (FEATURES - 20, 0, Hits::Capped(200), Outcome::Incomplete, 0, 0),
        (FEATURES - 20, 0, Hits::Unknown, Outcome::Incomplete, 0, 0),
    ] {
        let sim = Config { features, keyless, hits, pages: false, ..Config::default() };
        let sim = serve(sim).await.unwrap();
        let summary = poll(&test, by(&sim.url(), 1_000)).await;
        for report in summary.polls.values() {
            assert_eq!(report.outcome, outcome, "{report:?}");
            assert_eq!(report.dead_letters, keyless as u64, "once: {report:?}");
        }
        let gone: u64 = summary.polls.values().map(|poll| poll.vanished).sum();
        assert_eq!((summary.published, gone), (published, vanished), "{summary:?}");
        sim.shutdown().await;
    }
    // A number that is as large as a page proves nothing where the next one has others.
    let test = TestLog::new().await;
    let capped = Config { features: FEATURES, hits: Hits::Capped(300), ..Config::default() };
    let sim = serve(capped).await.unwrap();
    let summary = poll(&test, by(&sim.url(), 300)).await;
    assert_eq!(summary.published, u64::from(FEATURES));
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_page_is_no_end_where_nothing_else_tells_it() {
    let unknown = || Config { features: FEATURES, hits: Hits::Unknown, ..Config::default() };
    let empty = |pages: usize| [vec![Fault::None], vec![Fault::Empty; pages]].concat();
    for (sim, outcomes, part) in [
        // Asked again it gives the rest.
        (Config { faults: empty(1), ..unknown() }, [Outcome::Complete; 2], ""),
        (Config { faults: empty(2), ..unknown() }, [Outcome::Complete; 2], ""),
        // It gives not even the last one again; of the other data set it gives all.
        (
            Config { faults: empty(4), ..unknown() },
            [Outcome::Incomplete, Outcome::Complete],
            "no more, when asked again",
        ),
        (
            Config { ends_at: Some(150), ..unknown() },
            [Outcome::Incomplete; 2],
            "an empty page where there is more",
        ),
    ] {
        let manners = format!("{sim:?}");
        let test = TestLog::new().await;
        let whole = serve(Config { features: FEATURES, ..Config::default() }).await.unwrap();
        poll(&test, config(&whole.url())).await;
        let sim = serve(sim).await.unwrap();
        let config = config(&sim.url());
        let summary = poll(&test, config.clone()).await;
        for (dataset, outcome) in config.datasets.iter().zip(outcomes) {
            let report = &summary.polls[&dataset.type_name];
            assert_eq!((report.outcome, report.vanished), (outcome, 0), "{manners}: {report:?}");
            let reason = report.reason.clone().unwrap_or_default();
            assert_eq!(outcome == Outcome::Complete, reason.is_empty(), "{manners}: {reason}");
            assert!(reason.is_empty() || reason.contains(part), "{manners}: {reason}");
        }
        sim.shutdown().await;
        whole.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_moves_between_pages_does_not_vanish() {
    let test = TestLog::new().await;
    let first_only = |url: &str| {
        let mut config = config(url);
        config.datasets.truncate(1);
        config
    };
    let still = serve(Config { features: FEATURES, ..Config::default() }).await.unwrap();
    poll(&test, first_only(&still.url())).await;
    let sim = serve(Config { features: FEATURES, moves: true, ..Config::default() }).await.unwrap();
    // One goes and one comes, so the numbers are right; and one has slipped between two pages.
    let summary = poll(&test, first_only(&sim.url())).await;
    let report = summary.polls.values().next().unwrap();
    assert_eq!((report.matched, report.distinct), (Some(700), 700));
    assert_eq!((report.outcome, report.vanished), (Outcome::Incomplete, 0), "{report:?}");
    assert!(report.reason.as_ref().unwrap().contains("changed during the poll"), "{report:?}");
    // Now that nothing moves, only the one that went has vanished.
    let summary = poll(&test, first_only(&sim.url())).await;
    let report = summary.polls.values().next().unwrap();
    assert_eq!((report.outcome, report.vanished), (Outcome::Complete, 1), "{report:?}");
    sim.shutdown().await;
    still.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_not_sent_on_to_another_host() {
    let credentials = || Some(("harvester".to_owned(), "secret".to_owned().into()));
    let sim = serve(Config { credentials: credentials(), ..Config::default() }).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer =
        format!("HTTP/1.1 302 Found\r\nlocation: {}/wfs\r\ncontent-length: 0\r\n\r\n", sim.url());
    let mover = tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let asked = client.read(&mut [0; 4_096]).await.unwrap_or_default();
            assert!(asked > 0, "a request comes in one piece");
            client.write_all(answer.as_bytes()).await.ok();
        }
    });
    let test = TestLog::new().await;
    let config = AurinConfig { credentials: credentials(), ..config(&url) };
    let summary = poll(&test, config).await;
    for report in summary.polls.values() {
        let reason = report.reason.clone().unwrap();
        assert!(reason.contains(&sim.url()) && reason.contains("aurin.base_url"), "{reason}");
    }
    mover.abort();
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_was_exchanged_is_taken_at_the_next_poll() {
    let login = |password: &str| Some(("harvester".to_owned(), password.to_owned().into()));
    let sim = serve(Config { credentials: login("new"), ..Config::default() }).await.unwrap();
    let mut config = AurinConfig { credentials: login("old"), ..config(&sim.url()) };
    for dataset in &mut config.datasets {
        let interval = Duration::from_millis(50);
        dataset.schedule = Schedule::Every { interval, jitter: Duration::ZERO };
    }
    let exchanged = Arc::new(AtomicBool::new(false));
    let file = Arc::clone(&exchanged);
    config.renewal = Some(Renewal::new(move || {
        let password = if file.load(Ordering::Relaxed) { "new" } else { "old" };
        Some(password.to_owned().into())
    }));
    let test = TestLog::new().await;
    let (reporter, status) = status("ingest-aurin");
    let cancel = CancellationToken::new();
    let polling = tokio::spawn(run(test.log.clone(), config, reporter, cancel.clone()));
    let refused = |state| matches!(state, State::Paused { reason } if reason.contains("401"));
    until("it is refused", async || refused(status.get())).await;
    exchanged.store(true, Ordering::Relaxed);
    until("it is let in", async || status.get() == State::Running).await;
    cancel.cancel();
    polling.await.unwrap().unwrap();
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_page_is_waited_for_as_long_as_it_comes() {
    // Each page takes longer than the WFS may be silent.
    let trickle = Fault::Trickles(15, Duration::from_millis(200));
    let config_of = |url: &str| {
        let mut config = config(url);
        config.datasets.truncate(1);
        AurinConfig { timeout: Duration::from_secs(2), page_size: 400, ..config }
    };
    let sim = serve(Config { features: 500, faults: vec![trickle], ..Config::default() });
    let sim = sim.await.unwrap();
    let test = TestLog::new().await;
    let summary = poll(&test, config_of(&sim.url())).await;
    let report = summary.polls.values().next().unwrap();
    assert_eq!((report.outcome, report.distinct), (Outcome::Complete, 350), "{report:?}");
    assert_eq!((report.pages, sim.served()), (1, 350), "it was asked for once");
    sim.shutdown().await;

    // One that comes to a stop is asked for again, from its beginning, and nothing comes twice.
    let sim = serve(Config { features: 500, faults: vec![Fault::Stalls], ..Config::default() });
    let sim = sim.await.unwrap();
    let short = Duration::from_millis(300);
    let test = TestLog::new().await;
    let summary = poll(&test, AurinConfig { timeout: short, ..config_of(&sim.url()) }).await;
    let report = summary.polls.values().next().unwrap();
    assert_eq!((report.outcome, report.published), (Outcome::Complete, 350), "{report:?}");
    assert_eq!(test.records(topic::FEATURES).await.len(), 350);
    sim.shutdown().await;

    // One that takes requests and never answers is no endless wait.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let silent = tokio::spawn(async move {
        let mut clients = Vec::new();
        while let Ok((client, _)) = listener.accept().await {
            clients.push(client);
        }
    });
    let summary = poll(&test, AurinConfig { timeout: short, ..config_of(&url) }).await;
    let report = summary.polls.values().next().unwrap();
    assert_eq!(report.outcome, Outcome::Failed, "{report:?}");
    assert!(report.reason.as_ref().unwrap().contains("can't be reached"), "{report:?}");
    silent.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feature_that_is_too_large_is_a_dead_letter_and_the_others_come() {
    let test = TestLog::new().await;
    let large = Config { features: FEATURES, large: Some((170, 300_000)), ..Config::default() };
    let sim = serve(large).await.unwrap();
    let config = AurinConfig { max_feature_bytes: 200_000, ..config(&sim.url()) };
    for again in [false, true] {
        let summary = poll(&test, config.clone()).await;
        for report in summary.polls.values() {
            assert_eq!((report.outcome, report.dead_letters), (Outcome::Complete, 1));
            assert_eq!(report.received, report.distinct + 1);
            assert_eq!(report.published, if again { 0 } else { report.distinct }, "{report:?}");
        }
    }
    assert_eq!(test.records(topic::FEATURES).await.len() as u32, FEATURES - 2);
    let letters = test.records(topic::DEAD_LETTERS).await;
    for letter in &letters {
        assert_eq!(letter.headers.text("dl_reason"), Some("feature-too-large"));
        assert_eq!(letter.value.as_ref().unwrap().len(), 64 << 10);
        let length: u64 = letter.headers.text("ce_bytes").unwrap().parse().unwrap();
        assert!(length > 300_000);
    }
    assert_eq!(letters.len(), 4, "one for each data set and process");
    sim.shutdown().await;

    // What is not known to be there is not known to have vanished either.
    let fewer =
        Config { features: FEATURES - 10, large: Some((170, 300_000)), ..Config::default() };
    let sim = serve(fewer).await.unwrap();
    let summary =
        poll(&test, AurinConfig { base_url: self::config(&sim.url()).base_url, ..config }).await;
    for report in summary.polls.values() {
        assert_eq!(report.vanished, 0);
        assert!(report.reason.as_ref().unwrap().contains("dead letters"), "{report:?}");
    }
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feature_that_lies_nowhere_is_a_dead_letter_once_the_axes_are_known() {
    // On the second page; and as the first of all, where the axes may well be wrong.
    for (astray, outcome, letters) in [(170, Outcome::Complete, 2), (0, Outcome::Failed, 0)] {
        let test = TestLog::new().await;
        let sim = Config { features: FEATURES, astray: Some(astray), ..Config::default() };
        let sim = serve(sim).await.unwrap();
        let summary = poll(&test, config(&sim.url())).await;
        for report in summary.polls.values() {
            assert_eq!(report.outcome, outcome, "{report:?}");
            let error = report.reason.as_deref().unwrap_or_default();
            assert_eq!(error.contains("no degrees"), letters == 0, "{error}");
        }
        let found = test.records(topic::DEAD_LETTERS).await;
        assert_eq!(found.len(), letters);
        for letter in found {
            assert!(letter.headers.text("dl_error").unwrap().contains("no degrees"));
        }
        sim.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_feature_that_lies_anywhere_tells_the_axes() {
    // The first in the middle of the first page, at the begin of the second, in the middle of it, and
    // none in the second data set.
    for placeless in [50, 150, 170, 300] {
        let test = TestLog::new().await;
        let sim =
            Config { features: FEATURES, latitude_first: true, placeless, ..Config::default() };
        let sim = serve(sim).await.unwrap();
        for published in [u64::from(FEATURES), 0] {
            let summary = poll(&test, config(&sim.url())).await;
            assert_eq!(summary.published, published, "{placeless}");
            for report in summary.polls.values() {
                assert_eq!(report.outcome, Outcome::Complete, "{placeless}: {report:?}");
                assert_eq!(Some(report.received), report.matched, "{placeless}");
            }
        }
        let events = test.events(topic::FEATURES).await;
        assert_eq!(events.len(), FEATURES as usize);
        let (mut somewhere, mut nowhere) = (0, 0);
        for event in events {
            let feature: Value = serde_json::from_slice(&event.value.unwrap()).unwrap();
            match feature["geometry"]["coordinates"][0][0][0][0].as_f64() {
                Some(longitude) => somewhere += usize::from(longitude > 100.0),
                None => nowhere += 1,
            }
        }
        assert_eq!((somewhere, nowhere), (FEATURES as usize - 2 * placeless, 2 * placeless));
        sim.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_poll_publishes_what_a_killed_one_has_not() {
    let test = Arc::new(TestLog::new().await);
    let all = 700;
    let one = |url: &str| {
        let mut config = config(url);
        config.datasets.truncate(1);
        config
    };
    // Fewer than there were, so that there is something to be taken for vanished.
    for (features, known) in [(FEATURES, 0), (FEATURES - 100, all)] {
        let stalls = vec![Fault::None, Fault::Stalls];
        let sim = serve(Config { features, faults: stalls, ..Config::default() }).await.unwrap();
        let (log, config) = (Arc::clone(&test), one(&sim.url()));
        let killed = tokio::spawn(async move { poll(&log, config).await });
        harness::until("a page and a half", async || {
            let published = test.records(topic::FEATURES).await.len();
            if known == 0 { published > 150 } else { sim.served() >= 150 }
        })
        .await;
        killed.abort();
        killed.await.unwrap_err();
        // Behind what the log was asked to take before.
        let fact = journal::fact("killed", "test", Timestamp::now(), &Value::Null);
        test.log.publish(vec![fact]).await.remove(0).unwrap();
        let before = test.records(topic::FEATURES).await.len() as u64;
        assert!(if known == 0 { before < all } else { before == known }, "{before}");
        let patience = Duration::from_secs(2);
        let summary = poll(&test, AurinConfig { timeout: patience, ..one(&sim.url()) }).await;
        let report = summary.polls.values().next().unwrap();
        let (there, gone) = if known == 0 { (all, 0) } else { (630, 70) };
        assert_eq!((report.outcome, report.distinct), (Outcome::Complete, there), "{report:?}");
        assert_eq!((report.published, report.vanished), (all - before, gone), "{report:?}");
        assert_eq!(test.records(topic::FEATURES).await.len() as u64, all + gone);
        sim.shutdown().await;
    }
}
