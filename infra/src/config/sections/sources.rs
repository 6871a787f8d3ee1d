//! `[x]`, `[aurin]`, `[archive]`

use std::num::NonZeroUsize;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{HttpUrl, Secret};

/// X's filtered stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct XSection {
    /// Where the API is; another one for proxies and emulators.
    pub base_url: HttpUrl,
    /// The app-only bearer token. Without one, `bowerbird up` harvests the built-in simulator.
    pub bearer_token: Option<Secret>,
    /// A file that holds the bearer token, such as a Docker secret. While X refuses the token, it is
    /// read again.
    #[schemars(example = &"/run/secrets/x_bearer_token")]
    pub bearer_token_file: Option<PathBuf>,
    /// `tweet.fields` to ask for.
    pub tweet_fields: Vec<String>,
    /// `expansions` to ask for.
    pub expansions: Vec<String>,
    /// `user.fields` to ask for.
    pub user_fields: Vec<String>,
    /// `place.fields` to ask for.
    pub place_fields: Vec<String>,
    /// After a loss, how many minutes of missed posts X may be asked to fill in. Plans without
    /// backfill refuse a connection that asks for it, so it is 0 unless yours has it.
    #[schemars(range(min = 0, max = 5))]
    pub backfill_minutes: u8,
    /// A connection that is silent for so long is taken for dead, in milliseconds. X sends
    /// something at least every 20 s.
    #[schemars(range(min = 1_000, max = 600_000))]
    pub idle_timeout_ms: u64,
    /// The largest item that is taken, in bytes; a larger one becomes a dead letter.
    #[schemars(range(min = 65_536, max = 104_857_600))]
    pub max_item_bytes: usize,
    /// The most posts that the stream may bring in a month of UTC; when they are used up, it pauses
    /// until the month ends. Without one, it brings as many as come. What only comes along because posts
    /// refer to it is not in it: X bills it too, and `bowerbird usage` shows it.
    #[schemars(range(min = 1), example = &3_000_000)]
    pub monthly_cap_posts: Option<u64>,
    /// At how many percent of that the journal and the logs warn.
    #[schemars(range(min = 1, max = 100))]
    pub warn_at_percent: u8,
    /// What a post costs, in US dollars, for the estimate of `bowerbird usage`. X bills a post once for
    /// each UTC day on which it delivers it, also one that only comes along because another refers to it;
    /// what it may bill beside posts, such as users, is not in the estimate.
    #[schemars(range(min = 0.0, max = 1_000.0))]
    pub price_per_post_usd: f64,
    /// The rules that the stream shall have, one `[[x.rules]]` each; `bowerbird rules sync` brings
    /// X's in line. Without any: Australia's bounding box, in English, without retweets.
    pub rules: Vec<StreamRule>,
}

/// A rule of the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StreamRule {
    /// What it matches, in X's operators.
    #[schemars(example = &"place_country:AU has:geo")]
    pub value: String,
    /// What its matches are labelled with.
    #[serde(default)]
    #[schemars(example = &"placed in australia")]
    pub tag: String,
}

/// AURIN's WFS.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AurinSection {
    /// Where the WFS is.
    pub base_url: HttpUrl,
    /// The user towards the WFS. Without one, `bowerbird up` harvests the built-in sample WFS.
    #[schemars(example = &"my-aurin-user")]
    pub user: Option<String>,
    /// The password towards the WFS; AURIN's expire after 90 days.
    pub password: Option<Secret>,
    /// A file that holds the password, such as a Docker secret; read again before each poll.
    #[schemars(example = &"/run/secrets/aurin_password")]
    pub password_file: Option<PathBuf>,
    /// Features asked for in one page; servers may give fewer.
    #[schemars(range(min = 1, max = 100_000))]
    pub page_size: u32,
    /// How long the WFS may take to answer a request, in milliseconds.
    #[schemars(range(min = 100, max = 3_600_000))]
    pub timeout_ms: u64,
    /// The largest feature that is read, in bytes. A larger one goes to the dead letters, with how it
    /// begins.
    #[schemars(range(min = 1_024, max = 1_073_741_824))]
    pub max_feature_bytes: usize,
    /// The data sets to poll, one `[[aurin.datasets]]` each.
    pub datasets: Vec<Dataset>,
}

