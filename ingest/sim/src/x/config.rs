//! How the simulator of the stream behaves.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;
use serde::Deserialize;

/// How the simulator behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Posts a second.
    pub rate: f64,
    /// The same seed gives the same posts, but for ids and times.
    pub seed: u64,
    /// How many posts there are in all; with nothing they never end.
    pub total: Option<u64>,
    /// The token that is accepted; with nothing, any is.
    pub bearer: Option<SecretString>,
    /// The rules at the start: value and tag.
    pub rules: Vec<(String, String)>,
    /// The longest silence; X promises 20 s.
    pub keep_alive: Duration,
    /// How items end. X ends them with CRLF, its emulator with a bare line feed.
    pub line_feed: LineFeed,
    /// What happens to the first connections, one step each; after that all is well, or as `faults` say.
    pub script: Vec<Step>,
    /// Posts are made whether somebody listens or not, as on X: what nobody hears is gone, but for
    /// what a connection asks to be filled in. Else each is kept until somebody takes it.
    pub live: bool,
    /// What befalls connections by chance, by the seed.
    pub faults: Option<Faults>,
    /// How many connections there may be at a time; more are refused.
    pub connections: Option<usize>,
    /// How many attempts to connect are taken in a quarter of an hour; more are refused.
    pub attempts: Option<usize>,
    /// So long it is not noticed that a connection has broken, and counts as open.
    pub linger: Duration,
    /// A live reader that is so far behind is disconnected.
    pub slow_reader: Duration,
    /// Whether `backfill_minutes` is taken; else a connection that asks for it is refused.
    pub backfill: bool,
    /// When its clock begins; nothing: now.
    pub begins: Option<Timestamp>,
    /// So many of a hundred posts are followed by a compliance notice.
    pub notices_percent: u8,
    /// Whether bodies are compressed where the client takes that.
    pub gzip: bool,
}

/// What befalls connections by chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// How long a connection lasts, in the mean.
    pub every: Duration,
    /// How many of a hundred attempts to connect are refused.
    pub refusals_percent: u8,
}

impl Default for Config {
    fn default() -> Self {
        let box_of_australia = "bounding_box:[113.6594 -43.00311 153.61194 -12.46113]";
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            rate: 20.0,
            seed: 1,
            total: None,
            bearer: None,
            rules: vec![
                (format!("{box_of_australia} -is:retweet"), "australia".to_owned()),
                ("place_country:AU has:geo".to_owned(), "placed in australia".to_owned()),
            ],
            keep_alive: Duration::from_secs(15),
            line_feed: LineFeed::CrLf,
            script: Vec::new(),
            live: false,
            faults: None,
            connections: None,
            attempts: None,
            linger: Duration::ZERO,
            slow_reader: Duration::from_secs(60),
            backfill: true,
            begins: None,
            notices_percent: 0,
            gzip: false,
        }
    }
}

/// How items end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LineFeed {
    /// `\r\n`
    CrLf,
    /// `\n`
    Lf,
    /// Now this, now that.
    Mixed,
}

/// What happens to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is refused.
    Refuse {
        /// With this HTTP status.
        status: u16,
        /// With these headers.
        headers: Vec<(String, String)>,
        /// With this body.
        body: String,
    },
    /// It lasts so long, and then ends.
    Last {
        /// How long.
        lasts: Duration,
        /// How it ends.
        ending: Ending,
    },
    /// It gets so many posts, and then ends.
    Serve {
        /// How many.
        posts: u64,
        /// How it ends.
        ending: Ending,
    },
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// The body ends as it should.
    Close,
    /// The body ends in the middle of an item.
    CutItem,
    /// The connection breaks.
    Reset,
    /// Nothing more comes, not even an empty line.
    Stall,
    /// `errors` with an operational disconnect, and then the end.
    OperationalDisconnect,
    /// `errors` saying that it was ended from elsewhere, and then the end.
    ForceDisconnect,
    /// `errors` saying that the client reads too slowly, and then the end.
    SlowReader,
    /// One more item comes byte by byte, and is cut off before its end.
    Trickle,
}
