//! Archives of synthetic posts in every form that people bring, and what must come of them.
//!
//! The expectation is counted while the lines are made, from parts of known size: it shares no
//! code with what it checks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// Words and how many letters each has; marks and apostrophes are no letters.
const WORDS: [(&str, u64); 10] = [
    ("weather", 7),
    ("G'day", 4),
    ("naïve", 5),
    ("cafe\u{301}", 4),
    ("日本", 2),
    ("don’t", 4),
    ("Ωmega", 5),
    ("rain", 4),
    ("a", 1),
    ("Straße", 6),
];

/// What stands between words and is none.
const BETWEEN: [&str; 6] = [" ", ", ", " \u{1f326} ", " 42 ", " https://t.co/aBc123 ", " - "];

/// Places: id, name, country.
const PLACES: [(&str, &str, &str); 5] = [
    ("p1", "Melbourne, Victoria", "AU"),
    ("p2", "Perth, Western Australia", "AU"),
    ("p3", "Hobart, Tasmania", "AU"),
    ("p4", "Auckland, New Zealand", "NZ"),
    ("p5", "São Paulo, Brasil", "BR"),
];

/// Posts, words and letters of one place.
pub type Tally = [u64; 3];

/// What must come of the archives.
#[derive(Debug, Default)]
pub struct Expectation {
    /// Posts that have content, by id.
    pub posts: BTreeSet<String>,
    /// Posts that were removed.
    pub removed: BTreeSet<String>,
    /// Lines that are nothing: each must be a dead letter.
    pub broken: u64,
    /// By country and place.
    pub places: BTreeMap<(String, String), Tally>,
}

/// A small generator of its own (xorshift64*): the same seed gives the same archive.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % bound
    }
}

struct Post {
    id: String,
    text: String,
    words: u64,
    letters: u64,
    place: Option<usize>,
}

/// Writes `count` posts from `first_id` on, as plain, gzip, bzip2 and Zstandard files.
pub fn write(folder: &Path, first_id: u64, count: u64, seed: u64) -> (Vec<PathBuf>, Expectation) {
    let mut expected = Expectation::default();
    let mut random = Random(seed | 1);
    let names = ["v2.jsonl", "flat.jsonl.gz", "v1.jsonl.bz2", "mixed.jsonl.zst"];
    let mut files = Vec::new();
    for (part, name) in names.into_iter().enumerate() {
        let path = folder.join(name);
        let file = BufWriter::new(File::create(&path).unwrap());
        let mut out: Box<dyn Write> = match part {
            0 => Box::new(file),
            1 => Box::new(flate2::write::GzEncoder::new(file, flate2::Compression::fast())),
            2 => Box::new(bzip2::write::BzEncoder::new(file, bzip2::Compression::fast())),
            _ => Box::new(zstd::Encoder::new(file, 1).unwrap().auto_finish()),
        };
        let part = u64::try_from(part).unwrap();
        let ids = (first_id + part * count / 4)..(first_id + (part + 1) * count / 4);
        write_file(&mut out, part, ids, &mut random, &mut expected);
        out.flush().unwrap();
        drop(out);
        files.push(path);
    }
    (files, expected)
}

fn write_file(
    out: &mut dyn Write,
    part: u64,
    ids: std::ops::Range<u64>,
    random: &mut Random,
    expected: &mut Expectation,
) {
    let mut several = Vec::new();
    for id in ids {
        let post = post(id, random);
        let removed = random.below(100) == 0;
        let line = match if part == 3 { random.below(3) as u64 } else { part } {
            0 if random.below(2) == 0 => {
                several.push(post_v2(&post));
                (several.len() == 5).then(|| response(&std::mem::take(&mut several)))
            }
            0 => Some(stream_item(&post)),
            1 => Some(flattened(&post)),
            _ => Some(v1(&post)),
        };
        if let Some(line) = line {
            writeln!(out, "{line}").unwrap();
            if random.below(50) == 0 {
                writeln!(out, "{line}\n").unwrap();
            }
        }
        if random.below(500) == 0 {
            writeln!(out, "{}", ["{\"id\": ", "no json", "[1, 2]", "{\"a\":1}"][random.below(4)])
                .unwrap();
            expected.broken += 1;
        }
        if removed {
            let status = json!({"id": id, "id_str": post.id, "user_id": 9, "user_id_str": "9"});
            writeln!(out, "{}", json!({"delete": {"status": status}})).unwrap();
        }
        expected.count(post, removed);
    }
    if !several.is_empty() {
        writeln!(out, "{}", response(&several)).unwrap();
    }
}

