//! What is measured on: posts of about 1.1 KB, as the v2 stream sends them.

use std::fmt::Write as _;

/// A stream item; the same number gives the same bytes.
pub fn item(n: u64) -> String {
    let id = 1_534_000_000_000_000_000 + n;
    let mut text = format!("Number {n}: the weather in Melbourne \u{1f326} again, ");
    for word in 0..(n % 12) {
        let _ = write!(text, "and more of it {word} ");
    }
    format!(
        r#"{{"data":{{"id":"{id}","text":"{text} https://t.co/abcdef","lang":"en","author_id":"337119125","created_at":"2022-06-08T01:02:03.000Z","conversation_id":"{id}","edit_history_tweet_ids":["{id}"],"possibly_sensitive":false,"public_metrics":{{"retweet_count":1,"reply_count":2,"like_count":3,"quote_count":4}},"entities":{{"urls":[{{"start":50,"end":73,"url":"https://t.co/abcdef","expanded_url":"https://example.org/a/long/path?with=query","display_url":"example.org/a/long"}}]}},"geo":{{"place_id":"01864a8a64df9dc4"}}}},"includes":{{"users":[{{"id":"337119125","username":"kim","name":"Kim","created_at":"2011-07-17T13:48:53.000Z","description":"somebody who writes about the weather"}}],"places":[{{"id":"01864a8a64df9dc4","full_name":"Melbourne, Victoria","name":"Melbourne","country":"Australia","country_code":"AU","place_type":"city","geo":{{"type":"Feature","bbox":[144.593742,-38.433859,145.512529,-37.511274],"properties":{{}}}}}}]}},"matching_rules":[{{"id":"1534","tag":"australia"}}]}}"#
    )
}

/// A file of `count` items, one a line.
pub fn file(folder: &std::path::Path, count: u64) -> std::path::PathBuf {
    use std::io::Write as _;
    let path = folder.join(format!("{count}.jsonl"));
    let mut out = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
    for n in 0..count {
        writeln!(out, "{}", item(n)).unwrap();
    }
    out.flush().unwrap();
    path
}