/// A data set of a WFS.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Dataset {
    /// The type name as the WFS's capabilities list it.
    #[schemars(example = &"datasource-AU_Govt_ABS:abs_personal_income_sa2")]
    pub type_name: String,
    /// The property that is unique to each feature: the id, and what pages are sorted by.
    #[schemars(example = &"sa2_main11")]
    pub id_property: String,
    /// The licence, carried with every feature.
    #[schemars(example = &"CC-BY-4.0")]
    pub licence: String,
    /// Who must be named wherever the data is published, carried with every feature.
    #[schemars(example = &"Australian Bureau of Statistics, by AURIN")]
    pub attribution: String,
    /// Seconds between two polls. The first is at start.
    #[serde(default = "daily")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub interval_s: u64,
    /// Each poll is up to so many seconds later, so that data sets are not asked for all at once;
    /// without it a tenth of interval_s, and not more than ten minutes.
    #[schemars(range(min = 0, max = 86_400), example = 600)]
    pub jitter_s: Option<u64>,
    /// A cron expression in the place of interval_s: minute, hour, day, month, day of the week, and
    /// perhaps a time zone, which is UTC otherwise. The first poll is at its next time.
    #[schemars(example = &"30 3 * * 1-5 Australia/Melbourne")]
    pub schedule: Option<String>,
}

/// Archives of posts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ArchiveSection {
    /// How many files, or members of a tar or zip, are read at once. Each takes two threads and
    /// some 16 MiB, and a .zst its window. One for each processor, at most four, unless it is set.
    #[schemars(range(min = 1, max = 64), example = 2)]
    pub workers: Option<NonZeroUsize>,
    /// The longest line that is read, in bytes; a longer one becomes a dead letter without its
    /// content.
    #[schemars(range(min = 1_024, max = 1_073_741_824))]
    pub max_line_bytes: usize,
    /// The most bytes handed to the log and not yet acknowledged.
    #[schemars(range(min = 1_048_576, max = 1_073_741_824))]
    pub max_in_flight_bytes: usize,
    /// The largest window that a .zst file may need, as a power of two in bytes. Files made by
    /// `zstd --long=31` need 31, which is 2 GiB of memory for each worker.
    #[schemars(range(min = 10, max = 31))]
    pub zstd_window_log_max: u32,
}

fn daily() -> u64 {
    24 * 3600
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|&name| name.to_owned()).collect()
}

impl Default for XSection {
    fn default() -> Self {
        Self {
            base_url: HttpUrl { base: "https://api.x.com".to_owned(), userinfo: None },
            bearer_token: None,
            bearer_token_file: None,
            tweet_fields: names(&[
                "attachments",
                "author_id",
                "conversation_id",
                "created_at",
                "edit_history_tweet_ids",
                "entities",
                "geo",
                "lang",
                "possibly_sensitive",
                "public_metrics",
                "referenced_tweets",
                "text",
            ]),
            expansions: names(&["author_id", "geo.place_id", "referenced_tweets.id"]),
            user_fields: names(&["created_at", "id", "location", "name", "username"]),
            place_fields: names(&[
                "country",
                "country_code",
                "full_name",
                "geo",
                "id",
                "name",
                "place_type",
            ]),
            backfill_minutes: 0,
            idle_timeout_ms: 30_000,
            max_item_bytes: 4 << 20,
            monthly_cap_posts: None,
            warn_at_percent: 80,
            price_per_post_usd: 0.005,
            rules: vec![StreamRule {
                value: "bounding_box:[113.6594 -43.00311 153.61194 -12.46113] lang:en -is:retweet"
                    .to_owned(),
                tag: "australia".to_owned(),
            }],
        }
    }
}

impl Default for AurinSection {
    fn default() -> Self {
        let base = "https://adp.aurin.org.au/geoserver/wfs".to_owned();
        Self {
            base_url: HttpUrl { base, userinfo: None },
            user: None,
            password: None,
            password_file: None,
            page_size: 1_000,
            timeout_ms: 60_000,
            max_feature_bytes: 64 << 20,
            datasets: Vec::new(),
        }
    }
}

impl Default for ArchiveSection {
    fn default() -> Self {
        Self {
            workers: None,
            max_line_bytes: 16 << 20,
            max_in_flight_bytes: 8 << 20,
            zstd_window_log_max: 27,
        }
    }
}