impl Expectation {
    fn count(&mut self, post: Post, removed: bool) {
        if removed {
            self.removed.insert(post.id);
            return;
        }
        if let Some(place) = post.place {
            let (_, name, country) = PLACES[place];
            let tally = self.places.entry((country.to_owned(), name.to_owned())).or_default();
            for (sum, more) in tally.iter_mut().zip([1, post.words, post.letters]) {
                *sum += more;
            }
        }
        self.posts.insert(post.id);
    }
}

fn post(id: u64, random: &mut Random) -> Post {
    let (mut text, mut words, mut letters) = (String::new(), 0, 0);
    for n in 0..=random.below(20) {
        if n > 0 {
            text.push_str(BETWEEN[random.below(BETWEEN.len())]);
        }
        let (word, of_it) = WORDS[random.below(WORDS.len())];
        text.push_str(word);
        words += 1;
        letters += of_it;
    }
    let place = Some(random.below(PLACES.len() + 2)).filter(|place| *place < PLACES.len());
    Post { id: id.to_string(), text, words, letters, place }
}

fn post_v2(post: &Post) -> Value {
    let mut value = json!({
        "id": post.id, "text": post.text, "lang": "en", "author_id": "9",
        "created_at": "2022-06-08T01:02:03.000Z", "edit_history_tweet_ids": [post.id],
        "public_metrics": {"retweet_count": 1, "reply_count": 2, "like_count": 3, "quote_count": 4},
    });
    if let Some(place) = post.place {
        value["geo"] = json!({"place_id": PLACES[place].0});
    }
    value
}

fn place_v2(place: usize) -> Value {
    let (id, name, country) = PLACES[place];
    json!({"id": id, "full_name": name, "country_code": country, "place_type": "city",
        "geo": {"type": "Feature", "bbox": [144.0, -38.0, 146.0, -37.0], "properties": {}}})
}

fn includes() -> Value {
    let places: Vec<Value> = (0..PLACES.len()).map(place_v2).collect();
    json!({"users": [{"id": "9", "username": "kim", "name": "Kim"}], "places": places})
}

fn twarc() -> Value {
    json!({"url": "https://api.example.org/2/tweets/search/all?query=weather", "version": "2.9.5",
        "retrieved_at": "2022-07-01T00:00:00+00:00"})
}

fn response(posts: &[Value]) -> Value {
    json!({"data": posts, "includes": includes(), "__twarc": twarc()})
}

fn stream_item(post: &Post) -> Value {
    let rules = json!([{"id": "1534", "tag": "australia"}]);
    json!({"data": post_v2(post), "includes": includes(), "matching_rules": rules})
}

fn flattened(post: &Post) -> Value {
    let mut value = post_v2(post);
    value["author"] = json!({"id": "9", "username": "kim", "name": "Kim"});
    value["__twarc"] = twarc();
    if let Some(place) = post.place {
        value["geo"] = place_v2(place);
        value["geo"]["place_id"] = json!(PLACES[place].0);
    }
    value
}

fn v1(post: &Post) -> Value {
    let mut value = json!({
        "created_at": "Wed Jun 08 01:02:03 +0000 2022", "id": post.id.parse::<u64>().unwrap(),
        "id_str": post.id, "full_text": post.text, "lang": "en", "place": null, "geo": null,
        "user": {"id": 9, "id_str": "9", "screen_name": "kim", "name": "Kim"},
    });
    if let Some(place) = post.place {
        let (id, name, country) = PLACES[place];
        value["place"] = json!({"id": id, "full_name": name, "country_code": country,
            "bounding_box": {"type": "Polygon",
                "coordinates": [[[144.0, -38.0], [144.0, -37.0], [146.0, -37.0], [146.0, -38.0]]]}});
    }
    value
}
