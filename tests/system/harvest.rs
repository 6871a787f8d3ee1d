//! Everything that is brought in is a document or a dead letter, on any pair of log and store.

use std::collections::BTreeMap;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::bed::{Bed, told, within};
use crate::posts::{self, Expectation, Tally};

/// How many posts are brought in.
const POSTS: u64 = 100_000;

/// Ids that no other run has used: as in a snowflake, milliseconds, and room below them.
fn fresh_ids() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    (u64::try_from(now).unwrap() - 1_288_834_974_657) << 22
}

#[test]
fn a_hundred_thousand_posts_on_the_embedded_pair() {
    harvest(&Bed::embedded());
}

#[test]
fn a_hundred_thousand_posts_on_kafka_and_couchdb() {
    harvest(&Bed::real());
}

fn harvest(bed: &Bed) {
    bed.json(&["topics", "apply"]);
    bed.json(&["mapreduce", "deploy"]);
    // What another test may have left in the log.
    bed.json(&["sink", "--once"]);
    let mut wanted = places(bed);
    let (files, expected) = posts::write(bed.path(), fresh_ids(), POSTS, 7);
    let files: Vec<&str> = files.iter().map(|file| file.to_str().unwrap()).collect();
    assert_eq!(import(bed, &files), expected.broken);
    features(bed);
    kill_sinks(bed);
    bed.json(&["sink", "--once"]);
    let before = revisions(bed, &expected);
    assert_eq!(bed.scan("features").len(), 2_000);
    for (place, tally) in &expected.places {
        let sums = wanted.entry(place.clone()).or_default();
        sums.iter_mut().zip(tally).for_each(|(sum, more)| *sum += more);
    }
    assert_eq!(places(bed), wanted);

    // A second import changes nothing: not even a revision. So what verify says of these documents,
    // it says of what the killed sinks left.
    assert_eq!(import(bed, &files), expected.broken);
    bed.json(&["sink", "--once"]);
    assert_eq!(revisions(bed, &expected), before);
    let verified = bed.json(&["verify"]);
    assert_eq!(verified["differences"], Value::Array(Vec::new()), "{verified}");
}

/// Starts sinks, and kills each in the midst of its work.
fn kill_sinks(bed: &Bed) {
    let before = bed.count("posts");
    for round in 1..=3 {
        let sink = bed.start("sink", &["sink"]);
        within("some documents", || (bed.count("posts") > before + round * 5_000).then_some(()));
        sink.kill();
    }
    assert!(bed.count("posts") < before + POSTS / 2, "it was done before it could be killed");
}

/// Imports, and tells how many lines became dead letters.
fn import(bed: &Bed, files: &[&str]) -> u64 {
    let arguments = ["ingest", "archive"].into_iter().chain(files.iter().copied());
    let summary = bed.json(&arguments.collect::<Vec<_>>());
    let letters = summary["total"]["dead_letters"].as_object().unwrap();
    letters.values().map(|count| count.as_u64().unwrap()).sum()
}

/// Polls a simulated WFS of 2,000 features once.
fn features(bed: &Bed) {
    let mut sim = bed.start("sim", &["sim", "aurin", "--listen", "127.0.0.1:0"]);
    let line = sim.says("simulator listens");
    let address = line.split("addr=").nth(1).unwrap();
    let datasets: String = bowerbird_sim::wfs::sample_datasets()
        .iter()
        .map(|dataset| {
            format!(
                "[[aurin.datasets]]\ntype_name = {:?}\nid_property = {:?}\nlicence = \"CC BY 4.0\"\nattribution = \"Simulated\"\n",
                dataset.type_name, dataset.id_property
            )
        })
        .collect();
    let toml = format!("[aurin]\nbase_url = \"http://{address}/wfs\"\n\n{datasets}");
    fs::write(bed.path().join("aurin.toml"), toml).unwrap();
    let output = bed.run(&["--config", "aurin.toml", "ingest", "aurin", "--once"]);
    assert!(output.status.success(), "{}", told(&output));
}

/// The revisions of the documents, which must be as expected.
fn revisions(bed: &Bed, expected: &Expectation) -> BTreeMap<String, String> {
    let all = expected.posts.iter().chain(&expected.removed);
    let (first, last) = (all.clone().min().unwrap(), all.max().unwrap());
    let mut found = BTreeMap::new();
    let (mut posts, mut removed) = (Vec::new(), Vec::new());
    for document in bed.scan("posts") {
        if document.id < *first || document.id > *last {
            continue;
        }
        let body: Value = serde_json::from_str(document.body.get()).unwrap();
        match body["type"].as_str() {
            Some("post") => posts.push(document.id.clone()),
            Some("removed") => {
                assert!(body.get("text").is_none());
                removed.push(document.id.clone());
            }
            other => panic!("{}: {other:?}", document.id),
        }
        found.insert(document.id, document.revision.unwrap().0);
    }
    assert!(posts.iter().eq(&expected.posts), "{} of {}", posts.len(), expected.posts.len());
    assert!(removed.iter().eq(&expected.removed));
    found
}

/// What the view answers.
fn places(bed: &Bed) -> BTreeMap<(String, String), Tally> {
    let rows = bed.json(&["mapreduce", "query", "posts/places/by_place", "--group"]);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    rows.as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let tally = [0, 1, 2].map(|at| row["value"][at].as_u64().unwrap());
            ((text(&row["key"][0]), text(&row["key"][1])), tally)
        })
        .collect()
}
