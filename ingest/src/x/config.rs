//! How the stream is harvested.

use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use super::clock::Clock;
use super::meter::Limits;
use super::reconnect::Waits;
use crate::outbox::OutboxConfig;
use crate::renewal::Renewal;

/// How the stream is harvested.
#[derive(Clone, Debug)]
pub struct XConfig {
    /// Where the API is, without `/2/…`.
    pub base_url: Url,
    /// The app-only bearer token.
    pub bearer: SecretString,
    /// Where a token that is refused may have been exchanged.
    pub renewal: Option<Renewal>,
    /// `tweet.fields` to ask for.
    pub tweet_fields: Vec<String>,
    /// `expansions` to ask for.
    pub expansions: Vec<String>,
    /// `user.fields` to ask for.
    pub user_fields: Vec<String>,
    /// `place.fields` to ask for.
    pub place_fields: Vec<String>,
    /// How many minutes of missed posts may be asked for after a loss, at most 5; 0 where the plan has
    /// no backfill, which would refuse the connection.
    pub backfill_minutes: u8,
    /// A connection that gives no byte for so long is dead. X gives one at least every 20 s.
    pub idle_timeout: Duration,
    /// How long making a connection may take.
    pub connect_timeout: Duration,
    /// The largest item that is taken, in bytes; a larger one becomes a dead letter.
    pub max_item_bytes: usize,
    /// How items travel to the log.
    pub outbox: OutboxConfig,
    /// How long to wait between connections.
    pub waits: Waits,
    /// Whether the app's other connections are ended when X says that there are too many.
    pub take_over: bool,
    /// What the stream may bring, and what that costs.
    pub limits: Limits,
    /// What time it is.
    pub clock: Clock,
    /// How long the log may take, after the shutdown began, to acknowledge what it has been given.
    pub drain_timeout: Duration,
}

/// What the mapping of posts uses, and what makes a post worth keeping.
const TWEET_FIELDS: [&str; 12] = [
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
];
const EXPANSIONS: [&str; 3] = ["author_id", "geo.place_id", "referenced_tweets.id"];
const USER_FIELDS: [&str; 5] = ["created_at", "id", "location", "name", "username"];
const PLACE_FIELDS: [&str; 7] =
    ["country", "country_code", "full_name", "geo", "id", "name", "place_type"];

impl XConfig {
    /// Sound values for this API and token.
    pub fn new(base_url: Url, bearer: SecretString) -> Self {
        let names = |list: &[&str]| list.iter().map(|&name| name.to_owned()).collect();
        Self {
            base_url,
            bearer,
            renewal: None,
            tweet_fields: names(&TWEET_FIELDS),
            expansions: names(&EXPANSIONS),
            user_fields: names(&USER_FIELDS),
            place_fields: names(&PLACE_FIELDS),
            backfill_minutes: 0,
            idle_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            max_item_bytes: 4 << 20,
            outbox: OutboxConfig::default(),
            waits: Waits::default(),
            take_over: false,
            limits: Limits::default(),
            clock: Clock::system(),
            drain_timeout: Duration::from_secs(5),
        }
    }

    /// The parameters of the request.
    pub(super) fn query(&self, backfill_minutes: u8) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        for (name, values) in [
            ("tweet.fields", &self.tweet_fields),
            ("expansions", &self.expansions),
            ("user.fields", &self.user_fields),
            ("place.fields", &self.place_fields),
        ] {
            if !values.is_empty() {
                query.append_pair(name, &values.join(","));
            }
        }
        if backfill_minutes > 0 {
            query.append_pair("backfill_minutes", &backfill_minutes.to_string());
        }
        query.finish()
    }
}
