//! Notices of batch compliance, and of compliance streams.

use super::*;
use crate::post::About;

fn heard(reader: &Reader, line: &str) -> (String, String, String, String) {
    let mut found = Vec::new();
    reader.read(&Bytes::from(line.to_owned()), Place::Line(1), &mut |one| found.push(one));
    let [Found::Notice { record }] = &found[..] else { panic!("{line}: {found:?}") };
    let header = |name| record.headers.text(name).unwrap().to_owned();
    let key = String::from_utf8(record.key.clone().unwrap().to_vec()).unwrap();
    (key, header("ce_subject"), header("ce_action"), header("ce_time"))
}

#[test]
fn results_of_batch_compliance_are_about_what_the_file_or_the_line_says() {
    let written = "2026-03-04T05:06:07Z";
    let reader =
        || Reader::archive("archive:a".into(), "a".into(), written.parse().ok(), time(STARTED));
    // The first was made when its id says, the others were not.
    let of_id = time_of(1_170_025_343_920_402_432);
    let line = |id: &str, action: &str, created: &str| {
        format!(
            r#"{{"id":"{id}","action":"{action}","created_at":"{created}","reason":"deleted"}}"#
        )
    };
    let post = line("1170025343920402432", "delete", &of_id);
    let user = line("1170025343920402432", "delete", "2013-06-04T16:25:04+00:00");
    for (about, post_is, user_is) in [
        (About::Either, "post", "user"),
        (About::Posts, "post", "post"),
        (About::Users, "user", "user"),
    ] {
        let reader = reader().with_results(about);
        for (line, subject) in [(&post, post_is), (&user, user_is)] {
            let (key, found, action, at) = heard(&reader, line);
            assert_eq!((&*key, &*found, &*action), ("1170025343920402432", subject, "delete"));
            assert_eq!(at, written, "{about:?}");
        }
    }
    // Users of the last years have such ids too; and posts of the first years had others.
    for (id, created, subject) in [
        ("1170025343920402432", "2019-09-06T17:25:54+00:00", None),
        ("1170025343920402432", "2019-09-06T17:25:54.000Z", None),
        ("1170025343920402432", "", None),
        ("1482680858", "2013-06-04T16:25:04+00:00", Some("user")),
        ("1482680858", "2009-04-09T07:45:16.000Z", None),
    ] {
        let (mut found, line) = (Vec::new(), Bytes::from(line(id, "delete", created)));
        let either = reader().with_results(About::Either);
        either.read(&line, Place::Line(1), &mut |one| found.push(one));
        match (subject, &found[..]) {
            (Some(subject), [Found::Notice { record }]) => {
                assert_eq!(record.headers.text("ce_subject"), Some(subject));
            }
            (None, [Found::Refused { refusal, .. }]) => {
                assert!(refusal.error.contains("--about"), "{refusal:?}");
            }
            (_, found) => panic!("{id} {created}: {found:?}"),
        }
    }
    let mut found = Vec::new();
    let odd = Bytes::from(line("5", "explode", &of_id));
    reader().with_results(About::Posts).read(&odd, Place::Line(1), &mut |one| found.push(one));
    assert_eq!(refusals(&found), [reason::COMPLIANCE]);
    for (name, about) in [
        ("jobs/tweets_compliance.jsonl", About::Posts),
        ("posts.jsonl.gz", About::Posts),
        ("Users_2026.jsonl", About::Users),
        ("users_tweets.jsonl", About::Either),
        ("result.jsonl", About::Either),
    ] {
        assert_eq!(About::of_file(name), about, "{name}");
    }
}

fn time_of(id: u64) -> String {
    crate::post::time::of_snowflake(id).to_string()
}

#[test]
fn items_of_a_compliance_stream_are_notices() {
    let reader = Reader::stream("x:stream".into(), time(STARTED));
    for (line, expected) in [
        (
            r#"{"data":{"delete":{"tweet":{"id":"12","author_id":"3"},
                "event_at":"2021-07-06T18:40:40.000Z"}}}"#,
            ("12", "post", "delete", "2021-07-06T18:40:40Z"),
        ),
        (
            r#"{"data":{"scrub_geo":{"user":{"id":"9"},"up_to_tweet_id":"77",
                "event_at":"2021-07-06T18:40:41.000Z"}}}"#,
            ("9", "user", "scrub_geo", "2021-07-06T18:40:41Z"),
        ),
        (
            r#"{"data":{"user_suspend":{"user":{"id":"9"},
                "event_at":"2021-07-06T18:40:42.000Z"}}}"#,
            ("9", "user", "user_suspend", "2021-07-06T18:40:42Z"),
        ),
    ] {
        let (key, subject, action, at) = heard(&reader, line);
        assert_eq!((&*key, &*subject, &*action, &*at), expected, "{line}");
    }
    for (body, why) in [
        (r#""tweet_edit":{"tweet":{"id":"5"},"initial_tweet_id":"4","#, "not acted on: tweet_edit"),
        (r#""delete":{"favorite":{"id":"5","user_id":"9"},"#, "delete names no post and no user"),
        (r#""drop":{"tweet":{"id":"x"},"#, "drop names no post"),
    ] {
        let line = format!(r#"{{"data":{{{body}"event_at":"2021-07-06T18:40:40.000Z"}}}}}}"#);
        let mut found = Vec::new();
        reader.read(&Bytes::from(line), Place::Line(1), &mut |one| found.push(one));
        let [Found::Refused { refusal, .. }] = &found[..] else { panic!("{found:?}") };
        assert!(refusal.error.contains(why), "{refusal:?}");
    }
}
