//! How the simulator of the stream behaves.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use secrecy::SecretString;

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
    /// What happens to the first connections, one step each; after that all is well.
    pub script: Vec<Step>,
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
        }
    }
}

/// How items end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// It gets so many posts, and then ends.
    Serve {
        /// How many.
        posts: u64,
        /// How it ends.
        ending: Ending,
    },
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}
