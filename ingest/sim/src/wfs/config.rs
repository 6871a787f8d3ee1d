//! How the sample WFS behaves.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use secrecy::SecretString;

/// How the sample WFS behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The same seed gives the same features.
    pub seed: u64,
    /// Features over all data sets.
    pub features: u32,
    /// User and password that are asked for; with nothing, none are.
    pub credentials: Option<(String, SecretString)>,
    /// The most features in a page, whatever is asked for; it says nothing of that.
    pub max_count: Option<usize>,
    /// What happens to the first pages, one each; after that all is well.
    pub faults: Vec<Fault>,
    /// What it says of how many features there are.
    pub hits: Hits,
    /// It sorts; otherwise it refuses to.
    pub sorts: bool,
    /// It pages; otherwise it begins at the first feature whatever is asked for.
    pub pages: bool,
    /// It takes the axes of `EPSG:4326` as the register has them: latitude first.
    pub latitude_first: bool,
    /// After the first page the first feature of each data set goes, and another comes at the end.
    pub moves: bool,
    /// The feature at this place of each data set has a note of so many bytes.
    pub large: Option<(usize, usize)>,
    /// The feature at this place of each data set lies nowhere on Earth.
    pub astray: Option<usize>,
    /// The last so many features of each data set have no key, and an id that is made anew for each
    /// answer.
    pub keyless: usize,
    /// Pages that begin here or later are empty, whatever there is.
    pub ends_at: Option<usize>,
    /// The first so many features of each data set have no geometry.
    pub placeless: usize,
}

/// What a WFS says of how many features there are, in hits and pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hits {
    /// Their number.
    Right,
    /// That it does not know, which WFS 2.0 allows (OGC 09-025r2, 7.7.4.2).
    Unknown,
    /// Not more than so many.
    Capped(usize),
    /// One more each time.
    Growing,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            seed: 1,
            features: 2_000,
            credentials: None,
            max_count: None,
            faults: Vec::new(),
            hits: Hits::Right,
            sorts: true,
            pages: true,
            latitude_first: false,
            moves: false,
            large: None,
            astray: None,
            keyless: 0,
            ends_at: None,
            placeless: 0,
        }
    }
}

/// What happens to a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// It is an exception report under status 200.
    ExceptionUnder200,
    /// It turns into an exception report in the middle.
    ExceptionInBody,
    /// It ends in the middle.
    Truncated,
    /// It has no features.
    Empty,
    /// It is a page for people.
    HtmlPage,
    /// 503.
    Unavailable,
    /// It comes to a stop in the middle.
    Stalls,
    /// It comes in so many pieces, and before each this time passes.
    Trickles(u32, Duration),
}
